"""The recurrence of the public spiking design: one number a channel, a constant learned decay. A baseline, not a memory.

Shapes: B batch, L length, D width, C tokens of a chunk.

    s_t = d * s_{t-1} + x_t
"""

from __future__ import annotations

import torch
from torch import Tensor


def scalar_recurrent(x: Tensor, log_d: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The definition, a token at a time.

    Args:
        x: (B, L, D) what is added.
        log_d: (D,) logs of the decays, below 0.
        state: (B, D) before the first token; None: zeros.

    Returns:
        (B, L, D) states, and the last one (B, D).

    Example:
        >>> scalar_recurrent(torch.ones(1, 3, 1), torch.tensor([0.5]).log())[0].flatten().tolist()
        [1.0, 1.5, 1.75]
    """
    state = x.new_zeros(x.shape[0], x.shape[2]) if state is None else state
    states = []
    for t in range(x.shape[1]):
        state = log_d.exp() * state + x[:, t]
        states.append(state)
    return torch.stack(states, 1), state


def scalar_chunked(x: Tensor, log_d: Tensor, state: Tensor | None = None, *, chunk: int = 32) -> tuple[Tensor, Tensor]:
    """`scalar_recurrent` by one small triangular product a channel and chunk: powers of the decay, never their inverses.

    Args:
        x: (B, L, D).
        log_d: (D,).
        state: (B, D) or None.
        chunk: tokens of a chunk.

    Returns:
        (B, L, D) and (B, D), as `scalar_recurrent`.

    Example:
        >>> scalar_chunked(torch.ones(1, 3, 1), torch.tensor([0.5]).log(), chunk=2)[0].flatten().tolist()
        [1.0, 1.5, 1.75]
    """
    states = []
    state = x.new_zeros(x.shape[0], x.shape[2]) if state is None else state
    for piece in x.split(chunk, 1):
        steps = torch.arange(piece.shape[1], device=x.device)
        ages = (steps[:, None] - steps).to(x.dtype)
        powers = (log_d[:, None, None] * ages.clamp(min=0)).exp().tril()  # (D, C, C)
        fade = (log_d * (steps[:, None] + 1).to(x.dtype)).exp()  # (C, D)
        states.append(torch.einsum("dts,bsd->btd", powers, piece) + fade * state.unsqueeze(1))
        state = states[-1][:, -1]
    return torch.cat(states, 1), state
