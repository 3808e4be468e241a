"""A state dict without a name, recognised by its keys and shapes among networks that are known.

BatchNorm's counters of batches are left out: files from before they were there, and from other libraries, have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

TORCHVISION = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d"),
    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "shufflenet_v2_x1_0", "efficientnet_b0"),
    *("convnext_tiny", "densenet121", "vgg11_bn", "vgg16", "vit_b_16", "swin_t"),
)
TIMM = (
    *("resnet18d", "resnet26", "resnet26d", "resnet50d", "resnetv2_50", "mobilenetv3_small_100", "efficientnet_b0"),
    *("convnext_atto", "convnext_tiny", "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224"),
)
FEWEST = 20  # entries; none of these has fewer


def recognise(weights: Mapping[str, Tensor]) -> str | None:
    """`cifar:NAME`, `torchvision:NAME` or `timm:NAME` whose entries have exactly these names and shapes; None: not known.

    The class count is that of the last matrix; two networks of the same entries (resnet50 of both libraries) are one.
    """
    shapes = shapes_of(weights)
    matrices = [shape for name, shape in shapes.items() if name.endswith(".weight") and len(shape) == 2]
    if not matrices or len(shapes) < FEWEST:
        return None
    for name, make in _candidates(matrices[-1][0]):
        with torch.device("meta"):  # shapes alone: no memory, no drawing of weights
            network = make()
        if shapes_of(network.state_dict()) == shapes:
            return name
    return None


def shapes_of(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by name, without counters of batches.

    Example:
        >>> shapes_of(torch.nn.BatchNorm1d(2).state_dict())
        {'weight': (2,), 'bias': (2,), 'running_mean': (2,), 'running_var': (2,)}
    """
    return {name: tuple(x.shape) for name, x in weights.items() if not name.endswith("num_batches_tracked")}


def _candidates(classes: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    from torchvision import models

    from stillhouse.teachers.cifar_resnet import BLOCKS, CifarResNet

    for name, blocks in BLOCKS.items():
        yield f"cifar:{name}", partial(CifarResNet, blocks, classes)
    for name in TORCHVISION:
        yield f"torchvision:{name}", partial(models.get_model, name, weights=None, num_classes=classes)
    import timm

    for name in TIMM:
        yield f"timm:{name}", partial(timm.create_model, name, pretrained=False, num_classes=classes)
