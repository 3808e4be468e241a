"""What can be seen to be wrong in a command line before torch is imported: names of recipes, files, folders.

Nothing is refused here that the command itself would take; what cannot be judged from the words is left to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.stored import recipes
from stillhouse.core import ranks
from stillhouse.core.checks import InputError, nearest

RUNS, TEACHERS = "run", "teacher"
TAKES = {"distill": RUNS, "check": RUNS, "cache": RUNS, "sweep": RUNS, "train-teacher": TEACHERS}
WRITES = ("distill", "train-teacher")
FILES = {"folder": "a folder of images", "npz": "a .npz file", "shards": "a folder with .tar files"}


def look(words: Sequence[str]) -> None:
    """Refuse a recipe that is not known, a file or folder that is not there, a run folder that is taken.

    Raises:
        ConfigError: the recipe, or its YAML file.
        InputError: data, a teacher's file, or `--out`.
    """
    command, rest = words[0], list(words[1:])
    if not ranks.first() or any(word in rest for word in ("-h", "--help", "--help-all")):
        return
    if command in TAKES and rest and not rest[0].startswith("-") and rest[0] not in ("merge", "show", "estimate"):
        mapping = _recipe(rest[0], TAKES[command])
        if "--print-config" not in rest:
            _out(command, rest, mapping)
            _data(rest, mapping)
            _teacher(rest, mapping)
    elif command in ("evaluate", "export"):
        if command == "export":
            _form(rest)
        root = _given(rest, "--data-root")
        if root is not None and not Path(root).expanduser().exists():
            raise InputError(f"--data-root {root}: there is no such file or folder")
    elif command == "compare":
        from stillhouse.core.finished import check_finished

        for folder in _runs(rest):
            check_finished(folder)
    elif command == "vision":
        config = _given(rest, "--config")
        if config is not None:
            _recipe_file(config)


def _recipe(recipe: str, kind: str) -> Mapping[str, Any]:
    """The settings that a recipe's file names; {} of a recipe by name."""
    from stillhouse.core.config import ConfigError

    known = recipes().get(kind, [])
    if recipe in known or not known:
        return {}
    if not recipe.endswith((".yaml", ".yml")) and not Path(recipe).is_file():
        raise ConfigError(f"recipe {recipe!r} is not known and is no YAML file; {nearest(recipe, known)}")
    mapping = _recipe_file(recipe)
    named = mapping.get("recipe")
    if isinstance(named, str) and named not in known:
        raise ConfigError(f"{recipe}: recipe {named!r} is not known; {nearest(named, known)}")
    return {"name": Path(recipe).stem, **mapping}


def _recipe_file(path: str) -> Mapping[str, Any]:
    from stillhouse.core.config import load_yaml

    return load_yaml(path)


def _out(command: str, words: Sequence[str], mapping: Mapping[str, Any]) -> None:
    """A run folder is written once, and continued by --resume."""
    out = _given(words, "--out")
    if out is None and isinstance(mapping.get("name"), str) and _setting(words, "name") is None:
        out = str(Path("runs") / mapping["name"])
    if out is None or command not in WRITES or "--resume" in words:
        return
    from stillhouse.core import records

    folder = Path(out)
    records.check_folder(folder)
    if (folder / records.RUN).is_file():
        raise InputError(f"{folder} holds a run already; go on with --resume, or choose another --out")


def _data(words: Sequence[str], mapping: Mapping[str, Any]) -> None:
    """Data of one's own lie where the file or the flag says."""
    data = mapping.get("data")
    data = data if isinstance(data, Mapping) else {}
    name = _setting(words, "data.name") or data.get("name")
    root = _setting(words, "data.root") or data.get("root")
    if name in FILES and isinstance(root, str) and not Path(root).expanduser().exists():
        raise InputError(f"{name} {root} (--data-root): expected {FILES[name]}, got nothing there")


def _teacher(words: Sequence[str], mapping: Mapping[str, Any]) -> None:
    """Files of a teacher of one's own."""
    teacher = mapping.get("teacher")
    teacher = teacher if isinstance(teacher, Mapping) else {}
    checkpoint = _setting(words, "teacher.checkpoint") or teacher.get("checkpoint")
    source = _setting(words, "teacher.source") or teacher.get("source")
    kind, _, path = source.partition(":") if isinstance(source, str) else ("", "", "")
    if kind in ("ckpt", "run") and not Path(path).expanduser().exists():
        raise InputError(f"teacher {source}: there is no such file or folder")
    if kind == "py" and not Path(path.rpartition(":")[0]).expanduser().exists():
        raise InputError(f"teacher {source}: there is no such file; expected py:FILE.py:CLASS")
    if isinstance(checkpoint, str) and ":" not in checkpoint and not Path(checkpoint).expanduser().exists():
        raise InputError(f"teacher checkpoint {checkpoint}: there is no such file")


def _runs(words: Sequence[str]) -> list[Path]:
    """The run folders among the words of `compare`."""
    named = [
        word for place, word in enumerate(words) if not word.startswith("-") and words[place - 1 :][:1] != ["--out"]
    ]
    return [folder for folder in map(Path, named) if (folder / "run.json").is_file()]


def _form(words: Sequence[str]) -> None:
    """A form that no student of the kind on the card has."""
    from stillhouse.core.folder import student_folder
    from stillhouse.core.records import CARD, read_json
    from stillhouse.families import FAMILIES, light

    form, place = _given(words, "--to"), Path(words[0]) if words else Path()
    if form is None or not words or words[0].startswith("-") or not place.exists():
        return
    card = read_json(student_folder(place.parent if place.is_file() else place) / CARD)
    if not isinstance(card, Mapping) or card.get("family") not in FAMILIES:
        return
    student, forms = card.get("student"), light(str(card["family"])).forms(card)
    kind = (student.get("kind") if isinstance(student, Mapping) else None) or card["family"]
    if forms is not None and form not in (*forms, "hub"):
        raise InputError(f"--to {form}: a student of kind {kind} has no such form; it has {', '.join(forms)}")


def _setting(words: Sequence[str], path: str) -> str | None:
    """The value that the command line gives a setting: by its long flag, or by --set."""
    flag = "--" + path.replace(".", "-").replace("_", "-")
    given = _given(words, flag)
    for at, word in enumerate(words):
        assignment = word.removeprefix("--set=") if word.startswith("--set=") else None
        if word == "--set" and at + 1 < len(words):
            assignment = words[at + 1]
        if assignment is not None and given is None and assignment.partition("=")[0].strip() == path:
            given = assignment.partition("=")[2].strip()
    return given


def _given(words: Sequence[str], flag: str) -> str | None:
    """The last value of a flag."""
    found = None
    for at, word in enumerate(words):
        if word.startswith(f"{flag}="):
            found = word.partition("=")[2]
        elif word == flag and at + 1 < len(words):
            found = words[at + 1]
    return found
