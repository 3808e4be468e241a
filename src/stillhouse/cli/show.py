"""Progress bars and tables of the terminal, by rich."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from stillhouse.core.callback import Callback, News
from stillhouse.core.records import REPORT
from stillhouse.core.task import Metric
from stillhouse.core.types import Progress
from stillhouse.core.verdict import in_words, untested
from stillhouse.report.verdicts import beside_plain, sentences, shown, spread_words

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
    """A bar that is gone when its work is done: what to call with (done, all); nothing where nobody watches.

    Args:
        about: what is done.
        quiet: no bar.
    """
    off = quiet or not sys.stdout.isatty()
    with Bars(*Bars.get_default_columns(), MofNCompleteColumn(), transient=True, disable=off) as bars:
        one = bars.add_task(about, total=None, visible=False)
        yield lambda done, total: bars.update(one, completed=done, total=total, visible=True)


class RunDisplay(Callback):
    """One bar for the arms and seeds of a run, one for the steps of the current training; off a terminal a line an epoch.

    Args:
        trainings: how many there will be.
        quiet: neither bars nor epochs, a line for each training that is done.
        epochs: whether epochs have a line where there is no terminal.
    """

    def __init__(self, trainings: int, *, quiet: bool = False, epochs: bool = True) -> None:
        self.console = Console(highlight=False)
        self.epochs = epochs and not quiet and not sys.stdout.isatty()
        quiet = quiet or not sys.stdout.isatty()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[news]}"),
        )
        self.bars = Bars(*columns, console=self.console, disable=quiet)
        self.quiet = quiet
        self.trainings = trainings
        self.number = 0  # of the training that goes on, from 1
        self.first = 1
        self.started: float | None = None
        self.spoke = 0.0
        self.current: tuple[str, int] | None = None
        self.news: dict[str, float | None] = {}

    def __enter__(self) -> RunDisplay:
        self.bars.start()
        self.all = self.bars.add_task("trainings", total=self.trainings, news="")
        self.one = self.bars.add_task("steps", total=None, news="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def begin(self, done: int, total: int) -> None:
        """Count from what an interrupted run has left."""
        self.trainings, self.number, self.first = total, done, done + 1
        if hasattr(self, "all"):
            self.bars.update(self.all, total=total, completed=done)

    def log(self, line: str) -> None:
        """Print a line above the bars."""
        self.console.print(line, soft_wrap=True, markup=False)

    def on_progress(self, arm: str, seed: int, progress: Progress, news: News) -> None:
        """Move the bars; `news` may hold the latest loss and the best validation figures."""
        if (arm, seed) != self.current:
            self.current, self.news = (arm, seed), {}
            self.number += 1
            if self.started is None:
                self.started = time.monotonic()
                self.skipped = (progress.step - 1) / progress.total_steps if progress.step else 0.0
            if (
                self.quiet and progress.total_steps == 1
            ):  # fitted in one piece: nothing else is heard of it until it is done
                run = f"run {self.number} of {self.trainings}: " if self.trainings > 1 else ""
                self.log(f"{run}{arm}, seed {seed} begins{self._to_go(progress, time.monotonic())}")
            self.bars.reset(self.one, total=progress.total_steps, description=f"{arm}, seed {seed}")
        self.news.update({name: value for name, value in news.items() if name not in ("epoch", "epochs")})
        shown = [f"{n} {v:.4f}" for n, v in self.news.items() if v is not None][:3]
        self.bars.update(self.one, completed=progress.step, news=" ".join(shown))
        if self.epochs and news.get("epoch") is not None:
            self._epoch(progress, news)
        if progress.step == progress.total_steps:
            self.bars.advance(self.all)
            if self.quiet:
                self.log(f"trained {arm}, seed {seed}")

    def _epoch(self, progress: Progress, news: News) -> None:
        """A line for an epoch that is done; at most one a second, and the last."""
        now = time.monotonic()
        if now - self.spoke < LEAST_SECONDS and news["epoch"] != news["epochs"]:
            return
        self.spoke = now
        assert self.current is not None
        figures = [f"{n} {v:.4f}" for n, v in news.items() if v is not None and n not in ("epoch", "epochs")]
        figures.sort(key=lambda text: not text.startswith("loss "))
        run = f"run {self.number} of {self.trainings}, " if self.trainings > 1 else ""
        self.log(
            f"{run}{self.current[0]}, seed {self.current[1]}: epoch {news['epoch']:.0f} of {news['epochs']:.0f}, "
            f"{', '.join(figures[:4])}{self._to_go(progress, now)}"
        )

    def _to_go(self, progress: Progress, now: float) -> str:
        """Time for what is left of all trainings, as if each took as long as those so far."""
        assert self.started is not None
        done = self.number - self.first + progress.fraction - self.skipped
        left = self.trainings - self.number + 1 - progress.fraction
        if done <= 0 or left <= 0:
            return ""
        return f", about {duration((now - self.started) / done * left)} to go"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(42.0), duration(250.0), duration(6000.0)
        ('42 s', '4 min', '1 h 40 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def seeds_in_words(count: int) -> str:
    """How many seeds there are.

    Example:
        >>> seeds_in_words(1), seeds_in_words(3)
        ('1 seed', '3 seeds')
    """
    return f"{count} seed{'s' * (count != 1)}"


def comparisons_of_teacher(summary: Mapping[str, Any]) -> bool:
    """Whether the first comparison, whose verdict is the run's, is with a student that had no teacher."""
    return bool(summary["comparisons"]) and str(summary["comparisons"][0]["name"]).startswith("teacher")


def measures_of(summary: Mapping[str, Any]) -> dict[str, Metric]:
    """The metrics of a summary by name."""
    return {metric["name"]: Metric(**metric) for metric in summary["metrics"]}


def print_summary(summary: Mapping[str, Any], out: Path) -> None:
    """The table of arms, the comparisons in words, and where the report is."""
    console = Console(highlight=False)
    measures = [m for m in measures_of(summary).values() if any(m.name in arm for arm in summary["arms"].values())]
    count = len(summary["seeds"])
    table = Table(title=f"{summary['data']['name']}, {seeds_in_words(count)}")
    spread = "each seed" if count > 1 and untested(count) else "95 % interval"
    heads = [head for n, measure in enumerate(measures) for head in (measure.label, *([spread] * (n == 0)))]
    for head in ("arm", *heads, "parameters", "s each"):
        table.add_column(head)
    for name, found in summary["arms"].items():
        cells = [name]
        for number, measure in enumerate(measures):
            cells += _estimate(measure, found.get(measure.name), whole=number == 0)
        params = summary["costs"].get(name, {}).get("params")
        seconds = found.get("seconds", {}).get("mean")
        cells += ["" if params is None else f"{params:,}", "" if seconds is None else f"{seconds:.1f}"]
        table.add_row(*cells)
    print_table(table)
    _print_teacher(console, summary, measures)
    print_verdict(summary)
    console.print(f"student: {out / 'student'}", markup=False, soft_wrap=True)
    console.print(f"report: {out / REPORT}", markup=False, soft_wrap=True)


def print_verdict(summary: Mapping[str, Any]) -> None:
    """Every comparison in a line, what stands above the fold of the report, and the verdict of the run."""
    console, measures = Console(highlight=False), measures_of(summary)
    for line in sentences(summary["comparisons"], summary["arms"], measures):
        console.print(f"{line.mark} {line.lead}: {line.detail}", markup=False, soft_wrap=True)
    for text in (*(summary.get("findings") or ()), *(summary.get("hints") or ()), beside_plain(summary, measures)):
        if text:
            console.print(text[0].upper() + text[1:], markup=False, soft_wrap=True)
    about = "verdict on the teacher" if comparisons_of_teacher(summary) else "verdict"
    console.print(f"{about}: [bold]{summary['verdict']}[/bold]", soft_wrap=True)


def comparison_words(entry: Mapping[str, Any], *, scale: float = 100.0) -> str:
    """One comparison in a line, in the unit of its metric.

    Example:
        >>> comparison_words({"name": "teacher", "arm": "kd", "control": "no-kd", "difference": 0.012, "low": 0.004,
        ...                   "high": 0.02, "verdict": "helps", "unit": "points"})
        'teacher: helps (kd minus no-kd: +1.20 points, 95 % interval +0.40 to +2.00)'
    """
    if entry["difference"] is None:
        return f"{entry['name']}: {in_words(entry)}: needs the arms {entry['arm']} and {entry['control']}"
    form = "{:+.2f}" if scale == 100 else "{:+.4g}"
    ends = [
        "unknown" if entry[key] is None else form.format(scale * entry[key]) for key in ("difference", "low", "high")
    ]
    unit = f" {entry['unit']}" if entry.get("unit") else ""
    return (
        f"{entry['name']}: {in_words(entry)} ({entry['arm']} minus {entry['control']}: {ends[0]}{unit}, "
        f"95 % interval {ends[1]} to {ends[2]})"
    )


def _print_teacher(console: Console, summary: Mapping[str, Any], measures: list[Metric]) -> None:
    teacher = summary["teacher"]
    if not teacher:
        return
    tested = teacher.get("test", {}).get(measures[0].name) if measures else None
    score = "" if tested is None else f", test {measures[0].label} {shown(measures[0], tested)}"
    console.print(f"teacher: {teacher.get('name', '')}{score}", markup=False)


def _estimate(measure: Metric, found: Mapping[str, Any] | None, *, whole: bool) -> list[str]:
    """The mean of a metric; of the first one the interval too."""
    if found is None:
        return ["", ""] if whole else [""]
    return [shown(measure, found["mean"]), *([spread_words(measure, found)] if whole else [])]
