"""`stillhouse demo`: what a teacher adds to 100 labels, from the messages in the package to a verdict and rules, offline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser
from stillhouse.core.checks import InputError

KINDS = ("rules", "scorecard", "tf-idf")
HEADS = ("student", "100 labels", "and its own answers", "and the teacher", "gain, 95 % interval")
LINES = 12  # of a screen of eight rules, two of them with examples, and what they are worth alone
ASK = "Someone stole my wallet and my card was in it"


def main(arguments: Sequence[str]) -> int:
    """Parse and run."""
    parser = Parser("demo")
    parser.add_argument(
        "what", nargs="?", choices=("banking", "digits"), default="banking", help="what to learn [banking]"
    )
    parser.add_argument(
        "--out", type=Path, help="folder; an older demo there is replaced [runs/demo, runs/demo-digits]"
    )
    parser.add_argument("--seeds", type=int, help="seeds of each arm [5; of digits 3]")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options = parser.parse(arguments)
    from stillhouse.recipes import load_run

    seeds = [] if options.seeds is None else [f"seeds={options.seeds}"]
    out = options.out or Path("runs/demo" if options.what == "banking" else "runs/demo-digits")
    if options.what == "digits":
        from stillhouse.cli.runs import carry_out

        _clear(out, "demo")
        config = load_run("digits", ["name=demo", *seeds])
        carry_out(config, out, resume=False, force=False, quiet=options.quiet)
        return 0
    for kind in KINDS:
        _clear(out / kind, f"demo-{kind}")
    jobs = [(load_run("banking", [f"name=demo-{kind}", f"student.kind={kind}", *seeds]), out / kind) for kind in KINDS]
    print(f"{3 * jobs[0][0].seeds} trainings each of {', '.join(KINDS)}; about a minute on two cores", flush=True)
    with get_context("spawn").Pool(min(len(KINDS), os.cpu_count() or 1)) as pool:  # side by side where there are cores
        _print(dict(zip(KINDS, pool.map(_run, jobs))), out)
    return 0


def _clear(out: Path, name: str) -> None:
    """Take away an older demo.

    Raises:
        InputError: another run lies there.
    """
    from stillhouse.core.records import ABOUT, RUN, read_object

    if (out / RUN).is_file():
        found = read_object(out / RUN, ABOUT)["config"].get("name")
        if found != name:
            raise InputError(f"{out} holds the run {found!r}, expected an older demo; choose another --out")
        shutil.rmtree(out)


def _run(job: tuple[Any, Path]) -> Mapping[str, Any]:
    """One student, on one thread."""
    from threadpoolctl import threadpool_limits

    from stillhouse.core.experiment import run
    from stillhouse.tasks import task_of

    config, out = job
    with threadpool_limits(1):  # of scikit-learn's fits; the run has its own
        return run(task_of(config), config, out)


def _print(found: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Verdict, table, eight rules, and what to try next."""
    from rich.console import Console
    from rich.table import Table

    import stillhouse
    from stillhouse.cli.show import print_table
    from stillhouse.core.verdict import in_words

    rules = found["rules"]
    teacher = rules["teacher"]["test"]["accuracy"]
    linear = rules["arms"]["linear"]["accuracy"]["mean"]
    row = rules["comparisons"][0]
    table = Table(*HEADS, title=f"accuracy on {row['items']} test messages, {row['seeds']} draws of the labels")
    for kind, summary in found.items():
        arms, gain = summary["arms"], summary["comparisons"][0]
        cells = [f"{arms[name]['accuracy']['mean']:.1%}" for name in ("no-kd", "self-trained", "kd")]
        table.add_row(kind, *cells, _interval(gain))
    table.add_row("logistic regression, TF-IDF", f"{linear:.1%}", "", "", "")
    table.add_row("the teacher, a sentence encoder", f"{teacher:.1%}", "", "", "")
    print_table(table)
    console = Console(highlight=False)
    console.print(
        f"The teacher: [bold]{in_words(row)}[/bold]. Readable rules gain {_interval(row)} points.", soft_wrap=True
    )
    console.print("\nEight of the rules, on messages that trained nothing:", soft_wrap=True)
    student = stillhouse.load(out / "rules")
    for line in student.rules(LINES).splitlines()[:-1]:  # type: ignore[attr-defined]
        console.print(f"  {line}", markup=False, soft_wrap=True)
    answer = student.predict([ASK])[0]
    console.print(f'\n"{ASK}" -> {answer["class"]}', markup=False, soft_wrap=True)
    console.print(f'try: stillhouse predict {out / "rules"} "your own sentence"', markup=False, soft_wrap=True)
    console.print(f"report: {out / 'rules' / 'report.html'}", markup=False, soft_wrap=True)


def _interval(row: Mapping[str, Any]) -> str:
    """A difference in points, with its interval where there is one."""
    if row["low"] is None:
        return f"{100 * row['difference']:+.1f}"
    return f"{100 * row['difference']:+.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
