"""Text from a packed spiking student in constant memory, without torch: only the weights of inputs that fire are read.

The inner loops are compiled by numba; they change arrays in place and allocate nothing.

Shapes: V vocabulary, D width, I inputs, O outputs, H heads, K key width, S streams.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.tasks.lm.packed import PackedStudent
from stillhouse.tasks.lm.students.trie import TrieReader

try:
    import numba
except ImportError as error:  # pragma: no cover
    raise InputError(
        f"the packed generator needs numba ({error}): pip install 'stillhouse[lm]', or without torch numba and tokenizers"
    ) from None

LOWEST_LOG_DECAY = -0.6065306597126334


class PackedLinear:
    """One linear layer of the generator: spikes (or values) in, sums of the rows of those that are not silent out.

    Attributes:
        reads: rows that were read so far.
        chances: rows that would have been read without silence.
    """

    def __init__(self, packed: PackedStudent, path: str, dtype: Any) -> None:
        self.signed = not path.endswith("ffn.down")
        self.both_signs = packed.config.activation == "signed-square"
        self.threshold = None
        if f"{path}.threshold" in packed.arrays:
            self.threshold, self.amplitude = (
                packed.array(f"{path}.{n}").astype(dtype) for n in ("threshold", "amplitude")
            )
            spikes: Any = packed.config.spikes
            self.levels = spikes.levels if self.signed else spikes.hidden_levels
        dense = f"{path}.weight" in packed.arrays
        self.scale = None if dense else packed.array(f"{path}.scale").astype(dtype)
        self.rows = np.ascontiguousarray(packed.array(f"{path}.weight").astype(dtype) if dense else packed.codes(path))
        self.index, self.value = np.zeros(len(self.rows), np.int64), np.zeros(len(self.rows), dtype)
        self.out = np.zeros(packed.outputs[path], dtype)
        self.reads = self.chances = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(O,) of (I,); the array belongs to the layer and is written over by the next call."""
        if self.threshold is not None:
            active = fire(x, self.threshold, self.amplitude, self.levels, self.signed, self.index, self.value)
        else:
            if not self.signed:
                x = x * np.abs(x) if self.both_signs else np.maximum(x, 0) ** 2
            places = np.flatnonzero(x)
            active = len(places)
            self.index[:active], self.value[:active] = places, x[places]
        self.reads += active
        self.chances += len(x)
        add_rows(self.index, self.value, active, self.rows, self.out)
        if self.scale is not None:
            self.out *= self.scale
        return self.out


class SpikingGenerator:
    """A packed student that takes a token and gives the logits of the next, in memory that does not grow.

    Args:
        packed: the student.
        dtype: of everything that is not a weight code.

    Attributes:
        linear: its linear layers, by path.
        plain: all other weights, by name.
        prior: the n-gram inside; None: there is none.
        state: of each layer the last input of its mixer, its memory, and the last input of its feed-forward layer.

    Source: skipping silent inputs: Zhu et al. 2023, arXiv:2302.13939 (SpikeGPT); a state of constant size: Peng et al. 2025,
    arXiv:2503.14456 (RWKV-7).
    """

    def __init__(self, packed: PackedStudent, *, dtype: Any = np.float32) -> None:
        config = self.config = packed.config
        self.linear = {path: PackedLinear(packed, path, dtype) for path in packed.outputs}
        names = [n.removesuffix(".grid") for n in packed.arrays if not n.endswith(".step") and n != "ngram"]
        plain = [name for name in names if name.rpartition(".")[0] not in packed.outputs]
        self.plain = {name: np.ascontiguousarray(packed.array(name), dtype) for name in plain}
        trie, size = packed.trie(), config.width // config.heads
        self.prior = None if trie is None or config.ngram is None else TrieReader(trie, config.ngram.order)
        sizes = (config.width, (config.heads, size, size), config.width)
        self.state = [tuple(np.zeros(one, dtype) for one in sizes) for _ in range(config.layers)]

    def reset(self) -> None:
        """Forget the text."""
        for layer in self.state:
            for array in layer:
                array[:] = 0
        if self.prior is not None:
            self.prior.context[:] = -1

    def step(self, token: int) -> np.ndarray:
        """Logits (V,) after one more token."""
        plain = self.plain
        x = plain["embedding.weight"][token]
        if "lift.weight" in plain:
            x = plain["lift.weight"] @ x
        x = self._norm("embedding_norm", x)
        for number, (last, memory, ffn_last) in enumerate(self.state):
            path = f"blocks.{number}"
            x = x + self._mix(f"{path}.mixer", self._norm(f"{path}.mixer_norm", x), last, memory)
            (blended,) = self._blended(f"{path}.ffn", self._norm(f"{path}.ffn_norm", x), ffn_last)
            x = x + self.linear[f"{path}.ffn.down"](self.linear[f"{path}.ffn.up"](blended))
        x = self._norm("norm", x)
        if "lower.weight" in plain:
            x = plain["lower.weight"] @ x
        scores = plain["embedding.weight"] @ x
        return scores if self.prior is None else scores + self.prior.read(token).astype(scores.dtype)

    def generate(self, prompt: Sequence[int], count: int) -> list[int]:
        """The likeliest `count` tokens after a prompt of at least one; the state goes on from where it is.

        Raises:
            InputError: logits that are not numbers.
        """
        made = list[int]()
        for token in prompt[:-1]:
            self.step(token)
        token = prompt[-1]
        for _ in range(count):
            logits = self.step(token)
            if not np.isfinite(logits).all():
                raise InputError("generate: expected finite logits, got a NaN or an infinity")
            token = int(logits.argmax())
            made.append(token)
        return made

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        layer_norm(x, self.plain[f"{name}.weight"], self.plain[f"{name}.bias"], out)
        return out

    def _blended(self, path: str, x: np.ndarray, last: np.ndarray) -> np.ndarray:
        """x + mu (last - x) for every stream, (S, D); `last` becomes x."""
        streams: np.ndarray = x + self.plain[f"{path}.shift.mu"] * (last - x)
        last[:] = x
        return streams

    def _low_rank(self, path: str, x: np.ndarray, activation: Any = lambda h: h) -> np.ndarray:
        h = activation(self.linear[f"{path}.down"](x))
        return self.plain[f"{path}.up"] @ h + self.plain[f"{path}.bias"]

    def _mix(self, path: str, x: np.ndarray, last: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """One token through a mixer; `last` and `memory` change."""
        streams, plain = self._blended(path, x, last), self.plain
        r, k, v = (self.linear[f"{path}.{n}"](streams[i]) for i, n in enumerate(("receptance", "key", "value")))
        heads = (self.config.heads, -1)
        log_w = LOWEST_LOG_DECAY * _sigmoid(self._low_rank(f"{path}.decay", streams[3], np.tanh))
        rate = _sigmoid(self._low_rank(f"{path}.rate", streams[5]))
        looked_up = (k * plain[f"{path}.removal_gain"]).reshape(heads)
        looked_up = looked_up / np.maximum(np.linalg.norm(looked_up, axis=1, keepdims=True), 1e-6)
        removed = -rate * looked_up.ravel()
        k = k * (1 + (rate - 1) * plain[f"{path}.rate_share"])
        r, k, v, log_w, removed, looked_up = (a.reshape(heads) for a in (r, k, v, log_w, removed, looked_up))
        y, held = np.empty_like(v), np.empty_like(v[0])
        write_and_read(memory, (r, k, v, log_w, removed, looked_up), held, y)
        centered = y - y.mean(1, keepdims=True)
        y = centered / np.sqrt((centered**2).mean(1, keepdims=True) + 1e-5) * plain[f"{path}.norm_gain"].reshape(heads)
        y += (r * k * plain[f"{path}.bonus"].reshape(heads)).sum(1, keepdims=True) * v
        gate = 2 * _sigmoid(self._low_rank(f"{path}.gate", streams[4], _sigmoid))
        return self.linear[f"{path}.output"](y.ravel() * gate)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


@numba.njit(cache=True)
def layer_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    """(x - mean) / sqrt(variance + 1e-5) * gain + bias of (D,) into `out`."""
    centered = x - x.mean()
    factor = 1.0 / math.sqrt((centered * centered).mean() + 1e-5)
    for i in range(x.size):
        out[i] = centered[i] * factor * gain[i] + bias[i]


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


@numba.njit(cache=True, fastmath=True)
def add_rows(index: np.ndarray, value: np.ndarray, active: int, rows: np.ndarray, out: np.ndarray) -> None:
    """out = the sum of the active rows (I, O) times their values; rows of silent inputs are not read."""
    out[:] = 0
    for a in range(active):
        row, factor = rows[index[a]], value[a]
        for o in range(row.size):
            out[o] += factor * row[o]


@numba.njit(cache=True, fastmath=True)
def write_and_read(memory: np.ndarray, token: tuple[np.ndarray, ...], held: np.ndarray, out: np.ndarray) -> None:
    """One token of the delta rule: `memory` (H, K, V) changes, answers (H, V) go to `out`.

    `token`: r, k, v, log w, and what is removed and looked up, (H, K) each but v (H, V).
    """
    r, k, v, log_w, removed, looked_up = token
    heads, keys, values = memory.shape
    out[:] = 0
    for h in range(heads):
        held[:] = 0
        for i in range(keys):
            for j in range(values):
                held[j] += looked_up[h, i] * memory[h, i, j]
        for i in range(keys):
            decay = math.exp(log_w[h, i])
            for j in range(values):
                memory[h, i, j] = decay * memory[h, i, j] + removed[h, i] * held[j] + k[h, i] * v[h, j]
                out[h, j] += r[h, i] * memory[h, i, j]
