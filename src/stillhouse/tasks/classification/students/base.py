"""What every image model of the task shares: raw pixels in, a strict configuration, tau, optimizer groups.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse, to_mapping
from stillhouse.layers.part import Student
from stillhouse.tasks.classification.students.clauses import ClauseBank, Tau
from stillhouse.tasks.classification.students.geometry import Stage

M = TypeVar("M", bound="ClauseModel")


class ClauseModel(Student):
    """An image model with clauses; it takes raw pixels in [0, 1].

    Args:
        **options: fields of the class's configuration; an unknown one is refused with the near one.

    Attributes:
        config: the configuration, defaults included.
        model_kwargs: what builds the same network again: `type(model)(**model.model_kwargs)`.

    Raises:
        ConfigError: an unknown keyword, a value out of range, sizes that do not fit.
    """

    config_class: ClassVar[type]
    clause_learning_rate_factor: float = 1.0  # of a run's training, see `parameter_groups`

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.config: Any = parse(self.config_class, options)
        self.model_kwargs: dict[str, Any] = {n: v for n, v in to_mapping(self.config).items() if n != "kind"}
        self.image_shape: tuple[int, int, int] = self.config.image_shape
        self._averaged: tuple[Tau, ...] | None = None
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        for name in ("pixel_mean", "pixel_std"):
            if hasattr(self.config, name):
                values = torch.as_tensor(getattr(self.config, name), dtype=torch.float32)
                self.register_buffer(name, values.reshape(-1, 1, 1))

    @classmethod
    def from_config(cls: type[M], config: Any) -> M:
        """The network of a configuration, weights from torch's global generator."""
        return cls(**{name: value for name, value in to_mapping(config).items() if name != "kind"})

    def checked(self, pixels: Tensor) -> Tensor:
        """The pixels as they are.

        Raises:
            InputError: another shape than (B, C, H, W) of the configuration.
        """
        if tuple(pixels.shape[1:]) != self.image_shape:
            raise InputError(
                f"pixels: expected (B, {', '.join(map(str, self.image_shape))}), got {tuple(pixels.shape)}"
            )
        return pixels

    def normalized(self, pixels: Tensor) -> Tensor:
        """Raw pixels (B, C, H, W), checked, minus the mean, over the deviation."""
        return (self.checked(pixels) - self.pixel_mean) / self.pixel_std

    def __getstate__(self) -> dict[str, Any]:
        """Without the loss terms of the last forward pass: their graph cannot be copied or pickled."""
        return {name: None if name in {"_penalty", "_averaged"} else value for name, value in self.__dict__.items()}

    def banks(self) -> Iterator[ClauseBank]:
        """Every clause bank, those of gates and hidden layers included."""
        return (module for module in self.modules() if isinstance(module, ClauseBank))

    def set_tau(self, value: float) -> None:
        """Put the include threshold of every bank at a value in (0, 1): what a schedule calls."""
        for bank in self.banks():
            if bank.threshold is not None:
                bank.threshold.set(value)

    def advance_tau(self) -> None:
        """One step of the averages of tau, in training mode; a forward pass begins with it."""
        if not self.training:
            return
        if self._averaged is None:  # a walk through all modules takes 3 % of a small student's step
            taus = [bank.threshold for bank in self.banks()]
            self._averaged = tuple(tau for tau in taus if tau is not None and tau.ema is not None)
        for tau in self._averaged:
            tau.advance()

    def train(self: M, mode: bool = True) -> M:
        """Also look anew for thresholds with an average, since layers may have been exchanged."""
        self._averaged = None
        return super().train(mode)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for an optimizer: matrices decay; biases, norms, positions, tokens and include logits do not.

        Decay would pull an include logit towards 0, which is the threshold: it would include literals, not forget them.
        What belongs to a layer of clauses (include logits, votes, biases of clauses) is at `clause_learning_rate_factor` times
        the common rate: an include logit has to cross half a unit or more before anything changes, a weight a few hundredths.
        """
        layers = (module for module in self.modules() if any(isinstance(c, ClauseBank) for c in module.children()))
        of_clauses = {id(parameter) for layer in layers for parameter in layer.parameters()}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {(False, False): [], (False, True): []}
        for name, parameter in self.named_parameters():
            free = parameter.ndim < 2 or name.endswith("include_logits") or name in {"positions", "class_token"}
            scaled = self.clause_learning_rate_factor != 1 and id(parameter) in of_clauses
            groups.setdefault((scaled, free), []).append(parameter)
        return [
            {"params": parameters, "weight_decay": 0.0 if free else weight_decay}
            | ({"rate_factor": self.clause_learning_rate_factor} if scaled else {})
            for (scaled, free), parameters in sorted(groups.items(), key=lambda entry: entry[0])
        ]


@dataclass(slots=True)
class Diagnostics:
    """What one forward pass showed, keyed by part: "patch_embed", "block_1" or "stage1_block1", "stage1_out", "pre_head".

    Attributes:
        logits: (B, K) of the read-out of each part and of each head ("block_1_head1"), and "final_decision"; only the last
            without `diagnostic_heads`.
        clause_mean: (C) mean strength of every clause of each block.
        head_mean: (H) how much of the clause activity goes with each head of each block (see `head_activity`).
    """

    logits: dict[str, Tensor] = field(default_factory=dict)
    clause_mean: dict[str, Tensor] = field(default_factory=dict)
    head_mean: dict[str, Tensor] = field(default_factory=dict)


class DiagnosticHeads(nn.Module):
    """A linear read-out after every part and after every attention head: how much of the answer is there already?

    By default they read detached features, so they learn and the trunk does not notice them. With `detached` off, their
    loss reaches the trunk (auxiliary heads).

    Args:
        stages: sizes of the model.
        num_classes: K.
        swin: name parts by stage and block, with one read-out more after each stage.
        detached: keep their loss from the trunk.
    """

    def __init__(self, stages: tuple[Stage, ...], num_classes: int, *, swin: bool, detached: bool = True) -> None:
        super().__init__()
        self.detached = detached
        self.parts = nn.ModuleDict({"patch_embed": nn.Linear(stages[0].width, num_classes)})
        self.heads = nn.ModuleDict()
        for stage_number, stage in enumerate(stages, start=1):
            for number in range(1, stage.depth + 1):
                name = part_name(stage_number, number, swin=swin)
                self.parts[name] = nn.Linear(stage.width, num_classes)
                narrow = stage.width // stage.heads
                self.heads[name] = nn.ModuleList(nn.Linear(narrow, num_classes) for _ in range(stage.heads))
            if swin:
                self.parts[f"stage{stage_number}_out"] = nn.Linear(stage.width, num_classes)
        self.parts["pre_head"] = nn.Linear(stages[-1].width, num_classes)

    def part(self, name: str, pooled: Tensor) -> Tensor:
        """Logits (B, K) of pooled tokens (B, D) after a part."""
        logits: Tensor = self.parts[name](pooled.detach() if self.detached else pooled)
        return logits

    def of_heads(self, name: str, context: Tensor) -> dict[str, Tensor]:
        """Logits (B, K) of each head of a block, from its pooled contexts (B, D)."""
        readers = self.heads[name]
        assert isinstance(readers, nn.ModuleList)
        parts = (context.detach() if self.detached else context).chunk(len(readers), dim=-1)
        return {f"{name}_head{j}": reader(p) for j, (reader, p) in enumerate(zip(readers, parts), start=1)}


def part_name(stage: int, block: int, *, swin: bool) -> str:
    """The usual name of a block, counted from 1.

    Example:
        >>> part_name(1, 2, swin=False), part_name(3, 2, swin=True)
        ('block_2', 'stage3_block2')
    """
    return f"stage{stage}_block{block}" if swin else f"block_{block}"


@torch.no_grad()
def head_activity(context: Tensor, strength: Tensor, heads: int) -> Tensor:
    """(H) clause activity that goes with each head: mean over clauses of mean strength times |correlation over tokens|
    between the clause's strength and the length of the head's context.

    The documents pair clauses with heads by cutting the list of clauses in H pieces, which pairs nothing with nothing.

    Args:
        context: (B, N, D) contexts of the heads side by side.
        strength: (B, N, C).
        heads: H.

    Example:
        A clause that fires exactly where head 0 is loud goes with head 0 alone:

        >>> loud = torch.tensor([0.0, 1.0, 0.0, 1.0]); other = torch.tensor([1.0, 1.0, 0.0, 0.0])
        >>> head_activity(torch.stack([loud, other], -1)[None], loud[None, :, None], 2).tolist()
        [0.5, 0.0]
    """
    lengths = context.float().unflatten(-1, (heads, -1)).norm(dim=-1).flatten(0, 1)  # (BN, H)
    activity = strength.float().flatten(0, 1)  # (BN, C)
    usage = activity.mean(0)
    lengths, activity = lengths - lengths.mean(0), activity - activity.mean(0)
    spread = lengths.norm(dim=0)[:, None] * activity.norm(dim=0)[None, :]
    correlation = (lengths.T @ activity).abs() / spread.clamp(min=1e-12)
    return (correlation * usage).mean(1)
