"""The training loop, for any job: steps, validation, the weights that are kept, checkpoints.

A run is a pure function of (job, config, seed): the order of the rows depends on (seed, epoch), what a job does at random on
(seed, step), and a checkpoint holds the rest, so that a resumed run repeats the losses of an uninterrupted one.

On several processes every one of them goes through the same steps with its part of each batch (`core/processes.py`), and the
first one writes.
"""

from __future__ import annotations

import ctypes
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from stillhouse.core import processes, ranks
from stillhouse.core.checks import Interrupted, StillhouseError
from stillhouse.core.records import CHECKPOINT, RECORDS, append_record, keep_records_until
from stillhouse.core.types import Progress
from stillhouse.training.config import TrainingConfig
from stillhouse.training.job import Job, Terms, Validation
from stillhouse.training.state import Fit as Fit
from stillhouse.training.state import TrainingState


class Diverged(StillhouseError):
    """A loss term or a gradient is no longer a finite number."""


def fit(
    job: Job,
    config: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    resume: bool = False,
    on_progress: Callable[[Progress, Mapping[str, float | None]], None] = lambda progress, news: None,
    on_validation: Callable[[int, Sequence[float]], None] = lambda epoch, rank: None,
) -> Fit:
    """Train `job.model` in place; it ends with the weights of the best validation or the last (of the average, if there is one).

    Args:
        job: model, rows, loss terms and score.
        config: the knobs.
        seed: fixes dropout and whatever else draws from torch's generator.
        folder: records, TensorBoard events and the checkpoint are written here.
        resume: go on from the folder's checkpoint, if there is one.
        on_progress: called after each step with the progress and the latest figures.
        on_validation: called after each validation with the epoch and its rank.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        Diverged: a term or gradient is not finite.
    """
    _keep_freed_memory()
    trainer = _Trainer(job, config, seed, folder)
    trainer.on_validation = on_validation
    if processes.broadcast_from_first(resume and (folder / CHECKPOINT).is_file()):
        trainer.load()
    with _stop_request() as stop:
        return trainer.run(stop, on_progress if ranks.first() else lambda progress, news: None)


def _keep_freed_memory() -> None:
    """Let glibc, where it is there, keep large blocks that are freed: to fetch fresh pages can take longer than to fill them."""
    with suppress(OSError, TypeError, AttributeError):
        for option, most in ((-3, 2**30), (-1, 2**31 - 1)):  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, bytes
            ctypes.CDLL(None).mallopt(option, most)


@contextmanager
def _stop_request() -> Iterator[SimpleNamespace]:
    """While open, the first SIGINT or SIGTERM only sets `.asked`; a second SIGINT stops at once, as usual."""
    stop = SimpleNamespace(asked=False)

    def ask(number: int, frame: object) -> None:
        if stop.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.asked = True

    here = threading.current_thread() is threading.main_thread()
    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM) if here}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class _Trainer(TrainingState):
    """The moves of one training: step and validate; what they move, and how it is saved, is in `TrainingState`."""

    on_validation: Callable[[int, Sequence[float]], None]

    # ------------------------------------------------------------------------------------------------ the run

    def run(self, stop: SimpleNamespace, on_progress: Callable[[Progress, Mapping[str, float | None]], None]) -> Fit:
        from torch.utils.tensorboard import SummaryWriter

        self.board = None
        if ranks.first():
            self.folder.mkdir(parents=True, exist_ok=True)
            keep_records_until(self.folder / RECORDS, self.state.step)
            self.board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.state.step + 1)
        if self.state.step == 0 and self._holds_start:
            self._hold_start()
        try:
            while self.state.step < self.total and not self.state.stopped_early:
                self._epoch(stop, on_progress)
        finally:
            if self.board is not None:
                self.board.close()
            self.job.close()
        self.model.to(self.device).load_state_dict(self.best_weights)
        self.model.eval()
        return self.state

    def _epoch(
        self, stop: SimpleNamespace, on_progress: Callable[[Progress, Mapping[str, float | None]], None]
    ) -> None:
        epoch, done = divmod(self.state.step, self.steps_per_epoch)
        order = self.job.order(epoch)
        started = saved = time.monotonic()
        before = self.state.seconds
        self.model.train()
        batches = order.split(self.batch_size)[done:]
        for rows, coming in zip(batches, (*batches[1:], order[:0])):
            self.stopping, self.saving = stop.asked, time.monotonic() - saved > self.config.checkpoint_seconds
            for part in coming.chunk(self.config.accumulate):
                if len(part):
                    self.job.ahead(self.job.share(part)[0])
            news = self._step(rows)
            self.state.seconds = before + time.monotonic() - started
            ends = self.state.step % self.steps_per_epoch == 0
            if ends:  # before any checkpoint: one of this step without the validation would begin the next epoch
                news = {**news, **self._validate(epoch + 1), "epoch": epoch + 1, "epochs": self.config.epochs}
                self.state.seconds = before + time.monotonic() - started
            on_progress(Progress(self.state.step, self.total), {**self.state.best, **news})
            if not self.many:  # several have agreed on both in the middle of the step
                self.stopping, self.saving = stop.asked, time.monotonic() - saved > self.config.checkpoint_seconds
            if ends or self.stopping or self.saving:
                self.save()
                saved = time.monotonic()
            if self.stopping:
                raise Interrupted(self.state.step, self.total, self.folder / CHECKPOINT)

    def _step(self, rows: Tensor) -> dict[str, float | None]:
        """One optimizer step over a batch, in micro-batches; returns figures on the steps that log."""
        config, progress = self.config, self._progress()
        ends = (progress.step + 1) % self.steps_per_epoch == 0  # each epoch has a record, however short it is
        log = progress.step % config.log_every == 0 or ends
        sums: dict[str, Tensor] = {}
        self.optimizer.zero_grad()
        for part in rows.chunk(config.accumulate):
            terms, share = self._terms(part, progress), len(part) / len(rows)
            loss = self._total(terms.values())
            if self.dot is None:
                (loss * share).backward()
            else:
                of_task = [term for name, term in terms.items() if name == self.job.task_term]
                of_teacher = [term for name, term in terms.items() if name != self.job.task_term]
                self.dot.backward(self._total(of_task) * share, self._total(of_teacher) * share)
            for name, (_, value) in {**terms, "loss": (1.0, loss)}.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() * share
        if self.many:
            sums = self._reduce(sums, log)
        norm = self._clip(sums)
        self.optimizer.step()
        rate = self.schedule.get_last_lr()[0]
        self.schedule.step()
        self.state.step += 1
        if self.average is not None:
            self.average.update(self.model, step=self.state.step)
        self.job.on_train_batch_end(self.state.step)
        if not log:
            return {}
        values = {name: float(value) for name, value in sums.items()}
        if not all(map(math.isfinite, values.values())):  # a term whose gradient is 0 or masked passes `_clip`
            shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            raise Diverged(
                f"step {self.state.step - 1}: a loss term is not finite ({shown}); look for NaN in the inputs"
            )
        total = values.pop("loss")
        record = {"loss": total, "terms": values, "learning_rate": rate, "gradient_norm": norm}
        if figures := self.job.figures():
            record["figures"] = figures
        self._record("train", (self.state.step - 1) / self.steps_per_epoch, record)
        return {"loss": total}

    def _terms(self, part: Tensor, progress: Progress) -> Terms:
        """The terms of this process's part of a micro-batch, such that their mean over the processes is that of the whole."""
        if not self.many:
            with self.fabric.autocast():
                return self.job.terms(part, progress)
        mine, sizes = self.job.share(part)
        self.job.sizes = sizes
        with self.fabric.autocast():
            terms = self.job.terms(mine, progress)
        self.job.sizes = []  # a validation shares out otherwise
        factor = sizes[ranks.rank()] * ranks.count() / sum(sizes)
        return {name: (weight, value * factor) for name, (weight, value) in terms.items()}

    def _total(self, terms: Iterable[tuple[float, Tensor]]) -> Tensor:
        """Their weighted sum ()."""
        return sum((weight * value for weight, value in terms), torch.zeros((), device=self.device))

    def _reduce(self, sums: dict[str, Tensor], log: bool) -> dict[str, Tensor]:
        """Average gradients, and where they are logged the terms, over the processes; agree on a stop and a checkpoint."""
        flags = [self.stopping, self.saving and ranks.first()]
        gradients = self.learned if self.dot is None else [*self.learned, *self.dot.twins]
        self.stopping, self.saving = processes.average_gradients(gradients, flags, self.device)
        if not log:
            return sums
        values = {name: value.detach().float().clone() for name, value in sums.items()}
        processes.all_reduce_mean(values.values())
        return values

    def _progress(self) -> Progress:
        return Progress(self.state.step, self.total, *self.job.stage)

    def _clip(self, sums: Mapping[str, Tensor]) -> float:
        # one norm either way: it is the cheapest test that every gradient is a finite number
        limit = self.config.clip_norm if self.config.clip_norm > 0 else float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.learned, limit) if self.dot is None else self.dot.clip(limit)
        if not torch.isfinite(norm):
            shown = ", ".join(f"{name} {float(value):.4g}" for name, value in sums.items())
            raise Diverged(
                f"step {self.state.step}: the gradient is not finite (terms: {shown}); lower learning_rate, or look for "
                "NaN in the inputs"
            )
        return float(norm)

    # ------------------------------------------------------------------------------------------------ validation

    def _validate(self, epoch: int) -> Mapping[str, float | None]:
        """Score the weights of the end of an epoch, keep the best; returns the scores."""
        if self.many:
            processes.copy_from_first(self._buffers())  # statistics of a normalization are each process's own
        scored = self.model if self.average is None else self.average.module
        scored.eval()
        with torch.no_grad():
            found = self.job.validate(scored)
        self._record("validation", float(epoch), {**found.metrics, "seconds": self.state.seconds})
        self.state.epochs = epoch
        if self.config.keep == "last" or not self.state.best or self._is_better(found):
            self.state.best, self.state.best_rank, self.state.best_epoch = found.metrics, found.rank, epoch
            self.best_weights = self._held(scored)
        self.state.ranks.append(found.rank)
        self.job.on_validation_end(found, self._progress())
        self.on_validation(epoch, found.rank)
        waited = epoch - self.state.best_epoch
        self.state.stopped_early = 0 < self.config.patience <= waited and epoch < self.config.epochs
        return found.metrics

    def _is_better(self, found: Validation) -> bool:
        """Above the kept epoch; or within luck of the best one, and above the start where that counts."""
        if found.rank > self.state.best_rank:
            return True
        ranks = self.state.ranks
        above_start = not self._holds_start or found.rank > ranks[0]
        return found.score_stderr > 0 and above_start and found.rank[0] >= max(ranks)[0] - found.score_stderr

    def _hold_start(self) -> None:
        """Count the weights at the start as epoch 0: training that makes nothing better ends with them."""
        self.model.eval()
        with torch.no_grad():
            found = self.job.validate(self.model)
        self.state.best, self.state.best_rank, self.state.best_epoch = found.metrics, found.rank, 0
        self.state.ranks = [found.rank]
        self.best_weights = self._held(self.model)

    def _held(self, module: torch.nn.Module) -> dict[str, Tensor]:
        """Weights in the memory of the CPU."""
        return {name: x.detach().cpu().clone() for name, x in module.state_dict().items()}

    def _record(self, split: str, epoch: float, values: Mapping[str, Any]) -> None:
        record = {"split": split, "step": self.state.step, "epoch": round(epoch, 4), **values}
        append_record(self.folder / RECORDS, record)
        for name, value in {**values, **values.get("terms", {}), **values.get("figures", {})}.items():
            if isinstance(value, float) and self.board is not None:
                self.board.add_scalar(f"{split}/{name}", value, self.state.step)
