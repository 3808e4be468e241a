"""Does every signal reach the student? Gradient of each term where all terms meet: its size, its direction against the task's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from stillhouse.training.config import TASK, DoctorConfig
from stillhouse.training.gradients import averaged, cosine, inner, per_term_gradients

Reading = dict[str, float | None]  # norm of the weighted gradient, its ratio to the task's, the cosine with it


class GradientMonitor:
    """Examines the terms of a loss every so many steps, says what is wrong with them, and balances them if asked to.

    Gradients are compared at the student's parameters, which every term reaches. A term whose name has a `/` belongs to a signal
    (an anchor, an entropy): it may reach that signal's own parameters only, and having no gradient is no finding.

    Args:
        config: thresholds, balancing.
        task: name of the task's own loss.

    Example:
        At x = (1, 0): the task's gradient is (2, 0), the signal's (-60, 0): 30 times as large, and against it.

        >>> import torch
        >>> x = torch.tensor([1.0, 0.0], requires_grad=True)
        >>> monitor = GradientMonitor(DoctorConfig())
        >>> readings, found = monitor.examine({"labels": (1.0, (x**2).sum()), "logits": (2.0, -30 * x[0])}, [x])
        >>> readings["logits"]
        {'norm': 60.0, 'ratio': 30.0, 'cosine': -1.0}
        >>> [text.partition(":")[0] for text in found]
        ['dominating', 'conflicting']

    Relations:
        `gradients.combine` acts on conflicts at every step; this looks now and then, and costs little.

    Source: gradient ratios in place of loss ratios: Chen et al. 2018, arXiv:1711.02257 (GradNorm).
    """

    def __init__(self, config: DoctorConfig, task: str = TASK) -> None:
        self.config, self.task = config, task
        self._known: set[str] = set()
        self._log_weights: dict[str, float] = {}

    def examine(
        self, terms: Mapping[str, tuple[float, Tensor]], shared: Sequence[Tensor]
    ) -> tuple[dict[str, Reading], list[str]]:
        """A reading of every term, and what was not found before; call it before the backward pass, the graph is kept.

        Args:
            terms: name -> (weight, 0-d value), as they are weighed now; those of weight 0 are left out.
            shared: parameters that the terms were computed from.
        """
        gradients = averaged(per_term_gradients(terms, shared, keep_graph=True), shared)
        norms = {
            name: None if all(x is None for x in gradient) else math.sqrt(float(inner(gradient, gradient)))
            for name, gradient in gradients.items()
        }
        base = norms.get(self.task)
        readings: dict[str, Reading] = {}
        for name, norm in norms.items():
            ratio = norm / base if base and norm is not None else None
            angle = None if ratio is None else cosine(gradients[name], gradients[self.task])
            readings[name] = {"norm": norm, "ratio": ratio, "cosine": angle}
        if self.config.balance:
            self._balance(terms, readings)
        found = [pair for name, reading in readings.items() for pair in self._findings(name, reading)]
        news = [text for key, text in found if key not in self._known]
        self._known |= {key for key, _ in found}
        return readings, news

    def balanced_weights(self, configured: Mapping[str, float]) -> dict[str, float]:
        """Weights that bring every term to `target_ratio` of the task's gradient, smoothed, within `limit` of the configured.

        The configured ones come back before the first examination, and for the task, for terms of weight 0, for terms without
        a gradient and for a signal's own terms (`/`).
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
        return {"known": sorted(self._known), "log_weights": dict(self._log_weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self._known, self._log_weights = set(state["known"]), dict(state["log_weights"])

    def _findings(self, name: str, reading: Reading) -> list[tuple[str, str]]:
        """(what is said once, in words) of one term."""
        config, norm, ratio, angle, own = self.config, reading["norm"], reading["ratio"], reading["cosine"], "/" in name
        found: dict[str, str] = {}
        if norm is not None and not math.isfinite(norm):
            found["not finite"] = "its gradient is not finite"
        elif not norm and not own:
            found["disconnected"] = "it teaches nothing; is something detached, or frozen, or equal to its target?"
        elif name != self.task and ratio is not None:
            if ratio > config.dominating:
                found["dominating"] = f"its gradient is {ratio:.3g} times that of {self.task}; lower its weight"
            if 0 < ratio < config.vanishing and not own:
                found["vanishing"] = (
                    f"its gradient is {ratio:.3g} of that of {self.task}; raise its weight, or leave it out"
                )
            if angle is not None and angle < config.conflicting:
                found["conflicting"] = (
                    f"it works against {self.task} (cosine {angle:.2f}); project gradients, or lower it"
                )
        return [(f"{kind}: {name}", f"{kind}: {name}: {text}") for kind, text in found.items()]

    def _balance(self, terms: Mapping[str, tuple[float, Tensor]], readings: Mapping[str, Reading]) -> None:
        """Move each log weight towards that of the target ratio; the gradient per unit of weight does not depend on it."""
        keep = self.config.smoothing
        for name, reading in readings.items():
            weight, ratio = terms[name][0], reading["ratio"]
            if name == self.task or "/" in name or ratio is None or not 0 < ratio < math.inf or weight <= 0:
                continue
            wanted = math.log(weight * self.config.target_ratio / ratio)
            before = self._log_weights.get(name, math.log(weight))
            self._log_weights[name] = keep * before + (1 - keep) * wanted
