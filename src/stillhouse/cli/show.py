"""Progress bars and tables of the terminal, by rich."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from stillhouse.core.records import REPORT
from stillhouse.core.types import Progress
from stillhouse.core.watch import Watch


class RunDisplay(Watch):
    """One bar for the arms and seeds of a run, one for the steps of the current training."""

    def __init__(self, trainings: int, *, quiet: bool = False) -> None:
        self.console = Console(highlight=False)
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

    def log(self, line: str) -> None:
        """Print a line above the bars."""
        self.console.print(line, soft_wrap=True, markup=False)

    say = log  # for families that do not take a Watch yet

    def on_progress(self, arm: str, seed: int, progress: Progress, news: Mapping[str, float | None]) -> None:
        """Move the bars; `news` may hold the latest loss and the best validation figures."""
        if (arm, seed) != self.current:
            self.current, self.news = (arm, seed), {}
            self.bars.reset(self.one, total=progress.total_steps, description=f"{arm}, seed {seed}")
        self.news.update(news)
        shown = " ".join(f"{n} {v:.4f}" for n, v in self.news.items() if n in {"loss", "accuracy"} and v is not None)
        self.bars.update(self.one, completed=progress.step, news=shown)
        if progress.step == progress.total_steps:
            self.bars.advance(self.all)
            if self.quiet:
                self.say(f"trained {arm}, seed {seed}")


def print_summary(summary: Mapping[str, Any], out: Path) -> None:
    """The table of arms, the comparisons in words, and where the report is."""
    console = Console(highlight=False)
    title = f"{summary['data']['name']}, {len(summary['seeds'])} seed(s)"
    table = Table("arm", "accuracy", "95 % interval", "ECE", "agrees", "parameters", "s each", title=title)
    for name, metrics in summary["arms"].items():
        accuracy, told = metrics["accuracy"], metrics.get("agreement")
        table.add_row(
            name,
            f"{accuracy['mean']:.2%}",
            f"{100 * accuracy['low']:.2f} to {100 * accuracy['high']:.2f}",
            f"{metrics['ece']['mean']:.3f}",
            "" if told is None else f"{told['mean']:.2%}",
            f"{summary['costs'][name]['params']:,}",
            f"{metrics['seconds']['mean']:.1f}",
        )
    console.print(table)
    teacher = summary["teacher"]
    if teacher is not None:
        console.print(f"teacher: {teacher['name']}, test accuracy {teacher['test_score']:.2%}", markup=False)
    for entry in summary["comparisons"]:
        console.print(comparison_words(entry), markup=False)
    if len(summary["seeds"]) < 3:
        console.print(
            f"{len(summary['seeds'])} seed(s): an interval from fewer than 3 can be too narrow; take --seeds 3 or more"
        )
    console.print(f"verdict on the teacher: [bold]{summary['verdict']}[/bold]")
    console.print(f"report: {out / REPORT}", markup=False, soft_wrap=True)


def comparison_words(entry: Mapping[str, Any]) -> str:
    """One comparison in a line, in percentage points.

    Example:
        >>> comparison_words({"name": "teacher", "arm": "kd", "control": "no-kd", "difference": 0.012, "low": 0.004,
        ...                   "high": 0.02, "verdict": "helps"})
        'teacher: helps (kd minus no-kd: +1.20 points, 95 % interval +0.40 to +2.00)'
    """
    if entry["difference"] is None:
        return f"{entry['name']}: {entry['verdict']} (needs the arms {entry['arm']} and {entry['control']})"
    points = [f"{100 * entry[key]:+.2f}" for key in ("difference", "low", "high")]
    return (
        f"{entry['name']}: {entry['verdict']} ({entry['arm']} minus {entry['control']}: {points[0]} points, "
        f"95 % interval {points[1]} to {points[2]})"
    )
