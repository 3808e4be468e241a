"""The job of focusing radar lines: ground truth, a teacher's outputs and its features, each a named term of the loss.

Shapes: B lines, L azimuth samples, C input channels, H width of a hidden layer. Everything is compared in the valid region only:
outside it no line holds the whole aperture of its targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.types import Progress
from stillhouse.families.sar.data.sequences import SarData, SarSplit
from stillhouse.families.sar.monitor import EVERY, GradientWatch, SarMonitor, weight_norms
from stillhouse.families.sar.objective import ComplexLoss, SarObjective, layer_at
from stillhouse.layers.state_space import ComplexLinear
from stillhouse.layers.taps import Tapped
from stillhouse.losses import complex as losses
from stillhouse.losses.cka import cka_loss
from stillhouse.training.config import TrainingConfig
from stillhouse.training.job import Job, Terms, Validation

FEATURE_FLOOR = 1e-8  # hidden lines have no fixed scale
REMEMBERED = 256 * 2**20  # bytes of a frozen teacher's answers that are kept
DOCUMENTED = ("student", "distillation", "feature")  # whose weighted sum is the documented total


class FocusTeacher:
    """A trained network as a teacher: a plain object, so that training the student cannot flip its modes or move its weights.

    Args:
        model: (B, L, C) -> (B, L, 1).
        input_factor: from the student's units of raw data to the teacher's (ratio of the two data sets' RMS).
        output_factor: from the teacher's units of focused data to the student's.
        frozen: False lets its parameters learn.
    """

    def __init__(
        self, model: Any, *, input_factor: float = 1.0, output_factor: float = 1.0, frozen: bool = True
    ) -> None:
        self.model, self.input_factor, self.output_factor, self.frozen = model, input_factor, output_factor, frozen
        for parameter in model.parameters():
            parameter.requires_grad_(not frozen)
        model.eval()

    def __call__(self, inputs: Tensor, features: tuple[str, ...] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """Focused lines in the student's units, and hidden lines by path."""
        if self.input_factor != 1.0:
            signal = self.model.config.signal_channels  # the position code is not in units of power
            inputs = torch.cat([inputs[..., :signal] * self.input_factor, inputs[..., signal:]], -1)
        said, hidden = _run(self.model, inputs, features)
        return said * self.output_factor, hidden


class SarJob(Job):
    """Lines -> their focus. Terms: `student` against the ground truth; `distillation` and `feature` where there is a teacher.

    Args:
        model: a `SarSSM` (or another network with `.blocks`, complex lines in and out).
        data: `train` and `validation` are read, `test` is not.
        config: batch size for scoring.
        seed: order of the lines, start of the projections.
        objective: losses and weights; without a teacher only its `student_loss` counts, with the sum of all weights.
        teacher: who is imitated.
        monitor: where documented names, gradients and weights are written; None for nowhere.
        delta: a validation counts as better only if its quality is so much higher.

    Raises:
        InputError: other channels than the model's, or a model that gives another number of outputs.
    """

    def __init__(
        self,
        model: Any,
        data: SarData,
        config: TrainingConfig,
        *,
        seed: int,
        objective: SarObjective,
        teacher: FocusTeacher | None = None,
        monitor: SarMonitor | None = None,
        delta: float = 0.0,
    ) -> None:
        self.objective, self.teacher, self.data, self.config = objective, teacher, data, config
        _check_channels("student", model, data)
        pairs = [] if teacher is None or objective.weights[2] == 0 else _pairs(model, teacher.model, objective)
        self.student_layers = tuple(f"blocks.{ours}" for ours, _ in pairs)
        self.teacher_layers = tuple(f"blocks.{theirs}" for _, theirs in pairs)
        if teacher is not None:
            _check_channels("teacher", teacher.model, data)
        super().__init__(model, rows=len(data.train), seed=seed, extras=_extras(model, teacher, objective, pairs, seed))
        self._told = {id(split): _Told(teacher, self.teacher_layers) for split in (data.train, data.validation)}
        self.monitor, self.delta, self._best = monitor, delta, float("-inf")
        self._watch = {"student": GradientWatch(model)}
        if teacher is not None and not teacher.frozen:
            self._watch["teacher"] = GradientWatch(teacher.model)
        self._seen: dict[str, Tensor] = {}
        self._rows = self._step = 0
        self._norms: dict[str, float] = {}
        self._watching = False

    def to(self, device: torch.device) -> None:
        """The teacher comes along."""
        super().to(device)
        if self.teacher is not None:
            self.teacher.model.to(device)

    # ------------------------------------------------------------------------------------------------ the loss

    def terms(self, rows: Tensor, progress: Progress) -> Terms:
        """The named terms on some lines; a teacher that is not frozen has one of its own."""
        if progress.step % EVERY == 0 and not self._watching and self.monitor is not None:
            for watch in self._watch.values():
                watch.start()
            self._watching = True
        inputs, targets = (x.to(self.device) for x in self.data.train.batch(rows))
        terms, _ = self._terms(self.model, self.data.train, rows, inputs, targets, progress)
        if self.teacher is not None and not self.teacher.frozen:
            told, _ = self.teacher(inputs)
            terms["teacher"] = (1.0, measure(self._cut(told), self._cut(targets), self.objective.student_loss).mean())
        for name, (weight, value) in terms.items():
            share = len(rows) * value.detach()
            self._seen[name] = self._seen.get(name, torch.zeros_like(share)) + share
            if name in DOCUMENTED:
                self._seen["total"] = self._seen.get("total", torch.zeros_like(share)) + weight * share
        self._rows += len(rows)
        return terms

    def _terms(
        self, model: nn.Module, split: SarSplit, rows: Tensor, inputs: Tensor, targets: Tensor, progress: Progress
    ) -> tuple[Terms, Tensor]:
        """The terms of some lines, and what the model said."""
        weights = self.objective.shares(progress)
        if self.teacher is None:
            weights = (sum(weights), 0.0, 0.0)  # the same total, so that clipping treats both arms alike
        said, hidden = _run(model, inputs, self.student_layers if weights[2] > 0 else ())
        terms: Terms = {}
        if weights[0] > 0:
            value = measure(self._cut(said), self._cut(targets), self.objective.student_loss)
            terms["student"] = (weights[0], value.mean())
        if weights[1] == 0 and weights[2] == 0:
            return terms, said
        told, their_hidden = self._told[id(split)](split, rows, inputs)
        if weights[1] > 0:
            how, temperature = self.objective.distillation_loss, self.objective.temperature
            value = measure(self._cut(said), self._cut(told), how, temperature=temperature)
            terms["distillation"] = (weights[1], value.mean())
        if weights[2] > 0:
            terms["feature"] = (weights[2], self._feature_loss(hidden, their_hidden))
        return terms, said

    def _feature_loss(self, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Tensor:
        """Mean over the pairs of layers."""
        values = []
        for place, (own, told) in enumerate(zip(self.student_layers, self.teacher_layers, strict=True)):
            s, t = self._cut(ours[own]), self._cut(theirs[told])
            if self.objective.feature_loss == "cka":
                values.append(cka_loss(s.reshape(-1, s.shape[-1]), t.reshape(-1, t.shape[-1])))
            else:
                projection: nn.Module = self.extras.projections[place]  # type: ignore[index,assignment]
                values.append(losses.complex_nmse(projection(s), t, floor=FEATURE_FLOOR).mean())
        return torch.stack(values).mean()

    def _cut(self, x: Tensor) -> Tensor:
        return x[:, self.data.valid]

    # ------------------------------------------------------------------------------------------------ the score

    @torch.no_grad()
    def validate(self, model: nn.Module) -> Validation:
        """Quality (mean over lines of 1 - NMSE) decides; the documented losses stand beside it."""
        split, sums, count = self.data.validation, dict[str, float](), 0
        progress = Progress(1, 1)  # the losses as they are in the end, whatever the curriculum
        for rows in torch.arange(len(split)).split(self.config.evaluation_batch_size):
            inputs, targets = (x.to(self.device) for x in split.batch(rows))
            terms, whole = self._terms(model, split, rows, inputs, targets, progress)
            said, wanted = self._cut(whole), self._cut(targets)
            values = {
                "nmse": float(losses.complex_nmse(said, wanted).mean()),
                "coherence": 1 - float(losses.coherence_loss(said, wanted).mean()),
                "val_total_loss": 0.0,
            }
            for name, (weight, value) in terms.items():
                values[f"val_{name}_loss"] = float(value)
                values["val_total_loss"] += weight * float(value)
            for name, one in values.items():
                sums[name] = sums.get(name, 0.0) + len(rows) * one
            count += len(rows)
        metrics: dict[str, float | None] = {name: total / count for name, total in sums.items()}
        quality = 1 - float(metrics["nmse"] or 0.0)
        metrics["quality"] = quality
        if quality > self._best + self.delta or self._best == float("-inf"):
            self._best = rank = quality
        else:
            rank = min(quality, self._best)
        return Validation(metrics, (rank,))

    # ------------------------------------------------------------------------------------------------ what is watched

    def stepped(self, step: int) -> None:
        """Write the documented training losses where the loop logs, and gradients every 50 steps."""
        self._step = step
        if self._watching:
            self._norms = {}
            for name, watch in self._watch.items():
                watch.stop()
                self._norms |= {f"gradients/{name}/{layer}": norm for layer, norm in watch.norms().items()}
            self._watching = False
            assert self.monitor is not None
            self.monitor.log(step, self._norms)
        if self.monitor is not None and (step - 1) % self.config.log_every == 0:
            self.monitor.log(step, {f"train_{name}_loss": float(x) / self._rows for name, x in self._seen.items()})
        self._seen, self._rows = {}, 0

    def observe(self, validation: Validation, progress: Progress) -> None:
        """Write validation figures and the norms of the weights, once an epoch."""
        if self.monitor is None:
            return
        found = {
            name if name.startswith("val_") else f"val_{name}": value
            for name, value in validation.metrics.items()
            if value is not None
        }
        for name, module in (("student", self.model), ("teacher", self._unfrozen())):
            if module is not None:
                found |= {f"weights/{name}/{layer}": norm for layer, norm in weight_norms(module).items()}
        self.monitor.log(self._step, found)

    def figures(self) -> dict[str, float]:
        """The gradient norms that were measured last."""
        return dict(self._norms)

    def close(self) -> None:
        """Close what is written to."""
        if self.monitor is not None:
            self.monitor.close()

    def state_dict(self) -> dict[str, Any]:
        """The best quality so far; a teacher that learns is among the extras."""
        return {"best": self._best, "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put it back."""
        self._best, self._step = state["best"], state["step"]

    def _unfrozen(self) -> nn.Module | None:
        return None if self.teacher is None or self.teacher.frozen else self.teacher.model


def measure(student: Tensor, teacher: Tensor, how: ComplexLoss, *, temperature: float | None = None) -> Tensor:
    """(B,) the weighted sum of distances between lines (B, L, 1) that a configuration asks for.

    Args:
        student: what is moved.
        teacher: what it is held against.
        how: the weights.
        temperature: scale at which the `nmse` part turns linear; None for the plain square.

    Example:
        >>> t = torch.ones(1, 8, 1) + 0j
        >>> measure(1j * t, t, ComplexLoss(nmse=1.0, phase=0.5)).item()  # 2 and half of 1
        2.5
    """

    def nmse(s: Tensor, t: Tensor) -> Tensor:
        return losses.complex_nmse(s, t) if temperature is None else losses.robust_nmse(s, t, temperature=temperature)

    parts: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "mse": losses.complex_mse,
        "nmse": nmse,
        "coherence": losses.coherence_loss,
        "log_intensity": lambda s, t: losses.log_intensity_mse(s, t, looks=how.looks or 4),
        "doppler": lambda s, t: losses.doppler_loss(s, t, band=how.band or 1.0),
        "phase": losses.phase_loss,
    }
    weighted = [(getattr(how, name), loss) for name, loss in parts.items()]
    values = [weight * loss(student, teacher) for weight, loss in weighted if weight > 0]
    return torch.stack(values).sum(0)


class _Told:
    """A frozen teacher's answers on a split, asked for once and kept where they fit; asked anew for each batch otherwise."""

    def __init__(self, teacher: FocusTeacher | None, layers: tuple[str, ...]) -> None:
        self.teacher, self.layers = teacher, layers
        self.kept: tuple[Tensor, dict[str, Tensor]] | None = None

    @torch.no_grad()
    def __call__(self, split: SarSplit, rows: Tensor, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        assert self.teacher is not None
        if not self.teacher.frozen or self._bytes(split) > REMEMBERED:
            return self.teacher(inputs, self.layers)
        if self.kept is None:
            parts = [self.teacher(split.inputs[n].to(inputs.device), self.layers) for n in _pieces(len(split))]
            hidden = {layer: torch.cat([part[1][layer] for part in parts]) for layer in self.layers}
            self.kept = torch.cat([part[0] for part in parts]), hidden
        index = rows.to(inputs.device)
        return self.kept[0][index], {layer: x[index] for layer, x in self.kept[1].items()}

    def _bytes(self, split: SarSplit) -> int:
        assert self.teacher is not None
        width = 1 + len(self.layers) * self.teacher.model.config.model_dim
        return 8 * len(split) * split.inputs.shape[1] * width


def _pieces(count: int, size: int = 32) -> list[Tensor]:
    return list(torch.arange(count).split(size))


def _run(model: nn.Module, inputs: Tensor, layers: tuple[str, ...]) -> tuple[Tensor, dict[str, Tensor]]:
    """Output (B, L, 1) and hidden lines (B, L, H); taps are put on and off, so that an average of the model can be run too."""
    if not layers:
        return model(inputs), {}
    tapped = Tapped(model, layers)
    try:
        outputs = tapped(inputs)
    finally:
        tapped.close()
    return outputs.logits, dict(outputs.features)


def _pairs(student: Any, teacher: Any, objective: SarObjective) -> list[tuple[int, int]]:
    """Layers at equal depths, each pair once."""
    ours, theirs = len(student.blocks), len(teacher.blocks)
    return list(dict.fromkeys((layer_at(d, ours), layer_at(d, theirs)) for d in objective.feature_depths))


def _extras(
    student: Any, teacher: FocusTeacher | None, objective: SarObjective, pairs: list[tuple[int, int]], seed: int
) -> nn.Module:
    """What is learned along: projections from the student's width to the teacher's, and a teacher that is not frozen."""
    extras = nn.Module()
    if pairs and objective.feature_loss == "projection":
        assert teacher is not None
        torch.manual_seed(seed + 7)  # they start alike, whatever the student drew
        widths = student.config.model_dim, teacher.model.config.model_dim
        extras.projections = nn.ModuleList(ComplexLinear(*widths) for _ in pairs)
    if teacher is not None and not teacher.frozen:
        # the parameters alone: a sub-module would be flipped by train() and eval()
        extras.teacher = nn.ParameterList(teacher.model.parameters())
    return extras


def _check_channels(which: str, model: Any, data: SarData) -> None:
    config = model.config
    if config.input_dim != data.channels:
        hint = "position_channel of the data adds the position code" if config.input_dim == 2 else "leave it out"
        raise InputError(
            f"{which}: expected input_dim {data.channels} (the channels of {data.name}), got {config.input_dim}; {hint}"
        )
    same_shape(f"{which} output", (config.output_dim,), tuple(data.train.targets.shape[2:]))
