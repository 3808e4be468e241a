"""Frozen causal language models that are asked for logits and features: one of transformers, a trained student, several together.

Shapes: B batch, L length, V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.types import Outputs, OutputSpec
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.tasks.lm.saved import load_lm
from stillhouse.tasks.lm.teachers import LanguageTeacherConfig, SmallTransformerConfig
from stillhouse.tasks.lm.tokenizer import HUB
from stillhouse.teachers.teacher import weights_sha256


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


class LanguageTeacher:
    """A frozen causal language model. A plain class: no training of a student reaches it.

    Args:
        network: a `...ForCausalLM`, or a `SpikingLM`.
        name: for messages and records.
        vocab_size: logits beyond so many, padding of the table, are cut off.

    Raises:
        InputError: fewer logits than tokens.
    """

    def __init__(self, network: Any, name: str, *, vocab_size: int) -> None:
        self.network, self.name, self.vocab_size = network.eval().requires_grad_(False), name, vocab_size
        self._call = network if hasattr(network, "scores") else partial(network, use_cache=False)
        logits = network.config.vocab_size
        if logits < vocab_size:
            raise InputError(f"teacher {name}: expected at least {vocab_size} logits, one a token, got {logits}")
        self.extractor = FeatureExtractor(network, (), call=self._scores)

    def tap(self, features: Sequence[str]) -> None:
        """Listen at these sub-modules from now on, and no longer at those before.

        Raises:
            InputError: no such path.
        """
        self.extractor.close()
        self.extractor = FeatureExtractor(self.network, features, call=self._scores)

    @property
    def context(self) -> int | None:
        """The longest text in tokens that it was made for, where its configuration names one."""
        return getattr(self.network.config, "max_position_embeddings", None)

    @property
    def params(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.network.parameters())

    @cached_property
    def identity(self) -> str:
        """SHA-256 of its weights: the name of a cache of its answers."""
        return weights_sha256(self.network)

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> Outputs:
        """Logits (B, L, V) float32 and features."""
        return self.extractor(tokens.to(next(iter(self.network.parameters())).device))

    def spec(self, tokens: Tensor) -> OutputSpec:
        """The shapes of its features for texts as long as `tokens` (B, L)."""
        return OutputSpec(self.vocab_size, {name: tuple(x.shape[1:]) for name, x in self(tokens).features.items()})

    def to(self, device: torch.device) -> None:
        """Move it."""
        self.network.to(device)

    def _scores(self, tokens: Tensor) -> Tensor:
        found: Tensor = self._call(tokens).logits
        return found[..., : self.vocab_size].float()


class TeacherGroup:
    """Several teachers of one tokenizer, asked side by side; the group's probabilities are the mean of theirs.

    It has the methods of a `LanguageTeacher`; features of member i are named `i:path`.
    """

    network = None  # it has no parts that a student could begin with

    def __init__(self, members: Sequence[Any]) -> None:
        self.members, self.vocab_size = tuple(members), members[0].vocab_size
        self.name = " + ".join(member.name for member in members)
        self.context = min((c for member in members if (c := member.context) is not None), default=None)
        self.params = sum(member.params for member in members)

    @property
    def identity(self) -> str:
        """SHA-256 of the members' identities, in their order."""
        return hashlib.sha256(" ".join(member.identity for member in self.members).encode()).hexdigest()

    def tap(self, features: Sequence[str]) -> None:
        """Listen at these sub-modules from now on, each `i:path`.

        Raises:
            InputError: a path without the number of a member, or that this member does not have.
        """
        chosen: list[list[str]] = [[] for _ in self.members]
        for feature in features:
            number, colon, path = feature.partition(":")
            if not colon or not number.isdecimal() or int(number) >= len(chosen):
                raise InputError(
                    f"feature {feature!r}: expected the number of one of {len(chosen)} teachers before it, as 0:{feature}"
                )
            chosen[int(number)].append(path)
        for member, paths in zip(self.members, chosen):
            member.tap(paths)

    def __call__(self, tokens: Tensor) -> Outputs:
        """The logarithm of the mean probability (B, L, V), all features, and the logits of each member."""
        found = [member(tokens) for member in self.members]
        features = {f"{i}:{path}": x for i, one in enumerate(found) for path, x in one.features.items()}
        log_p = torch.stack([torch.log_softmax(one.logits, -1) for one in found])
        return Outputs(log_p.logsumexp(0) - math.log(len(found)), features, tuple(Outputs(one.logits) for one in found))

    def spec(self, tokens: Tensor) -> OutputSpec:
        """The shapes of all features, and of each member's."""
        specs = tuple(member.spec(tokens) for member in self.members)
        features = {f"{i}:{path}": shape for i, one in enumerate(specs) for path, shape in one.features.items()}
        return OutputSpec(self.vocab_size, features, specs)

    def to(self, device: torch.device) -> None:
        """Move all members."""
        for member in self.members:
            member.to(device)


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
