"""Frozen causal language models that are asked for logits and features: one of transformers, or a trained student.

Shapes: B batch, L length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.cache.stored import StoredTeacher
from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.tasks.lm.teachers import LanguageTeacherConfig, SmallTransformerConfig
from stillhouse.tasks.lm.tokenizer import HUB
from stillhouse.tasks.lm.use import load_lm
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.teachers.teacher import Teacher, weights_sha256


class CausalLM(nn.Module):
    """A causal language model of transformers that is called as our students are: what the language job trains.

    Example:
        >>> model = small_transformer(SmallTransformerConfig(width=16, layers=1, heads=2), vocab_size=11)
        >>> tuple(model(torch.zeros(2, 3, dtype=torch.int64)).logits.shape)
        (2, 3, 11)
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def scores(self, tokens: Tensor) -> Tensor:
        """Logits (B, L, V) of the token after each."""
        found: Tensor = self.network(input_ids=tokens, use_cache=False).logits
        return found

    def forward(self, tokens: Tensor) -> Outputs:
        """The same."""
        return Outputs(self.scores(tokens))

    def save(self, folder: Path) -> None:
        """Write it as transformers does: config.json and model.safetensors."""
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.network.save_pretrained(str(folder))


def small_transformer(config: SmallTransformerConfig, vocab_size: int) -> CausalLM:
    """A decoder with rotary positions, gated feed-forward layers and a tied readout, with weights from torch's global generator.

    Source: Touvron et al. 2023, arXiv:2302.13971 (LLaMA).
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=config.width,
        intermediate_size=8 * round(config.width / 3),
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return CausalLM(LlamaForCausalLM(sizes))


class LanguageTeacher(Teacher):
    """A frozen causal language model. A plain class: no training of a student reaches it.

    Args:
        network: a `...ForCausalLM`, or a `SpikingLM`.
        name: for messages and records.
        vocab_size: logits beyond so many, padding of the table, are cut off.

    Raises:
        InputError: fewer logits than tokens.
    """

    def __init__(self, network: Any, name: str, *, vocab_size: int) -> None:
        self.module, self.name, self.spec = network.eval().requires_grad_(False), name, OutputSpec(vocab_size)
        self._call = network if hasattr(network, "scores") else partial(network, use_cache=False)
        logits = network.config.vocab_size
        if logits < vocab_size:
            raise InputError(f"teacher {name}: expected at least {vocab_size} logits, one a token, got {logits}")
        self._tapped = FeatureExtractor(network, call=self._scores)

    def with_features(self, features: Sequence[str], window: int) -> LanguageTeacher:
        """Itself, tapped at these sub-modules from now on, for texts of so many tokens.

        Raises:
            InputError: no such path.
        """
        self._tapped.close()
        self._tapped = FeatureExtractor(self.module, features, call=self._scores)
        if features:
            self.spec = self._tapped.spec(torch.zeros(1, window, dtype=torch.int64, device=self._device))
        return self

    @property
    def context(self) -> int | None:
        """The longest text in tokens that it was made for, where its configuration names one."""
        return getattr(self.module.config, "max_position_embeddings", None)

    @property
    def params(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.module.parameters())

    def identity(self) -> str:
        """SHA-256 of its weights: the name of a cache of its answers."""
        return weights_sha256(self.module)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Outputs:
        """Logits (B, L, V) float32 and features of tokens (B, L), on their device."""
        if self._device != batch.inputs.device:
            self.module.to(batch.inputs.device)
        return self._tapped(batch.inputs)

    @property
    def _device(self) -> torch.device:
        return next(iter(self.module.parameters())).device

    def _scores(self, tokens: Tensor) -> Tensor:
        found: Tensor = self._call(tokens).logits
        return found[..., : self.spec.num_classes].float()


def tapped(teacher: Any, features: Sequence[str], window: int) -> Any:
    """A teacher that is asked for these sub-modules too; of several together each path has its number, as in 1:model.layers.0.

    Raises:
        InputError: no such path.
    """
    if isinstance(teacher, EnsembleTeacher):
        own = [
            [path.partition(":")[2] for path in features if path.startswith(f"{i}:")]
            for i in range(len(teacher.members))
        ]
        return EnsembleTeacher([tapped(member, paths, window) for member, paths in zip(teacher.members, own)])
    if isinstance(teacher, StoredTeacher):
        return StoredTeacher(teacher.folder, features=tuple(features), live=teacher.live)
    return teacher.with_features(features, window)


def load_language_teacher(config: LanguageTeacherConfig, *, vocab_size: int) -> LanguageTeacher:
    """The frozen teacher of a configuration for so many tokens; the folder of a student makes it one.

    Raises:
        InputError: nothing there that transformers reads, or fewer logits than tokens.
    """
    source, place = config.source, Path(config.source).expanduser()
    if (place / records.CARD).is_file():
        return LanguageTeacher(load_lm(place)[0], place.name, vocab_size=vocab_size)
    how: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}  # pickles could run any code
    where = str(place)
    if source.startswith(HUB):
        where, how = source.removeprefix(HUB), {}
    elif place.suffix.lower() == ".gguf":
        where, how = str(place.parent), {"gguf_file": place.name}
    elif not (place / "config.json").is_file():
        raise InputError(
            f"teacher {source}: expected a folder with config.json, a GGUF file, or hub:NAME; it is none of them"
        )
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    load: Callable[..., Any] = AutoModelForCausalLM.from_pretrained
    try:
        network = load(where, dtype=getattr(torch, config.precision), trust_remote_code=False, **how)
    except ImportError as error:
        raise InputError(f"teacher {source}: needs `pip install 'stillhouse[lm]'`: {error}") from None
    except Exception as error:  # transformers, safetensors and gguf raise many kinds for what they cannot read
        line = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise InputError(f"teacher {source}: transformers cannot read it as a causal model: {line}") from None
    return LanguageTeacher(network, Path(where).name, vocab_size=vocab_size)
