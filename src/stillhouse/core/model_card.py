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
from stillhouse.core.exports import LICENSE, UNNAMED, ExportChoices, Target
from stillhouse.core.hashes import verify_files, with_hashes
from stillhouse.core.machine import COSTS
from stillhouse.core.manifest import run_above
from stillhouse.core.predict import Predictor
from stillhouse.core.records import CARD, read_object, write_atomically, write_json
from stillhouse.core.task import Results, Task
from stillhouse.core.verdict import overall_verdict
from stillhouse.report.read import mapping
from stillhouse.report.words import GAP, cost, describe_against_baselines, format_metric, sentence

HUB, README = "hub", "README.md"
ELSEWHERE = ("data", "run", "teacher", "tokenizer")  # entries of a card that may name a place on this machine
CARDS: dict[str, Any] = {"sha256": dict[str, str]}  # what is read of a card here


def complete_cards(task: Results, out: Path, summary: Mapping[str, Any]) -> None:
    """Write into the cards of a run's shipped students what the finished run found."""
    run = read_object(out / records.RUN, records.ABOUT)
    for path in sorted(out.glob(f"*/{CARD}")):
        card = read_object(path, {})
        if "sha256" in card and (shipped := mapping(card.get("shipped"))):
            found = findings(task, run, summary, str(shipped["arm"]), int(shipped["seed"]))
            write_card(path.parent, {**card, **found})


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """A card that was changed, with the hashes of the files that it named."""
    names = [name for name in card["sha256"] if name != CARD]
    write_json(folder / CARD, with_hashes(card, folder, names))


def findings(task: Results, run: Mapping[str, Any], summary: Mapping[str, Any], arm: str, seed: int) -> dict[str, Any]:
    """What a finished run knows of one of its students: entries of a card.

    Args:
        task: of the run.
        run: `run.json`.
        summary: `summary.json`.
        arm: of the student.
        seed: of the student.
    """
    measures = {metric.name: metric for metric in task.metrics}
    arms, teacher, config = (mapping(one) for one in (summary.get("arms"), summary.get("teacher"), run.get("config")))
    rows = [row for row in summary.get("comparisons", ()) if arm in (row["arm"], row["control"])]
    said = [sentence(row, arms, measures) for row in rows]
    shipped = mapping(summary.get("shipped")).get("arm") == arm
    figures = {name: mapping(mapping(arms.get(arm)).get(name)) for name in measures}
    test = {
        name: {"value": found["values"][seed], **{end: found.get(end) for end in ("mean", "low", "high")}}
        for name, found in figures.items()
        if seed < len(found.get("values", ()))
    }
    labels = {name: measure.label for name, measure in measures.items()}
    return {
        "license": config.get("license", UNNAMED),
        "verdict": {
            "verdict": overall_verdict(summary["comparisons"] if rows else (), labels),
            "beside": describe_against_baselines(summary, measures).replace(GAP, " ") if shipped else "",
            "comparisons": [
                {**row, "sentence": f"{one.lead}: {one.detail}".replace(GAP, " ")}
                for row, one in zip(rows, said, strict=True)
            ],
        },
        "data": mapping(summary.get("data")),
        "run": {
            "name": config.get("name"),
            "arm": arm,
            "about": mapping(summary.get("about")).get(arm, ""),
            "seed": seed,
            "teacher": {key: teacher[key] for key in ("name", "status", "params", "flops", "test") if key in teacher},
            "test": test,
        },
    }


def hub_target(task: Task[Any, Any]) -> Target:
    """The form `hub` of `stillhouse export`: the same for every task."""
    return Target("a folder for a model hub", "", partial(write_hub, task), takes=("license",))


def write_hub(task: Task[Any, Any], folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """A student with its README as a folder that a model hub takes and `stillhouse.load` opens; gives what was checked.

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
    text = readme(task, card, student=student, costs=costs)
    write_atomically(out / README, lambda file: file.write(text.encode()))
    named = "" if card["license"] != UNNAMED else "; no licence is named: choose one with --license"
    return [f"{README}, {CARD} and {', '.join(names)}: opened again, hashes as they were{named}"]


def readme(task: Results, card: Mapping[str, Any], *, student: Predictor, costs: Mapping[str, float]) -> str:
    """The page of a student on a model hub.

    Args:
        task: of the student.
        card: of the student, with what its run found.
        student: ready to be used.
        costs: see `Task.cost`.
    """
    from jinja2 import Template

    run, data = mapping(card.get("run")), mapping(card.get("data"))
    name, test = str(run.get("name") or task.kind), mapping(run.get("test"))
    scores = []
    for metric in task.metrics:
        if metric.name in test:
            own, mean, low, high = (
                format_metric(metric, test[metric.name].get(key)) for key in ("value", "mean", "low", "high")
            )
            every = mean if test[metric.name].get("low") is None else f"{mean} [{low}, {high}]"
            scores.append((metric.label + ", less is better" * metric.lower_is_better, own, every))
    hashes = {key: value for key, value in data.items() if key.endswith("sha256")}
    template = Template(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"), keep_trailing_newline=True)
    text = template.render(
        front=yaml.safe_dump(_front(task, card, name, student.hub_task), sort_keys=False, allow_unicode=True),
        name=name,
        title=task.title.lower(),
        verdict=mapping(card.get("verdict")),
        scores=scores,
        # times are of a machine, not of a student
        costs=[(words, cost(kind, costs[kind])) for kind, words in COSTS.items() if kind in costs and kind != "ms"],
        run=run,
        teacher=mapping(run.get("teacher")) or mapping(card.get("teacher")),
        data=data,
        hashes={**hashes, **{f"splits.{split}": value for split, value in mapping(data.get("splits")).items()}},
        takes=student.takes,
        license=card["license"],
    )
    return text.replace(GAP, " ")


def _of_run(task: Results, folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """What the run of a folder found, if it is finished; else what the card says already."""
    run, where = run_above(folder), mapping(card.get("shipped"))
    if not where and (folder / records.RESULT).is_file():
        where = read_object(folder / records.RESULT, {"arm": str, "seed": int})
    if run is None or not where or not (run / records.SUMMARY).is_file():
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


def _front(task: Results, card: Mapping[str, Any], name: str, hub_task: str) -> dict[str, Any]:
    """What a hub reads."""
    test = mapping(mapping(card.get("run")).get("test"))
    named = str(mapping(card.get("data")).get("name") or "")
    tags = ["stillhouse", "knowledge-distillation", task.kind]
    found: dict[str, Any] = {"license": card["license"], "library_name": "stillhouse", "tags": tags}
    if hub_task:
        found["pipeline_tag"] = hub_task
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", named):
        found["datasets"] = [named]
    if test:
        known = [metric for metric in task.metrics if metric.name in test]
        scores = [{"type": one.name, "name": one.label, "value": test[one.name]["value"]} for one in known]
        dataset = {"type": named, "name": named, "split": "test"}
        result = {"task": {"type": hub_task or task.kind}, "dataset": dataset, "metrics": scores}
        found["model-index"] = [{"name": name, "results": [result]}]
    return found
