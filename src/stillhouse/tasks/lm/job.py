"""The job of learning a language from a text and from a teacher, along ramps; also of training the teacher itself.

Shapes: B rows, L tokens of a row, N = B L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.layers.part import TrainedPart
from stillhouse.losses.divergence import forward_kl
from stillhouse.losses.top_k import scores_kl
from stillhouse.tasks.lm.corpus import Windows
from stillhouse.tasks.lm.plan import LanguageLossConfig, grown
from stillhouse.tasks.lm.score import model_nll, perplexity, score_text
from stillhouse.tasks.lm.students.prior import NGramPrior, part_of_rows
from stillhouse.tasks.lm.teachers.cache import LanguageStageTeacher
from stillhouse.training.distillation import DistillJob, SignalSet
from stillhouse.training.job import Terms, Validation, epoch_order

CALIBRATION_ROWS = 16
Ids = NDArray[Any]


@dataclass(frozen=True)
class TrainSchedule:
    """Where a training stands in its run, by which the ramps of a stage are placed.

    Attributes:
        batch_size: rows of a step.
        total_steps: of the run.
        seed: decides the order of the rows.
        first_step: optimizer steps of the run before this stage.
        scoring_rows: rows at a time when scoring.
    """

    batch_size: int
    total_steps: int
    seed: int
    first_step: int = 0
    scoring_rows: int = 16


class LanguageJob(DistillJob):
    """Windows of a text -> the token after each, learned from the text and from a teacher.

    Args:
        model: a `SpikingLM`, or a `CausalLM`: with `scores(tokens)`.
        texts: what is learned from, and what is scored.
        loss: terms and ramps.
        course: batch, length and seed of the training.
        stage_teacher: whom the student learns from; None: from the text alone.
        signal_set: signals and curriculum.
        priors: n-grams for the parts of the text in place of the model's own, while it learns: see `held_out_priors`.

    Raises:
        InputError: the text is shorter than a window.
    """

    def __init__(
        self,
        model: Any,
        texts: tuple[Ids, Ids],
        loss: LanguageLossConfig,
        course: TrainSchedule,
        *,
        stage_teacher: LanguageStageTeacher | None = None,
        signal_set: SignalSet | None = None,
        priors: Sequence[NGramPrior] = (),
    ) -> None:
        train, valid = texts
        self.windows, self.loss, self.course, self.priors = Windows(train, loss.window), loss, course, priors
        self.valid, self.stage_teacher = valid[: loss.validation_tokens + 1], stage_teacher
        signal_set, two = signal_set or SignalSet(), OutputSpec(2)
        self.temperature = loss.temperature.build(two, two)
        learned = {"signals": signal_set.signals, "auxiliary_losses": signal_set.auxiliary_losses}
        super().__init__(
            model,
            rows=loss.epoch_steps * course.batch_size,
            seed=course.seed,
            signal_set=signal_set,
            extras=nn.ModuleDict({**learned, "temperature": self.temperature}),
            call=model.scores,
        )
        self.network: Any = model
        self._done = course.first_step
        self._set_shares(course.first_step)

    # ------------------------------------------------------------------------------------------------ of the task

    def batch(self, rows: Tensor, progress: Progress) -> Batch:
        """Windows (B, L), and as labels the token after each (B, L)."""
        inputs, targets = self.windows(rows)
        return Batch(inputs.to(self.device), targets.to(self.device), rows)

    def outputs(self, batch: Batch) -> Outputs:
        """Scores (B, L, V) beside the n-gram, and features."""
        found, offset = self.student(batch.inputs), self._offset(batch)
        return found if offset is None else replace(found, logits=found.logits + offset)

    def task_terms(self, student_out: Outputs, batch: Batch, progress: Progress, share: float) -> Terms:
        """Cross-entropy with the text and T^2 times the divergence from the teacher; alone, the text is all there is."""
        logits, stage_teacher, loss = student_out.logits.flatten(0, 1), self.stage_teacher, self.loss
        text = 1.0 if stage_teacher is None else loss.label_weight * share
        terms: Terms = {"labels": (text, F.cross_entropy(logits.float(), batch.labels.flatten()))}
        if stage_teacher is not None and loss.kd_weight > 0:
            nothing = logits.new_zeros(1, 2)  # a temperature of one number looks at no logits
            temperature = self.temperature(nothing, nothing, progress)
            if stage_teacher.cache is None:
                told = stage_teacher(batch).logits.flatten(0, 1)
                value = forward_kl(logits, told, temperature=temperature)
            else:
                value = scores_kl(logits, stage_teacher.cache.kept(batch).flat().to(self.device), temperature)
            curriculum = self.signal_set.curriculum
            terms["kd"] = (
                loss.kd_weight * (1.0 if curriculum is None else curriculum.weights()["signals"]),
                value.mean(),
            )
        return {**terms, **self.temperature.regularizers()}

    # ------------------------------------------------------------------------------------------------ the loop's questions

    def validate(self, model: nn.Module) -> Validation:
        """Nats a token and perplexity of the beginning of the valid split; a quantized network ranks before others."""
        nll = score_text(model_nll(model), self.valid, length=self.loss.window, batch=self.course.scoring_rows)
        metrics: dict[str, float | None] = {"nll": float(nll.mean()), "perplexity": perplexity(nll)}
        share = min(self._shares()) if self._quantizes else 1.0
        if self._quantizes:
            metrics["quantized"] = share
        return Validation(metrics, (share, -float(nll.mean())))

    def order(self, epoch: int) -> Tensor:
        """As many rows as an epoch has: the next ones of an endless series of shuffles, or those of the curriculum's stage."""
        curriculum = self.signal_set.curriculum
        if curriculum is not None:
            drawn = curriculum.order(epoch)
            return drawn.repeat(-(-self.rows // len(drawn)))[: self.rows]
        size, start = len(self.windows), epoch * self.rows
        passes = range(start // size, -(-(start + self.rows) // size))
        series = torch.cat([epoch_order(size, self.seed, one) for one in passes])
        return series[start % size : start % size + self.rows]

    def on_train_batch_end(self, step: int) -> None:
        """Move the ramp on; thresholds are fitted to a text once, before the first spikes."""
        super().on_train_batch_end(step)
        self._set_shares(self.course.first_step + step)
        if self._done >= self.course.total_steps and hasattr(self.network, "round_weights"):
            self.network.round_weights()

    def figures(self) -> dict[str, float]:
        """Shares, density, temperature, and what signals and curriculum show: as far as there are any."""
        found = super().figures()
        if self._quantizes:
            found |= dict(zip(("ternary_share", "spike_share"), self._shares()))
        if isinstance(self.network, TrainedPart):
            found |= self.network.figures()
        return found | (self.temperature.figures() if self.stage_teacher is not None else {})

    def state_dict(self) -> dict[str, Any]:
        """How far the ramp is beside what every job keeps; the shares themselves are kept with the weights."""
        return {**super().state_dict(), "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        super().load_state_dict(state)
        self._done = int(state["done"])

    # ------------------------------------------------------------------------------------------------ inside

    def _offset(self, batch: Batch) -> Tensor | None:
        """What a student with an n-gram adds its scores to: for each row that of the other parts of the text."""
        tokens = batch.inputs
        if not self.priors:
            found: Tensor | None = self.network.offset(tokens) if hasattr(self.network, "offset") else None
            return found
        parts = part_of_rows(batch.index, len(self.windows), len(self.priors)).to(tokens.device)
        offset = torch.empty(*tokens.shape, self.priors[0].vocab_size, device=tokens.device)
        for part in parts.unique().tolist():
            prior, mine = self.priors[part].to(tokens.device), parts == part
            offset[mine] = prior(tokens[mine], prior.initial_state(int(mine.sum())))[0]
        return offset

    def _shares(self) -> tuple[float, float]:
        """How far weights and activations are quantized."""
        fraction = self._done / self.course.total_steps
        return grown(self.loss.weights_ramp, fraction), grown(self.loss.spikes_ramp, fraction)

    @property
    def _quantizes(self) -> bool:
        config = getattr(self.network, "config", None)
        return bool(getattr(config, "spikes", None) or getattr(config, "ternary_weights", ()))

    def _set_shares(self, step: int) -> None:
        before, self._done = self._done, step
        if not self._quantizes:
            return
        weights, spikes = self._shares()
        dense = grown(self.loss.spikes_ramp, before / self.course.total_steps) == 0 if before < step else step == 0
        if spikes > 0 and dense:
            rows = self.windows.sample(CALIBRATION_ROWS)
            self.network.calibrate(rows.to(next(self.network.parameters()).device))
        self.network.quantize(weights, spikes=spikes)
