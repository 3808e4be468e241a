"""`stillhouse evaluate`: score a saved student of any task on the test split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import Parser
from stillhouse.compat.aliases import add_aliases, given_settings
from stillhouse.core.checks import ConfigError

EXAMPLES = """
  stillhouse evaluate runs/demo                                         the student that the run ships
  stillhouse evaluate runs/demo/arms/kd/seed-0                          one of its trainings
  stillhouse evaluate runs/mnist --data-root DIR
  stillhouse evaluate runs/wikitext-2 --source mine.txt --tokens 20000
"""
IMAGES = {"--data": "another data set", "--data-root": "where it lies [as in the run]"}
TAKEN = {  # by task
    "classification": IMAGES,
    "lm": {
        "--source": "another text: a folder of splits, or a file, from its first token on",
        "--tokens": "that are scored, at most [those of the run]",
        "--window": "tokens of a window [those of the run]",
    },
    "embed": {
        "--vectors": "other vectors of the same teacher",
        "--key": "which array or column of them",
        "--limit": "rows that are judged, at most",
    },
    "sar": {"--config": "YAML file or recipe whose data are meant [those of the run]"},
}
TEXTS = {flag: f"{task}: {text}" for task, taken in TAKEN.items() for flag, text in taken.items()}
PATHS = {flag: flag.removeprefix("--").replace("-", "_") for flag in TEXTS}


def main(arguments: Sequence[str]) -> int:
    """Parse, score, print JSON."""
    about = "Score a saved student on the test split of its run, or of other data."
    parser = Parser(prog="stillhouse evaluate", description=about, examples=EXAMPLES)
    parser.add_argument("folder", type=Path, help="a run folder, or one with student.safetensors and card.json")
    add_aliases(parser, PATHS, TEXTS)
    options = parser.parse(arguments)
    from stillhouse.core.folder import student_folder
    from stillhouse.tasks import task_at

    place = student_folder(options.folder)
    task, choices = task_at(place), dict(given_settings(options, PATHS))
    taken = TAKEN[task.kind]
    if unread := [flag for flag in PATHS if PATHS[flag] in choices and flag not in taken]:
        raise ConfigError(f"{unread[0]}: nothing to a student of {task.kind}, which takes {', '.join(taken)}")
    if "config" in choices:
        from stillhouse.tasks.sar.documented import read_teacher
        from stillhouse.tasks.sar.recipes import recipe_path

        choices = {"data": read_teacher(recipe_path(choices["config"])).data}
    print(json.dumps(task.evaluate(place, **choices)))
    return 0
