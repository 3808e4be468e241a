"""What can be seen to be wrong in a command line before torch is imported: names of recipes, settings, files, folders.

Nothing is refused here that the command itself would take; what cannot be judged from the words is left to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stillhouse.cli.stored import OF_FAMILIES, page, recipes
from stillhouse.core import ranks
from stillhouse.core.checks import InputError, nearest

RUNS, TEACHERS = "run", "teacher"
TAKES = {"distill": RUNS, "check": RUNS, "cache": RUNS, "sweep": RUNS, "train-teacher": TEACHERS}
LIBRARIES = {"timm": "model", "torchvision": "classifier"}  # what each says it has not
WRITES = ("distill", "train-teacher")
READS = {  # commands of families whose first word is a file or folder
    "lm": ("generate", "export"),
    "embed": ("capture", "evaluate", "encode", "explore", "export"),
    "sar": ("compare", "stream", "evaluate", "quantize", "prune", "truncate", "export"),
}
FILES = {"folder": "a folder of images", "npz": "a .npz file"}


def look(words: Sequence[str]) -> None:
    """Refuse a recipe or setting that is not known, a file or folder that is not there, a run folder that is taken.

    Raises:
        ConfigError: the recipe, its YAML file, or `--set`.
        InputError: data, a teacher's file, or `--out`.
    """
    family = words[0] if words[0] in OF_FAMILIES else ""
    command, rest = words[bool(family)] if words[bool(family) :] else "", list(words[1 + bool(family) :])
    if not ranks.first() or any(word in rest for word in ("-h", "--help", "--help-all")):
        return
    if command in READS.get(family, ()) and rest:
        _there(rest[0], f"stillhouse {family} {command}")
    if family == "sar":
        _radar(rest)
    elif family == "embed":
        _vectors(command, rest)
    elif command in TAKES and rest and not rest[0].startswith("-") and rest[0] not in ("merge", "show", "estimate"):
        known = recipes(TAKES[command], family)
        mapping = _recipe(rest[0], known)
        _settings(command, rest, mapping, [known[rest[0]]] if rest[0] in known else sorted(set(known.values())))
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
        _flags(rest, page(["vision", "--help-all"]) or "")
        config = _given(rest, "--config")
        if config is not None:
            _recipe_file(config)


def _recipe(recipe: str, known: Mapping[str, str]) -> Mapping[str, Any]:
    """The settings that a recipe's file names; {} of a recipe by name."""
    from stillhouse.core.config import ConfigError

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


def _settings(command: str, words: Sequence[str], mapping: Mapping[str, Any], roots: Sequence[str]) -> None:
    """Keys of the file and of `--set`; a teacher's file may be a documented one, a sweep lists values."""
    from stillhouse.cli.stored_settings import check_assignments, check_settings

    if TAKES[command] == RUNS:
        check_settings({key: value for key, value in mapping.items() if key != "recipe"}, roots)
    check_assignments(_every(words, "--set"), roots, keys_only=command == "sweep")


def _there(place: str, command: str) -> None:
    """A file or folder; of texts, with columns behind a colon."""
    if not place.startswith("-") and not any(
        Path(one).expanduser().exists() for one in (place, place.rpartition(":")[0] or place)
    ):
        raise InputError(f"{place}: there is no such file or folder; see `{command} --help`")


def _flags(words: Sequence[str], page: str) -> None:
    """Flags that the page of a command does not have, whose flags are the same for every run."""
    from stillhouse.core.config import ConfigError

    known = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", page))
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in {"--", *known}:
            raise ConfigError(f"unknown flag {word.partition('=')[0]}; {nearest(flag, known)}")


def _radar(words: Sequence[str]) -> None:
    """Documented files or shipped recipes."""
    from stillhouse.families.sar.recipes import recipe_path

    words = [word.replace("_", "-") if word.startswith("--") else word for word in words]
    for flag in ("--config", "--teacher-config", "--student-config"):
        if (config := _given(words, flag)) is not None:
            recipe_path(config)
    if (data := _given(words, "--data")) is not None and not Path(data).expanduser().exists():
        raise InputError(f"--data {data}: there is no such file")


def _vectors(command: str, words: Sequence[str]) -> None:
    """Vectors or a YAML file, a recipe, settings."""
    from stillhouse.cli.stored_settings import check_assignments
    from stillhouse.core.config import ConfigError

    known = recipes("run", "embed")
    named = _given(words, "--recipe")
    if command != "distill":
        return
    if named is not None and named not in known:
        raise ConfigError(f"recipe {named!r} is not known; {nearest(named, known)}")
    check_assignments(_every(words, "--set"), sorted(set(known.values())))
    source = words[0] if words else "-"
    if source.lower().endswith((".yaml", ".yml", ".json")):
        _recipe_file(source)
    elif not source.startswith("-") and "--print-config" not in words and not Path(source).expanduser().exists():
        raise InputError(f"{source}: expected a file of vectors or a capture folder, got nothing there")


def _out(command: str, words: Sequence[str], mapping: Mapping[str, Any]) -> None:
    """A run folder is written once, and continued by --resume."""
    out = _given(words, "--out")
    if out is None and isinstance(mapping.get("name"), str) and _setting(words, "name") is None:
        out = str(Path("runs") / mapping["name"])
    if out is None or command not in WRITES or "--resume" in words:
        return
    from stillhouse.core import records
    from stillhouse.core.resume import check_free

    folder = Path(out)
    records.check_folder(folder)
    check_free(folder)


def _data(words: Sequence[str], mapping: Mapping[str, Any]) -> None:
    """Data of one's own lie where the file or the flag says."""
    data = mapping.get("data")
    data = data if isinstance(data, Mapping) else {}
    name = _setting(words, "data.name") or data.get("name")
    root = _setting(words, "data.root") or data.get("root")
    if name in FILES and isinstance(root, str) and not Path(root).expanduser().exists():
        raise InputError(f"{name} {root} (--data-root): expected {FILES[name]}, got nothing there")
    corpus = mapping.get("corpus")
    text = _setting(words, "corpus.source") or (corpus.get("source") if isinstance(corpus, Mapping) else None)
    if isinstance(text, str) and not Path(text).expanduser().exists():
        raise InputError(f"cannot read the text {text} (--corpus-source): there is no such file or folder")


def _teacher(words: Sequence[str], mapping: Mapping[str, Any]) -> None:
    """Files of a teacher of one's own."""
    teacher = mapping.get("teacher")
    teacher = teacher if isinstance(teacher, Mapping) else {}
    checkpoint = _setting(words, "teacher.checkpoint") or teacher.get("checkpoint")
    source = _setting(words, "teacher.source") or teacher.get("source")
    kind, _, path = source.partition(":") if isinstance(source, str) else ("", "", "")
    if kind in ("ckpt", "run") and not Path(path).expanduser().exists():
        raise InputError(f"teacher {source}: there is no such file or folder")
    if kind in LIBRARIES:
        _architecture(kind, path)
    if kind == "py" and not Path(path.rpartition(":")[0]).expanduser().exists():
        raise InputError(f"teacher {source}: there is no such file; expected py:FILE.py:CLASS")
    if isinstance(checkpoint, str) and ":" not in checkpoint and not Path(checkpoint).expanduser().exists():
        raise InputError(f"teacher checkpoint {checkpoint}: there is no such file")


def _architecture(library: str, name: str) -> None:
    """A model that an installed library has; its sources are searched, since to import it takes seconds."""
    found = find_spec(library)
    name = name.partition(".")[0].lower()  # timm's names of weights follow a dot
    if found is None or not found.submodule_search_locations or not re.fullmatch(r"\w+", name):
        return
    files = sorted(Path(found.submodule_search_locations[0]).glob("models/**/*.py"))
    sources = [file.read_text(encoding="utf-8", errors="replace").lower() for file in files]
    if any(re.search(rf"\b{name}\b", source) for source in sources if name in source):
        return
    known = [word for source in sources for word in re.findall(r"@register_model\b(?s:.{0,400}?)\bdef (\w+)", source)]
    if known:
        raise InputError(f"{library} has no {LIBRARIES[library]} {name!r}; {nearest(name, known)}")


def _runs(words: Sequence[str]) -> list[Path]:
    """The run folders among the words of `compare`."""
    named = [
        word for place, word in enumerate(words) if not word.startswith("-") and words[place - 1 :][:1] != ["--out"]
    ]
    return [folder for folder in map(Path, named) if (folder / "run.json").is_file()]


def _form(words: Sequence[str]) -> None:
    """A form that students have, and none of the kind on the card; words that are no form are left to the command."""
    from stillhouse.cli.export import TARGETS
    from stillhouse.core.folder import student_folder
    from stillhouse.core.records import CARD, read_json
    from stillhouse.families import FAMILIES, light

    form, place = _given(words, "--to"), Path(words[0]) if words else Path()
    if form not in TARGETS or not words or words[0].startswith("-") or not place.exists():
        return
    card = read_json(student_folder(place.parent if place.is_file() else place) / CARD)
    if not isinstance(card, Mapping) or card.get("family") not in FAMILIES:
        return
    student, forms = card.get("student"), light(str(card["family"])).forms(card)
    kind = (student.get("kind") if isinstance(student, Mapping) else None) or card["family"]
    if forms is not None and form not in (*forms, "hub"):
        raise InputError(f"--to {form}: a student of kind {kind} has no such form; it has {', '.join((*forms, 'hub'))}")


def _setting(words: Sequence[str], path: str) -> str | None:
    """The value that the command line gives a setting: by its long flag, or by --set."""
    flag = "--" + path.replace(".", "-").replace("_", "-")
    given = _given(words, flag)
    for assignment in _every(words, "--set"):
        if given is None and assignment.partition("=")[0].strip() == path:
            given = assignment.partition("=")[2].strip()
    return given


def _given(words: Sequence[str], flag: str) -> str | None:
    """The last value of a flag."""
    return next(reversed(_every(words, flag)), None)


def _every(words: Sequence[str], flag: str) -> list[str]:
    """All values of a flag that may be given several times."""
    after = [*words[1:], None]
    found = [
        word.partition("=")[2] if word.startswith(f"{flag}=") else following
        for word, following in zip(words, after)
        if word == flag or word.startswith(f"{flag}=")
    ]
    return [value for value in found if value is not None]
