"""Mixup and CutMix of a batch, by torchvision, a function of (batch, seed) alone.

Legend: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch


def mix(batch: Batch, *, mixup: float, cutmix: float, num_classes: int, seed: int) -> Batch:
    """Each image blended with its neighbor in the batch, or with a box of it pasted in; one share for the whole batch.

    Args:
        batch: B images of at least 2; its labels become those of the larger part.
        mixup: alpha of mixup; 0 turns it off.
        cutmix: alpha of CutMix; 0 turns it off. If both are on, a fair coin decides.
        num_classes: K.
        seed: fixes the draw; the global random state is left alone.

    Returns:
        The batch with mixed `inputs`, and `soft_labels` (B, K): the shares of the two labels.

    Raises:
        InputError: a batch of one, which has no neighbor, or fewer than 2 classes.

    Example:
        >>> batch = Batch(torch.eye(2).reshape(2, 1, 1, 2), torch.tensor([0, 1]), torch.arange(2))
        >>> mixed = mix(batch, mixup=1.0, cutmix=0.0, num_classes=2, seed=0)
        >>> torch.allclose(mixed.inputs.flatten(1), mixed.soft_labels)
        True

    Source: Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899.
    """
    if len(batch.labels) < 2:
        raise InputError(
            "mixup and CutMix: expected a batch of at least 2 images to mix, got 1; take a larger batch_size"
        )
    if num_classes < 2:
        raise InputError(f"mixup and CutMix: expected at least 2 classes, got {num_classes}")
    if mixup <= 0 and cutmix <= 0:
        return batch
    from torchvision.transforms import v2

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blend = mixup > 0 and (cutmix <= 0 or bool(torch.rand(()) < 0.5))
        change = (
            v2.MixUp(alpha=mixup, num_classes=num_classes)
            if blend
            else v2.CutMix(alpha=cutmix, num_classes=num_classes)
        )
        inputs, soft = change(batch.inputs, batch.labels)
    return replace(batch, inputs=inputs, soft_labels=soft)
