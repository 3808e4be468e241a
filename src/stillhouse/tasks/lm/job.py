"""The job of learning a language from a text and from a teacher, along ramps; also of training the teacher itself.

Shapes: B rows, L tokens of a row, N = B L tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stillhouse.core import ranks
from stillhouse.core.processes import gather, share
from stillhouse.core.sample import sample_rows
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.curricula import fuse, rouge_l
from stillhouse.layers.part import TrainedPart, regularizers
from stillhouse.losses import Projection, fused_linear_divergence
from stillhouse.tasks.lm.align import MixerAlignment
from stillhouse.tasks.lm.data.corpus import Split, Windows, check_length
from stillhouse.tasks.lm.loss import LanguageLossConfig
from stillhouse.tasks.lm.losses import FullLogits, SortedProbs, TeacherOut, language_losses
from stillhouse.tasks.lm.metrics.nll import Nll, model_nll, score_text
from stillhouse.tasks.lm.rollouts import continued
from stillhouse.tasks.lm.students.prior import NGramPrior, part_of_rows
from stillhouse.tasks.lm.teachers.cache import HiddenOutputs, LanguageStageTeacher
from stillhouse.tasks.lm.teachers.other_tokens import SortedTokens
from stillhouse.tasks.lm.tokens import Rewritten
from stillhouse.training.distillation import DistillJob, SignalSet
from stillhouse.training.job import Terms, Validation, epoch_order

CALIBRATION_ROWS = 16
WRITTEN = 32  # tokens that a judge writes after half a window
WRITING_ROWS = 256  # windows that it continues at a time


class _Learned(nn.Module):
    """What is learned along and not kept: projectors of signals and of the alignment, a temperature."""

    def __init__(self, signal_set: SignalSet, align: MixerAlignment | None, temperature: Any) -> None:
        super().__init__()
        self.signals, self.auxiliary_losses, self.align = signal_set.signals, signal_set.auxiliary_losses, align
        self.temperature = temperature


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

    The divergence of the loss (`kd`) is computed with the text's cross-entropy from one pass over the logits, in pieces where
    they would be large; all other signals are the shared ones.

    Args:
        model: with `hidden(tokens) -> (hidden, state)` and `readout.weight` (V, D); what else it has is used: `quantize`,
            `calibrate`, `regularizers`, `figures`.
        texts: what is learned from, and what is scored.
        loss: terms and ramps.
        course: batch, length and seed of the training.
        stage_teacher: whom the student learns from; None: from the text alone.
        signal_set: signals and curriculum.
        align: the alignment that comes first.
        priors: n-grams for the parts of the text in place of the model's own, while it learns: see `held_out_priors`.

    Raises:
        InputError: the text is shorter than a window.
    """

    def __init__(
        self,
        model: Any,
        texts: tuple[Split, Split],
        loss: LanguageLossConfig,
        course: TrainSchedule,
        *,
        stage_teacher: LanguageStageTeacher | None = None,
        signal_set: SignalSet | None = None,
        align: MixerAlignment | None = None,
        priors: Sequence[NGramPrior] = (),
    ) -> None:
        train, valid = texts
        self.windows, self.valid, self.loss = Windows(train.ids, loss.window), valid, loss
        check_length(min(len(valid), loss.validation_tokens + 1), loss.window)
        self.stage_teacher, self.total_steps, self.first_step = stage_teacher, course.total_steps, course.first_step
        self.scoring_rows, self.priors = course.scoring_rows, priors
        signal_set, two = signal_set or SignalSet(), OutputSpec(2)
        self.learned = _Learned(signal_set, align, loss.temperature.build(two, two))
        super().__init__(
            model,
            rows=loss.epoch_steps * course.batch_size,
            seed=course.seed,
            signal_set=signal_set,
            extras=self.learned,
            call=lambda tokens: model.hidden(tokens)[0],
        )
        self.network: Any = model
        self.by_scores = any(
            isinstance(signal, Rewritten) and signal.by_token for signal in (*self.active, *self.auxiliary_losses)
        )
        # a stage that begins inside or after the ramp of the spikes goes on with fitted thresholds
        self.calibrated = self.first_step > 0 and loss.shares(self.first_step / self.total_steps)[1] > 0
        self._set_shares(self.first_step)

    # ------------------------------------------------------------------------------------------------ of the task

    def batch(self, rows: Tensor, progress: Progress) -> Batch:
        """Windows (B, L), and as labels the token after each (B, L)."""
        inputs, targets = self.windows(rows)
        return Batch(inputs.to(self.device), targets.to(self.device), rows)

    def outputs(self, batch: Batch) -> HiddenOutputs:
        """Hidden states and features; scores (B, L, V) too where a signal compares them."""
        found = self.student(batch.inputs)
        scores = F.linear(found.logits, self.network.readout.weight) if self.by_scores else found.logits
        if self.by_scores and (offset := self._offset(batch)) is not None:
            scores = scores + offset
        return HiddenOutputs(scores, found.features, hidden=found.logits)

    def terms(self, rows: Tensor, progress: Progress) -> Terms:
        """Alignment alone in its stage, then text, teacher, signals, and what keeps spikes at their density."""
        align = self.learned.align
        if align is None or self.stage_teacher is None or self._fraction(progress.step) >= self.loss.align:
            return self._written_terms(rows, progress) if self._writes(progress.step) else super().terms(rows, progress)
        return {"align": (1.0, align(self.network, self.stage_teacher(self.batch(rows, progress)).features))}

    def task_terms(self, student_out: Outputs, batch: Batch, progress: Progress, share: float) -> Terms:
        """Cross-entropy with the text and divergence from the teacher; alone, the text is all there is."""
        assert isinstance(student_out, HiddenOutputs)
        flat = student_out.hidden.flatten(0, 1)
        teacher_out, temperature = self._teacher_out(batch, flat, progress)
        weight = self.network.readout.weight
        offset = self._offset(batch)
        added = None if offset is None else offset.flatten(0, 1)
        labels = batch.labels.flatten()
        found = language_losses(flat, weight, labels, teacher_out, temperature=temperature, offset=added)
        curriculum = self.signal_set.curriculum
        kd = self.loss.kd_weight * (1.0 if curriculum is None else curriculum.weights()["signals"])
        text = 1.0 if self.stage_teacher is None else self.loss.label_weight * share
        terms: Terms = {name: (kd if name == "kd" else text, value) for name, value in found.items()}
        return {**terms, **self.learned.temperature.regularizers()}

    # ------------------------------------------------------------------------------------------------ the loop's questions

    def validate(self, model: nn.Module) -> Validation:
        """Nats a token and perplexity of the beginning of the valid split; a quantized network ranks before others."""
        ids = self.valid.ids[: self.loss.validation_tokens + 1]
        nll = score_text(by_all(model_nll(model)), ids, length=self.loss.window, batch=self.scoring_rows)
        mean = float(nll.mean())
        share = self.loss.shares(self._done / self.total_steps) if self._quantizes else (1.0, 1.0)
        metrics: dict[str, float | None] = {"nll": mean, "perplexity": float(np.exp(min(mean, 50.0)))}
        if self._quantizes:
            metrics["quantized"] = min(share)
        return Validation(metrics, (min(share), -mean))

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
        self._set_shares(self.first_step + step)
        if self._done >= self.total_steps and hasattr(self.network, "round_weights"):
            self.network.round_weights()

    def figures(self) -> dict[str, float]:
        """Shares, density, temperature, and what signals and curriculum show: as far as there are any."""
        found = super().figures()
        if self._quantizes:
            found |= dict(zip(("ternary_share", "spike_share"), self.loss.shares(self._done / self.total_steps)))
        if self.loss.on_policy is not None and self.stage_teacher is not None:
            found["on_policy_share"] = self.loss.on_policy.share_at(self._fraction(self._done - self.first_step))
        figures = self.network.figures() if isinstance(self.network, TrainedPart) else {}
        named = {name: value for name, value in figures.items() if not name.startswith("density.")}
        return found | named | (self.learned.temperature.figures() if self.stage_teacher is not None else {})

    def to(self, device: torch.device) -> None:
        """The teacher goes where the student is."""
        super().to(device)
        if self.stage_teacher is not None:
            self.stage_teacher.teacher.to(device)

    def close(self) -> None:
        """Take the taps off student and teacher."""
        super().close()
        if self.stage_teacher is not None:
            self.stage_teacher.close()

    def state_dict(self) -> dict[str, Any]:
        """How far the ramp is beside what every job keeps; the shares themselves are kept with the weights."""
        return {**super().state_dict(), "done": self._done, "calibrated": self.calibrated}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        super().load_state_dict(state)
        self._done, self.calibrated = int(state["done"]), bool(state["calibrated"])

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

    def _teacher_out(self, batch: Batch, flat: Tensor, progress: Progress) -> tuple[TeacherOut | None, float | Tensor]:
        """The teacher's answer to these rows for the divergence of the loss, and at which temperature it is taken."""
        stage_teacher, loss = self.stage_teacher, self.loss
        if stage_teacher is None or loss.kd_weight == 0:
            return None, 1.0
        nothing = flat.new_zeros(1, 2)  # a temperature of one number looks at no logits
        temperature = self.learned.temperature(nothing, nothing, progress)
        if stage_teacher.cache is None:
            hidden = stage_teacher(batch).hidden.flatten(0, 1)
            if isinstance(stage_teacher.teacher, SortedTokens):
                return SortedProbs(hidden), 1.0
            return FullLogits(lambda at: stage_teacher.teacher.logits(hidden[at]), loss.divergence), temperature
        return stage_teacher.cache.kept(batch).flat().to(self.device), temperature

    def _writes(self, step: int) -> bool:
        """Whether a step is on texts of the student's own; drawn by seed and step, so that a resume finds it again."""
        config = self.loss.on_policy
        if config is None or self.stage_teacher is None:
            return False
        return float(np.random.default_rng([self.seed, 1, step]).random()) < config.share_at(self._fraction(step))

    def _written_terms(self, rows: Tensor, progress: Progress) -> Terms:
        """The divergence at the tokens that the student wrote after its prompts, and what keeps spikes at their density."""
        config, stage_teacher, curriculum = self.loss.on_policy, self.stage_teacher, self.signal_set.curriculum
        assert config is not None
        assert stage_teacher is not None
        inputs = self.batch(rows, progress).inputs
        seed = int(np.random.default_rng([self.seed, 2, progress.step, int(rows[0])]).integers(2**62))
        left = inputs.shape[1] - config.prompt
        text = continued(self.network, inputs[:, : config.prompt], left, temperature=config.temperature, seed=seed)
        hidden = self.student(text).logits.flatten(0, 1)
        asked = stage_teacher.teacher.hidden(text).logits.flatten(0, 1)
        own = torch.arange(text.shape[1], device=text.device) >= config.prompt - 1  # what predicts a written token
        value = fused_linear_divergence(
            Projection(hidden, self.network.readout.weight),
            lambda at: stage_teacher.teacher.logits(asked[at]),
            divergence=config.divergence,
            beta=config.beta if config.divergence == "js" else None,
            valid=own.repeat(len(text)),
        )
        weight = config.weight * (1.0 if curriculum is None else curriculum.weights()["signals"])
        return {"on_policy": (weight, value), **regularizers(self.model)}

    def _fraction(self, step: int) -> float:
        return min(1.0, (self.first_step + step) / max(1, self.total_steps))

    @property
    def _quantizes(self) -> bool:
        config = getattr(self.network, "config", None)
        return bool(getattr(config, "spikes", None) or getattr(config, "ternary_weights", ()))

    def _set_shares(self, step: int) -> None:
        self._done = step
        if not self._quantizes:
            return
        weights, spikes = self.loss.shares(step / self.total_steps)
        if spikes > 0 and not self.calibrated:
            rows = sample_rows(len(self.windows), CALIBRATION_ROWS)
            self.network.calibrate(self.windows(rows)[0].to(next(self.network.parameters()).device))
            self.calibrated = True
        self.network.quantize(weights, spikes=spikes)


def by_all(nll: Nll) -> Nll:
    """The same by all processes of a run, each its part of the rows; all of them get the whole."""
    if ranks.count() == 1:
        return nll

    def together(inputs: Tensor, targets: Tensor) -> Tensor:
        mine, sizes = share(torch.arange(len(inputs)))
        return gather(nll(inputs[mine], targets[mine]), sizes)

    return together


def window_difficulty(
    teacher: Any, windows: Windows, measures: tuple[str, ...], *, k: float = 60.0, batch: int = 16
) -> np.ndarray:
    """(rows,) how hard each window is to a teacher, high is hard: ranks of its mean loss and of its mean margin, fused.

    Args:
        teacher: called with tokens, gives `Outputs`.
        windows: the rows.
        measures: some of "loss", "margin" and "rouge-l"; the last compares what a recurrent judge writes after half a window
            with how the text goes on.
        k: constant of the reciprocal rank fusion.
        batch: rows at a time.
    """
    found: dict[str, np.ndarray] = {}
    if "rouge-l" in measures:
        found["rouge-l"] = written_overlap(teacher.network, windows)
    if set(measures) > set(found):
        pieces = np.array_split(np.arange(len(windows)), max(1, -(-len(windows) // batch)))
        losses, margins = zip(*(_loss_and_margin(teacher, *windows(rows)) for rows in pieces))
        found |= {"loss": np.concatenate(losses), "margin": np.concatenate(margins)}
    return np.asarray(fuse({name: found[name] for name in measures}, k=k))


def _loss_and_margin(teacher: Any, inputs: Tensor, targets: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(B,) of each window: mean cross-entropy, and mean of the right score less the best other."""
    logits = teacher(inputs).logits
    right = targets.unsqueeze(-1).to(logits.device)
    score, others = logits.gather(-1, right), logits.scatter(-1, right, float("-inf")).amax(-1, keepdim=True)
    found = (logits.logsumexp(-1, keepdim=True) - score, score - others)
    loss, margin = (x.mean((1, 2)).cpu().numpy() for x in found)
    return loss, margin


def written_overlap(model: Any, windows: Windows) -> np.ndarray:
    """(rows,) ROUGE-L of what a model writes after half of each window, its likeliest tokens, against how the text goes on.

    Source: Liu et al. 2025, arXiv:2506.05695 (POCL), section 3.
    """
    half = max(1, windows.length // 2)
    count = min(WRITTEN, windows.length - half)
    found = []
    device = next(model.parameters()).device
    for rows in np.split(np.arange(len(windows)), np.arange(WRITING_ROWS, len(windows), WRITING_ROWS)):
        inputs = windows(rows)[0]
        written = continued(model, inputs[:, :half].to(device), count)[:, half:].tolist()
        found += [rouge_l(a, b) for a, b in zip(written, inputs[:, half : half + count].tolist())]
    return np.asarray(found)
