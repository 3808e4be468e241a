"""Teachers made of others: a trained student (an assistant), and several asked together.

Shapes: B batch, L length, D width, V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.types import Outputs, OutputSpec
from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher
from stillhouse.teachers.identity import weights_sha256


class AssistantTeacher(LanguageTeacher):
    """A trained recurrent student as the teacher of a smaller one.

    Args:
        network: a `SpikingLM`; it is frozen.
        name: for messages and records.
    """

    def __init__(self, network: Any, name: str = "assistant") -> None:
        super().__init__(network, name)

    @property
    def identity(self) -> str:
        """SHA-256 of its weights."""
        return weights_sha256(self.network)

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """(..., V) of hidden states (..., E), or (..., E + V) where an n-gram's log-probabilities lie behind them."""
        E = self.network.config.embedded
        found: Tensor = self.network.readout(hidden[..., :E])
        return found.float() if hidden.shape[-1] == E else found.float() + hidden[..., E:]

    def _readout_rows(self) -> int:
        return len(self.network.readout.weight)

    def _last_hidden(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.network.hidden(tokens)[0]
        offset = self.network.offset(tokens)
        return found if offset is None else torch.cat([found, offset], -1)


class TeacherGroup:
    """Several teachers of one tokenizer, asked side by side; the group's probabilities are the mean of theirs.

    It has the methods of a `LanguageTeacher`: hidden states of all members lie side by side, and are taken apart where logits are
    made of them. Features of member i are named `i:path`.

    Args:
        members: at least two.

    Raises:
        InputError: fewer, or vocabularies that differ.
    """

    def __init__(self, members: Sequence[LanguageTeacher]) -> None:
        self.members = tuple(members)
        sizes = {member.vocab_size for member in self.members}
        if len(self.members) < 2 or len(sizes) > 1:
            raise InputError(
                f"teachers: expected two or more of one vocabulary, got {len(self.members)} of {sorted(sizes)}"
            )
        self.name = " + ".join(member.name for member in self.members)
        self.vocab_size = self.members[0].vocab_size

    @property
    def network(self) -> Any:
        """A group has no parts that a student could begin with."""
        raise InputError("teacher: several teachers have no single network to take parts of; name one teacher")

    @property
    def identity(self) -> str:
        """SHA-256 of the members' identities, in their order."""
        return hashlib.sha256(" ".join(member.identity for member in self.members).encode()).hexdigest()

    @property
    def context(self) -> int | None:
        """The shortest of the members'."""
        return min((c for member in self.members if (c := member.context) is not None), default=None)

    @property
    def params(self) -> int:
        """Number of weights of all members."""
        return sum(member.params for member in self.members)

    def tap(self, features: Sequence[str]) -> None:
        """Listen at these sub-modules from now on, each `i:path`.

        Raises:
            InputError: a path without the number of a member, or that this member does not have.
        """
        chosen: list[list[str]] = [[] for _ in self.members]
        for feature in features:
            number, colon, path = feature.partition(":")
            if not colon or not number.isdecimal() or int(number) >= len(self.members):
                raise InputError(
                    f"feature {feature!r}: expected the number of a teacher before it, as 0:{feature}, since there are "
                    f"{len(self.members)}"
                )
            chosen[int(number)].append(path)
        for member, paths in zip(self.members, chosen):
            member.tap(paths)

    def __call__(self, tokens: Tensor) -> Outputs:
        """Logits (B, L, V) and features."""
        found = self.hidden(tokens)
        return Outputs(self.logits(found.logits), found.features)

    def hidden(self, tokens: Tensor) -> Outputs:
        """Hidden states of all members side by side, and their features."""
        found = [member.hidden(tokens) for member in self.members]
        features = {f"{i}:{path}": x for i, one in enumerate(found) for path, x in one.features.items()}
        return Outputs(torch.cat([one.logits for one in found], -1), features)

    def member_logits(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """(..., V) of each member."""
        parts = hidden.split([member.width for member in self.members], -1)
        return tuple(member.logits(part) for member, part in zip(self.members, parts))

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., V): the logarithm of the mean probability."""
        log_p = torch.stack([torch.log_softmax(x, -1) for x in self.member_logits(hidden)])
        return log_p.logsumexp(0) - math.log(len(self.members))

    def spec(self, tokens: Tensor) -> OutputSpec:
        """The shapes of all features, and of each member's."""
        specs = tuple(member.spec(tokens) for member in self.members)
        features = {f"{i}:{path}": shape for i, one in enumerate(specs) for path, shape in one.features.items()}
        return OutputSpec(self.vocab_size, features, specs)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.members[0].device

    def to(self, device: torch.device) -> TeacherGroup:
        """Move all members."""
        for member in self.members:
            member.to(device)
        return self
