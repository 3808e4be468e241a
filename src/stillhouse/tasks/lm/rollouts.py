"""What a recurrent student writes itself, and how hard windows are to it or to a teacher.

Shapes: B texts, P tokens of a prompt, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.types import Batch
from stillhouse.curricula import fuse, rouge_l
from stillhouse.tasks.lm.corpus import Windows

WRITTEN = 32  # tokens that a judge writes after half a window
WRITING_ROWS, ASKED_ROWS = 256, 16  # windows that it continues, or that a judge is asked about, at a time


@torch.no_grad()
def continued(model: Any, prompt: Tensor, count: int) -> Tensor:
    """Prompts (B, P) with the likeliest `count` tokens after them, (B, P + count); the cost of a token does not grow with the text.

    The `SpikingLM` is in the mode it was given in afterwards, and without a trace of a gradient.
    """
    training = model.training
    model.eval()
    scores, state = model.read(prompt)
    found = [prompt, scores.argmax(-1, keepdim=True)]
    for _ in range(count - 1):
        scores, state = model.read(found[-1], state)
        found.append(scores.argmax(-1, keepdim=True))
    model.train(training)
    return torch.cat(found, 1)


def window_difficulty(judge: Any, windows: Windows, measures: Sequence[str], *, k: float = 60.0) -> np.ndarray:
    """(rows,) how hard each window is to a judge, high is hard: fused ranks of several measures.

    Args:
        judge: a teacher, which a student may be the network of.
        windows: the rows.
        measures: some of "loss", "margin" (the right score less the best other) and "rouge-l"; the last compares what a student
            writes after half a window with how the text goes on.
        k: constant of the reciprocal rank fusion.
    """
    found: dict[str, np.ndarray] = {}
    if "rouge-l" in measures:
        found["rouge-l"] = written_overlap(judge.module, windows)
    if set(measures) > set(found):
        pieces = np.array_split(np.arange(len(windows)), max(1, -(-len(windows) // ASKED_ROWS)))
        losses, margins = zip(*(_loss_and_margin(judge, *windows(rows)) for rows in pieces))
        found |= {"loss": np.concatenate(losses), "margin": np.concatenate(margins)}
    return np.asarray(fuse({name: found[name] for name in measures}, k=k))


def _loss_and_margin(judge: Any, inputs: Tensor, targets: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(B,) of each window: mean cross-entropy, and mean of the right score less the best other."""
    logits = judge(Batch(inputs, targets, torch.arange(len(inputs)))).logits
    right = targets.unsqueeze(-1).to(logits.device)
    score, others = logits.gather(-1, right), logits.scatter(-1, right, float("-inf")).amax(-1, keepdim=True)
    found = (logits.logsumexp(-1, keepdim=True) - score, score - others)
    loss, margin = (x.mean((1, 2)).cpu().numpy() for x in found)
    return loss, margin


def written_overlap(model: Any, windows: Windows) -> np.ndarray:
    """(rows,) ROUGE-L of what a student writes after half of each window, its likeliest tokens, against how the text goes on.

    Source: Liu et al. 2025, arXiv:2506.05695 (POCL), section 3.
    """
    half = max(1, windows.length // 2)
    count = min(WRITTEN, windows.length - half)
    found = []
    for rows in np.split(np.arange(len(windows)), np.arange(WRITING_ROWS, len(windows), WRITING_ROWS)):
        inputs = windows(rows)[0]
        written = continued(model, inputs[:, :half].to(next(model.parameters()).device), count)[:, half:].tolist()
        found += [rouge_l(a, b) for a, b in zip(written, inputs[:, half : half + count].tolist())]
    return np.asarray(found)
