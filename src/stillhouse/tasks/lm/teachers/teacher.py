"""A frozen causal language model that is asked for logits, hidden states and features.

Shapes: B batch, L length, N tokens, D width, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.types import Outputs, OutputSpec
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.tasks.lm.data.tokenizer import HUB
from stillhouse.tasks.lm.teachers import LanguageTeacherConfig


class LanguageTeacher:
    """A causal language model of transformers, frozen. A plain class: no training of a student reaches it.

    Args:
        network: a `...ForCausalLM`.
        name: for messages and records.
        vocab_size: logits beyond so many are cut off; None: all are kept.

    Raises:
        InputError: fewer logits than tokens.

    Example:
        >>> from stillhouse.tasks.lm.teachers import SmallTransformerConfig
        >>> network = SmallTransformerConfig(width=16, layers=1, heads=2).build(11).network
        >>> teacher = LanguageTeacher(network, "small", vocab_size=10)
        >>> tuple(teacher(torch.zeros(2, 3, dtype=torch.int64)).logits.shape)
        (2, 3, 10)
    """

    def __init__(self, network: Any, name: str, *, vocab_size: int | None = None) -> None:
        self.network = network.eval().requires_grad_(False)
        self.name = name
        logits = self._readout_rows()
        self.vocab_size = logits if vocab_size is None else vocab_size
        if logits < self.vocab_size:
            raise InputError(f"teacher {name}: expected at least {self.vocab_size} logits, one a token, got {logits}")
        self.extractor = FeatureExtractor(network, (), call=self._last_hidden)

    def tap(self, features: Sequence[str]) -> None:
        """Listen at these sub-modules from now on, and no longer at those before.

        Raises:
            InputError: no such path.
        """
        self.extractor.close()
        self.extractor = FeatureExtractor(self.network, features, call=self._last_hidden)

    @property
    def context(self) -> int | None:
        """The longest text in tokens that it was made for, where its configuration names one."""
        known = getattr(self.network.config, "max_position_embeddings", None)
        return None if known is None else int(known)

    @property
    def params(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.network.parameters())

    @property
    def width(self) -> int:
        """Channels of the hidden states that its readout is given."""
        return int(self.hidden(torch.zeros(1, 1, dtype=torch.int64)).logits.shape[-1])

    @cached_property
    def identity(self) -> str:
        """SHA-256 of its weights and its number of tokens: the name of a cache of its answers."""
        digest = hashlib.sha256(str(self.vocab_size).encode())
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def __call__(self, tokens: Tensor) -> Outputs:
        """Logits (B, L, V) and features.

        Raises:
            InputError: see `hidden`.
        """
        found = self.hidden(tokens)
        return Outputs(self.logits(found.logits), found.features)

    @torch.no_grad()
    def hidden(self, tokens: Tensor) -> Outputs:
        """What its readout is given, (B, L, D), in the place of logits, and features; `logits` makes the rest, piece by piece.

        Raises:
            InputError: a text longer than it was made for, or an id outside its vocabulary.
        """
        if self.context is not None and tokens.shape[-1] > self.context:
            raise InputError(
                f"teacher {self.name}: expected at most {self.context} tokens at once, got {tokens.shape[-1]}"
            )
        if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= self.vocab_size):
            wrong = int(tokens.min()) if int(tokens.min()) < 0 else int(tokens.max())
            raise InputError(f"teacher {self.name}: expected token ids of 0 to {self.vocab_size - 1}, got {wrong}")
        return self.extractor(tokens.to(self.device))

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """(..., V) float32 of hidden states (..., D)."""
        found: Tensor = self.network.get_output_embeddings()(hidden)
        scale = getattr(self.network.config, "logit_scale", None)  # Cohere's and Granite's readouts are not plain
        divisor = getattr(self.network.config, "logits_scaling", None)
        cap = getattr(self.network.config, "final_logit_softcapping", None)
        found = found[..., : self.vocab_size].float() * (1.0 if scale is None else scale) / (divisor or 1.0)
        return torch.tanh(found / cap) * cap if cap else found

    def member_logits(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """Those of each member of a group; a single teacher has none."""
        return ()

    def spec(self, tokens: Tensor) -> OutputSpec:
        """The shapes of its features for texts as long as `tokens` (B, L)."""
        found = self.hidden(tokens)
        return OutputSpec(self.vocab_size, {name: tuple(x.shape[1:]) for name, x in found.features.items()})

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(iter(self.network.parameters())).device

    def to(self, device: torch.device) -> LanguageTeacher:
        """Move it."""
        self.network.to(device)
        return self

    def _readout_rows(self) -> int:
        return int(self.network.get_output_embeddings().weight.shape[0])

    def _last_hidden(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.network.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        return found


def load_language_teacher(config: LanguageTeacherConfig, *, vocab_size: int | None = None) -> LanguageTeacher:
    """The teacher of a configuration; see `LanguageTeacherConfig.build`."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    where, options = _place(config.source)
    try:
        options |= {"dtype": getattr(torch, config.precision), "trust_remote_code": False}
        network = AutoModelForCausalLM.from_pretrained(where, **options)
    except ImportError as error:
        raise InputError(f"teacher {config.source}: needs `pip install 'stillhouse[lm]'`: {error}") from None
    except Exception as error:  # transformers, safetensors and gguf raise many kinds for what they cannot read
        raise InputError(
            f"teacher {config.source}: transformers cannot read it as a causal model: {_line(error)}"
        ) from None
    teacher = LanguageTeacher(network, Path(where).name, vocab_size=vocab_size)
    _check_readout(teacher)
    return teacher


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


def _place(source: str) -> tuple[str, dict[str, Any]]:
    """The arguments of `from_pretrained`."""
    if source.startswith(HUB):
        return source.removeprefix(HUB), {}
    path = Path(source).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise InputError(f"teacher {source}: no such file")
        return str(path.parent), {"gguf_file": path.name}
    if not (path / "config.json").is_file():
        raise InputError(
            f"teacher {source}: expected a folder with config.json, a GGUF file, or hub:NAME; there is none of them"
        )
    if not any(path.glob("*.safetensors")):
        pickles = sorted(file.name for kind in ("*.bin", "*.pt", "*.pth") for file in path.glob(kind))
        found = f"{', '.join(pickles)}, which is not unpickled: it could run any code" if pickles else "none"
        raise InputError(f"teacher {source}: expected weights as safetensors, got {found}")
    return str(path), {"use_safetensors": True, "local_files_only": True}


def _check_readout(teacher: LanguageTeacher) -> None:
    """Our way from hidden states to logits must be the network's own."""
    tokens = torch.arange(8).unsqueeze(0) % teacher.vocab_size
    with torch.no_grad():
        own = teacher.network(input_ids=tokens, use_cache=False).logits[..., : teacher.vocab_size].float()
    ours = teacher(tokens).logits
    if not torch.allclose(own, ours, rtol=1e-2, atol=1e-2 * float(own.abs().max())):
        raise InputError(
            f"teacher {teacher.name}: its logits are not its readout of its last hidden states ({type(teacher.network).__name__})"
        )
