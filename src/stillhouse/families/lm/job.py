"""The job of learning a language from a text and from a teacher, in stages; also of training the teacher itself.

Shapes: B rows, L tokens of a row, N = B L tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.curricula import Curriculum, fuse
from stillhouse.families.lm.align import MixerAlignment, inherit_embedding
from stillhouse.families.lm.data.corpus import Split
from stillhouse.families.lm.data.windows import Windows, check_length
from stillhouse.families.lm.lesson import LanguageLessonConfig
from stillhouse.families.lm.losses import Kept, Live, language_losses
from stillhouse.families.lm.metrics.nll import model_nll, score_text
from stillhouse.families.lm.teachers.cache import LogitCache
from stillhouse.families.lm.teachers.teacher import LanguageTeacher
from stillhouse.layers.part import TrainedPart, regularizers
from stillhouse.layers.taps import Tapped
from stillhouse.signals import build_signals, signals_in, student_features, teacher_features
from stillhouse.temperature import Temperature
from stillhouse.training.job import Job, Terms, Validation, epoch_order

CALIBRATION_ROWS = 16


class _Learned(nn.Module):
    """What is learned along and not kept: projectors of signals and of the alignment, a temperature."""

    def __init__(self, signals: nn.ModuleList, align: MixerAlignment | None, temperature: Temperature) -> None:
        super().__init__()
        self.signals, self.align = signals, align
        self.temperature = temperature


class LanguageJob(Job):
    """Windows of a text -> the token after each, told by the text and by a teacher.

    Args:
        model: with `hidden(tokens) -> (hidden, state)` and `readout.weight` (V, D); what else it has is used: `quantize`,
            `calibrate`, `regularizers`, `figures`.
        train: what is learned from.
        valid: what is scored.
        lesson: terms and stages.
        batch_size: rows of a step.
        total_steps: of the run, by which the stages are placed.
        seed: decides the order of the rows.
        teacher: asked at every step (source live), or only for where to begin; None: there is no teacher.
        cache: of its answers to exactly these windows.
        difficulty: (rows,) what a curriculum orders by, high is hard.
        scoring_rows: rows at a time when scoring.

    Raises:
        InputError: the text is shorter than a window, or the lesson asks for a teacher that is not there.
    """

    def __init__(
        self,
        model: Any,
        train: Split,
        valid: Split,
        lesson: LanguageLessonConfig,
        *,
        batch_size: int,
        total_steps: int,
        seed: int,
        teacher: LanguageTeacher | None = None,
        cache: LogitCache | None = None,
        difficulty: np.ndarray | None = None,
        scoring_rows: int = 16,
    ) -> None:
        self.windows, self.valid, self.lesson = Windows(train.ids, lesson.window), valid, lesson
        check_length(min(len(valid), lesson.validation_tokens + 1), lesson.window)
        self.cache, self.teacher = cache, teacher
        self.total_steps, self.scoring_rows = total_steps, scoring_rows
        self.taught = teacher is not None or cache is not None
        self.live = self.taught and lesson.source == "live"
        if cache is not None and (cache.key.rows, cache.key.length) != (len(self.windows), lesson.window):
            raise InputError(
                f"cache {cache.folder}: expected {len(self.windows)} rows of {lesson.window} tokens, got {cache.key.rows} of "
                f"{cache.key.length}"
            )
        if (self.live and teacher is None) or (self.taught and not self.live and cache is None):
            raise InputError(f"lesson.source: {lesson.source} needs a {'teacher' if self.live else 'cache'}, got none")
        if self.taught and lesson.embedding == "teacher" and teacher is not None:
            inherit_embedding(model.embedding, teacher.network.get_input_embeddings().weight)
        learned = self._learned(model)
        super().__init__(model, rows=lesson.epoch_steps * batch_size, seed=seed, extras=learned)
        self.network: Any = model
        self.learned = learned
        self.tapped = Tapped(model, student_features(self._signals()), call=lambda tokens: model.hidden(tokens)[0])
        self.curriculum = self._curriculum(difficulty, seed)
        self.calibrated = False
        self._set_shares(0)

    # ------------------------------------------------------------------------------------------------ the loop's questions

    def terms(self, rows: Tensor, progress: Progress) -> Terms:
        """Alignment alone in its stage, then text, teacher, signals, and what keeps spikes at their density."""
        inputs, targets = self.windows(rows)
        inputs, targets = inputs.to(self.device), targets.to(self.device)
        told = self.teacher.hidden(inputs) if self.live and self.teacher is not None else None
        if self.learned.align is not None and told is not None and progress.fraction < self.lesson.align:
            return {"align": (1.0, self.learned.align(self.network, told.features))}
        said = self.tapped(inputs)
        flat = said.logits.flatten(0, 1)
        weights = {"labels": 1.0, "signals": 1.0} if self.curriculum is None else self.curriculum.weights()
        answers, hot = self._answers(rows, told, flat, progress)
        found = language_losses(flat, self.network.readout.weight, targets.flatten(), answers, temperature=hot)
        kd = self.lesson.kd_weight * weights["signals"]
        own = self.lesson.label_weight * weights["labels"] if self.taught else 1.0  # alone, the text is all there is
        terms = {name: (kd if name == "kd" else own, value) for name, value in found.items()}
        if told is not None:
            batch = Batch(inputs, targets, rows)
            for signal in signals_in(self.learned.signals):
                value = signal(Outputs(flat, said.features), Outputs(flat, told.features), batch, progress)
                terms[signal.name] = (signal.weight * weights["signals"], value.mean())
                terms |= signal.regularizers()
        return terms | self.learned.temperature.regularizers() | regularizers(self.network)

    def validate(self, model: nn.Module) -> Validation:
        """Nats a token, perplexity and bits a byte of the beginning of the valid split; a quantized network ranks before others."""
        ids = self.valid.ids[: self.lesson.validation_tokens + 1]
        nll = score_text(model_nll(model), ids, length=self.lesson.window, batch=self.scoring_rows)
        mean = float(nll.mean())
        share = self.lesson.shares(self._done / self.total_steps) if self._quantizes else (1.0, 1.0)
        metrics: dict[str, float | None] = {
            "nll": mean,
            "perplexity": float(np.exp(min(mean, 50.0))),
            "quantized": min(share),
        }
        return Validation(metrics, (min(share), -mean))

    def order(self, epoch: int) -> Tensor:
        """So many rows as an epoch has: the next ones of an endless series of shuffles, or those of the curriculum's stage."""
        if self.curriculum is not None:
            drawn = self.curriculum.order(epoch)
            return drawn.repeat(-(-self.rows // len(drawn)))[: self.rows]
        size, start = len(self.windows), epoch * self.rows
        passes = range(start // size, -(-(start + self.rows) // size))
        series = torch.cat([epoch_order(size, self.seed, one) for one in passes])
        return series[start % size : start % size + self.rows]

    @property
    def stage(self) -> tuple[int, int]:
        """That of the curriculum."""
        return (0, 1) if self.curriculum is None else (self.curriculum.stage, self.curriculum.stages)

    def stepped(self, step: int) -> None:
        """Move the ramp on; thresholds are fitted to a text once, before the first spikes."""
        self._set_shares(step)

    def observe(self, validation: Validation, progress: Progress) -> None:
        """The curriculum looks whether to go on."""
        if self.curriculum is not None:
            self.curriculum.observe(validation.metrics, progress.step, progress.fraction)

    def figures(self) -> dict[str, float]:
        """Shares, density, temperature, stage: as far as there are any."""
        found: dict[str, float] = {}
        if self._quantizes:
            found |= dict(zip(("ternary_share", "spike_share"), self.lesson.shares(self._done / self.total_steps)))
        figures = self.network.figures() if isinstance(self.network, TrainedPart) else {}
        named = {name: value for name, value in figures.items() if not name.startswith("density.")}
        return found | named | (self.learned.temperature.figures() if self.taught else {})

    def to(self, device: torch.device) -> None:
        """The teacher goes where the student is."""
        super().to(device)
        if self.teacher is not None:
            self.teacher.to(device)

    def close(self) -> None:
        """Take the hooks off."""
        self.tapped.close()

    def state_dict(self) -> dict[str, Any]:
        """How far the ramp is, and the curriculum; the shares themselves are kept with the weights."""
        return {
            "done": self._done,
            "calibrated": self.calibrated,
            "curriculum": None if self.curriculum is None else self.curriculum.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._done, self.calibrated = int(state["done"]), bool(state["calibrated"])
        if self.curriculum is not None and state["curriculum"] is not None:
            self.curriculum.load_state_dict(state["curriculum"])

    # ------------------------------------------------------------------------------------------------ inside

    def _answers(
        self, rows: Tensor, told: Outputs | None, flat: Tensor, progress: Progress
    ) -> tuple[Kept | Live | None, float | Tensor]:
        """What the teacher says of these rows, and how soft it is taken."""
        if not self.taught:
            return None, 1.0
        teacher, temperature = self.teacher, self.learned.temperature
        nothing = flat.new_zeros(1, 2)  # a temperature of one number looks at no logits
        hot = temperature(nothing, nothing, progress)
        if told is not None and teacher is not None:
            hidden = told.logits.flatten(0, 1)
            return Live(lambda at: teacher.logits(hidden[at]), self.lesson.divergence), hot
        assert self.cache is not None
        ids, logs = (x.flatten(0, 1).to(self.device) for x in self.cache.at(rows, float(hot)))
        return Kept(ids, logs, self.lesson.tail), hot

    def _learned(self, model: Any) -> _Learned:
        """Build what the lesson's signals, alignment and temperature learn; the teacher is tapped where they listen."""
        configs = self._signals()
        align = (
            MixerAlignment(model, self.teacher.network) if self.live and self.lesson.align and self.teacher else None
        )
        spec = OutputSpec(2)
        signals = nn.ModuleList()
        if self.live and self.teacher is not None and (configs or align):
            paths = (*teacher_features(configs), *(align.paths if align else ()))
            self.teacher.tap(paths)
            example = self.windows(np.arange(1))[0]
            signals = build_signals(
                configs, _spec(model, student_features(configs), example), self.teacher.spec(example)
            )
        return _Learned(signals, align, self.lesson.temperature.build(spec, spec))

    def _signals(self) -> tuple[Any, ...]:
        return self.lesson.signals if self.live else ()

    def _curriculum(self, difficulty: np.ndarray | None, seed: int) -> Curriculum | None:
        if self.lesson.curriculum is None:
            return None
        if difficulty is None or len(difficulty) != len(self.windows):
            got = "none" if difficulty is None else len(difficulty)
            raise InputError(f"curriculum: expected the difficulty of {len(self.windows)} rows, got {got}")
        return Curriculum(self.lesson.curriculum, difficulty, None, seed=seed)

    @property
    def _quantizes(self) -> bool:
        config = getattr(self.network, "config", None)
        return bool(getattr(config, "spikes", None) or getattr(config, "ternary_weights", ()))

    def _set_shares(self, step: int) -> None:
        self._done = step
        if not self._quantizes:
            return
        weights, spikes = self.lesson.shares(step / self.total_steps)
        if spikes > 0 and not self.calibrated:
            rows = np.arange(min(CALIBRATION_ROWS, len(self.windows)))
            self.network.calibrate(self.windows(rows)[0].to(next(self.network.parameters()).device))
            self.calibrated = True
        self.network.quantize(weights, spikes=spikes)


def window_difficulty(
    teacher: LanguageTeacher, windows: Windows, measures: tuple[str, ...], *, batch: int = 16
) -> np.ndarray:
    """(rows,) how hard each window is for the teacher, high is hard: ranks of its mean loss and of its mean margin, fused."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    for rows in np.array_split(np.arange(len(windows)), max(1, -(-len(windows) // batch))):
        inputs, targets = windows(rows)
        logits = teacher(inputs).logits
        right = logits.gather(-1, targets.unsqueeze(-1).to(logits.device))
        if "loss" in found:
            found["loss"].append((logits.logsumexp(-1, keepdim=True) - right).mean((1, 2)).cpu().numpy())
        if "margin" in found:
            others = logits.scatter(-1, targets.unsqueeze(-1).to(logits.device), float("-inf")).amax(-1, keepdim=True)
            found["margin"].append((right - others).mean((1, 2)).cpu().numpy())
    return np.asarray(fuse({name: np.concatenate(parts) for name, parts in found.items()}))


def _spec(model: Any, paths: tuple[str, ...], example: Tensor) -> OutputSpec:
    """Shapes of a student's features, without the batch axis."""
    tapped = Tapped(model, paths, call=lambda tokens: model.hidden(tokens)[0])
    try:
        with torch.no_grad():
            said = tapped(example)
    finally:
        tapped.close()
    return OutputSpec(len(model.readout.weight), {name: tuple(x.shape[1:]) for name, x in said.features.items()})
