"""Several frozen teachers of different kinds, asked together.

Shapes: B batch, K classes, n teachers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.losses.softened import wide
from stillhouse.teachers.teacher import Teacher


class EnsembleTeacher(Teacher):
    """Teachers that answer side by side: each is asked on the same pixels, with its own resizing and normalization.

    Its outputs have `members`, one `Outputs` a teacher; features of
    member i are named `i:path`; `logits` are the log of the mean probability, so that every signal for one teacher works as it is.

    Args:
        teachers: at least one.
        names: one a teacher, all different [their own, numbered where two are equal].

    Raises:
        InputError: no teacher, class counts that differ, or names that do not fit.

    Example:
        One teacher gives (3/4, 1/4), the other (1/4, 3/4): together (1/2, 1/2).

        >>> from types import SimpleNamespace
        >>> batch = Batch(torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
        >>> class Fixed(Teacher):
        ...     spec = OutputSpec(2)
        ...     def __init__(self, name, p): self.name, self.p = name, p
        ...     def __call__(self, batch): return Outputs(torch.tensor([self.p]).log())
        >>> both = EnsembleTeacher([Fixed("a", [0.75, 0.25]), Fixed("b", [0.25, 0.75])])
        >>> [round(x, 4) for x in torch.softmax(both(batch).logits, 1)[0].tolist()], len(both(batch).members)
        ([0.5, 0.5], 2)

    Relations:
        `signals.EnsembleConfig` weighs the members by sample instead of taking their plain mean.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 1 (arithmetic or geometric mean of an ensemble).
    """

    def __init__(self, teachers: Sequence[Teacher], names: Sequence[str] | None = None) -> None:
        self.members: tuple[Teacher, ...] = tuple(teachers)
        if not self.members:
            raise InputError("teachers: expected at least one, got none")
        self.names = tuple(names or _numbered([member.name for member in self.members]))
        for name, member in zip(self.names, self.members):
            if member.spec.kept is not None:
                raise InputError(
                    f"teacher {name!r}: teaches together with others by all its class scores, and its cache holds the "
                    f"{member.spec.kept} largest; expected a cache of --content scores"
                )
        first, classes = self.names[0], self.members[0].spec.num_classes
        for name, member in zip(self.names, self.members):
            if member.spec.num_classes != classes:
                raise InputError(
                    f"teachers {first!r} and {name!r}: expected equal class counts, got {classes} and {member.spec.num_classes}"
                )
        features = {f"{i}:{path}": shape for i, m in enumerate(self.members) for path, shape in m.spec.features.items()}
        self.name = " + ".join(self.names)
        self.spec = OutputSpec(classes, features, tuple(member.spec for member in self.members))

    def __call__(self, batch: Batch) -> Outputs:
        """The outputs of each member, its features under `i:path`, and the logits (B, K) or (B, L, K) of the pool; no gradient."""
        with torch.no_grad():
            members = tuple(member(batch) for member in self.members)
            features = {f"{i}:{path}": x for i, out in enumerate(members) for path, x in out.features.items()}
            return Outputs(self._pooled([out.logits for out in members]), features, members)

    def _pooled(self, logits: list[Tensor]) -> Tensor:
        log_p = torch.stack([torch.log_softmax(wide(x), dim=-1) for x in logits])
        return torch.logsumexp(log_p, dim=0) - math.log(len(logits))

    @property
    def params(self) -> int:
        """Number of weights of all members together."""
        return sum(member.params for member in self.members)

    @property
    def head_is_new(self) -> bool:
        """Some member's last layer was re-made and knows nothing yet."""
        return any(member.head_is_new for member in self.members)

    @property
    def head_was_fitted(self) -> bool:
        """Some member's last layer was fitted on frozen features."""
        return any(member.head_was_fitted for member in self.members)

    @property
    def fingerprint(self) -> str:
        """Of all members as they were built."""
        return " ".join(member.fingerprint for member in self.members)

    def identity(self) -> str:
        """Of the identities of all members."""
        return hashlib.sha256(" ".join(member.identity() for member in self.members).encode()).hexdigest()


def _numbered(names: Sequence[str]) -> tuple[str, ...]:
    """Names, of which equal ones are numbered."""
    seen = [list(names[: i + 1]).count(name) for i, name in enumerate(names)]
    return tuple(name if count == 1 else f"{name} #{count}" for name, count in zip(names, seen))
