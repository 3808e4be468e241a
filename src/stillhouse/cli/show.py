"""Progress bars and tables of the terminal, by rich."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from stillhouse.core.callback import Callback, News
from stillhouse.core.parts import Metric
from stillhouse.core.records import REPORT
from stillhouse.core.types import Progress
from stillhouse.core.verdict import untested_reason
from stillhouse.report.words import describe_against_baselines, format_metric, sentences, spread_words

LEAST_SECONDS = 1.0  # between two lines of epochs


def print_table(table: Table) -> None:
    """Print a table whole: as wide as it is where nobody watches, folded (never cut) in a narrow terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, console.measure(table, options=console.options.update(width=10_000)).maximum)
    for column in table.columns:
        column.overflow = "fold"
    console.print(table)


@contextmanager
def bar(about: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar that is gone when its work is done: what to call with (done, all); nothing where nobody watches."""
    off = quiet or not sys.stdout.isatty()
    with Bars(*Bars.get_default_columns(), MofNCompleteColumn(), transient=True, disable=off) as bars:
        one = bars.add_task(about, total=None, visible=False)
        yield lambda done, total: bars.update(one, completed=done, total=total, visible=True)


class RunDisplay(Callback):
    """One bar for the arms and seeds of a run, one for the steps of the current training; off a terminal a line an epoch.

    Args:
        trainings: how many there will be.
        quiet: neither bars nor epochs, a line for each training that is done.
    """

    def __init__(self, trainings: int, *, quiet: bool = False) -> None:
        self.console, self.trainings, self.number = Console(highlight=False), trainings, 0
        self.watched = sys.stdout.isatty() and not quiet
        self.epochs = not self.watched and not quiet
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bars = Bars(*columns, console=self.console, disable=not self.watched)
        self.all, self.one = (self.bars.add_task(name, total=None) for name in ("trainings", "steps"))
        self.current: tuple[str, int] | None = None
        self.spoke, self.began, self.first = 0.0, time.monotonic(), 0

    def __enter__(self) -> RunDisplay:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def begin(self, done: int, total: int) -> None:
        """Count from what an interrupted run has left."""
        self.trainings, self.number, self.first, self.began = total, done, done, time.monotonic()
        self.bars.update(self.all, total=total, completed=done)

    def log(self, line: str) -> None:
        """Print a line above the bars."""
        self.console.print(line, soft_wrap=True, markup=False)

    def on_progress(self, arm: str, seed: int, progress: Progress, news: News) -> None:
        """Move the bars; `news` may hold the latest loss and the best validation figures."""
        if (arm, seed) != self.current:
            self.current, self.number = (arm, seed), self.number + 1
            self.bars.reset(self.one, total=progress.total_steps)
        figures = [f"{name} {value:.4f}" for name, value in news.items() if value is not None and "epoch" not in name]
        figures.sort(key=lambda text: not text.startswith("loss "))
        words = " ".join([f"{arm}, seed {seed}", *figures[:3]])
        self.bars.update(self.one, completed=progress.step, description=words)
        run = f"run {self.number} of {self.trainings}, " if self.trainings > 1 else ""
        epoch, epochs, now = news.get("epoch"), news.get("epochs"), time.monotonic()
        if self.epochs and epoch is not None and (now - self.spoke >= LEAST_SECONDS or epoch == epochs):
            self.spoke, done = now, self.number - 1 - self.first + progress.fraction  # trainings since the start
            left = (now - self.began) / max(done, 1e-9) * (self.trainings - self.first - done)
            to_go = f", about {f'{left:.0f} s' if left < 90 else f'{left / 60:.0f} min'} to go" if left > 0 else ""
            self.log(f"{run}{arm}, seed {seed}: epoch {epoch:.0f} of {epochs:.0f}, {', '.join(figures[:4])}{to_go}")
        if progress.step == progress.total_steps:
            self.bars.advance(self.all)
            if not self.watched:
                self.log(f"{run}trained {arm}, seed {seed}")


def print_summary(summary: Mapping[str, Any], out: Path) -> None:
    """The table of arms, the comparisons in words, and where the report is."""
    metrics = {metric["name"]: Metric(**metric) for metric in summary["metrics"]}
    measures = [m for m in metrics.values() if any(m.name in arm for arm in summary["arms"].values())]
    count, others = len(summary["seeds"]), [measure.label for measure in measures[1:]]
    spread = "each seed" if count > 1 and untested_reason(count) else "95 % interval"
    title = f"{summary['data']['name']}, {count} seed{'s' * (count != 1)}"
    table = Table("arm", measures[0].label, spread, *others, "parameters", "s each", title=title)
    for name, arm in summary["arms"].items():
        means = [format_metric(measure, arm.get(measure.name, {}).get("mean")) for measure in measures]
        params, seconds = summary["costs"].get(name, {}).get("params"), arm.get("seconds", {}).get("mean")
        costs = ["" if params is None else f"{params:,}", "" if seconds is None else f"{seconds:.1f}"]
        table.add_row(name, means[0], spread_words(measures[0], arm.get(measures[0].name, {})), *means[1:], *costs)
    print_table(table)
    lines = []
    if teacher := summary["teacher"]:
        tested = format_metric(measures[0], teacher.get("test", {}).get(measures[0].name))
        lines.append(f"teacher: {teacher.get('name', '')}, test {measures[0].label} {tested}")
    rows = summary["comparisons"]
    lines += [f"{line.mark} {line.lead}; {line.detail}" for line in sentences(rows, summary["arms"], metrics)]
    more = (
        *(summary.get("findings") or ()),
        *(summary.get("hints") or ()),
        describe_against_baselines(summary, metrics),
    )
    lines += [text[0].upper() + text[1:] for text in more if text]
    about = "verdict on the teacher" if rows and str(rows[0]["name"]).startswith("teacher") else "verdict"
    lines += [f"{about}: {summary['verdict']}", f"student: {out / 'student'}", f"report: {out / REPORT}"]
    Console(highlight=False, soft_wrap=True, markup=False).print("\n".join(lines))
