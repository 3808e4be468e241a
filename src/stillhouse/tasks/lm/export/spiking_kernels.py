"""The inner loops of the packed generator, compiled by numba. Arrays are changed in place; nothing is allocated.

Shapes: D width, I inputs, O outputs, H heads, K key width, V value width, S streams.
"""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(cache=True)
def layer_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    """(x - mean) / sqrt(variance + 1e-5) * gain + bias of (D,) into `out`."""
    size = x.size
    mean = 0.0
    for i in range(size):
        mean += x[i]
    mean /= size
    variance = 0.0
    for i in range(size):
        variance += (x[i] - mean) ** 2
    factor = 1.0 / math.sqrt(variance / size + 1e-5)
    for i in range(size):
        out[i] = (x[i] - mean) * factor * gain[i] + bias[i]


@numba.njit(cache=True)
def blend(x: np.ndarray, last: np.ndarray, mu: np.ndarray, out: np.ndarray) -> None:
    """x + mu * (last - x) for every stream, (S, D); `last` becomes x."""
    for s in range(mu.shape[0]):
        for i in range(x.size):
            out[s, i] = x[i] + mu[s, i] * (last[i] - x[i])
    for i in range(x.size):
        last[i] = x[i]


@numba.njit(cache=True)
def fire(
    x: np.ndarray,
    threshold: np.ndarray,
    amplitude: np.ndarray,
    levels: int,
    signed: bool,
    index: np.ndarray,
    value: np.ndarray,
) -> int:
    """Which of (I,) inputs fire, and with how much: fills `index` and `value`, returns how many."""
    active = 0
    for i in range(x.size):
        ratio = x[i] / threshold[i]
        count = min(math.floor(abs(ratio)), levels)
        if count >= 1 and (signed or ratio > 0):
            index[active] = i
            value[active] = amplitude[i] * count * (1 if ratio > 0 else -1)
            active += 1
    return active


@numba.njit(cache=True)
def nonzero(x: np.ndarray, index: np.ndarray, value: np.ndarray) -> int:
    """`fire` for inputs that do not spike: those that are not 0, as they are."""
    active = 0
    for i in range(x.size):
        if x[i] != 0:
            index[active] = i
            value[active] = x[i]
            active += 1
    return active


@numba.njit(cache=True, fastmath=True)
def add_rows(index: np.ndarray, value: np.ndarray, active: int, rows: np.ndarray, out: np.ndarray) -> None:
    """out = the sum of the active rows (I, O) times their values; rows of silent inputs are not read."""
    out[:] = 0
    for a in range(active):
        row, factor = rows[index[a]], value[a]
        for o in range(row.size):
            out[o] += factor * row[o]


@numba.njit(cache=True, fastmath=True)
def write_and_read(
    memory: np.ndarray,
    token: tuple[np.ndarray, ...],
    held: np.ndarray,
    out: np.ndarray,
) -> None:
    """One token of the delta rule: `memory` (H, K, V) changes, answers (H, V) go to `out`.

    `token`: r, k, v, log w, and what is removed and looked up, (H, K) each but v (H, V).
    """
    r, k, v, log_w, removed, looked_up = token
    heads, keys, values = memory.shape
    for h in range(heads):
        held[:] = 0
        for i in range(keys):
            for j in range(values):
                held[j] += looked_up[h, i] * memory[h, i, j]
        for j in range(values):
            out[h, j] = 0
        for i in range(keys):
            decay = math.exp(log_w[h, i])
            for j in range(values):
                memory[h, i, j] = decay * memory[h, i, j] + removed[h, i] * held[j] + k[h, i] * v[h, j]
                out[h, j] += r[h, i] * memory[h, i, j]
