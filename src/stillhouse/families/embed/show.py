"""Bars and tables of `stillhouse embed` in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stillhouse.cli.show import RunDisplay, print_table, print_verdict, seeds_in_words
from stillhouse.core.records import REPORT
from stillhouse.core.types import Progress
from stillhouse.families.embed.report import row_name

SHOWN = {"loss": "loss", "knn_overlap@10": "near", "spearman": "far", "r2": "r2"}
NEAR = {"knn_overlap@1": "1-NN kept", "knn_overlap@10": "10-NN kept", "trustworthiness": "trust"}
FAR = {"row_spearman": "Spearman, row by row", "spearman": "Spearman, all pairs", "triplet_accuracy": "triplets"}
MORE = {"sts": "pairs", "label_1nn": "1-NN label", "seconds": "seconds"}


class EmbedDisplay(RunDisplay):
    """The bars of a run, with what an embedding is scored by."""

    def on_progress(self, arm: str, seed: int, progress: Progress, news: Mapping[str, float | None]) -> None:
        """Move the bars; `news` may hold the latest loss and the best validation figures."""
        begun = (arm, seed) != self.current
        super().on_progress(arm, seed, progress, news)
        found = [f"{word} {self.news[key]:.3f}" for key, word in SHOWN.items() if self.news.get(key) is not None]
        self.bars.update(self.one, news=" ".join(found), refresh=begun)


def print_embedding(summary: Mapping[str, Any], out: Path) -> None:
    """The table of methods, the comparisons in words, and where things are."""
    rows = {arm: {name: figure["mean"] for name, figure in found.items()} for arm, found in summary["arms"].items()}
    _print(f"{summary['data']['name']}, {seeds_in_words(len(summary['seeds']))}, test rows", rows)
    print_verdict(summary)
    console = Console(highlight=False)
    console.print(f"student: {out / 'student'}", markup=False, soft_wrap=True)
    console.print(f"report: {out / REPORT}", markup=False, soft_wrap=True)
    console.print(f"look at the space: stillhouse embed explore {out}", markup=False, soft_wrap=True)


def print_evaluation(found: Mapping[str, Any]) -> None:
    """The table of `embed evaluate`."""
    rows = {name: {**found["local"], **found["global"]} for name, found in found["methods"].items()}
    _print(f"{found['data']}, {found['rows']:,} rows", rows)
    chance = found["methods"]["student"]["local"].get("knn_chance@10")
    print(f"chance of the 10 nearest: {chance:.4f}; controls fitted on {found['controls_fitted_on']}")


def _print(title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    columns = {
        key: word for key, word in {**NEAR, **FAR, **MORE}.items() if any(key in found for found in rows.values())
    }
    table = Table("", *columns.values(), title=title)
    for name, found in rows.items():
        cells = [found.get(key) for key in columns]
        table.add_row(row_name(name), *("" if v is None else f"{v:.1f}" if v >= 10 else f"{v:.3f}" for v in cells))
    print_table(table)
