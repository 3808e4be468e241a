"""Gated linear attention: the memory of the delta rule without its removals, and so without a triangular system.

Shapes: B batch, H heads, L length, K key width, V value width, N chunks, C tokens of a chunk.

    M_t = diag(w_t) M_{t-1} + k_t v_t^T          y_t = M_t^T r_t
"""

from __future__ import annotations

import torch
from torch import Tensor

from stillhouse.layers.recurrent.delta import check_chunk, in_chunks


def gated_recurrent(
    r: Tensor, k: Tensor, v: Tensor, log_w: Tensor, memory: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The definition, a token at a time.

    Args:
        r: (B, H, L, K) what is asked for.
        k: (B, H, L, K) keys.
        v: (B, H, L, V) values.
        log_w: (B, H, L, K) logs of the decays, at most 0.
        memory: (B, H, K, V) before the first token; None: empty.

    Returns:
        (B, H, L, V) answers, and the memory after the last token.

    Example:
        A key is written twice: the values add up, the first one halved by the decay.

        >>> key, v = torch.ones(1, 1, 2, 1), torch.tensor([4.0, 5.0]).reshape(1, 1, 2, 1)
        >>> gated_recurrent(key, key, v, torch.full_like(key, 0.5).log())[0].flatten().tolist()
        [4.0, 7.0]

    Source: Yang et al. 2023, arXiv:2312.06635.
    """
    memory = k.new_zeros(*k.shape[:2], k.shape[3], v.shape[3]) if memory is None else memory
    answers = []
    for t in range(k.shape[2]):
        memory = memory * log_w[:, :, t].exp().unsqueeze(-1) + k[:, :, t].unsqueeze(-1) * v[:, :, t].unsqueeze(-2)
        answers.append(torch.einsum("bhk,bhkv->bhv", r[:, :, t], memory))
    return torch.stack(answers, 2), memory


def gated_chunked(
    r: Tensor, k: Tensor, v: Tensor, log_w: Tensor, memory: Tensor | None = None, *, chunk: int = 32
) -> tuple[Tensor, Tensor]:
    """`gated_recurrent` in matrix products; decays enter as in `delta_chunked`, within exp(0.304 C) of 1.

    Args:
        r: (B, H, L, K), as the rest, see `gated_recurrent`; `log_w` not below `LOWEST_LOG_DECAY`.
        k: see there.
        v: see there.
        log_w: see there.
        memory: see there.
        chunk: tokens of a chunk.

    Returns:
        (B, H, L, V) and (B, H, K, V), as there.

    Example:
        >>> key, v = torch.ones(1, 1, 2, 1), torch.tensor([4.0, 5.0]).reshape(1, 1, 2, 1)
        >>> y = gated_chunked(key, key, v, torch.full_like(key, 0.75).log(), chunk=2)[0]
        >>> [round(value, 4) for value in y.flatten().tolist()]
        [4.0, 8.0]

    Source: Yang et al. 2023, arXiv:2312.06635, section 4.
    """
    check_chunk(chunk)
    memory = k.new_zeros(*k.shape[:2], k.shape[3], v.shape[3]) if memory is None else memory
    length = k.shape[2]
    size = min(chunk, length)
    r, k, v, log_w = (in_chunks(x, size) for x in (r, k, v, log_w))
    g = log_w.cumsum(-2)
    middle, total = g[..., size // 2, :], g[..., -1, :]  # (B, H, N, K)
    down = (g - middle.unsqueeze(-2)).exp()
    r_down, k_up = r * down, k * down.reciprocal()
    own = k.new_ones(size, size).tril()
    gain = (k_up.mT @ v) * (total - middle).exp().unsqueeze(-1)
    carry, from_start = total.exp().unsqueeze(-1), middle.exp().unsqueeze(-1)
    memories = []
    for gain_n, carry_n in zip(gain.unbind(2), carry.unbind(2)):
        memories.append(memory)
        memory = carry_n * memory + gain_n
    y = ((r_down @ k_up.mT) * own) @ v + r_down @ (torch.stack(memories, 2) * from_start)
    return y.flatten(2, 3)[:, :, :length], memory
