"""What is kept of a teacher's answer, as arrays of rows, and the answer that comes back of them.

    logits         (B, K), or whatever a task has in their place: windows (B, L, V), complex lines (B, L, 1)
    ids, scores    (B, ..., k) of the k largest: which, and how far below the largest, in half precision
    rest           (B, ..., G) ln sum exp(z / T) of the classes that are not kept, less the largest: see `losses.top_k`
    feature0, ...  (B, ...) of chosen sub-modules
    seen           (B, 4) four numbers of the inputs that were asked about, by which a row is known again

Shapes: B rows, K or V classes, k kept, G temperatures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs
from stillhouse.losses.top_k import Scores

TAIL_TEMPERATURES = (1.0, 2.0, 4.0)
SEEN = "seen"
NUMBERS = 4  # of an input that are kept; two inputs that agree in all of them are one
NEAR = (
    1e-4  # relative: sums of floats in another order, augmentation on another machine; another image is off by a tenth
)


@dataclass(frozen=True)
class Content:
    """What is kept.

    Attributes:
        scores: all class scores.
        topk: so many of them instead, and the mass of the rest.
        features: paths of sub-modules.
        temperatures: of `topk`, at which log-probabilities are exact up to half precision beside `TAIL_TEMPERATURES`; any other
            within `tail_bounds`.

    Example:
        >>> Content.parse(["topk:8", "features:layer1,layer2"])
        Content(scores=False, topk=8, features=('layer1', 'layer2'), temperatures=(1.0,))
    """

    scores: bool = True
    topk: int | None = None
    features: tuple[str, ...] = ()
    temperatures: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not (self.scores or self.topk or self.features):
            raise InputError("cache: expected scores, topk:K or features:PATH, got nothing to keep")

    @classmethod
    def parse(cls, words: Sequence[str]) -> Content:
        """From the words of `--content`.

        Raises:
            InputError: another word, or `scores` beside `topk`.
        """
        scores, topk, features = False, None, list[str]()
        for word in words:
            name, _, value = word.partition(":")
            if word == "scores":
                scores = True
            elif name == "topk" and value.isdecimal() and int(value):
                topk = int(value)
            elif name == "features" and value:
                features += [path for path in value.split(",") if path]
            else:
                raise InputError(f"--content: expected scores, topk:K or features:PATH,PATH, got {word!r}")
        if scores and topk:
            raise InputError("--content: expected scores or topk:K, got both: all scores hold the largest")
        return cls(scores, topk, tuple(dict.fromkeys(features)))

    @property
    def exact(self) -> tuple[float, ...]:
        """G temperatures at which the mass of the classes that are not kept is known, rising."""
        return tuple(sorted({*TAIL_TEMPERATURES, *self.temperatures}))

    def to_key(self) -> dict[str, Any]:
        """As a plan names it."""
        kept = "scores" if self.scores else f"topk:{self.topk}" if self.topk else "none"
        hot = {"temperatures": list(self.temperatures)} if self.topk else {}
        return {"content": kept, "features": list(self.features), **hot}

    @classmethod
    def of_key(cls, key: Mapping[str, Any]) -> Content:
        """What `to_key` gave."""
        kept = str(key.get("content", ""))
        topk = int(kept.partition(":")[2]) if kept.startswith("topk:") else None
        return cls(kept == "scores", topk, tuple(key.get("features", ())), tuple(key.get("temperatures", (1.0,))))

    @property
    def whole(self) -> Content:
        """The same with all scores, for the few rows of validation and test."""
        return Content(True, None, self.features)

    def encode(self, outputs: Outputs, batch: Batch, name: str) -> dict[str, NDArray[Any]]:
        """Arrays of rows, in the order of the batch.

        Raises:
            InputError: NaN or infinite answers, fewer classes than are to be kept, a feature that is not there.
        """
        found: dict[str, Tensor] = {}
        if self.scores:
            found["logits"] = _plain(outputs.logits)
        elif self.topk:
            found |= self._largest(outputs.logits, name)
        for number, path in enumerate(self.features):
            if path not in outputs.features:
                raise InputError(
                    f"teacher {name}: expected feature {path!r}, got {', '.join(outputs.features) or 'none'}"
                )
            found[f"feature{number}"] = _plain(outputs.features[path])
        for what, values in found.items():
            if not bool(torch.isfinite(values).all()):
                bad = int((~torch.isfinite(values)).flatten(1).any(1).sum())
                raise InputError(f"teacher {name}: {bad} of {len(values)} rows of its {what} are NaN or infinite")
        arrays = {what: values.cpu().numpy() for what, values in found.items()}
        if "ids" in arrays:
            arrays["ids"] = arrays["ids"].astype(np.uint16 if outputs.logits.shape[-1] <= 2**16 else np.uint32)
        return {**arrays, SEEN: seen(batch.inputs)}

    def arrays(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Names of the scores, and of the features that are wanted."""
        scores = ("logits",) if self.scores else ("ids", "scores", "rest") if self.topk else ()
        return (*scores, *(f"feature{n}" for n, path in enumerate(self.features) if path in wanted))

    def decode(self, arrays: Mapping[str, NDArray[Any]], classes: int) -> Outputs:
        """What a teacher put out; of the largest scores with `kept`, and `logits` that stand for all.

        Args:
            arrays: rows, at least one array.
            classes: K.
        """
        tensors = {name: torch.from_numpy(values) for name, values in arrays.items() if name not in {"ids", SEEN}}
        named = {path: f"feature{number}" for number, path in enumerate(self.features)}
        features = {path: tensors[name] for path, name in named.items() if name in tensors}
        if self.scores:
            return Outputs(tensors["logits"], features)
        if self.topk is None:
            return Outputs(torch.zeros(len(next(iter(tensors.values()))), 0), features)
        kept = self.scores_of(arrays, classes)
        return Outputs(kept.dense(), features, kept=kept)

    def _largest(self, logits: Tensor, name: str) -> dict[str, Tensor]:
        assert self.topk is not None
        if logits.is_complex() or logits.shape[-1] < self.topk:
            raise InputError(
                f"teacher {name}: expected at least {self.topk} class scores to keep so many, got {logits.shape[-1]}"
            )
        z = logits.float()
        top = z.topk(self.topk, dim=-1)
        largest = top.values[..., :1]
        return {
            "ids": top.indices,
            "scores": (top.values - largest).clamp(min=-6e4).half(),
            "rest": sums_of_rest(z, top.indices, self.exact),
        }

    def scores_of(self, arrays: Mapping[str, NDArray[Any]], classes: int) -> Scores:
        """The largest scores and the sums of the others, to which a temperature can be applied."""
        ids = torch.from_numpy(arrays["ids"].astype(np.int64))
        scores, rest = (torch.from_numpy(arrays[name].astype(np.float32)) for name in ("scores", "rest"))
        return Scores(ids, scores, rest, self.exact, classes - ids.shape[-1])


def sums_of_rest(logits: Tensor, kept: Tensor, temperatures: Sequence[float] = TAIL_TEMPERATURES) -> Tensor:
    """(..., G) ln sum exp(z / T) over the logits that are not kept, less the largest; a large negative number for none."""
    z = logits - logits.amax(-1, keepdim=True)
    z = z.scatter(-1, kept, -torch.inf)
    # -inf is no number that JSON, a sum or a check of finite values could take; e^-30000 is 0 all the same
    return torch.stack([(z / t).logsumexp(-1) for t in temperatures], -1).clamp(min=-3e4)


def seen(inputs: Tensor) -> NDArray[np.float64]:
    """(B, 4) fixed projections of inputs: pixels, token ids or complex lines; near only where the inputs are.

    Example:
        >>> images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> same(seen(images), seen(images + 1e-6)).tolist(), same(seen(images), seen(images.flip(-1))).tolist()
        ([True, True], [False, False])
    """
    x = torch.view_as_real(inputs) if inputs.is_complex() else inputs
    x = x.flatten(1)
    if not x.is_floating_point():  # token ids: neighbours in a vocabulary are as far apart as any two (Knuth's hash)
        x = (x.long() * 2_654_435_761 % 2**32).double() / 2**32
    elif x.dtype != torch.float64:
        x = x.float()
    with torch.autocast(x.device.type, enabled=False):  # half precision would take every input for another
        found = x @ _directions(x.shape[1]).to(x)
    return (found.double() / max(1, x.shape[1]) ** 0.5).cpu().numpy()


def same(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(B,) whether two inputs are one, by their numbers."""
    apart = np.abs(a - b).max(1)
    found: NDArray[np.bool_] = apart <= NEAR * np.maximum(np.abs(b).max(1), 1e-2)
    return found


@lru_cache(maxsize=4)
def _directions(size: int) -> Tensor:
    """(size, 4) between -1 and 1, by NumPy's frozen generator: the same on every machine."""
    return torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (size, NUMBERS)))


def _plain(x: Tensor) -> Tensor:
    """In single precision, as a cache holds it."""
    return x.to(torch.complex64) if x.is_complex() else x.float()
