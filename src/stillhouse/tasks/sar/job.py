"""The job of focusing radar lines: ground truth, a teacher's outputs and its features, each a named term of the loss; and what is
watched meanwhile under the documented names, in TensorBoard and Weights & Biases.

Shapes: B lines, L azimuth samples, C input channels. Everything is judged in the valid region only: outside it no line holds the
whole aperture of its targets.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from stillhouse.core import processes, ranks
from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, Progress
from stillhouse.losses import complex as losses
from stillhouse.tasks.sar.data.sequences import SarData
from stillhouse.tasks.sar.plan import SarObjective, Wandb
from stillhouse.tasks.sar.signals import LineSignal, measure
from stillhouse.tasks.sar.teacher import LineTeacher, batch_of, extractor
from stillhouse.training.config import TrainingConfig
from stillhouse.training.distillation import DistillJob, SignalSet
from stillhouse.training.job import Terms, Validation

DOCUMENTED = ("student", "distillation", "feature")  # whose weighted sum is the documented total
END = Progress(1, 1)
EVERY = 50  # optimizer steps between two looks at the gradients
MONITOR = "distillation"  # TensorBoard folder that the documents name


class SarJob(DistillJob):
    """Lines -> their focus. Terms: `student` against the ground truth, `distillation`, `feature` and those of shared signals.

    Args:
        model: a `SarSSM` (or another network with `.blocks`, complex lines in and out).
        data: `train` and `validation` are read, `test` is not.
        config: batch size for scoring.
        seed: order of the lines.
        objective: losses and weights; without a teacher only its `student_loss` counts, with the sum of all weights, so that
            clipping treats both arms alike.
        signal_set: signals, and a `StageTeacher` of a `LineTeacher`; a teacher that is not frozen learns along.
        monitor: where documented names, gradients and weights are written; None for nowhere.
        delta: a validation counts as better only if its quality is so much higher.
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
        stage_teacher: Any = signal_set.teacher
        free = stage_teacher is not None and not stage_teacher.teacher.frozen
        self.learning: LineTeacher | None = stage_teacher.teacher if free else None
        extras: list[nn.Module] = [*signal_set.signals, *signal_set.auxiliary_losses]
        modules: dict[str, nn.Module] = {"student": model}
        if self.learning is not None:
            # the parameters alone: a sub-module would be flipped by train() and eval()
            extras.append(nn.ParameterList(self.learning.module.parameters()))
            modules["teacher"] = self.learning.module
        super().__init__(model, rows=len(data.train), seed=seed, signal_set=signal_set, extras=nn.ModuleList(extras))
        self.data, self.config, self.objective = data, config, objective
        self.own = [s for s in signal_set.signals if isinstance(s, LineSignal)]
        self.alpha = objective.weights[0] if self.own else sum(objective.weights)
        self.monitor, self.delta, self._best = monitor, delta, float("-inf")
        self._watches = {name: GradientWatch(module) for name, module in modules.items()}
        self._seen: dict[str, float] = {}

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
        weight = share * self.alpha
        return {"student": (weight, self._error(student_out.logits, batch))} if weight else {}

    def terms(self, rows: Tensor, progress: Progress) -> Terms:
        """The named terms on some lines; a teacher that is not frozen has one of its own."""
        if self.monitor is not None and progress.step % EVERY == 0:
            for watch in self._watches.values():
                watch.start()
        terms = super().terms(rows, progress)
        if self.learning is not None:
            batch = self.batch(rows, progress)
            terms["teacher"] = (1.0, self._error(self.learning.focus(batch.inputs).logits, batch))
        if self.monitor is not None and progress.step % self.config.log_every == 0:
            seen = {f"train_{name}_loss": value.detach() for name, (_, value) in terms.items()}
            total = sum(weight * value.detach() for name, (weight, value) in terms.items() if name in DOCUMENTED)
            for name, value in {**seen, "train_total_loss": total, "rows": torch.ones(())}.items():
                self._seen[name] = self._seen.get(name, 0.0) + len(rows) * float(value)
        return terms

    def _error(self, lines: Tensor, batch: Batch) -> Tensor:
        """Mean over the lines; one whose truth is missing adds nothing, and its other terms stay."""
        known = torch.isfinite(batch.labels.real).flatten(1).all(1)
        if not bool(known.any()):
            return lines.real.sum() * 0
        share = known.to(lines.real.dtype).mean()
        own, wanted = (self._cut(x[known]) for x in (lines, batch.labels))
        return share * measure(own, wanted, self.objective.student_loss).mean()

    def _cut(self, x: Tensor) -> Tensor:
        return x[:, self.data.valid]

    # ------------------------------------------------------------------------------------------------ the score

    @torch.no_grad()
    def validate(self, model: nn.Module) -> Validation:
        """Quality (mean over lines of 1 - NMSE) decides; the documented losses stand beside it."""
        split, sums = self.data.validation, dict[str, float]()
        for part in torch.arange(len(split)).split(self.config.evaluation_batch_size):
            rows, sizes = processes.share(part)
            batch = batch_of(split, rows, self.device)
            student_out = extractor(model, batch.inputs, self.signal_set.features)
            terms = self.task_terms(student_out, batch, END, 1.0)
            if self.own:
                stage_teacher: Any = self.signal_set.teacher
                teacher_out = (stage_teacher.facts or stage_teacher.teacher)(batch)
                terms |= self.compared(self.own, student_out, teacher_out, batch, END, 1.0)
            lines, wanted = self._cut(student_out.logits), self._cut(batch.labels)
            values = {
                "nmse": float(losses.complex_nmse(lines, wanted).mean()),
                "coherence": 1 - float(losses.coherence_loss(lines, wanted).mean()),
                "val_total_loss": sum(weight * float(value) for weight, value in terms.values()),
                **{f"val_{name}_loss": float(value) for name, (_, value) in terms.items()},
            }
            for name, one in values.items():
                sums[name] = sums.get(name, 0.0) + sizes[ranks.rank()] * one
        parts = processes.all_gather_objects(sums)
        metrics: dict[str, float | None] = {name: sum(part[name] for part in parts) / len(split) for name in sums}
        metrics["quality"] = quality = 1 - float(metrics["nmse"] or 0.0)
        if quality > self._best + self.delta or self._best == float("-inf"):
            self._best = quality
        return Validation(metrics, (min(quality, self._best),))

    # ------------------------------------------------------------------------------------------------ what is watched

    def on_train_batch_end(self, step: int) -> None:
        """Write the documented training losses where the loop logs, and gradients every 50 steps."""
        super().on_train_batch_end(step)
        if self.monitor is not None:
            rows, found = self._seen.pop("rows", 0.0), dict[str, float]()
            found |= {name: value / rows for name, value in self._seen.items()}
            for name, watch in self._watches.items():
                found |= {f"gradients/{name}/{layer}": norm for layer, norm in watch.stop().items()}
            self._seen = {}
            if found:
                self.monitor.log(step, found)

    def on_validation_end(self, validation: Validation, progress: Progress) -> None:
        """Write validation figures and the norms of the weights, once an epoch."""
        super().on_validation_end(validation, progress)
        if self.monitor is None:
            return
        found = {f"val_{name.removeprefix('val_')}": x for name, x in validation.metrics.items() if x is not None}
        for name, watch in self._watches.items():
            norms = norms_by_layer(watch.module.named_parameters())
            found |= {f"weights/{name}/{layer}": norm for layer, norm in norms.items()}
        self.monitor.log(progress.step, found)

    def close(self) -> None:
        """Take off the taps and close what is written to."""
        super().close()
        if self.monitor is not None:
            self.monitor.close()

    def state_dict(self) -> dict[str, Any]:
        """The best quality beside the state of every job; a teacher that learns is among the extras."""
        return {**super().state_dict(), "best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put it back."""
        super().load_state_dict(state)
        self._best = state["best"]


class SarMonitor:
    """Writes scalars; nothing is opened before the first one, so that a job that is never trained leaves no trace.

    Args:
        folder: TensorBoard events go here, and the files of W&B.
        wandb: offline or online: also to Weights & Biases; None: not.
        name: of the W&B run.
        settings: that the W&B run holds.
    """

    def __init__(self, folder: Path, wandb: Wandb | None = None, name: str = "", settings: Any = None) -> None:
        self.folder = folder
        self._how = {"project": "stillhouse-sar", "name": name, "mode": wandb, "config": settings}
        self._board: Any = None
        self._run: Any = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars at an optimizer step; what is no finite number is left out."""
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder), purge_step=step)
            if self._how["mode"] is not None:
                self._run = find_wandb().init(dir=str(self.folder), **self._how)
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for name, value in finite.items():
            self._board.add_scalar(name, value, step)
        if self._run is not None:
            self._run.log(finite, step=step)

    def close(self) -> None:
        """Finish both."""
        if self._board is not None:
            self._board.close()
        if self._run is not None:
            self._run.finish()
        self._board = self._run = None


class GradientWatch:
    """Gradients as backward left them, before clipping: a hook a parameter, set only for the step that is looked at.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 1, bias=False)); watch = GradientWatch(net)
        >>> watch.start(); (3 * net(Tensor([[1.0]]))).sum().backward()
        >>> watch.stop()
        {'0': 3.0, 'total': 3.0}
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._norms: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []

    def start(self) -> None:
        """Watch the backward passes from here on; a second call changes nothing."""
        if self._hooks:
            return
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad and not hasattr(parameter, "full_tensor"):  # a part, which all must ask for
                self._hooks.append(parameter.register_post_accumulate_grad_hook(partial(self._keep, name)))

    def stop(self) -> dict[str, float]:
        """Take the hooks off; the L2 norm of every layer's gradient, and `total`; empty if nothing was watched."""
        for hook in self._hooks:
            hook.remove()
        found, self._hooks, self._norms = norms_by_layer(self._norms.items()), [], {}
        return found

    def _keep(self, name: str, parameter: Tensor) -> None:
        if parameter.grad is not None:  # micro-batches add up: the last call has the whole
            self._norms[name] = parameter.grad.detach().norm()


def norms_by_layer(named: Iterable[tuple[str, Tensor]]) -> dict[str, float]:
    """L2 norm of the tensors of every layer (`input`, `blocks.0`, ..., `output`), and of all of them as `total`.

    Example:
        >>> norms_by_layer([("blocks.3.s4d.log_dt", Tensor([3.0])), ("input.weight", Tensor([4.0]))])
        {'blocks.3': 3.0, 'input': 4.0, 'total': 5.0}
    """
    layers: dict[str, list[Tensor]] = {}
    for name, x in named:
        if hasattr(x, "full_tensor"):
            continue  # split over processes: its norm is a question to all of them
        parts = name.split(".")[:2]
        layers.setdefault(".".join(parts if parts[-1].isdigit() else parts[:1]), []).append(x.detach())
    found = {name: float(nn.utils.get_total_norm(some)) for name, some in layers.items()}
    return {**found, "total": math.hypot(*found.values())} if found else {}


def find_wandb() -> Any:
    """The module of Weights & Biases.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("wandb")
    except ImportError:
        raise InputError("wandb: the package is not installed: pip install wandb, or leave --wandb out") from None
