"""The job of focusing radar lines: ground truth, a teacher's outputs and its features, each a named term of the loss.

Shapes: B lines, L azimuth samples, C input channels, H width of a hidden layer. Everything is judged in the valid region only:
outside it no line holds the whole aperture of its targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core import processes, ranks
from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.types import Batch, Outputs, Progress
from stillhouse.losses import complex as losses
from stillhouse.signals import signals_in
from stillhouse.tasks.sar.data.sequences import SarData
from stillhouse.tasks.sar.monitor import EVERY, GradientWatch, SarMonitor, weight_norms
from stillhouse.tasks.sar.objective import SarObjective
from stillhouse.tasks.sar.signals import LineFeatureSignal, OutputSignal, measure
from stillhouse.tasks.sar.teacher import LineTeacher, batch_of, extractor
from stillhouse.training.config import TrainingConfig
from stillhouse.training.distillation import DistillJob, SignalSet
from stillhouse.training.job import Terms, Validation

DOCUMENTED = ("student", "distillation", "feature")  # whose weighted sum is the documented total
END = Progress(1, 1)


class SarJob(DistillJob):
    """Lines -> their focus. Terms: `student` against the ground truth, `distillation`, `feature` and those of shared signals.

    Args:
        model: a `SarSSM` (or another network with `.blocks`, complex lines in and out).
        data: `train` and `validation` are read, `test` is not.
        config: batch size for scoring.
        seed: order of the lines.
        objective: losses and weights; without a teacher only its `student_loss` counts, with the sum of all weights.
        signal_set: signals, and a `StageTeacher` of a `LineTeacher`; a teacher that is not frozen learns along.
        monitor: where documented names, gradients and weights are written; None for nowhere.
        delta: a validation counts as better only if its quality is so much higher.

    Raises:
        InputError: other channels than the model's, or a model that gives another number of outputs.
    """

    task_term = "student"

    def __init__(
        self,
        model: Any,
        data: SarData,
        config: TrainingConfig,
        *,
        seed: int,
        objective: SarObjective,
        signal_set: SignalSet | None = None,
        monitor: SarMonitor | None = None,
        delta: float = 0.0,
    ) -> None:
        signal_set = signal_set or SignalSet()
        check_lines("student", model, data)
        stage_teacher: Any = signal_set.teacher
        free = stage_teacher is not None and not stage_teacher.teacher.frozen
        self.learning: LineTeacher | None = stage_teacher.teacher if free else None
        extras: list[nn.Module] = [*signal_set.signals, *signal_set.auxiliary_losses]
        if self.learning is not None:
            # the parameters alone: a sub-module would be flipped by train() and eval()
            extras.append(nn.ParameterList(self.learning.module.parameters()))
        super().__init__(model, rows=len(data.train), seed=seed, signal_set=signal_set, extras=nn.ModuleList(extras))
        self.data, self.config, self.objective = data, config, objective
        self.taught: list[Any] = [s for s in signal_set.signals if isinstance(s, (OutputSignal, LineFeatureSignal))]
        self.monitor, self.delta, self._best = monitor, delta, float("-inf")
        self._watch = {"student": GradientWatch(model)}
        if self.learning is not None:
            self._watch["teacher"] = GradientWatch(self.learning.module)
        self._seen: dict[str, Tensor] = {}
        self._rows = self._step = 0
        self._norms: dict[str, float] = {}
        self._watching = False

    def to(self, device: torch.device) -> None:
        """A teacher that learns comes along."""
        super().to(device)
        if self.learning is not None:
            self.learning.module.to(device)

    # ------------------------------------------------------------------------------------------------ the loss

    def batch(self, rows: Tensor, progress: Progress) -> Batch:
        """Lines with their focus in the place of labels."""
        return batch_of(self.data.train, rows, self.device)

    def task_terms(self, student_out: Outputs, batch: Batch, progress: Progress, share: float) -> Terms:
        """`student`: focused lines against the ground truth."""
        weight = share * self._shares(progress)[0]
        if weight == 0:
            return {}
        return {"student": (weight, self._error(student_out.logits, batch))}

    def terms(self, rows: Tensor, progress: Progress) -> Terms:
        """The named terms on some lines; a teacher that is not frozen has one of its own."""
        if progress.step % EVERY == 0 and not self._watching and self.monitor is not None:
            for callback in self._watch.values():
                callback.start()
            self._watching = True
        self._weigh(progress)
        terms = super().terms(rows, progress)
        if self.learning is not None:
            batch = self.batch(rows, progress)
            terms["teacher"] = (1.0, self._error(self.learning.focus(batch.inputs).logits, batch))
        for name, (weight, value) in terms.items():
            share = len(rows) * value.detach()
            self._seen[name] = self._seen.get(name, torch.zeros_like(share)) + share
            if name in DOCUMENTED:
                self._seen["total"] = self._seen.get("total", torch.zeros_like(share)) + weight * share
        self._rows += len(rows)
        return terms

    def _weigh(self, progress: Progress) -> None:
        """Weights as the objective's curriculum has them now; a signal that has not begun yet is left out."""
        _, outputs, features = self._shares(progress)
        for signal in self.taught:
            signal.weight = outputs if isinstance(signal, OutputSignal) else features
        self.active = [signal for signal in signals_in(self.signal_set.signals) if signal.weight > 0]

    def _shares(self, progress: Progress) -> tuple[float, float, float]:
        """Weights of task, outputs and features; the control has their sum, so that clipping treats both arms alike."""
        shares = self.objective.shares(progress)
        return shares if self.taught else (sum(shares), 0.0, 0.0)

    def _error(self, lines: Tensor, batch: Batch) -> Tensor:
        """Mean over the lines; one whose truth is missing adds nothing, and its other terms stay."""
        known = torch.isfinite(batch.labels.real).flatten(1).all(1)
        if not bool(known.all()):
            if not bool(known.any()):
                return lines.real.sum() * 0
            share = known.to(lines.real.dtype).mean()
            return share * self._measured(lines[known], batch.labels[known])
        return self._measured(lines, batch.labels)

    def _measured(self, lines: Tensor, wanted: Tensor) -> Tensor:
        return measure(self._cut(lines), self._cut(wanted), self.objective.student_loss).mean()

    def _cut(self, x: Tensor) -> Tensor:
        return x[:, self.data.valid]

    # ------------------------------------------------------------------------------------------------ the score

    @torch.no_grad()
    def validate(self, model: nn.Module) -> Validation:
        """Quality (mean over lines of 1 - NMSE) decides; the documented losses stand beside it."""
        split, sums = self.data.validation, dict[str, float]()
        self._weigh(END)  # the losses as they are in the end, whatever the curriculum
        signals = [signal for signal in self.taught if signal.weight > 0]
        for part in torch.arange(len(split)).split(self.config.evaluation_batch_size):
            rows, sizes = processes.share(part)
            batch = batch_of(split, rows, self.device)
            student_out = extractor(model, batch.inputs, self.signal_set.features)
            terms = self.task_terms(student_out, batch, END, 1.0)
            if signals:
                stage_teacher: Any = self.signal_set.teacher
                teacher_out = (stage_teacher.facts or stage_teacher.teacher)(batch)
                terms |= self.compared(signals, student_out, teacher_out, batch, END, 1.0)
            lines, wanted = self._cut(student_out.logits), self._cut(batch.labels)
            values = {
                "nmse": float(losses.complex_nmse(lines, wanted).mean()),
                "coherence": 1 - float(losses.coherence_loss(lines, wanted).mean()),
                "val_total_loss": 0.0,
            }
            for name, (weight, value) in terms.items():
                values[f"val_{name}_loss"] = float(value)
                values["val_total_loss"] += weight * float(value)
            for name, one in values.items():
                sums[name] = sums.get(name, 0.0) + sizes[ranks.rank()] * one
        parts = processes.together(sums)
        metrics: dict[str, float | None] = {name: sum(part[name] for part in parts) / len(split) for name in sums}
        quality = 1 - float(metrics["nmse"] or 0.0)
        metrics["quality"] = quality
        if quality > self._best + self.delta or self._best == float("-inf"):
            self._best = rank = quality
        else:
            rank = min(quality, self._best)
        return Validation(metrics, (rank,))

    # ------------------------------------------------------------------------------------------------ what is watched

    def on_train_batch_end(self, step: int) -> None:
        """Write the documented training losses where the loop logs, and gradients every 50 steps."""
        super().on_train_batch_end(step)
        self._step = step
        if self._watching:
            self._norms = {}
            for name, callback in self._watch.items():
                callback.stop()
                self._norms |= {f"gradients/{name}/{layer}": norm for layer, norm in callback.norms().items()}
            self._watching = False
            assert self.monitor is not None
            self.monitor.log(step, self._norms)
        if self.monitor is not None and (step - 1) % self.config.log_every == 0:
            self.monitor.log(step, {f"train_{name}_loss": float(x) / self._rows for name, x in self._seen.items()})
        self._seen, self._rows = {}, 0

    def on_validation_end(self, validation: Validation, progress: Progress) -> None:
        """Write validation figures and the norms of the weights, once an epoch."""
        super().on_validation_end(validation, progress)
        if self.monitor is None:
            return
        found = {
            name if name.startswith("val_") else f"val_{name}": value
            for name, value in validation.metrics.items()
            if value is not None
        }
        modules = {"student": self.model} | ({} if self.learning is None else {"teacher": self.learning.module})
        for name, module in modules.items():
            found |= {f"weights/{name}/{layer}": norm for layer, norm in weight_norms(module).items()}
        self.monitor.log(self._step, found)

    def figures(self) -> dict[str, float]:
        """Those of signals and curriculum, and the gradient norms that were measured last."""
        return {**super().figures(), **self._norms}

    def close(self) -> None:
        """Take off the taps and close what is written to."""
        super().close()
        if self.monitor is not None:
            self.monitor.close()

    def state_dict(self) -> dict[str, Any]:
        """The best quality and the last gradient norms beside the state of every job; a teacher that learns is among the extras."""
        return {**super().state_dict(), "best": self._best, "step": self._step, "norms": dict(self._norms)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put it back."""
        super().load_state_dict(state)
        self._best, self._step, self._norms = state["best"], state["step"], dict(state["norms"])


def check_lines(which: str, model: Any, data: SarData) -> None:
    """Raise InputError unless a network takes the channels of the data and gives as many as their targets have."""
    config = model.config
    if config.input_dim != data.channels:
        hint = "position_channel of the data adds the position code" if config.input_dim == 2 else "leave it out"
        raise InputError(
            f"{which}: expected input_dim {data.channels} (the channels of {data.name}), got {config.input_dim}; {hint}"
        )
    same_shape(f"{which} output", (config.output_dim,), tuple(data.train.targets.shape[2:]))
