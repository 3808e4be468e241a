"""`stillhouse demo`: what a teacher adds to 100 labels, from the messages in the package to a verdict and rules, offline."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser

KINDS = ("rules", "scorecard", "tf-idf")
HEADS = ("student", "100 labels", "and its own answers", "and the teacher", "gain, 95 % interval")
LINES = 12  # of a screen of eight rules, two of them with examples, and their accuracy alone
ASK = "Someone stole my wallet and my card was in it"


def main(arguments: Sequence[str]) -> int:
    """Parse and run."""
    parser = Parser("demo")
    parser.add_argument(
        "what", nargs="?", choices=("banking", "digits"), default="banking", help="messages or pictures"
    )
    parser.add_argument("--out", type=Path, help="folder; what it holds is kept [runs/demo, runs/demo-digits]")
    parser.add_argument("--seeds", type=int, help="seeds of each arm [5; of digits 3]")
    options = parser.parse(arguments)
    if options.what == "digits":
        from stillhouse.cli.runs import distill

        out = options.out or Path("runs/demo-digits")
        return distill(["digits", f"seeds={options.seeds or 3}", "--out", str(out), *["--resume"] * out.exists()])
    seeds, out = options.seeds or 5, options.out or Path("runs/demo")
    from stillhouse.recipes import load_run

    configs = [load_run("banking", [f"name=demo-{kind}", f"student.kind={kind}", f"seeds={seeds}"]) for kind in KINDS]
    print(f"{3 * seeds} trainings each of {', '.join(KINDS)}; about a minute on two cores", flush=True)
    jobs = [(config, out / kind) for config, kind in zip(configs, KINDS)]
    with get_context("spawn").Pool(min(len(KINDS), os.cpu_count() or 1)) as pool:  # side by side where there are cores
        _print(dict(zip(KINDS, pool.map(_run, jobs))), out)
    return 0


def _run(job: tuple[Any, Path]) -> Mapping[str, Any]:
    """One student, on one thread; an older demo goes on."""
    from threadpoolctl import threadpool_limits

    from stillhouse.core.experiment import run
    from stillhouse.tasks import task_of

    config, out = job
    with threadpool_limits(1):  # of scikit-learn's fits; the run has its own
        return run(task_of(config), config, out, resume=out.exists())


def _print(summaries: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Verdict, table, eight rules, and what to try next."""
    from rich.console import Console
    from rich.table import Table

    import stillhouse
    from stillhouse.cli.show import print_table
    from stillhouse.core.verdict import format_verdict

    rules = summaries["rules"]
    row = rules["comparisons"][0]
    table = Table(*HEADS, title=f"accuracy on {row['items']} test messages, {row['seeds']} draws of the labels")
    for kind, summary in summaries.items():
        cells = [f"{summary['arms'][name]['accuracy']['mean']:.1%}" for name in ("no-kd", "self-trained", "kd")]
        table.add_row(kind, *cells, _interval(summary["comparisons"][0]))
    table.add_row("logistic regression, TF-IDF", f"{rules['arms']['linear']['accuracy']['mean']:.1%}", "", "", "")
    table.add_row("the teacher, a sentence encoder", f"{rules['teacher']['test']['accuracy']:.1%}", "", "", "")
    print_table(table)
    student = stillhouse.load(out / "rules")
    lines = [f"The teacher: {format_verdict(row)}. Readable rules gain {_interval(row)} points.", ""]
    lines.append("Eight of the rules, on messages that trained nothing:")
    lines += [f"  {line}" for line in student.rules(LINES).splitlines()[:-1]]  # type: ignore[attr-defined]
    lines += ["", f'"{ASK}" -> {student.predict([ASK])[0]["class"]}']
    lines.append(f'try: stillhouse predict {out / "rules"} "your own sentence"')
    lines.append(f"report: {out / 'rules' / 'report.html'}")
    Console(highlight=False, soft_wrap=True, markup=False).print("\n".join(lines))


def _interval(row: Mapping[str, Any]) -> str:
    """A difference in points, with its interval where there is one."""
    if row["low"] is None:
        return f"{100 * row['difference']:+.1f}"
    return f"{100 * row['difference']:+.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
