"""Every field of every configuration means the same from the command line and from a YAML file, in every part."""

import contextlib
import copy
import io
import json
import typing
from dataclasses import dataclass, is_dataclass
from functools import cache

import pytest
import yaml

from stillhouse.classification.data import DataConfig
from stillhouse.cli.main import main
from stillhouse.core.config import ConfigError, members, parse, parts_beside, place, settings, to_mapping
from stillhouse.core.flags import holds_configs, takes_plain
from stillhouse.recipes import known, known_teachers

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
    flag: tuple[str, ...] = ()  # of its settings: those of a part that is written beside stand where it does


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
    "ImagesRunConfig": {"student": {"kind": "timm"}},
    "SarTrainConfig": {"model": {"kind": "state-space"}},
    "HiddenConfig": {"student": ["a", "b"], "teacher": ["a", "b"]},
    "AttentionConfig": {"relation_heads": 1},
    "DiversePool": {"student": "a"},
    "ExplicitMap": {"mapping": {1: 1, 2: 1}},
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
    place(run, path, value)
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
            flag = at.flag if name in {part for part, _, _ in parts_beside(at.kind)} else (*at.flag, name)
            for part, listed in parts_of(info.annotation):
                path = (*at.path, name)
                run = changed(at.run, path, [least(part)] if listed else least(part))
                union = (part, repr(info.annotation), name)
                if union not in seen and fits(root, run):
                    seen.add(union)
                    inner = ("0",) * listed
                    queue.append(Place((*path, *inner), part, run, (*flag, *inner)))


def printed(*words):
    """What a command says that it would run; its error where it refuses."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([*words, "--print-config"])
    return out.getvalue() if status == 0 else f"refused: {err.getvalue()}"


def as_flag(at, name, value):
    """A setting as a flag."""
    flag = "--" + "-".join((*at.flag, name)).replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if isinstance(value, list) and isinstance(value[0], list):  # no flag takes a list of lists
        return [f"--set={'.'.join((*at.path, name))}={json.dumps(value)}"]
    if isinstance(value, list):
        return [flag, *map(str, value)]
    return [flag, json.dumps(value) if isinstance(value, dict) else str(value)]


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
    """A flag of one member of a union was judged by the words of another: `--data-name mnist` was refused, the file was taken."""
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
            flags = [word for name, value in change.items() for word in as_flag(at, name, value)]
            sets = [f"--set={'.'.join((*at.path, name))}={json.dumps(value)}" for name, value in change.items()]
            for words in (flags, sets):
                assert printed(command, str(base), *words) == expected, (at, words)
            is_refused = expected.startswith("refused")
            taken, refused = taken + len(change) * (not is_refused), refused + len(change) * is_refused
    assert taken > refused  # the rest needs another setting beside it, and is refused alike


def test_every_part_of_every_configuration_is_tried():
    """A member of a union that the walk above leaves out could have a field that no flag sets."""
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
    """`--data-name` was judged by the texts' word alone; with it, all settings of images were unknown keys of texts."""
    file = tmp_path / "x.yaml"
    file.write_text(
        yaml.safe_dump({"recipe": "digits-timm", "name": "digits-timm", "data": {"name": name, "root": "x"}})
    )
    expected = printed("distill", str(file))
    assert yaml.safe_load(expected)["data"]["name"] == name
    assert printed("distill", "digits-timm", "--data-name", name, "--data-root", "x") == expected
    assert printed("distill", "digits-timm", "--set", f"data.name={name}", "--set", "data.root=x") == expected


def test_one_word_is_no_list_of_one(tmp_path):
    """`--signals-0-student blocks` (all layers under it) was read as a list of one layer, another signal than the file's."""
    file = tmp_path / "x.yaml"
    file.write_text("signals: [{kind: hidden, student: a, teacher: [b, c]}]\n")
    found = [printed("distill", str(file), "--signals-0-student", *words) for words in (["d"], ["d", "e"], ["d,e"])]
    assert [yaml.safe_load(one)["signals"][0]["student"] for one in found] == ["d", ["d", "e"], ["d", "e"]]
