"""Any torchvision classifier as a teacher."""

from __future__ import annotations

from typing import Any

from torch import nn

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.types import ImageSpec
from stillhouse.teachers import TeacherConfig
from stillhouse.teachers.heads import final_linear, replace_head
from stillhouse.teachers.teacher import Input

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALLEST_SIDE = 32


def build_torchvision(name: str, config: TeacherConfig, input_spec: ImageSpec) -> tuple[nn.Module, Input]:
    """The network with a head for the task, and what it wants to see: 3 channels, ImageNet's normalization.

    The side: `image_size` if given; else 224 for transformers (a table of positions), else that of the data, at least 32.

    Raises:
        InputError: unknown name, no linear head, weights that cannot be fetched.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise InputError(f"torchvision has no classifier {name!r}; {nearest(name, known)}")
    if wrong := sorted({"weights", "weights_backbone", "pretrained", "progress"} & set(config.architecture)):
        raise InputError(f"torchvision:{name}: expected arguments of the architecture itself, got {', '.join(wrong)}")
    try:
        module: nn.Module = models.get_model(
            name, weights="DEFAULT" if config.pretrained else None, **config.architecture
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"torchvision:{name} cannot be built with {config.architecture}: {error}") from None
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"the published weights of torchvision:{name} cannot be fetched ({error}); offline, give a checkpoint "
            "(teacher.checkpoint=FILE teacher.pretrained=false)"
        ) from None
    replace_head(module, final_linear(module, f"torchvision:{name}"), input_spec.num_classes)
    mean, std = _normalization(name)
    own_side = 224 if "vit" in name or "swin" in name or "maxvit" in name else None
    side = config.image_size or own_side or max(SMALLEST_SIDE, *input_spec.shape[1:])
    return module, Input(3, mean, std, side)


def _normalization(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of the published weights, as in their own transforms."""
    from torchvision import models

    weights: Any = next(iter(models.get_model_weights(name)), None)
    if weights is None:
        return IMAGENET_MEAN, IMAGENET_STD
    transforms = weights.transforms()
    return tuple(getattr(transforms, "mean", IMAGENET_MEAN)), tuple(getattr(transforms, "std", IMAGENET_STD))
