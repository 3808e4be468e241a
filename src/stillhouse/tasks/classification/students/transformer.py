"""A transformer whose feed-forward is made of clauses: ViT and Swin.

Shapes: B batch, C channels, H W pixels, P patch side, N tokens, D width, K classes.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stillhouse.core.checks import InputError, one_line_for_pickles
from stillhouse.core.records import write_atomically
from stillhouse.tasks.classification.students.base import (
    ClauseModel,
    DiagnosticHeads,
    Diagnostics,
    head_activity,
    part_name,
)
from stillhouse.tasks.classification.students.blocks import Block, BlockOut, PatchMerge, SwinStage
from stillhouse.tasks.classification.students.config import UnifiedTMConfig
from stillhouse.tasks.classification.students.feed_forward import ClauseFeedForward


def sincos_position_embedding(grid: tuple[int, int], width: int) -> Tensor:
    """(N, D) sines and cosines of the row and the column of each token, where learned positions begin.

    Patch tokens leave their norm at scale 1: positions of the usual 0.02 would be invisible for the first epochs. The longest
    wave is 100 tokens long, as the maps here are small.

    Source: Beyer, Zhai, Kolesnikov 2022, arXiv:2205.01580.
    """
    quarter = -(-width // 4)
    slowness = 100 ** (torch.arange(quarter) / quarter)
    places = torch.cartesian_prod(*(torch.arange(side).float() for side in grid))[:, :, None] * (1 / slowness)
    return torch.stack([places.sin(), places.cos()], dim=1).flatten(1)[:, :width]


class UnifiedTMTransformer(ClauseModel):
    """Vision transformer, or Swin transformer, with clause feed-forwards.

    It takes raw pixels in [0, 1] and normalizes them itself, so a saved student needs nothing beside it. A patch side that
    does not divide the image pads the right and the bottom with the mean pixel (never cuts).

    Args:
        num_classes: K.
        **options: fields of `UnifiedTMConfig`; an unknown one is refused with the near one.

    Attributes:
        config: the configuration, defaults included.
        model_kwargs: what builds the same network again: `UnifiedTMTransformer(**model_kwargs)`.

    Example:
        >>> model = UnifiedTMTransformer(num_classes=10, image_size=8, in_channels=1, patch_size=2, embed_dim=24, depths=1)
        >>> tuple(model(torch.rand(4, 1, 8, 8)).shape)
        (4, 10)
        >>> again = UnifiedTMTransformer(**model.model_kwargs)

    Raises:
        ConfigError: an unknown keyword, a value out of range, sizes that do not fit.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929 (ViT); Liu et al. 2021, arXiv:2103.14030, and 2022, arXiv:2111.09883
    (Swin, Swin V2); Hnilov 2025, arXiv:2508.08350 (fuzzy-pattern clauses).
    """

    config_class = UnifiedTMConfig

    def __init__(self, num_classes: int = 10, **options: Any) -> None:
        super().__init__(num_classes=num_classes, **options)
        config: UnifiedTMConfig = self.config
        stages, channels = config.stages(), config.in_channels
        _, height, width = self.image_shape
        self.pool, self.patch_size, self.grid = config.readout, config.patch_size, stages[0].grid
        self.padding = (self.grid[1] * self.patch_size - width, self.grid[0] * self.patch_size - height)

        self.patch_embed = nn.Conv2d(channels, stages[0].width, self.patch_size, stride=self.patch_size)
        self.patch_norm = nn.LayerNorm(stages[0].width)
        self.class_token: nn.Parameter | None = None
        self.positions: nn.Parameter | None = None
        self.dropout = nn.Dropout(config.drop_rate)
        if config.use_absolute_positions:
            tokens = self.grid[0] * self.grid[1] + int(config.class_token)
            self.positions = nn.Parameter(torch.zeros(1, tokens, stages[0].width))
        if config.architecture == "vit":
            self._make_vit()
        else:
            self._make_swin()
        self.norm = nn.LayerNorm(stages[-1].width)
        self.head = nn.Linear(stages[-1].width, num_classes)
        self.diagnostic_heads = (
            DiagnosticHeads(stages, num_classes, swin=self.swin, detached=not config.diagnostic_gradient)
            if config.diagnostic_heads
            else None
        )
        self._penalty: Tensor | None = None
        self._reset_parameters()

    @property
    def swin(self) -> bool:
        """Whether it attends in windows."""
        return self.config.architecture == "swin"

    def _make_vit(self) -> None:
        (stage,), config = self.config.stages(), self.config
        prefix = int(config.class_token)
        if prefix:
            self.class_token = nn.Parameter(torch.zeros(1, 1, stage.width))
        self.blocks = nn.ModuleList(
            Block(config, stage, clauses, rate, shifted=False, prefix=prefix)
            for clauses, rate in zip(stage.clauses, config.drop_paths())
        )

    def _make_swin(self) -> None:
        config, stages = self.config, self.config.stages()
        rates = iter(config.drop_paths())
        made = []
        for place, stage in enumerate(stages):
            before = stages[place - 1]
            merge = PatchMerge(before.width, stage.width, before.grid) if place else None
            blocks = [
                Block(config, stage, clauses, next(rates), shifted=bool(number % 2), prefix=0)
                for number, clauses in enumerate(stage.clauses)
            ]
            made.append(SwinStage(blocks, merge))
        self.stages = nn.ModuleList(made)

    def _reset_parameters(self) -> None:
        nn.init.kaiming_normal_(self.patch_embed.weight, mode="fan_out")
        nn.init.zeros_(self.patch_embed.bias)  # type: ignore[arg-type]
        if self.positions is not None:
            with torch.no_grad():
                self.positions[:, -self.grid[0] * self.grid[1] :] = sincos_position_embedding(
                    self.grid, self.positions.shape[2]
                )
        for parameter in (self.head.weight, self.class_token):
            if parameter is not None:
                nn.init.trunc_normal_(parameter, std=0.02)
        nn.init.zeros_(self.head.bias)

    def named_blocks(self) -> Iterator[tuple[str, Block]]:
        """Every block by its name, first to last: block_1, or stage1_block1."""
        stages = self.stages if self.swin else [self]
        for stage_number, stage in enumerate(stages, start=1):
            for number, block in enumerate(stage.blocks, start=1):  # type: ignore[arg-type]
                assert isinstance(block, Block)
                yield part_name(stage_number, number, swin=self.swin), block

    def feed_forwards(self) -> dict[str, ClauseFeedForward]:
        """The clause feed-forward of every block that has one, by the block's name."""
        found = {name: block.feed_forward for name, block in self.named_blocks()}
        return {name: part for name, part in found.items() if isinstance(part, ClauseFeedForward)}

    def embed(self, pixels: Tensor) -> Tensor:
        """Tokens (B, N, D) ahead of the first block of raw pixels (B, C, H, W)."""
        x = self.normalized(pixels)
        if any(self.padding):
            x = nn.functional.pad(x, (0, self.padding[0], 0, self.padding[1]))
        x = self.patch_norm(self.patch_embed(x).flatten(2).transpose(1, 2))
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        if self.positions is not None:
            x = x + self.positions
        return self.dropout(x)

    def pooled(self, x: Tensor) -> Tensor:
        """(B, N, D) tokens to (B, D): the class token, or the mean of the patches."""
        return x[:, 0] if self.pool == "cls" else x[:, int(self.class_token is not None) :].mean(1)

    @overload
    def forward(self, pixels: Tensor) -> Tensor: ...

    @overload
    def forward(self, pixels: Tensor, collect_diagnostics: bool, return_features: bool = False) -> Any: ...

    @overload
    def forward(self, pixels: Tensor, *, return_features: Literal[True]) -> tuple[Tensor, Tensor]: ...

    def forward(self, pixels: Tensor, collect_diagnostics: bool = False, return_features: bool = False) -> Any:
        """Logits (B, K) of raw pixels (B, C, H, W) in [0, 1].

        Args:
            pixels: the images.
            collect_diagnostics: also a `Diagnostics`.
            return_features: also the pooled features (B, D) that the head reads.

        Returns:
            logits, or a tuple of logits, diagnostics and features, as far as asked for.
        """
        self.advance_tau()
        notes = Diagnostics() if collect_diagnostics else None
        features = self._features(pixels, notes)
        logits = self.head(features)
        if notes is not None:
            notes.logits["final_decision"] = logits
        extras = [part for part, wanted in ((notes, collect_diagnostics), (features, return_features)) if wanted]
        return (logits, *extras) if extras else logits

    def _features(self, pixels: Tensor, notes: Diagnostics | None) -> Tensor:
        x, carried, penalties = self.embed(pixels), None, []
        self._note(notes, "patch_embed", x)
        stage_of = {id(stage.blocks[0]): stage for stage in self.stages} if self.swin else {}  # type: ignore[index]
        for name, block in self.named_blocks():
            stage = stage_of.get(id(block))
            if stage is not None:  # residual attention does not cross a merging
                x, carried = stage.merge(x), None  # type: ignore[operator]
            block_out: BlockOut = self._run(block, x, carried)
            x, carried = block_out.tokens, block_out.attended
            if block_out.strength is not None and self.config.ff_sparsity_weight > 0:
                penalties.append(block_out.strength.mean())
            self._note(notes, name, x, block_out, block)
        self._penalty = torch.stack(penalties).sum() if penalties else None
        features = self.pooled(self.norm(x)) if self.pool == "mean" else self.norm(self.pooled(x))
        if notes is not None and self.diagnostic_heads is not None:
            notes.logits["pre_head"] = self.diagnostic_heads.part("pre_head", features)
        return features

    def _run(self, block: Block, x: Tensor, carried: Tensor | None) -> BlockOut:
        if self.config.grad_checkpoint and self.training and torch.is_grad_enabled():
            block_out: BlockOut = checkpoint(block, x, carried, use_reentrant=False)
            return block_out
        block_out = block(x, carried)
        return block_out

    def _note(
        self,
        notes: Diagnostics | None,
        name: str,
        x: Tensor,
        block_out: BlockOut | None = None,
        block: Block | None = None,
    ) -> None:
        if notes is None:
            return
        readers = self.diagnostic_heads
        if readers is not None:
            notes.logits[name] = readers.part(name, self.pooled(x))
            stage = name.partition("_")[0] + "_out"
            if stage in readers.parts:  # overwritten by each block: the last one of the stage stays
                notes.logits[stage] = readers.part(stage, self.pooled(x))
        if block_out is None or block is None:
            return
        if readers is not None:
            notes.logits |= readers.of_heads(name, self.pooled(block_out.context))
        if block_out.strength is not None:
            notes.clause_mean[name] = block_out.strength.detach().mean((0, 1))
            notes.head_mean[name] = head_activity(block_out.context, block_out.strength, block.heads.heads)

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """Loss terms of the last forward pass, (weight, 0-d): clause activity, and literals included."""
        terms: dict[str, tuple[float, Tensor]] = {}
        if self._penalty is not None:
            terms["clause_sparsity"] = (self.config.ff_sparsity_weight, self._penalty)
        if self.config.ff_literal_weight > 0:
            shares = [bank.soft_literals().mean() / (2 * bank.num_bits) for bank in self.banks()]
            if shares:
                terms["literal_count"] = (self.config.ff_literal_weight, torch.stack(shares).sum())
        return terms


def save_transformer(
    path: str | Path,
    model: UnifiedTMTransformer,
    *,
    train_args: Mapping[str, Any] | None = None,
    train_metrics: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write `model_state`, `model_kwargs`, `train_args`, `train_metrics` and `meta`; the file appears whole or not at all.

    Args:
        path: the file; folders are made.
        model: the weights whose scores `train_metrics` are.
        train_args: how it was trained; plain data.
        train_metrics: what it scored; plain data.
        meta: more, over architecture, backend, timestamp, image_size and num_classes.

    Raises:
        InputError: the file cannot be written.
    """
    path, config = Path(path), model.config
    facts = {
        "architecture": config.architecture,
        "backend": config.backend,
        "image_size": list(config.image_shape[1:]),
        "num_classes": config.num_classes,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    held = {"model_state": state, "model_kwargs": dict(model.model_kwargs), "train_args": dict(train_args or {})}
    held |= {"train_metrics": dict(train_metrics or {}), "meta": facts | dict(meta or {})}
    buffer = io.BytesIO()  # torch ends the process by SIGABRT where the disk that it writes to is full
    torch.save(held, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load_transformer(path: str | Path) -> tuple[UnifiedTMTransformer, dict[str, Any]]:
    """The model of such a file in eval mode on the CPU, and the whole content of the file.

    Example:
        In the older form:

            ckpt = torch.load(path, map_location="cpu")
            student = UnifiedTMTransformer(**ckpt["model_kwargs"])
            student.load_state_dict(ckpt["model_state"])

    Raises:
        InputError: missing, truncated, holding other objects than tensors and plain data, or of another model.
    """
    if not Path(path).is_file():
        raise InputError(f"cannot read {path}: no such file")
    try:
        with one_line_for_pickles():
            held = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0].split(". ")[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a checkpoint of tensors and plain data ({reason})") from None
    missing = {"model_state", "model_kwargs"} - set(held if isinstance(held, dict) else ())
    if missing:
        raise InputError(f"{path}: expected model_state and model_kwargs, {', '.join(sorted(missing))} missing")
    model = UnifiedTMTransformer(**held["model_kwargs"])
    try:
        model.load_state_dict(held["model_state"])
    except RuntimeError as error:
        raise InputError(f"{path}: its weights are of another model: {error}") from None
    return model.eval(), held
