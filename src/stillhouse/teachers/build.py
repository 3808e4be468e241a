"""From a `TeacherConfig` to a teacher: find the source, load what is given, match the task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stillhouse.core.checks import InputError
from stillhouse.core.types import ImageTask
from stillhouse.teachers import TeacherConfig
from stillhouse.teachers.from_checkpoint import load_foreign, load_own, read_state_dict
from stillhouse.teachers.heads import final_linear, replace_head
from stillhouse.teachers.teacher import NetworkTeacher, Origin

WEIGHTS = Path(__file__).parent / "weights"


def build(config: TeacherConfig, task: ImageTask, features: tuple[str, ...]) -> NetworkTeacher:
    """See `TeacherConfig.build`."""
    kind, _, name = config.source.partition(":")
    if kind == "builtin":
        path = WEIGHTS / f"{name}.safetensors"
        if not path.is_file():
            known = ", ".join(sorted(f"builtin:{p.stem}" for p in WEIGHTS.glob("*.safetensors")))
            raise InputError(f"teacher {config.source!r} does not ship with the package; there is {known}")
        return _own(path, config, task, features)
    if kind == "ckpt":
        return _own(Path(name), config, task, features)
    if kind == "timm":
        from stillhouse.teachers.from_timm import build_timm as build_network
    else:
        from stillhouse.teachers.from_torchvision import build_torchvision as build_network
    if config.checkpoint is not None:  # looked at before anything is fetched, and it takes the place of what would be
        read_state_dict(Path(config.checkpoint))
        config = replace(config, pretrained=False)
    module, wants = build_network(name, config, task)
    new_head = True
    if config.checkpoint is not None:
        new_head = config.head == "probe"
        load_foreign(module, Path(config.checkpoint), task.num_classes, skip_head=new_head)
    origin = Origin(config.source, config.architecture)
    return NetworkTeacher(
        module, task, wants, name=config.source, origin=origin, head_is_new=new_head, features=features
    )


def _own(path: Path, config: TeacherConfig, task: ImageTask, features: tuple[str, ...]) -> NetworkTeacher:
    module, wants, saved, origin = load_own(path)
    new_head = config.head == "probe"
    if saved.num_classes != task.num_classes and not new_head:
        raise InputError(
            f"teacher {path}: expected {task.num_classes} classes, it was trained for {saved.num_classes} "
            f"({', '.join(saved.class_names[:5])}, ...); head: probe re-makes its last layer and fits it to this data"
        )
    if new_head:
        replace_head(module, final_linear(module, str(path)), task.num_classes)
    return NetworkTeacher(module, task, wants, name=path.stem, origin=origin, head_is_new=new_head, features=features)
