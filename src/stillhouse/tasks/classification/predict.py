"""What a model puts out for a whole split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core import ranks
from stillhouse.core.processes import gather, share
from stillhouse.core.types import Batch
from stillhouse.tasks.classification.data import ImageSplit


@torch.no_grad()
def predict(logits_of: Callable[[Batch], Tensor], split: ImageSplit, batch_size: int = 512) -> np.ndarray:
    """Class probabilities (N, K) float32 of every row of a split, in order.

    Args:
        logits_of: (B, K) logits of a batch; the caller puts the model in eval mode.
        split: N images.
        batch_size: images per forward pass.
    """
    rows = [torch.softmax(logits_of(batch).float(), dim=1).cpu() for batch in split.batches(batch_size)]
    return torch.cat(rows).numpy()


def probabilities_of(model: nn.Module, split: ImageSplit, batch_size: int = 512) -> np.ndarray:
    """The same of a network that reads inputs, wherever it is."""
    device = next(model.parameters()).device
    return predict(lambda batch: model(batch.inputs.to(device)), split, batch_size)


@torch.no_grad()
def predict_together(logits_of: Callable[[Batch], Tensor], split: ImageSplit, batch_size: int = 512) -> np.ndarray:
    """`predict` by all processes of a run, each its part of every batch; all of them get the whole.

    A process without a row of a batch is given one with label -1, whose answer is dropped.
    """
    if ranks.count() == 1:
        return predict(logits_of, split, batch_size)
    found = []
    for rows in torch.arange(len(split)).split(batch_size):
        mine, sizes = share(rows)
        batch = split.batch(mine)
        if sizes[ranks.rank()] == 0:
            batch = replace(batch, labels=torch.full_like(batch.labels, -1))
        found.append(gather(torch.softmax(logits_of(batch).float(), dim=1), sizes).cpu())
    return torch.cat(found).numpy()
