"""From a `TeacherConfig` to a teacher: find the source, load what is given, match the task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stillhouse.core.checks import InputError
from stillhouse.core.types import ImageSpec, InputSpec
from stillhouse.teachers import TeacherConfig
from stillhouse.teachers.classes import order_of
from stillhouse.teachers.from_checkpoint import (
    build_by_name,
    is_own,
    load_foreign,
    load_own,
    load_strictly,
    read_state_dict,
)
from stillhouse.teachers.heads import final_linear, replace_head
from stillhouse.teachers.teacher import Input, NetworkTeacher, Origin, Tokens

WEIGHTS = Path(__file__).parent / "weights"


def build(config: TeacherConfig, input_spec: ImageSpec, features: tuple[str, ...]) -> NetworkTeacher:
    """See `TeacherConfig.build`."""
    kind, _, name = config.source.partition(":")
    if kind == "builtin":
        path = WEIGHTS / f"{name}.safetensors"
        if not path.is_file():
            known = ", ".join(sorted(f"builtin:{p.stem}" for p in WEIGHTS.glob("*.safetensors")))
            raise InputError(f"teacher {config.source!r} does not ship with the package; there is {known}")
        return _own(path, config, input_spec, features)
    if kind == "ckpt":
        path = Path(name)
        if path.is_file() and not is_own(path):
            from stillhouse.teachers.recognised import recognise

            found = recognise(read_state_dict(path))
            if found is not None:
                return build(replace(config, source=found, checkpoint=name), input_spec, features)
        return _own(path, config, input_spec, features)
    order, input_spec = _order(config, input_spec)
    if kind == "py":
        return _of_file(config, input_spec, features, order)
    if config.checkpoint is not None:  # looked at before anything is fetched, and it takes the place of what would be
        read_state_dict(Path(config.checkpoint))
        config = replace(config, pretrained=False)
    module, wants = build_by_name(kind, name, config, input_spec)
    new_head = True
    if config.checkpoint is not None:
        new_head = config.head == "probe"
        load_foreign(
            module, Path(config.checkpoint), input_spec.num_classes, channels=wants.channels, skip_head=new_head
        )
    origin = Origin(config.source, config.architecture)
    return NetworkTeacher(
        module,
        input_spec,
        _seen(wants, config),
        name=config.source,
        origin=origin,
        head_is_new=new_head,
        features=features,
        order=order,
    )


def _of_file(
    config: TeacherConfig, input_spec: InputSpec, features: tuple[str, ...], order: tuple[int, ...] | None
) -> NetworkTeacher:
    from stillhouse.teachers.from_file import build_own

    module, wants = build_own(config.source.partition(":")[2], config.arguments, input_spec, config.image_size)
    if config.checkpoint is not None:
        load_strictly(module, read_state_dict(Path(config.checkpoint)), f"checkpoint {config.checkpoint}")
    new_head = config.head == "probe"
    if new_head:
        replace_head(module, final_linear(module, config.source), input_spec.num_classes)
    name = config.source.rpartition(":")[2]
    return NetworkTeacher(
        module, input_spec, _seen(wants, config), name=name, head_is_new=new_head, features=features, order=order
    )


def _order(config: TeacherConfig, input_spec: ImageSpec) -> tuple[tuple[int, ...] | None, ImageSpec]:
    """Which of the teacher's scores each class of the data has, and the task with the teacher's own classes."""
    if config.classes is None:
        return None, input_spec
    return tuple(order_of(config.classes, input_spec.class_names)), replace(input_spec, class_names=config.classes)


def _seen(wants: Input | Tokens, config: TeacherConfig) -> Input | Tokens:
    """What a network wants to see, with the normalization that the configuration names.

    Raises:
        InputError: of texts, or of another number of channels.
    """
    given = {key: x for key, x in (("mean", config.mean), ("std", config.std)) if x is not None}
    if not given:
        return wants
    if isinstance(wants, Tokens):
        raise InputError(f"teacher.{next(iter(given))}: expected none, the data are texts")
    for key, values in given.items():
        if len(values) not in (1, wants.channels):
            raise InputError(f"teacher.{key}: expected 1 or {wants.channels} numbers, got {len(values)}")
    return replace(wants, mean=config.mean or wants.mean, std=config.std or wants.std)


def _own(path: Path, config: TeacherConfig, input_spec: ImageSpec, features: tuple[str, ...]) -> NetworkTeacher:
    module, wants, saved, origin = load_own(path)
    new_head = config.head == "probe"
    order, input_spec = _order(config, input_spec)
    if saved.num_classes != input_spec.num_classes and not new_head:
        raise InputError(
            f"teacher {path}: expected {input_spec.num_classes} classes, it was trained for {saved.num_classes} "
            f"({', '.join(saved.class_names[:5])}, ...); head: probe re-makes its last layer and fits it to this data"
        )
    if new_head:
        replace_head(module, final_linear(module, str(path)), input_spec.num_classes)
    return NetworkTeacher(
        module,
        input_spec,
        _seen(wants, config),
        name=path.stem,
        origin=origin,
        head_is_new=new_head,
        features=features,
        order=order,
    )
