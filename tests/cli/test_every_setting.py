"""Every field of every configuration means the same from the command line and from a YAML file, in every part."""

import contextlib
import copy
import functools
import io
import json
import typing
from dataclasses import dataclass, is_dataclass
from functools import cache

import pytest
import yaml

from stillhouse.cli.main import main
from stillhouse.core.config import ConfigError, members, parse, set_path, settings, to_mapping
from stillhouse.recipes import known, known_teachers
from stillhouse.tasks.classification.data.config import DataConfig

ROOTS = {
    (command, type(recipe())): None
    for command, recipes in (("distill", known), ("train-teacher", known_teachers))
    for recipe in recipes().values()
}
FLOATS = (0.25, 0.75, 1.5, 3.0, 0.001)
WHOLE = (3, 2, 5, 1, 8, 16, 64, 0, 7)


@dataclass(frozen=True)
class Place:
    """A part of a run: where it stands, its class, and the shortest run that has it there."""

    path: tuple[str, ...]
    kind: type
    run: dict


def candidates(annotation, default):
    """Values of other kinds than the default's, the likeliest first."""
    for one in members(annotation):
        origin, inside = typing.get_origin(one), typing.get_args(one)
        if origin is typing.Literal:
            yield from (word for word in reversed(inside) if word != default)
        elif one is bool:
            yield not default
        elif one is int:
            yield from (n for n in (default + 1, default - 1) if default) if isinstance(default, int) else ()
            yield from WHOLE
        elif one is float:
            yield from (default / 2, default * 2) if isinstance(default, (int, float)) and default else ()
            yield from FLOATS
        elif one is str:
            yield from ("other", "timm:resnet18", "0:other", "best")
        elif origin is tuple and typing.get_origin(inside[0]) is tuple:
            yield [["a"] * len(typing.get_args(inside[0]))]
        elif origin is tuple:
            length = {len(default)} - {0} if isinstance(default, tuple) else set()
            for entry in candidates(inside[0], None):
                yield from ([entry] * count for count in (*length, 1, 2, 3, 4))
        elif origin is dict:
            yield {1: 1, 2: 2} if inside[0] is int else {"a": "b"}


def parts_of(annotation):
    """(class, whether in a list) of each part that a field may hold."""
    for one in members(annotation):
        if typing.get_origin(one) is tuple:
            yield from ((part, True) for part, _ in parts_of(typing.get_args(one)[0]))
        elif isinstance(one, type) and is_dataclass(one):
            yield one, False


MORE = {  # what a part must be given beside, so that it can be
    "ClassificationRunConfig": {"student": {"kind": "timm"}},
    "SarTrainConfig": {"model": {"kind": "state-space"}},
    "HiddenConfig": {"student": ["a", "b"], "teacher": ["a", "b"]},
    "AttentionConfig": {"relation_heads": 1},
    "DiversePool": {"student": "a"},
}


def least(kind):
    """A part as short as it can be: its tag, and what it must be given."""
    found = {}
    for name, info in settings(kind).items():
        if name == "kind" or typing.get_args(info.annotation) == ("texts",):
            found[name] = info.default
        elif info.is_required():
            part = next(parts_of(info.annotation), None)
            found[name] = least(part[0]) if part else next(candidates(info.annotation, None))
    return found | MORE.get(kind.__name__, {})


def fits(root, run):
    """Whether a run is one."""
    try:
        return to_mapping(parse(root, copy.deepcopy(run)))
    except ConfigError:
        return None


def changed(run, path, value):
    """A run with one setting changed."""
    run = copy.deepcopy(run)
    set_path(run, path, value)
    return run


@cache
def places():
    """Every class of a part by root, at the first place where the shortest run that has it there is one; shared unions once."""
    seen = set()
    return {root: [*_places(root, seen)] for _, root in ROOTS}


def _places(root, seen):
    queue = [Place((), root, least(root))]
    for at in queue:
        yield at
        for name, info in settings(at.kind).items():
            for part, listed in parts_of(info.annotation):
                path = (*at.path, name)
                run = changed(at.run, path, [least(part)] if listed else least(part))
                union = (part, repr(info.annotation), name)
                if union not in seen and fits(root, run):
                    seen.add(union)
                    inner = ("0",) * listed
                    queue.append(Place((*path, *inner), part, run))


def printed(*words):
    """What a command says that it would run; its error where it refuses."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([*words, "--print-config"])
    return out.getvalue() if status == 0 else f"refused: {err.getvalue()}"


def takes_plain(annotation):
    """A field that takes a number or a word beside configurations."""
    return any(kind in (int, float, str) for kind in members(annotation))


def holds_configs(annotation):
    """A field of parts that have settings of their own."""
    inner = {m for kind in members(annotation) for arg in typing.get_args(kind) for m in members(arg)}
    return any(is_dataclass(kind) for kind in {*members(annotation), *inner})


def choices(root, at):
    """(name, value, whether a run can have it) of each field of a part that takes a value of its own."""
    base = fits(root, at.run)
    for name, info in settings(at.kind).items():
        if name == "kind" or (holds_configs(info.annotation) and not takes_plain(info.annotation)):
            continue
        values = list(candidates(info.annotation, info.default))
        if not values:  # it takes one word alone
            continue
        good = (v for v in values if fits(root, changed(at.run, (*at.path, name), v)) not in (None, base))
        found = next(good, None)
        yield name, values[0] if found is None else found, found is not None
        if info.default is not None and type(None) in typing.get_args(info.annotation):
            yield name, None, fits(root, changed(at.run, (*at.path, name), None)) is not None


def together(root, at):
    """Changes of a part: as many at once as a run can have; those that it cannot have, one by one."""
    run, chosen, alone = at.run, {}, []
    for name, value, can in choices(root, at):
        more = changed(run, (*at.path, name), value)
        if can and name not in chosen and fits(root, more):
            run, chosen[name] = more, value
        else:
            alone.append({name: value})
    return [chosen] * bool(chosen) + alone


@pytest.mark.parametrize(("command", "root"), ROOTS, ids=lambda one: getattr(one, "__name__", one))
def test_a_setting_means_the_same_in_a_file_and_on_the_command_line(command, root, tmp_path):
    """As `key=value`, in any order."""
    base, whole = tmp_path / "base.yaml", tmp_path / "whole.yaml"
    taken = refused = 0
    for at in places()[root]:
        base.write_text(yaml.safe_dump({"name": "x", **at.run}))
        for change in together(root, at):
            run = {"name": "x", **at.run}
            for name, value in change.items():
                run = changed(run, (*at.path, name), value)
            whole.write_text(yaml.safe_dump(run))
            expected = printed(command, str(whole))
            words = [f"{'.'.join((*at.path, name))}={json.dumps(value)}" for name, value in change.items()]
            for way in (words, words[::-1]):
                assert printed(command, str(base), *way) == expected, (at, way)
            is_refused = expected.startswith("refused")
            taken, refused = taken + len(change) * (not is_refused), refused + len(change) * is_refused
    assert taken > refused  # the rest needs another setting beside it, and is refused alike


def test_every_part_of_every_configuration_is_tried():
    """A member of a union that the walk above leaves out could have a field that nothing sets."""
    tried = {at.kind for found in places().values() for at in found}
    found, queue = set(), [root for _, root in ROOTS]
    for kind in queue:
        inside = {part for info in settings(kind).values() for part, _ in parts_of(info.annotation)}
        queue += [part for part in inside if part not in found]
        found |= inside
    assert {kind.__name__ for kind in found - tried} == {
        "ProductsConfig"
    }  # wants `source: zarr` and a length beside it


@pytest.mark.parametrize("name", [*typing.get_args(settings(DataConfig)["name"].annotation), "texts"])
def test_every_data_set_can_be_named_over_a_recipe(name, tmp_path):
    """All settings of images were unknown keys of texts."""
    file = tmp_path / "x.yaml"
    file.write_text(
        yaml.safe_dump({"recipe": "digits-timm", "name": "digits-timm", "data": {"name": name, "root": "x"}})
    )
    expected = printed("distill", str(file))
    assert yaml.safe_load(expected)["data"]["name"] == name
    assert printed("distill", "digits-timm", f"data.name={name}", "data.root=x") == expected


def members_by_path():
    """(command, shortest run, path, kind) of every member of every union by `kind`."""
    for (command, root), found in zip(ROOTS, places().values()):
        for at in found:
            if at.path and "kind" in settings(at.kind):
                yield command, root, at


def test_every_kind_can_be_chosen_by_one_word(tmp_path):
    """Its defaults are its own, also where the part before had others; other settings come on top, in any order."""
    tried = 0
    for command, root, at in members_by_path():
        kind = settings(at.kind)["kind"].default
        others = [part for part, _ in parts_of(_annotation(root, at.path)) if "kind" in settings(part)]
        other = next((least(part) for part in others if part is not at.kind), None)
        if other is None or fits(root, changed(at.run, at.path, other)) is None:
            continue
        part = functools.reduce(lambda here, key: here[int(key) if key.isdigit() else key], at.path, at.run)
        (tmp_path / "old.yaml").write_text(yaml.safe_dump({"name": "x", **changed(at.run, at.path, other)}))
        (tmp_path / "new.yaml").write_text(yaml.safe_dump({"name": "x", **at.run}))
        where = ".".join(at.path)
        words = [f"{where}.{key}={json.dumps(value)}" for key, value in part.items() if key != "kind"]
        expected = printed(command, str(tmp_path / "new.yaml"))
        assert printed(command, str(tmp_path / "old.yaml"), *words, f"{where}.kind={kind}") == expected, at
        tried += 1
    assert tried > 60


def _annotation(kind, path):
    """The annotation of the field at a path, through lists and parts."""
    here = [kind]
    for step in path:
        if step.isdigit():
            continue
        annotation = next(settings(part)[step].annotation for part in here if step in settings(part))
        here = [part for part, _ in parts_of(annotation)]
    return annotation
