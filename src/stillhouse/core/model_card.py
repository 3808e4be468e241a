"""What a finished run knows of its student, in its `card.json`, and as a folder for a model hub. No torch, and no network.

`--to hub` writes:

  README.md             YAML in front (licence, tags, data set, test score), then verdict, scores, size, data hashes, how to use it
  card.json             as beside the student, with what the run found
  student.safetensors   and what else the card names, as they were
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import yaml

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.costs import COSTS
from stillhouse.core.exports import LICENSE, UNNAMED, ExportChoices, Target
from stillhouse.core.hashes import verify_files, with_hashes
from stillhouse.core.manifest import run_above
from stillhouse.core.records import CARD, read_object, write_atomically, write_json
from stillhouse.core.task import Light, Task
from stillhouse.core.verdict import FEWEST_SEEDS, UNCOMPARED, in_words, overall
from stillhouse.report.read import mapping, number
from stillhouse.report.verdicts import beside_plain, sentence, shown
from stillhouse.report.words import GAP, cost, plain

HUB, README = "hub", "README.md"
ELSEWHERE = ("data", "run", "teacher", "tokenizer")  # entries of a card that may name a place on this machine
DATA_SET = re.compile(r"[\w.-]+(/[\w.-]+)?")  # as a hub names one
CARDS: dict[str, Any] = {"sha256": dict[str, str]}  # what is read of a card here


def complete_cards(task: Light, out: Path, summary: Mapping[str, Any]) -> None:
    """Write into the cards of a run's shipped students what the finished run found.

    Args:
        task: of the run.
        out: run folder.
        summary: of the run.
    """
    run = read_object(out / records.RUN, records.ABOUT)
    for path in sorted(out.glob(f"*/{CARD}")):
        card = read_object(path, {})
        shipped = mapping(card.get("shipped"))
        if "sha256" in card and shipped:
            found = findings(task, run, summary, str(shipped["arm"]), int(shipped["seed"]))
            write_card(path.parent, {**card, **found})


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """A card that was changed, with the hashes of the files that it named."""
    names = [name for name in card["sha256"] if name != CARD]
    write_json(folder / CARD, with_hashes(card, folder, names))


def findings(task: Light, run: Mapping[str, Any], summary: Mapping[str, Any], arm: str, seed: int) -> dict[str, Any]:
    """What a finished run knows of one of its students: entries of a card.

    Args:
        task: of the run.
        run: `run.json`.
        summary: `summary.json`.
        arm: of the student.
        seed: of the student.
    """
    measures = {metric.name: metric for metric in task.metrics}
    arms, teacher = mapping(summary.get("arms")), mapping(summary.get("teacher"))
    rows = [row for row in summary.get("comparisons", ()) if arm in (row["arm"], row["control"])]
    said = [sentence(row, arms, measures) for row in rows]
    words = [f"{one.lead}: {one.detail}".replace(GAP, " ") for one in said]
    labels = {name: measure.label for name, measure in measures.items()}
    shipped = mapping(summary.get("shipped")).get("arm") == arm
    figures = {name: mapping(mapping(arms.get(arm)).get(name)) for name in measures}
    test = {
        name: {"value": found["values"][seed], **{end: found.get(end) for end in ("mean", "low", "high")}}
        for name, found in figures.items()
        if seed < len(found.get("values", ()))
    }
    return {
        "license": mapping(run.get("config")).get("license", UNNAMED),
        "verdict": {
            "verdict": overall(summary["comparisons"] if rows else (), labels),
            "beside": beside_plain(summary, measures).replace(GAP, " ") if shipped else "",
            "comparisons": [{**row, "sentence": text} for row, text in zip(rows, words, strict=True)],
        },
        "data": mapping(summary.get("data")),
        "run": {
            "name": mapping(run.get("config")).get("name"),
            "arm": arm,
            "about": mapping(summary.get("about")).get(arm, ""),
            "seed": seed,
            "teacher": {
                name: teacher[name] for name in ("name", "status", "params", "flops", "test") if name in teacher
            },
            "test": test,
        },
    }


def hub_target(task: Task[Any, Any]) -> Target:
    """The form `hub` of `stillhouse export`: the same for every task."""
    return Target("a folder for a model hub", "", partial(write_hub, task), takes=("license",))


def write_hub(task: Task[Any, Any], folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """A student with its README as a folder that a model hub takes and `stillhouse.load` opens.

    Args:
        task: of the student.
        folder: of the student.
        out: folder to write.
        choices: `license`.

    Returns:
        What was checked.

    Raises:
        InputError: no sound student, or a licence that is no identifier.
    """
    if choices.license is not None and not re.fullmatch(LICENSE, choices.license):
        raise InputError(f"--license: expected an identifier as apache-2.0, mit or other, got {choices.license!r}")
    card = read_object(folder / CARD, CARDS)
    verify_files(folder, card)
    names = [name for name in card["sha256"] if name != CARD]
    card = {**card, **_of_run(task, folder, card)}
    card |= {"task": task.kind, "license": choices.license or card.get("license", UNNAMED)}
    card |= {key: _without_places(card[key]) for key in ELSEWHERE if key in card}
    out.mkdir()
    for name in names:
        shutil.copyfile(folder / name, out / name)
    write_card(out, card)
    student = task.predictor(out)  # nothing that it needs was left behind
    costs: Mapping[str, float] = {}
    with suppress(InputError):  # counted on data that are gone
        costs = task.cost(folder)
    text = readme(task, card, takes=student.takes, costs=costs)
    write_atomically(out / README, lambda file: file.write(text.encode()))
    named = "" if card["license"] != UNNAMED else "; no licence is named: choose one with --license"
    return [f"{README}, {CARD} and {', '.join(names)}: opened again, hashes as they were{named}"]


def readme(task: Light, card: Mapping[str, Any], *, takes: str, costs: Mapping[str, float]) -> str:
    """The page of a student on a model hub.

    Args:
        task: of the student.
        card: of the student, with what its run found.
        takes: what it reads, in words.
        costs: see `Task.cost`.
    """
    run, data = mapping(card.get("run")), mapping(card.get("data"))
    teacher = mapping(run.get("teacher")) or mapping(card.get("teacher"))
    name = str(run.get("name") or task.kind)
    front = yaml.safe_dump(_front(task, card, name), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{front}---\n\n# {name}\n\nA student of stillhouse ({task.title.lower()}). "
        f"Every figure here is in `{CARD}` too, with the versions of what it was made by.",
        "## Verdict\n\n" + _verdict(card),
        "## Score on the test split\n\n" + _scores(task, run),
        "## Size and cost\n\n" + _costs(costs),
        "## How it was taught\n\n" + _teacher(run, teacher),
        "## Data\n\n" + _data(data),
        "## How to use it\n\n" + USE.format(takes=takes),
        "## Limits\n\n" + LIMITS.format(seeds=FEWEST_SEEDS),
        "## Licence\n\n" + _license(str(card["license"])),
    ]
    return "\n\n".join(parts) + "\n"


USE = """```python
import stillhouse

student = stillhouse.load("FOLDER")  # this folder
given = student.read("SOURCE")
answers = student.predict(given.values)
```

or `stillhouse predict FOLDER SOURCE`. SOURCE: {takes}."""
LIMITS = """- Scores and verdict hold for the test split that the hashes name; other data were not tried.
- An interval of 95 % misses the truth once in twenty; a verdict needs {seeds} seeds.
- The verdict is on the whole arm under all of its seeds; the weights here are those of one."""


def _of_run(task: Light, folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """What the run of a folder found, if it is finished; else what the card says already."""
    run = run_above(folder)
    if run is None or not (run / records.SUMMARY).is_file():
        return {}
    where = mapping(card.get("shipped"))
    if not where and (folder / records.RESULT).is_file():
        where = read_object(folder / records.RESULT, {"arm": str, "seed": int})
    if not where:
        return {}
    about, summary = read_object(run / records.RUN, records.ABOUT), read_object(run / records.SUMMARY, {})
    return findings(task, about, summary, str(where["arm"]), int(where["seed"]))


def _without_places(value: Any) -> Any:
    """Plain data in which a place on this machine is its last name.

    Example:
        >>> _without_places({"name": "/home/someone/teacher", "of": ["org/model"]})
        {'name': 'teacher', 'of': ['org/model']}
    """
    if isinstance(value, Mapping):
        return {key: _without_places(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_places(entry) for entry in value]
    return PurePath(value).name if isinstance(value, str) and PurePath(value).is_absolute() else value


def _front(task: Light, card: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a hub reads."""
    hub_task, data, test = task.hub_task(card), mapping(card.get("data")), mapping(mapping(card.get("run")).get("test"))
    named = str(data.get("name") or "")
    found: dict[str, Any] = {"license": card["license"], "library_name": "stillhouse"}
    if hub_task:
        found["pipeline_tag"] = hub_task
    found["tags"] = ["stillhouse", "knowledge-distillation", task.kind]
    if DATA_SET.fullmatch(named):
        found["datasets"] = [named]
    if test:
        found["metrics"] = list(test)
        scores = [
            {"type": metric.name, "name": metric.label, "value": test[metric.name]["value"]}
            for metric in task.metrics
            if metric.name in test
        ]
        dataset = {"type": named, "name": named, "split": "test"}
        result = {"task": {"type": hub_task or task.kind}, "dataset": dataset, "metrics": scores}
        found["model-index"] = [{"name": name, "results": [result]}]
    return found


def _verdict(card: Mapping[str, Any]) -> str:
    verdict = mapping(card.get("verdict"))
    lines = [f"- {row['sentence']}." for row in verdict.get("comparisons", ())]
    beside = str(verdict.get("beside") or "")
    lines += [f"- {beside[0].upper()}{beside[1:]}."] if beside else []
    word = verdict.get("verdict") or in_words({"why": UNCOMPARED})
    why = "" if lines else " It belongs to no finished run with a control."
    return "\n".join([f"**{word}**.{why}", *([""] if lines else []), *lines])


def _scores(task: Light, run: Mapping[str, Any]) -> str:
    test = mapping(run.get("test"))
    if not test:
        return "Not known here: it belongs to no finished run."
    lines = ["| metric | this student | all seeds, mean [95 % interval] |", "|---|---|---|"]
    for metric in task.metrics:
        if metric.name in test:
            measure, found = metric, test[metric.name]
            mean, low, high = (shown(measure, found.get(end)) for end in ("mean", "low", "high"))
            every = mean if number(found.get("low")) is None else f"{mean} [{low}, {high}]"
            better = ", less is better" * measure.lower_is_better
            lines.append(f"| {measure.label}{better} | {shown(measure, found['value'])} | {every} |")
    return "\n".join(lines).replace(GAP, " ")


def _costs(costs: Mapping[str, float]) -> str:
    known = [(words, cost(kind, costs[kind])) for kind, words in COSTS.items() if kind in costs and kind != "ms"]
    lines = [f"- {words}: {value}" for words, value in known]  # times are of a machine, not of a student
    return "\n".join(lines).replace(GAP, " ") or "Not counted."


def _teacher(run: Mapping[str, Any], teacher: Mapping[str, Any]) -> str:
    own = [f"{plain(teacher['params'], 12)} parameters"] if teacher.get("params") else []
    own += [f"{plain(teacher['flops'], 12)} operations an item"] if teacher.get("flops") else []
    own += [f"checked before training: {teacher['status']}"] if teacher.get("status") else []
    named = f"{teacher['name']}{': ' * bool(own)}{', '.join(own)}" if teacher.get("name") else "none"
    about = f" ({run['about']})" if run.get("about") else ""
    arm = f" This student is of arm `{run['arm']}`{about}, seed {run['seed']}." if "arm" in run else ""
    return f"Teacher: {named}.{arm}"


def _data(data: Mapping[str, Any]) -> str:
    """Name, sizes and every fingerprint that the run recorded."""
    if not data:
        return "Not known here."
    sizes = ", ".join(f"{plain(count, 12)} {split}" for split, count in mapping(data.get("sizes")).items())
    hashes = {key: value for key, value in data.items() if key.endswith("sha256")}
    hashes |= {f"splits.{split}": value for split, value in mapping(data.get("splits")).items()}
    lines = [f"{data.get('name')}{': ' * bool(sizes)}{sizes}.", "", "| fingerprint | sha256 |", "|---|---|"]
    return "\n".join([*lines, *(f"| {key} | `{value}` |" for key, value in hashes.items())])


def _license(name: str) -> str:
    if name != UNNAMED:
        return f"`{name}`, as named by whoever exported it."
    return (
        "None was named: what may be done with these weights is for the licences of the data and of the teacher to say."
    )
