"""A transformer whose feed-forward is made of clauses: ViT and Swin.

Shapes: B batch, C channels, H W pixels, P patch side, N tokens, D width, K classes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stillhouse.core.records import write_atomically
from stillhouse.layers.norms import make_norm
from stillhouse.tasks.classification.students.attention import (
    Attended,
    Attention,
    PatchMerge,
    Place,
    WindowAttention,
    Windows,
    stochastic_depth,
)
from stillhouse.tasks.classification.students.clauses import ClauseModel
from stillhouse.tasks.classification.students.feed_forward import ClauseFeedForward, MLPFeedForward
from stillhouse.tasks.classification.students.transformer_config import Stage, UnifiedTMConfig


class BlockOut(NamedTuple):
    """What a block puts out; a tap takes the first entry.

    Attributes:
        tokens: (B, N, D).
        attended: (B, N, D) attention output, what residual attention hands on.
        context: (B, N, D) the heads' contexts side by side.
        strength: (B, N, C) clause strengths; None without clauses.
    """

    tokens: Tensor
    attended: Tensor
    context: Tensor
    strength: Tensor | None


class LayerScale(nn.Module):
    """LayerScale: a learned gain per channel.

    The documents start it at 1e-4 on the clause branch, which buries the clauses for a short run; here it starts at 1.

    Source: Touvron et al. 2021, arXiv:2103.17239 (CaiT).
    """

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) times the gains."""
        return x * self.gain


class Block(nn.Module):
    """Attention, then the feed-forward (if any), each normalized before, scaled, dropped and added.

    Args:
        config: of the model.
        stage: its sizes.
        clauses: C of this block.
        drop_path: rate of stochastic depth.
        shifted: shift the windows (Swin).
    """

    def __init__(self, config: UnifiedTMConfig, stage: Stage, clauses: int, drop_path: float, *, shifted: bool) -> None:
        super().__init__()
        width, prefix = stage.width, int(config.class_token)
        self.carries = config.use_residual_attention
        self.norm1 = make_norm(config.norm_type, width)
        windows = Windows(*stage.grid, stage.window, shifted=shifted) if stage.window else None
        grid = stage.grid if windows is None else windows.sides
        place = Place(config.relative_position(width // stage.heads), grid, prefix)
        heads = Attention(width, stage.heads, config.attn_drop_rate, place=place, fused=config.use_flash_attention)
        self.attention = heads if windows is None else WindowAttention(windows, heads)
        self.contexts = nn.Identity()  # a place to tap the heads' contexts at
        self.attention_gain = LayerScale(width, 1.0) if config.use_layerscale else nn.Identity()
        self.drop = nn.Dropout(config.drop_rate)
        self.drop_path = stochastic_depth(drop_path)
        self.feed_forward: ClauseFeedForward | MLPFeedForward | None = None
        if config.feed_forward == "mlp":
            self.feed_forward = MLPFeedForward(width, stage.hidden, config.drop_rate)
        elif config.feed_forward == "clauses":
            self.feed_forward = ClauseFeedForward(width, stage.hidden, clauses, config, grid=stage.grid, prefix=prefix)
        if self.feed_forward is not None:
            self.norm2 = make_norm(config.norm_type, width)
            self.gain = LayerScale(width, config.layerscale_init) if config.use_layerscale else nn.Identity()

    @property
    def heads(self) -> Attention:
        """The attention of one set of tokens (of one window, in Swin), where the head gains are."""
        return self.attention.attention if isinstance(self.attention, WindowAttention) else self.attention

    def forward(self, x: Tensor, carried: Tensor | None = None) -> BlockOut:
        """Tokens (B, N, D), and the attention output of the block before where attention is residual."""
        found: Attended = self.attention(self.norm1(x))
        context = self.contexts(found.context)
        attended = self.drop(found.out)
        if self.carries and carried is not None:
            attended = attended + carried
        x = x + self.drop_path(self.attention_gain(attended))
        if self.feed_forward is None:
            return BlockOut(x, attended, context, None)
        answer = self.feed_forward(self.norm2(x))
        votes, strength = answer if isinstance(answer, tuple) else (answer, None)
        x = x + self.drop_path(self.gain(votes))
        return BlockOut(x, attended, context, strength)


class SwinStage(nn.Module):
    """Blocks of one width over one map, after the merging that makes it (none for the first stage)."""

    def __init__(self, blocks: list[Block], merge: nn.Module) -> None:
        super().__init__()
        self.merge, self.blocks = merge, nn.ModuleList(blocks)


@dataclass(slots=True)
class Diagnostics:
    """What the clauses of each block ("block_1" or "stage1_block1") did in one forward pass.

    Attributes:
        clause_mean: (C) mean strength of every clause.
        head_mean: (H) how much of the clause activity goes with each head (see `head_activity`).
    """

    clause_mean: dict[str, Tensor] = field(default_factory=dict)
    head_mean: dict[str, Tensor] = field(default_factory=dict)


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

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929 (ViT); Liu et al. 2021, arXiv:2103.14030 (Swin);
    Hnilov 2025, arXiv:2508.08350 (fuzzy-pattern clauses).
    """

    config_class = UnifiedTMConfig

    def __init__(self, num_classes: int = 10, **options: Any) -> None:
        super().__init__(num_classes=num_classes, **options)
        config: UnifiedTMConfig = self.config
        stages, rates = config.stages(), iter(config.drop_paths())
        _, height, width = self.image_shape
        self.pool = config.pool or ("cls" if config.class_token else "mean")
        self.patch_size, self.grid = config.patch_size, stages[0].grid
        self.padding = (self.grid[1] * self.patch_size - width, self.grid[0] * self.patch_size - height)

        self.patch_embed = nn.Conv2d(config.in_channels, stages[0].width, self.patch_size, stride=self.patch_size)
        self.patch_norm = nn.LayerNorm(stages[0].width)
        self.class_token: nn.Parameter | None = None
        self.positions: nn.Parameter | None = None
        self.dropout = nn.Dropout(config.drop_rate)
        if config.use_absolute_positions:
            tokens = self.grid[0] * self.grid[1] + int(config.class_token)
            self.positions = nn.Parameter(torch.zeros(1, tokens, stages[0].width))
        if config.class_token:
            self.class_token = nn.Parameter(torch.zeros(1, 1, stages[0].width))
        self.swin = config.architecture == "swin"
        made = []
        for place, stage in enumerate(stages):
            before = stages[place - 1]
            merge = PatchMerge(before.width, stage.width, before.grid) if place else nn.Identity()
            blocks = [
                Block(config, stage, clauses, next(rates), shifted=self.swin and bool(number % 2))
                for number, clauses in enumerate(stage.clauses)
            ]
            made.append(SwinStage(blocks, merge))
        if self.swin:
            self.stages = nn.ModuleList(made)
        else:
            self.blocks = made[0].blocks
        self.norm = nn.LayerNorm(stages[-1].width)
        self.head = nn.Linear(stages[-1].width, num_classes)
        self._penalty: Tensor | None = None
        self._reset_parameters()

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
        for stage_number, stage in enumerate(self.stages if self.swin else [self], start=1):
            for number, block in enumerate(stage.blocks, start=1):  # type: ignore[arg-type]
                yield f"stage{stage_number}_block{number}" if self.swin else f"block_{number}", block

    def feed_forwards(self) -> dict[str, ClauseFeedForward]:
        """The clause feed-forward of every block that has one, by the block's name."""
        found = {name: block.feed_forward for name, block in self.named_blocks()}
        return {name: part for name, part in found.items() if isinstance(part, ClauseFeedForward)}

    def embed(self, pixels: Tensor) -> Tensor:
        """Tokens (B, N, D) ahead of the first block of raw pixels (B, C, H, W)."""
        x = nn.functional.pad(self.normalized(pixels), (0, self.padding[0], 0, self.padding[1]))
        x = self.patch_norm(self.patch_embed(x).flatten(2).transpose(1, 2))
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        if self.positions is not None:
            x = x + self.positions
        return self.dropout(x)

    def pooled(self, x: Tensor) -> Tensor:
        """(B, N, D) tokens to (B, D): the class token, or the mean of the patches."""
        return x[:, 0] if self.pool == "cls" else x[:, int(self.class_token is not None) :].mean(1)

    def forward(self, pixels: Tensor, collect_diagnostics: bool = False) -> Any:
        """Logits (B, K) of raw pixels (B, C, H, W) in [0, 1], and a `Diagnostics` if it is asked for."""
        self.advance_tau()
        notes, penalties = Diagnostics(), []
        x, carried = self.embed(pixels), None
        merges = {id(stage.blocks[0]): stage.merge for stage in self.stages} if self.swin else {}  # type: ignore[index]
        recompute = self.config.grad_checkpoint and self.training and torch.is_grad_enabled()
        for name, block in self.named_blocks():
            if id(block) in merges:  # residual attention does not cross a merging
                x, carried = merges[id(block)](x), None  # type: ignore[operator]
            found: BlockOut = checkpoint(block, x, carried, use_reentrant=False) if recompute else block(x, carried)
            x, carried = found.tokens, found.attended
            if found.strength is not None and self.config.ff_sparsity_weight > 0:
                penalties.append(found.strength.mean())
            if found.strength is not None and collect_diagnostics:
                notes.clause_mean[name] = found.strength.detach().mean((0, 1))
                notes.head_mean[name] = head_activity(found.context, found.strength, block.heads.heads)
        self._penalty = torch.stack(penalties).sum() if penalties else None
        features = self.pooled(self.norm(x)) if self.pool == "mean" else self.norm(self.pooled(x))
        logits = self.head(features)
        return (logits, notes) if collect_diagnostics else logits

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """The clause activity of the last forward pass, (weight, 0-d)."""
        return {} if self._penalty is None else {"clause_sparsity": (self.config.ff_sparsity_weight, self._penalty)}


def save_transformer(
    path: str | Path, model: UnifiedTMTransformer, *, meta: Mapping[str, Any] | None = None, **more: Any
) -> None:
    """Write `model_state`, `model_kwargs`, `meta` and more; the file appears whole or not at all.

    Documents 000 and 001 read it so:

        ckpt = torch.load(path, map_location="cpu")
        student = UnifiedTMTransformer(**ckpt["model_kwargs"])
        student.load_state_dict(ckpt["model_state"])

    Args:
        path: the file; folders are made.
        model: the weights whose scores are written with it.
        meta: more, over architecture, backend, timestamp, image_size and num_classes.
        more: plain data: `train_args`, `train_metrics`.

    Raises:
        InputError: the file cannot be written.
    """
    config = model.config
    facts = {
        "architecture": config.architecture,
        "backend": config.backend,
        "image_size": list(config.image_shape[1:]),
        "num_classes": config.num_classes,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    held = {"model_state": state, "model_kwargs": dict(model.model_kwargs), "meta": facts | dict(meta or {}), **more}
    buffer = io.BytesIO()  # torch ends the process by SIGABRT where the disk that it writes to is full
    torch.save(held, buffer)
    write_atomically(Path(path), lambda file: file.write(buffer.getbuffer()))
