"""A student that starts with layers of its teacher: as many as it has, taken at equal distances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

from stillhouse.core.checks import InputError, nearest


def layer_skipping_map(
    teacher_layers: int, student_layers: int, *, keep: Literal["every-nth", "both-ends"] = "every-nth"
) -> tuple[int, ...]:
    """Which layer of the teacher (from 0, as in a path) each layer of the student starts from.

    Args:
        teacher_layers: N.
        student_layers: M, at most N.
        keep: every-nth takes floor(j N / M), the first of each block; both-ends takes round(j (N - 1) / (M - 1)), so that the
            teacher's last layer, which its head reads, is among them.

    Returns:
        M layers, strictly rising.

    Raises:
        InputError: no layers, or a student deeper than the teacher.

    Example:
        >>> layer_skipping_map(12, 6), layer_skipping_map(12, 6, keep="both-ends")
        ((0, 2, 4, 6, 8, 10), (0, 2, 4, 7, 9, 11))

    Source: Sanh et al. 2019, arXiv:1910.01108 (DistilBERT: one layer out of two).
    """
    n, m = teacher_layers, student_layers
    if not 1 <= m <= n:
        raise InputError(f"student layers: expected from 1 to the teacher's {n}, got {m}")
    if keep == "every-nth":
        return tuple(j * n // m for j in range(m))
    if m == 1:
        return (n - 1,)
    return tuple((2 * j * (n - 1) + m - 1) // (2 * (m - 1)) for j in range(m))


def init_layers_from_teacher(student: nn.Module, teacher_module: nn.Module, pairs: Mapping[str, str]) -> list[str]:
    """Copy parameters and buffers of the teacher's sub-modules into the student's; the student learns on from there.

    Args:
        student: changed in place.
        teacher_module: only read; copies keep the student's device and precision.
        pairs: path in the student -> path in the teacher, as {"blocks.1": "blocks.2", "patch_embed": "patch_embed"}. A path may
            name a sub-module or a single parameter ("pos_embed"). Both must hold the same tensors in the same shapes.

    Returns:
        Names of the student's tensors that were copied, in the order of the pairs.

    Raises:
        InputError: a path that is not there, or tensors missing or of another shape. Nothing has been changed then.

    Example:
        >>> student, teacher = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.ReLU(), nn.Linear(2, 2))
        >>> init_layers_from_teacher(student, teacher, {"0": "1"}), torch.equal(student[0].weight, teacher[1].weight)
        (['0.weight', '0.bias'], True)

    Relations:
        `layer_skipping_map` chooses the layers.

    Source: Sanh et al. 2019, arXiv:1910.01108 (DistilBERT), section 3.
    """
    # not state_dict(): a part with hooks or views of its own may give copies, and copies cannot be written to
    ours, theirs = _tensors(student), _tensors(teacher_module)
    copies: dict[str, torch.Tensor] = {}
    for to, source in pairs.items():
        mine, its = _under(ours, to, "student"), _under(theirs, source, "teacher")
        shapes = [{name: tuple(x.shape) for name, x in side.items()} for side in (mine, its)]
        wrong = sorted({name for name, _ in shapes[0].items() ^ shapes[1].items()})
        if wrong:
            shown = "; ".join(
                f"{to}{name} {shapes[0].get(name)} <- {source}{name} {shapes[1].get(name)}" for name in wrong
            )
            raise InputError(f"pair {to!r} <- {source!r}: expected the same tensors in the same shapes, got {shown}")
        copies |= {f"{to}{name}": x for name, x in its.items()}
    with torch.no_grad():
        for name, tensor in copies.items():
            ours[name].copy_(tensor)
    return list(copies)


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Under all their names, a tied tensor under each."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    return {**parameters, **dict(module.named_buffers(remove_duplicate=False))}


def _under(tensors: Mapping[str, torch.Tensor], path: str, who: str) -> dict[str, torch.Tensor]:
    """Tensors at a path or below it, by the rest of their names."""
    found = {name.removeprefix(path): x for name, x in tensors.items() if name == path or name.startswith(f"{path}.")}
    if not found:
        places = {".".join(name.split(".")[:depth]) for name in tensors for depth in range(1, name.count(".") + 2)}
        raise InputError(f"{who} path {path!r}: expected a part with parameters, got none; {nearest(path, places)}")
    return found
