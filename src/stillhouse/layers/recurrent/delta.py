"""The generalized delta rule of RWKV-7: a memory that forgets by channel and replaces what a key held before.

Shapes: B batch, H heads, L length, K key width, V value width, N chunks, C tokens of a chunk.

    M_t = (diag(w_t) + b_t c_t^T) M_{t-1} + k_t v_t^T          y_t = M_t^T r_t

with b = -(a * kappa), c = kappa: what the direction kappa held is taken out (share a) before the new value goes in.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

LOWEST_LOG_DECAY = -0.6065306597126334
"""-exp(-1/2): RWKV-7's lowest log of a decay, so w > 0.545. Chunks rely on it: their factors stay within exp(0.304 C)."""


def delta_recurrent(
    r: Tensor, k: Tensor, v: Tensor, log_w: Tensor, b: Tensor, c: Tensor, memory: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The definition, a token at a time: what generation runs and what the chunked form is tested against.

    Args:
        r: (B, H, L, K) what is asked for.
        k: (B, H, L, K) keys that are written.
        v: (B, H, L, V) values.
        log_w: (B, H, L, K) logs of the decays, at most 0.
        b: (B, H, L, K) minus the share that is taken out, along the key.
        c: (B, H, L, K) the key that is looked up for it, of unit length.
        memory: (B, H, K, V) before the first token; None: empty.

    Returns:
        (B, H, L, V) answers, and the memory after the last token.

    Example:
        A key is written twice with a full removal: the second value replaces the first, 5 and not 3 + 5.

        >>> key, zero = torch.ones(1, 1, 2, 1), torch.zeros(1, 1, 2, 1)
        >>> v = torch.tensor([3.0, 5.0]).reshape(1, 1, 2, 1)
        >>> delta_recurrent(key, key, v, zero, -key, key)[0].flatten().tolist()
        [3.0, 5.0]

    Source: Peng et al. 2025, arXiv:2503.14456, section 4; the plain delta rule: Yang et al. 2024, arXiv:2406.06484.
    """
    memory = _start(k, v, memory)
    answers = []
    for t in range(k.shape[2]):
        held = torch.einsum("bhk,bhkv->bhv", c[:, :, t], memory)
        memory = memory * log_w[:, :, t].exp().unsqueeze(-1)
        memory = (
            memory + b[:, :, t].unsqueeze(-1) * held.unsqueeze(-2) + k[:, :, t].unsqueeze(-1) * v[:, :, t].unsqueeze(-2)
        )
        answers.append(torch.einsum("bhk,bhkv->bhv", r[:, :, t], memory))
    return torch.stack(answers, 2), memory


def delta_chunked(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_w: Tensor,
    b: Tensor,
    c: Tensor,
    memory: Tensor | None = None,
    *,
    chunk: int = 32,
) -> tuple[Tensor, Tensor]:
    """`delta_recurrent` in matrix products: all chunks at once, one small product from chunk to chunk.

    Within a chunk, the values that removals look up depend on each other through a unit triangular system, which is solved
    once (the WY form of products of rank-one changes). Decays enter as exp(g_t - m) and exp(m - g_s) with g the running sum of
    their logs and m its middle: both are within exp(0.304 C) of 1, nothing is divided by a product that has vanished.

    Args:
        r: (B, H, L, K), as the rest, see `delta_recurrent`; `log_w` not below `LOWEST_LOG_DECAY`.
        k: see there.
        v: see there.
        log_w: see there.
        b: see there.
        c: see there.
        memory: see there.
        chunk: at most 128 tokens; the last one is filled up with tokens that change nothing.

    Returns:
        (B, H, L, V) and (B, H, K, V), as there.

    Example:
        >>> key, zero = torch.ones(1, 1, 2, 1), torch.zeros(1, 1, 2, 1)
        >>> v = torch.tensor([3.0, 5.0]).reshape(1, 1, 2, 1)
        >>> delta_chunked(key, key, v, zero, -key, key, chunk=2)[0].flatten().tolist()
        [3.0, 5.0]

    Source: chunks of the delta rule: Yang et al. 2024, arXiv:2406.06484; with decays: Yang et al. 2024, arXiv:2412.06464.
    """
    memory, length, width = _start(k, v, memory), k.shape[2], v.shape[3]
    size = min(chunk, length)
    r, k, v, log_w, b, c = (split_into_chunks(x, size) for x in (r, k, v, log_w, b, c))
    g = log_w.cumsum(-2)
    middle, total = g[..., size // 2, :], g[..., -1, :]  # (B, H, N, K)
    down = (g - middle.unsqueeze(-2)).exp()
    up = down.reciprocal()
    r_down, c_down = r * down, c * ((-log_w).exp() * down)  # c sees the memory before its decay
    b_up, k_up = b * up, k * up

    own = k.new_ones(size, size).tril()  # factors, since masks take ten times as long on a CPU
    system, looked_up = -c_down @ b_up.mT, (c_down @ k_up.mT) * own.tril(-1)
    # what removals look up: a part from the chunk itself, and a part that is a product with the memory before the chunk
    held = torch.linalg.solve_triangular(  # reads below the diagonal only
        system, torch.cat([looked_up @ v, c_down], -1), upper=False, unitriangular=True
    )  # (B, H, N, C, V + K)
    from_held = ((r_down @ b_up.mT) * own) @ held
    from_chunk, from_memory = from_held.split([width, k.shape[-1]], -1)
    from_chunk = from_chunk + ((r_down @ k_up.mT) * own) @ v
    gain, carry = (b_up.mT @ held).split([width, k.shape[-1]], -1)
    to_end, from_start = (total - middle).exp().unsqueeze(-1), middle.exp()
    gain = (gain + k_up.mT @ v) * to_end
    carry = carry * to_end * from_start.unsqueeze(-2) + torch.diag_embed(total.exp())

    memories = []
    for gain_n, carry_n in zip(gain.unbind(2), carry.unbind(2)):
        memories.append(memory)
        memory = carry_n @ memory + gain_n
    y = from_chunk + (from_memory + r_down) @ (torch.stack(memories, 2) * from_start.unsqueeze(-1))
    return y.flatten(2, 3)[:, :, :length], memory


def split_into_chunks(x: Tensor, size: int) -> Tensor:
    """(B, H, L, W) as (B, H, N, size, W), filled up with zeros: no key, no value, and a decay of exp(0) = 1."""
    missing = -x.shape[2] % size
    return (pad(x, (0, 0, 0, missing)) if missing else x).unflatten(2, (-1, size))


def _start(k: Tensor, v: Tensor, memory: Tensor | None) -> Tensor:
    return k.new_zeros(*k.shape[:2], k.shape[3], v.shape[3]) if memory is None else memory
