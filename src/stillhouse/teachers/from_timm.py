"""Any timm image model as a teacher: channels matched, image size matched where the architecture can, head re-made."""

from __future__ import annotations

from typing import Any

from torch import nn

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.types import ImageTask
from stillhouse.teachers import TeacherConfig
from stillhouse.teachers.teacher import Input

SMALLEST_SIDE = 32


def build_timm(name: str, config: TeacherConfig, task: ImageTask) -> tuple[nn.Module, Input]:
    """The network with a head for the task, and what it wants to see.

    The side: `image_size` if given; else, for a CNN, that of the data but at least 32; else (ViT, Swin: position tables and
    windows of a fixed size) the model's own. An architecture that can be built for a side (`img_size`) is.

    Raises:
        InputError: unknown name, weights that cannot be fetched, a side the architecture refuses.
    """
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise InputError(f"timm has no model {name!r}; {nearest(name, timm.list_models())}")
    settings: dict[str, Any] = {"num_classes": task.num_classes, "in_chans": task.shape[0], **config.architecture}
    try:
        module, side = _create(name, config, settings, max(task.shape[1:]))
    except (AssertionError, ValueError, TypeError) as error:
        raise InputError(f"timm:{name} cannot be built with {settings}: {error}") from None
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"the published weights of timm:{name} cannot be fetched ({_short(error)}); offline, give a checkpoint "
            "(--teacher-checkpoint FILE --no-teacher-pretrained)"
        ) from None
    if config.pretrained or config.checkpoint is not None:
        published: dict[str, Any] = module.pretrained_cfg
        mean, std = tuple(published["mean"]), tuple(published["std"])
    else:
        mean, std = task.pixel_mean, task.pixel_std  # from scratch: no published pixels to agree with
    if len(mean) not in (1, task.shape[0]):
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return module, Input(task.shape[0], mean, std, side)


def _create(name: str, config: TeacherConfig, settings: dict[str, Any], data_side: int) -> tuple[Any, int]:
    """The network and the side it was built for; whether an architecture has a fixed one is read from its constructor."""
    import timm

    native = timm.get_pretrained_cfg(name)
    side = config.image_size or (int(native.input_size[-1]) if native is not None else 224)
    try:
        return timm.create_model(name, pretrained=config.pretrained, img_size=side, **settings), side
    except TypeError as error:
        if "img_size" not in str(error):
            raise
    side = config.image_size or max(SMALLEST_SIDE, data_side)
    return timm.create_model(name, pretrained=config.pretrained, **settings), side


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
