"""Text from a packed spiking student in constant memory, without torch: only the weights of inputs that fire are read.

Shapes: V vocabulary, D width, I inputs, O outputs, H heads, K key width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.tasks.lm.export.packed_ternary import PackedStudent, load_packed
from stillhouse.tasks.lm.students.trie import TrieReader

try:
    from stillhouse.tasks.lm.export import spiking_kernels as kernels
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

    def __init__(self, packed: PackedStudent, path: str, dtype: np.dtype[Any]) -> None:
        arrays = packed.arrays
        self.signed = not path.endswith("ffn.down")
        self.both_signs = packed.config.activation == "signed-square"
        self.spikes = f"{path}.threshold" in arrays
        if self.spikes:
            self.threshold, self.amplitude = (
                packed.array(f"{path}.{n}").astype(dtype) for n in ("threshold", "amplitude")
            )
            spikes = packed.config.spikes
            assert spikes is not None
            self.levels = spikes.levels if self.signed else spikes.hidden_levels
        self.scale: np.ndarray | None = None
        if f"{path}.weight" in arrays:
            self.rows = np.ascontiguousarray(packed.array(f"{path}.weight")).astype(dtype)
        else:
            self.scale = packed.array(f"{path}.scale").astype(dtype)
            self.rows = np.ascontiguousarray(packed.codes(path))
        inputs = len(self.rows)
        self.index, self.value = np.zeros(inputs, np.int64), np.zeros(inputs, dtype)
        self.out = np.zeros(packed.outputs[path], dtype)
        self.reads = self.chances = 0

    @property
    def nbytes(self) -> int:
        """Of the weights as they lie in memory."""
        return self.rows.nbytes + (0 if self.scale is None else self.scale.nbytes)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(O,) of (I,); the array belongs to the layer and is written over by the next call."""
        if self.spikes:
            active = kernels.fire(x, self.threshold, self.amplitude, self.levels, self.signed, self.index, self.value)
        else:
            if not self.signed:
                x = x * np.abs(x) if self.both_signs else np.maximum(x, 0) ** 2
            active = kernels.nonzero(x, self.index, self.value)
        self.reads += active
        self.chances += len(x)
        kernels.add_rows(self.index, self.value, active, self.rows, self.out)
        if self.scale is not None:
            self.out *= self.scale
        return self.out


class SpikingGenerator:
    """A packed student that takes a token and gives the logits of the next, in memory that does not grow.

    Args:
        packed: the student.
        dtype: of everything that is not a weight code.

    Source: skipping silent inputs: Zhu et al. 2023, arXiv:2302.13939 (SpikeGPT); a state of constant size: Peng et al. 2025,
    arXiv:2503.14456 (RWKV-7).
    """

    def __init__(self, packed: PackedStudent, *, dtype: Any = np.float32) -> None:
        self.config, self._dtype = packed.config, np.dtype(dtype)
        self._linear = {path: PackedLinear(packed, path, self._dtype) for path in packed.outputs if path != "readout"}
        self._plain = {
            name: np.ascontiguousarray(packed.array(name), self._dtype)
            for name in packed.names()
            if name.rpartition(".")[0] not in packed.outputs
        }
        trie = packed.trie()
        self._prior = None if trie is None or self.config.ngram is None else TrieReader(trie, self.config.ngram.order)
        self._readout = _readout(packed, self._plain, self._dtype)
        self.reset()

    @classmethod
    def load(cls, file: str | Path) -> SpikingGenerator:
        """From a file of `PackedStudent.save`.

        Raises:
            InputError: see `load_packed`.
        """
        return cls(load_packed(file))

    def reset(self) -> None:
        """Forget the text; counts of rows that were read start again."""
        config = self.config
        size = config.width // config.heads
        shape = (config.width,) if config.mixer == "scalar" else (config.heads, size, size)
        self._state = [
            (np.zeros(config.width, self._dtype), np.zeros(shape, self._dtype), np.zeros(config.width, self._dtype))
            for _ in range(config.layers)
        ]
        for layer in self._linear.values():
            layer.reads = layer.chances = 0
        if self._prior is not None:
            self._prior.reset()

    @property
    def state_bytes(self) -> int:
        """Of the recurrent state, the same after any number of tokens."""
        nodes = 0 if self._prior is None else self._prior.state_bytes
        return nodes + sum(array.nbytes for layer in self._state for array in layer)

    @property
    def weight_bytes(self) -> int:
        """Of all weights as they lie in memory."""
        linear = sum(layer.nbytes for layer in self._linear.values())
        own = 0 if self._readout is self._plain.get("embedding.weight") else self._readout.nbytes
        return linear + sum(array.nbytes for array in self._plain.values()) + own + self.ngram_bytes

    @property
    def ngram_bytes(self) -> int:
        """Of the n-gram inside, as it lies in memory; 0 where there is none."""
        return 0 if self._prior is None else self._prior.nbytes

    @property
    def silent_share(self) -> float:
        """Share of the weight rows of the linear layers that were skipped so far, 0 before the first token."""
        chances = sum(layer.chances for layer in self._linear.values())
        return 1 - sum(layer.reads for layer in self._linear.values()) / chances if chances else 0.0

    def step(self, token: int) -> np.ndarray:
        """Logits (V,) after one more token.

        Raises:
            InputError: a token outside of the vocabulary.
        """
        if not 0 <= token < self.config.vocab_size:
            raise InputError(f"token: expected an id of 0 to {self.config.vocab_size - 1}, got {token}")
        x = self._plain["embedding.weight"][token]
        if "lift.weight" in self._plain:
            x = self._plain["lift.weight"] @ x
        x = self._norm("embedding_norm", x)
        for number, (last, memory, ffn_last) in enumerate(self._state):
            path = f"blocks.{number}"
            mixed = self._mix(f"{path}.mixer", self._norm(f"{path}.mixer_norm", x), last, memory)
            x = x + mixed
            z = self._norm(f"{path}.ffn_norm", x)
            (blended,) = self._blended(f"{path}.ffn", z, ffn_last)
            x = x + self._linear[f"{path}.ffn.down"](self._linear[f"{path}.ffn.up"](blended))
        x = self._norm("norm", x)
        if "lower.weight" in self._plain:
            x = self._plain["lower.weight"] @ x
        scores = self._readout(x).copy() if isinstance(self._readout, PackedLinear) else self._readout @ x
        return scores if self._prior is None else scores + self._prior.read(token).astype(self._dtype)

    def generate(self, prompt: Sequence[int], count: int, *, temperature: float = 0.0, seed: int = 0) -> list[int]:
        """`count` tokens after a prompt of any length; the state goes on from where it is.

        Args:
            prompt: token ids, at least one.
            count: tokens to make.
            temperature: 0 takes the likeliest token.
            seed: of the draws.

        Raises:
            InputError: an empty prompt, a temperature or a seed below 0, or numbers that are not finite.
        """
        if len(prompt) == 0:
            raise InputError("prompt: expected at least one token, got none")
        if not 0 <= temperature < np.inf:
            raise InputError(f"expected a finite temperature >= 0, got {temperature}")
        if seed < 0:
            raise InputError(f"seed: expected 0 or more, got {seed}")
        generator, made = np.random.default_rng(seed), []
        for token in prompt[:-1]:
            self.step(token)
        token = prompt[-1]
        for _ in range(count):
            token = _draw(self.step(token), temperature, generator)
            made.append(token)
        return made

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        kernels.layer_norm(x, self._plain[f"{name}.weight"], self._plain[f"{name}.bias"], out)
        return out

    def _blended(self, path: str, x: np.ndarray, last: np.ndarray) -> np.ndarray:
        mu = self._plain[f"{path}.shift.mu"]
        out = np.empty_like(mu)
        kernels.blend(x, last, mu, out)
        return out

    def _low_rank(self, path: str, x: np.ndarray, activation: str) -> np.ndarray:
        h = self._linear[f"{path}.down"](x)
        h = np.tanh(h) if activation == "tanh" else _sigmoid(h) if activation == "sigmoid" else h
        return self._plain[f"{path}.up"] @ h + self._plain[f"{path}.bias"]

    def _mix(self, path: str, x: np.ndarray, last: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """One token through a mixer; `last` and `memory` change."""
        streams, plain = self._blended(path, x, last), self._plain
        r, k, v = (self._linear[f"{path}.{n}"](streams[i]) for i, n in enumerate(("receptance", "key", "value")))
        if self.config.mixer == "scalar":
            memory *= _sigmoid(plain[f"{path}.decay"])
            memory += k * v
            return _sigmoid(r) * self._linear[f"{path}.output"](memory)
        heads = (self.config.heads, -1)
        log_w = LOWEST_LOG_DECAY * _sigmoid(self._low_rank(f"{path}.decay", streams[3], "tanh"))
        rate = _sigmoid(self._low_rank(f"{path}.rate", streams[5], "none"))
        looked_up = (k * plain[f"{path}.removal_gain"]).reshape(heads)
        looked_up = looked_up / np.maximum(np.linalg.norm(looked_up, axis=1, keepdims=True), 1e-6)
        removed = -rate * looked_up.ravel()
        k = k * (1 + (rate - 1) * plain[f"{path}.rate_share"])
        r, k, v, log_w, removed, looked_up = (a.reshape(heads) for a in (r, k, v, log_w, removed, looked_up))
        y, held = np.empty_like(v), np.empty_like(v[0])
        kernels.write_and_read(memory, (r, k, v, log_w, removed, looked_up), held, y)
        centered = y - y.mean(1, keepdims=True)
        y = centered / np.sqrt((centered**2).mean(1, keepdims=True) + 1e-5) * plain[f"{path}.norm_gain"].reshape(heads)
        y += (r * k * plain[f"{path}.bonus"].reshape(heads)).sum(1, keepdims=True) * v
        gate = 2 * _sigmoid(self._low_rank(f"{path}.gate", streams[4], "sigmoid"))
        return self._linear[f"{path}.output"](y.ravel() * gate)


def _readout(packed: PackedStudent, plain: dict[str, np.ndarray], dtype: np.dtype[Any]) -> PackedLinear | np.ndarray:
    """The readout as a layer where it spikes or is ternary, else the matrix (V, D)."""
    if "readout" in packed.outputs:
        return PackedLinear(packed, "readout", dtype)
    dense = plain["embedding.weight" if packed.config.tie_embeddings else "readout.dense"]
    if "readout.threshold" not in packed.arrays:
        return dense
    arrays = {**packed.arrays, "readout.weight": np.asarray(dense.T)}
    outputs = {**packed.outputs, "readout": len(dense)}
    return PackedLinear(PackedStudent(packed.config, arrays, outputs), "readout", dtype)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def _draw(logits: np.ndarray, temperature: float, generator: np.random.Generator) -> int:
    if not np.isfinite(logits).all():
        raise InputError("generate: expected finite logits, got a NaN or an infinity")
    if temperature == 0:
        return int(logits.argmax())
    wide = logits.astype(np.float64)
    with np.errstate(over="ignore"):  # at a tiny temperature all but the likeliest are at -infinity, as in the limit
        scaled = (wide - wide.max()) / temperature
    p = np.exp(scaled)
    return int(generator.choice(len(p), p=p / p.sum()))
