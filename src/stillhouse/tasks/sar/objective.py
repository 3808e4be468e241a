"""What a focusing network is trained for: distances between complex lines; shares of task, teacher and features. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.types import Progress


@configclass
class ComplexLoss:
    """A weighted sum of distances between complex lines; coherence alone sees neither brightness nor phase."""

    mse: float = Field(default=0.0, ge=0, description="weight of the mean |s - t|^2 (`complex_mse`)")
    nmse: float = Field(default=1.0, ge=0, description="weight of the squared error over each line's power")
    coherence: float = Field(default=0.0, ge=0, description="weight of 1 - coherence; blind to a factor")

    def __post_init__(self) -> None:
        if self.mse + self.nmse == 0:
            raise ValueError("mse, nmse: expected a weight above 0: coherence does not see brightness and phase")

    def in_words(self, temperature: float | None = None) -> str:
        """The sum as it is computed; `temperature` is the scale beyond which its squared parts turn linear.

        Example:
            >>> ComplexLoss().in_words(), ComplexLoss(nmse=1.0, coherence=0.1).in_words(4.0)
            ('NMSE', 'robust NMSE (linear beyond 4 RMS) + 0.1 coherence')
        """
        names = {"mse": "MSE", "nmse": "NMSE"}
        if temperature is not None:
            names["nmse"] = f"robust NMSE (linear beyond {temperature:g} RMS)"
        weights = {n: getattr(self, n) for n in ("mse", "nmse", "coherence")}
        return " + ".join(
            names.get(name, name) if weight == 1 else f"{weight:g} {names.get(name, name)}"
            for name, weight in weights.items()
            if weight
        )


@configclass
class SarCurriculum:
    """Task first, then the teacher's outputs, then its features; each share grows linearly and the sum stays what it is.

    Example:
        Half the way into the ramp of the outputs.

        >>> curriculum = SarCurriculum(outputs_from=0.2, features_from=0.6, ramp=0.2)
        >>> [round(w, 3) for w in curriculum.shares((0.3, 0.5, 0.2), Progress(step=30, total_steps=100))]
        [0.75, 0.25, 0.0]
    """

    outputs_from: float = Field(default=0.1, ge=0, lt=1, description="share of the run after which outputs begin")
    features_from: float = Field(default=0.2, ge=0, lt=1, description="share of the run after which features begin")
    ramp: float = Field(default=0.1, ge=0, le=1, description="share of the run in which each grows to its full weight")

    def __post_init__(self) -> None:
        if self.features_from < self.outputs_from:
            raise ValueError(
                f"features_from: expected at least outputs_from ({self.outputs_from:g}; task -> outputs -> features), "
                f"got {self.features_from:g}"
            )
        if self.features_from + self.ramp > 1:
            raise ValueError(
                f"ramp: expected to end within the run (features_from + ramp at most 1), got {self.features_from + self.ramp:g}"
            )

    def shares(self, whole: tuple[float, float, float], progress: Progress) -> tuple[float, float, float]:
        """Weights of task, outputs and features now; what is not yet given to the teacher belongs to the task."""
        task, outputs, features = whole
        now = [weight * self._grown(start, progress.fraction) for weight, start in self._parts(outputs, features)]
        return task + outputs + features - sum(now), now[0], now[1]

    def _parts(self, outputs: float, features: float) -> tuple[tuple[float, float], tuple[float, float]]:
        return (outputs, self.outputs_from), (features, self.features_from)

    def _grown(self, start: float, fraction: float) -> float:
        if self.ramp == 0:
            return float(fraction >= start)
        return min(1.0, max(0.0, (fraction - start) / self.ramp))


@configclass
class SarObjective:
    """total = alpha x student + beta x distillation + gamma x feature, as documented.

    `temperature` is not that of a softmax: in a regression that one does nothing. It is the scale, in units of the teacher's RMS,
    beyond which a difference from the teacher counts linearly instead of squared (`losses.complex.robust_nmse`).
    """

    alpha: float = Field(default=0.3, ge=0, description="weight of the student's error against the ground truth")
    beta: float = Field(default=0.5, ge=0, description="weight of its distance from the teacher's outputs")
    gamma: float | None = Field(default=None, ge=0, description="weight of the features [1 - alpha - beta]")
    temperature: float | None = Field(
        default=None,
        gt=0,
        description="differences beyond so many RMS of the teacher count linearly, not squared; none: all are squared",
    )
    student_loss: ComplexLoss = Field(default_factory=ComplexLoss, description="against the ground truth")
    distillation_loss: ComplexLoss = Field(default_factory=ComplexLoss, description="against the teacher")
    feature_matching: bool = Field(default=True, description="compare hidden lines too; false: gamma does nothing")
    feature_loss: Literal["projection", "cka"] = Field(
        default="projection", description="NMSE after a trained complex linear map, or complex CKA"
    )
    feature_depths: tuple[float, ...] = Field(
        default=(0.5,),
        description="where in both networks layers are compared, as shares of their depth; 0.5 is n // 2",
    )
    freeze_teacher: bool = Field(default=True, description="false: the teacher goes on learning from the ground truth")
    curriculum: SarCurriculum | None = Field(default=None, description="task -> outputs -> features; none: all at once")

    def __post_init__(self) -> None:
        if self.gamma is None and self.feature_matching and self.alpha + self.beta > 1 + 1e-9:
            raise ValueError(
                f"alpha, beta: expected a sum of at most 1 where gamma is the rest, got {self.alpha + self.beta:g}; give gamma too"
            )
        if sum(self.weights) == 0:
            raise ValueError("alpha, beta, gamma: expected a weight above 0, got 0 for all")
        if any(not 0 <= depth <= 1 for depth in self.feature_depths) or not self.feature_depths:
            raise ValueError(f"feature_depths: expected shares from 0 to 1, got {self.feature_depths}")
        plain = self.distillation_loss.nmse == 0
        if self.temperature is not None and (self.beta == 0 or (plain and not self.distillation_loss.mse)):
            why = "beta is 0" if self.beta == 0 else "distillation_loss.nmse is 0"
            raise ValueError(
                f"temperature: {self.temperature:g} does nothing where {why}: it is the scale at which the squared distance from "
                "the teacher's outputs turns linear, not that of a softmax (a regression has none); set temperature: null"
            )

    @property
    def weights(self) -> tuple[float, float, float]:
        """(alpha, beta, gamma), the last one filled in."""
        if not self.feature_matching:
            return self.alpha, self.beta, 0.0
        rest = max(0.0, 1 - self.alpha - self.beta)
        return self.alpha, self.beta, rest if self.gamma is None else self.gamma

    def in_words(self) -> str:
        """The total as it is computed, and where its teacher's term is not the plain MSE of the documents.

        Example:
            >>> SarObjective(alpha=0.5, beta=0.5, distillation_loss=ComplexLoss(mse=1.0, nmse=0.0)).in_words()
            'loss: 0.5 student (NMSE) + 0.5 distillation (MSE)'
            >>> SarObjective(alpha=0.0, beta=1.0).in_words()
            'loss: 1 distillation (NMSE, documented as MSE, which is distillation_loss: mse)'
        """
        alpha, beta, gamma = self.weights
        teacher = self.distillation_loss.in_words(self.temperature)
        other = ", documented as MSE, which is distillation_loss: mse" * (teacher != "MSE")
        feature = "NMSE after a trained complex map" if self.feature_loss == "projection" else "1 - complex CKA"
        parts = {
            f"student ({self.student_loss.in_words()})": alpha,
            f"distillation ({teacher}{other})": beta,
            f"feature ({feature})": gamma,
        }
        return "loss: " + " + ".join(f"{weight:g} {part}" for part, weight in parts.items() if weight)

    def shares(self, progress: Progress) -> tuple[float, float, float]:
        """The three weights now."""
        return self.weights if self.curriculum is None else self.curriculum.shares(self.weights, progress)


def layer_at(depth: float, layers: int) -> int:
    """The layer at a share of a network's depth: 0.5 is n // 2, 1 the last one.

    Example:
        >>> [layer_at(0.5, n) for n in (1, 2, 3, 6)], layer_at(1.0, 6)
        ([0, 1, 1, 3], 5)
    """
    return min(layers - 1, int(depth * layers))
