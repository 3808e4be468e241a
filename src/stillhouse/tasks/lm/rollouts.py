"""Texts that a recurrent student writes itself: a prompt is read in one pass, the rest a token at a time by its state.

Shapes: B texts, P tokens of a prompt.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def continued(model: Any, prompt: Tensor, count: int, *, temperature: float = 0.0, seed: int = 0) -> Tensor:
    """Prompts with `count` tokens that the model wrote after them; the cost of a token does not grow with the text.

    Args:
        model: a `SpikingLM`; in the mode it was given in afterwards, and without a trace of a gradient.
        prompt: (B, P) int64, P at least 1.
        count: tokens to write.
        temperature: of the draws; 0 takes the likeliest token.
        seed: of the draws, which do not depend on the device.

    Returns:
        (B, P + count) int64.
    """
    draws = torch.Generator().manual_seed(seed)
    training = model.training
    model.eval()
    try:
        scores, state = model.read(prompt)
        found = [prompt]
        for left in range(count, 0, -1):
            token = _drawn(scores, temperature, draws)
            found.append(token.unsqueeze(1))
            if left > 1:
                scores, state = model.step(token, state)
    finally:
        model.train(training)
    return torch.cat(found, 1)


def _drawn(scores: Tensor, temperature: float, draws: torch.Generator) -> Tensor:
    """(B,) tokens of scores (B, V)."""
    if temperature == 0:
        return scores.argmax(-1)
    summed = (scores.float() / temperature).softmax(-1).cumsum(-1)
    place = torch.rand(len(scores), 1, generator=draws).to(scores.device) * summed[:, -1:]
    return (summed <= place).sum(-1).clamp(max=scores.shape[-1] - 1)
