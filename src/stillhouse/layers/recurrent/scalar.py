"""The recurrence of the public spiking design: one number a channel, a constant learned decay. A baseline, not a memory.

Shapes: B batch, L length, D width, N chunks, C tokens of a chunk.

    s_t = d * s_{t-1} + x_t
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from stillhouse.layers.recurrent.delta import check_chunk


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
    check_chunk(chunk)
    (batch, length, width), size = x.shape, min(chunk, x.shape[1])
    state = x.new_zeros(batch, width) if state is None else state
    missing = -length % size
    pieces = (pad(x, (0, 0, 0, missing)) if missing else x).unflatten(1, (-1, size))
    steps = torch.arange(size, device=x.device)
    ages = (steps[:, None] - steps).to(x.dtype)
    powers = (log_d[:, None, None] * ages.clamp(min=0)).exp().tril()  # (D, C, C)
    own = torch.einsum("dts,bnsd->bntd", powers, pieces)
    fade = (log_d * (steps[:, None] + 1).to(x.dtype)).exp()  # (C, D)
    states = []
    for n in range(pieces.shape[1]):
        here = own[:, n] + fade * state.unsqueeze(1)
        states.append(here)
        state = here[:, -1] if n + 1 < pieces.shape[1] or not missing else here[:, size - missing - 1]
    return torch.cat(states, 1)[:, :length], state


def published_scalar_scan(x: Tensor, log_d: Tensor) -> Tensor:
    """The public design's parallel form, d^t * cumsum(x / (d^t + 1e-8)), kept to show what it does: its states vanish.

    Once d^t is below 1e-8 (after 19 tokens at the published start d = 0.378) the constant takes over and the states fall to 0,
    whatever is put in. Use `scalar_chunked`.

    Args:
        x: (B, L, D).
        log_d: (D,).

    Returns:
        (B, L, D) what it takes for states.

    Example:
        With ones put in and d = 1/2 the states approach 2; after 40 tokens this form gives 0.

        >>> ones, log_d = torch.ones(1, 40, 1), torch.tensor([0.5]).log()
        >>> round(scalar_recurrent(ones, log_d)[1].item(), 2), round(published_scalar_scan(ones, log_d)[0, -1, 0].item(), 2)
        (2.0, 0.0)
    """
    t = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype)
    decay = (log_d * t[:, None]).exp()
    return decay * (x / (decay + 1e-8)).cumsum(1)
