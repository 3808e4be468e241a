"""From a `TeacherConfig` to a teacher: find the source, load what is given, match the task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stillhouse.core.checks import InputError
from stillhouse.core.types import ImageSpec
from stillhouse.teachers.check import order_of
from stillhouse.teachers.checkpoint import build_by_name, load_foreign, load_own, load_strictly, read_state_dict
from stillhouse.teachers.config import TeacherConfig
from stillhouse.teachers.networks import build_own, final_linear, replace_head
from stillhouse.teachers.teacher import Input, NetworkTeacher, Origin, Tokens

WEIGHTS = Path(__file__).parent / "weights"


def build(config: TeacherConfig, input_spec: ImageSpec, features: tuple[str, ...]) -> NetworkTeacher:
    """See `TeacherConfig.build`."""
    kind, _, name = config.source.partition(":")
    if kind == "builtin" and not (WEIGHTS / f"{name}.safetensors").is_file():
        known = ", ".join(sorted(f"builtin:{p.stem}" for p in WEIGHTS.glob("*.safetensors")))
        raise InputError(f"teacher {config.source!r} does not ship with the package; there is {known}")
    order, spec = _order(config, input_spec)
    origin: Origin | None = None
    wants: Input | Tokens
    new_head = config.head == "probe"
    if kind in ("builtin", "ckpt"):
        path = WEIGHTS / f"{name}.safetensors" if kind == "builtin" else Path(name)
        shown = path.stem
        module, wants, saved, origin = load_own(path)
        if saved.num_classes != spec.num_classes and not new_head:
            raise InputError(
                f"teacher {path}: expected {spec.num_classes} classes, it was trained for {saved.num_classes} "
                f"({', '.join(saved.class_names[:5])}, ...); head: probe re-makes its last layer and fits it to this data"
            )
    elif kind == "py":
        shown = config.source.rpartition(":")[2]
        module, wants = build_own(name, config.arguments, spec, config.image_size)
        if config.checkpoint is not None:
            load_strictly(module, read_state_dict(Path(config.checkpoint)), f"checkpoint {config.checkpoint}")
    else:
        shown, origin = config.source, Origin(config.source, config.architecture)
        if (
            config.checkpoint is not None
        ):  # looked at before anything is fetched, and it takes the place of what would be
            read_state_dict(Path(config.checkpoint))
            config = replace(config, pretrained=False)
        module, wants = build_by_name(kind, name, config, spec)
        if config.checkpoint is not None:
            path = Path(config.checkpoint)
            load_foreign(module, path, spec.num_classes, channels=wants.channels, skip_head=new_head)
        else:
            new_head = True
    if new_head and kind not in ("timm", "torchvision"):
        replace_head(module, final_linear(module, config.source), spec.num_classes)
    wants = _seen(wants, config)
    more = {"name": shown, "origin": origin, "head_is_new": new_head, "features": features, "order": order}
    return NetworkTeacher(module, spec, wants, **more)  # type: ignore[arg-type]


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
