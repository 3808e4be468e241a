"""Is every signal heard? Gradient of each term where all terms meet: its size, its direction against the task's, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.training.doctor_config import TASK, DoctorConfig
from stillhouse.training.gradients import Gradient, averaged, cosine, inner, per_term_gradients

SAME = 1e-6  # relative change of a value below which it counts as constant


@dataclass(frozen=True)
class Reading:
    """One term at one examination.

    Attributes:
        norm: of the weighted gradient at the shared place; None where no path leads there.
        ratio: to the task's norm; None where there is no task gradient.
        cosine: with the task's gradient, in [-1, 1]; None where one of them is zero or missing.
    """

    norm: float | None
    ratio: float | None
    cosine: float | None


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a term (or a figure) now, and since when.

    Attributes:
        subject: name of the term or figure.
        kind: `dominating`, `vanishing`, `disconnected`, `conflicting`, `saturated`, `constant`, `at the limit`,
            `no reference` or `not finite`.
        text: what it is, with the numbers, and what helps.
        since: step of the first examination that found it; report it where it equals the current step.
    """

    subject: str
    kind: str
    text: str
    since: int


@dataclass(frozen=True)
class Checkup:
    """What one examination found.

    Attributes:
        step: when.
        record: a reading a term, plain data for the record.
        findings: all that holds now.
    """

    step: int
    record: dict[str, dict[str, float | None]]
    findings: tuple[Finding, ...]

    @property
    def news(self) -> tuple[Finding, ...]:
        """Findings that were not there at the last examination."""
        return tuple(finding for finding in self.findings if finding.since == self.step)


class SignalDoctor:
    """Examines the terms of a loss every so many steps, finds what is wrong with them, and balances them if asked to.

    Gradients are compared where all terms meet. Give the student's parameters (every term reaches some of them), or one
    activation below all taps. At the *last* layer a signal that taps an earlier one has no gradient and would be called
    disconnected. A term whose name has a `/` belongs to a signal (an anchor, an entropy): it may reach that signal's own
    parameters only, and its silence at the shared place is no finding.

    Args:
        config: thresholds, patience, balancing.
        task: name of the task's own loss, where the configuration names none.

    Example:
        At x = (1, 0): the task's gradient is (2, 0), the signal's (-60, 0): 30 times as large, and against it.

        >>> import torch
        >>> x = torch.tensor([1.0, 0.0], requires_grad=True)
        >>> doctor = SignalDoctor(DoctorConfig(patience=1))
        >>> found = doctor.examine({"labels": (1.0, (x**2).sum()), "logits": (2.0, -30 * x[0])}, [x], step=0)
        >>> found.record["logits"]
        {'norm': 60.0, 'ratio': 30.0, 'cosine': -1.0}
        >>> [f.kind for f in found.findings]
        ['dominating', 'conflicting']

    Relations:
        `gradients.combine` acts on conflicts at every step; this looks now and then, and costs little.

    Source: gradient ratios in place of loss ratios: Chen et al. 2018, arXiv:1711.02257 (GradNorm).
    """

    def __init__(self, config: DoctorConfig, task: str = TASK) -> None:
        self.config, self.task = config, config.task or task
        self._rows: dict[str, list[int]] = {}  # finding -> [examinations in a row, step of the first]
        self._values: dict[str, float] = {}  # term -> its value at the last examination
        self._log_weights: dict[str, float] = {}

    def due(self, step: int) -> bool:
        """Whether this step is examined."""
        return step % self.config.every == 0

    def examine(
        self,
        terms: Mapping[str, tuple[float, Tensor]],
        shared: Sequence[Tensor],
        *,
        step: int,
        figures: Mapping[str, float] | None = None,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        configured: Mapping[str, float] | None = None,
    ) -> Checkup:
        """Gradients of all terms at the shared place; call it before the backward pass, the graph is kept.

        Args:
            terms: name -> (weight, 0-d value), as they are weighed now; those of weight 0 are left out.
            shared: parameters, or one activation, that the terms were computed from.
            step: of the optimizer.
            figures: numbers of the signals, as a learned temperature.
            bounds: (low, high) of those figures that have any.
            configured: the weights that balancing keeps near [those of `terms`].

        Raises:
            InputError: nothing shared that learns, a term that is not a single number, or a task that no term is called.
        """
        if self.config.task is not None and self.task not in terms:
            raise InputError(f"doctor.task: expected one of the terms {', '.join(terms)}, got {self.task!r}")
        if not any(x.requires_grad for x in shared):
            raise InputError(f"shared: expected tensors of which at least one learns, got {len(shared)} that do not")
        gradients = averaged(per_term_gradients(terms, shared, keep_graph=True), shared)
        readings = self._readings(gradients)
        found = [
            *self._about_terms(readings),
            *self._about_values(terms),
            *self._about_figures(figures or {}, bounds or {}),
        ]
        if self.config.balance:
            self._balance(terms, readings)
            found += self._about_balance(terms, configured or {name: weight for name, (weight, _) in terms.items()})
        findings = self._patiently(found, step)
        return Checkup(step, {name: asdict(reading) for name, reading in readings.items()}, findings)

    def balanced_weights(self, configured: Mapping[str, float]) -> dict[str, float]:
        """Weights that bring every term to `target_ratio` of the task's gradient, smoothed, within `limit` of the configured.

        The configured ones come back before the first examination, and for the task, for terms of weight 0, for terms without
        a gradient and for a signal's own terms (`/`).

        Example:
            >>> SignalDoctor(DoctorConfig(balance=True)).balanced_weights({"labels": 1.0, "logits": 0.3})
            {'labels': 1.0, 'logits': 0.3}
        """
        limit = self.config.limit
        return {
            name: min(max(math.exp(self._log_weights[name]), weight / limit), weight * limit)
            if name in self._log_weights and weight > 0
            else weight
            for name, weight in configured.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """What resume needs; plain data."""
        return {
            "rows": {key: list(row) for key, row in self._rows.items()},
            "values": dict(self._values),
            "log_weights": dict(self._log_weights),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self._rows = {key: list(row) for key, row in state["rows"].items()}
        self._values = dict(state["values"])
        self._log_weights = dict(state["log_weights"])

    # ------------------------------------------------------------------------------------------------ readings

    def _readings(self, gradients: Mapping[str, Gradient]) -> dict[str, Reading]:
        norms = {name: _norm(gradient) for name, gradient in gradients.items()}
        task = self.task
        base = norms.get(task)
        readings = {}
        for name, gradient in gradients.items():
            norm = norms[name]
            known = base is not None and base > 0 and norm is not None
            angle = cosine(gradient, gradients[task]) if known else None
            readings[name] = Reading(norm, norm / base if known else None, angle)  # type: ignore[operator]
        return readings

    # ------------------------------------------------------------------------------------------------ findings

    def _about_terms(self, readings: Mapping[str, Reading]) -> list[tuple[str, str, str]]:
        config, found = self.config, []
        for name, reading in readings.items():
            norm, ratio, own = reading.norm, reading.ratio, "/" in name
            if norm is not None and not math.isfinite(norm):
                found.append((name, "not finite", f"{name}: its gradient is not finite"))
                continue
            if not norm:
                if not own:
                    why = (
                        "no path leads from it to the shared place"
                        if norm is None
                        else "its gradient there is exactly 0"
                    )
                    text = f"{name}: {why}, so it teaches nothing; is something detached, or frozen, or equal to its target?"
                    found.append((name, "disconnected", text))
                continue
            if name == self.task or ratio is None:
                continue
            if ratio > config.dominating:
                text = f"{name}: its gradient is {ratio:.3g} times that of {self.task}; lower its weight"
                found.append((name, "dominating", text))
            if ratio < config.vanishing and not own:
                text = f"{name}: its gradient is {ratio:.3g} of that of {self.task}; raise its weight, or leave it out"
                found.append((name, "vanishing", text))
            if reading.cosine is not None and reading.cosine < config.conflicting:
                text = f"{name}: it works against {self.task} (cosine {reading.cosine:.2f}); project gradients, or lower it"
                found.append((name, "conflicting", text))
        return found

    def _about_values(self, terms: Mapping[str, tuple[float, Tensor]]) -> list[tuple[str, str, str]]:
        found = []
        for name, (weight, tensor) in terms.items():
            value = float(tensor.detach())
            if weight != 0 and self._unchanged(name, value):
                found.append((name, "constant", f"{name}: its value stays {value:.5g}; nothing in it is learned"))
        return found

    def _about_balance(self, terms: Mapping[str, Any], configured: Mapping[str, float]) -> list[tuple[str, str, str]]:
        if self.task not in terms:
            text = f"there is no term {self.task!r} to balance the others against, so no weight is changed"
            return [(self.task, "no reference", text)]
        found = []
        for name, weight in self.balanced_weights(configured).items():
            wanted = math.exp(self._log_weights.get(name, math.log(weight) if weight > 0 else 0.0))
            if weight > 0 and name in self._log_weights and not math.isclose(weight, wanted, rel_tol=1e-6):
                text = (
                    f"{name}: the target ratio wants weight {wanted:.3g}, which is beyond {self.config.limit:g} times the "
                    f"configured {configured[name]:.3g} either way; it is held at {weight:.3g}"
                )
                found.append((name, "at the limit", text))
        return found

    def _about_figures(
        self, figures: Mapping[str, float], bounds: Mapping[str, tuple[float, float]]
    ) -> list[tuple[str, str, str]]:
        found = []
        for name, value in figures.items():
            if name not in bounds:
                continue
            low, high = bounds[name]
            near = self.config.edge * (high - low)
            if value <= low + near or value >= high - near:
                side = "lower" if value <= low + near else "upper"
                text = f"{name}: {value:.4g} is at its {side} bound ({low:g} to {high:g}); widen the range, or look at its sign"
                found.append((name, "saturated", text))
        return found

    def _unchanged(self, name: str, value: float) -> bool:
        """Whether a value is as it was at the last examination."""
        before = self._values.get(name)
        self._values[name] = value
        return before is not None and abs(value - before) <= SAME * abs(before)

    def _patiently(self, found: Sequence[tuple[str, str, str]], step: int) -> tuple[Finding, ...]:
        """What has been so for `patience` examinations; a missing path is certain at once."""
        rows, findings = {}, []
        for subject, kind, text in found:
            key = f"{kind}: {subject}"
            count, since = self._rows.get(key, [0, -1])
            count += 1
            certain = kind == "not finite" or (kind == "disconnected" and "no path" in text)
            if since < 0 and (certain or count >= self.config.patience):
                since = step
            rows[key] = [count, since]
            if since >= 0:
                findings.append(Finding(subject, kind, text, since))
        self._rows = rows
        return tuple(findings)

    # ------------------------------------------------------------------------------------------------ balance

    def _balance(self, terms: Mapping[str, tuple[float, Tensor]], readings: Mapping[str, Reading]) -> None:
        """Move each log weight towards that of the target ratio; the gradient per unit of weight does not depend on it."""
        keep = self.config.smoothing
        for name, reading in readings.items():
            weight = terms[name][0]
            usable = reading.ratio is not None and 0 < reading.ratio < math.inf and weight > 0
            if name == self.task or "/" in name or not usable:
                continue
            wanted = math.log(weight * self.config.target_ratio / reading.ratio)  # type: ignore[operator]
            before = self._log_weights.get(name, math.log(weight))
            self._log_weights[name] = keep * before + (1 - keep) * wanted


def _norm(gradient: Gradient) -> float | None:
    """Of all parameters as one vector; None where the term reaches none."""
    if all(x is None for x in gradient):
        return None
    return math.sqrt(float(inner(gradient, gradient)))
