"""Configurations of the transformers made of clauses, and their stages. No torch here.

Names of `UnifiedTMConfig` are those of older checkpoints ("model_kwargs"). Where their default buries or freezes a part, the
default here is one that works, as the description states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from stillhouse.core.config import configclass, parse, to_mapping
from stillhouse.core.types import InputSpec
from stillhouse.tasks.classification.students.config import (
    IMAGES,
    ClauseOptions,
    ClauseStudent,
    Even,
    Feedforward,
    ImageModelConfig,
    NormalizedConfig,
    Numbers,
    images_for,
)

Wholes = int | tuple[int, ...]
N = TypeVar("N", int, float)
Gate = Literal["none", "linear", "geglu", "swiglu", "tm", "deeptm"]
GateActivation = Literal["sigmoid", "tanh", "relu"]
Norm = Literal["layernorm", "rmsnorm", "scalenorm", "ln", "rms", "scale"]
USUAL_WINDOW = 7  # of Swin
UNIFIED = {
    "depth": "depths",
    "heads": "num_heads",
    "clauses": "tm_clauses",
    "failures": "tm_failures",
    "dropout": "drop_rate",
    "drop_path": "drop_path_rate",
    "class_token": "use_cls_token",
}  # names of the small configuration in the large one


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: blocks of one width over one map.

    Attributes:
        depth: number of blocks.
        width: D.
        heads: H.
        hidden: F, bits that the clauses read.
        clauses: C of each block.
        grid: (rows, columns) of the map of tokens.
        window: side of a window, 0 for global attention.
    """

    depth: int
    width: int
    heads: int
    hidden: int
    clauses: tuple[int, ...]
    grid: tuple[int, int]
    window: int


@configclass
class UnifiedTMConfig(ImageModelConfig):
    """A vision or Swin transformer whose feed-forward is made of clauses, with every option of the documents."""

    kind: Literal["unified-tm"] = "unified-tm"
    network: ClassVar[str] = "transformer:UnifiedTMTransformer"
    part_field: ClassVar[str] = "feed_forward"
    architecture: Literal["vit", "swin"] = Field(default="vit", description="global attention, or windows in stages")
    backend: Literal["ste", "deeptm"] = Field(default="ste", description="one layer of clauses, or two in a row")
    patch_size: int = Field(default=4, gt=0, description="side of a patch; an image it does not divide is padded")
    embed_dim: Wholes = Field(default=96, description="width of a token; one number doubles from stage to stage (Swin)")
    depths: Wholes | None = Field(default=None, description="blocks, for Swin in each stage; none: 4, or 2,2,6,2")
    num_heads: Wholes = Field(default=3, description="attention heads; one number doubles from stage to stage (Swin)")
    mlp_ratio: Numbers = Field(default=4.0, description="bits that the clauses read, per token width")
    tm_clauses: Wholes = Field(default=256, description="clauses of each block, even; or one number a stage or block")
    tm_tau: float = Field(default=0.5, gt=0.05, lt=0.95, description="include threshold on the sigmoid of the logits")
    tm_failures: int = Field(default=4, ge=1, description="LF: misses that silence a clause")
    tm_literals: float | None = Field(default=None, gt=0, description="literals of a clause at the start; none: 3 LF")
    tm_literal_budget: int | None = Field(default=None, gt=0, description="L: most literals that a clause may include")
    feed_forward: Feedforward = Field(default="clauses", description="what follows attention, or a control: mlp, none")
    drop_rate: float = Field(default=0.0, ge=0, lt=1, description="dropout on tokens, branches and inside deeptm")
    attn_drop_rate: float = Field(default=0.0, ge=0, lt=1, description="dropout on the attention weights")
    drop_path_rate: float = Field(default=0.1, ge=0, lt=1, description="stochastic depth of the last block")
    drop_path_schedule: Literal["linear", "cosine"] = Field(
        default="linear", description="how it rises from 0 at the first block"
    )
    window_size: int | None = Field(default=None, gt=0, description="Swin: side of a window; none: 7, capped to maps")
    use_cls_token: bool | None = Field(default=None, description="class token; none: on for ViT, off for Swin")
    pool: Literal["cls", "mean"] | None = Field(default=None, description="readout; none: cls where there is a token")
    grad_checkpoint: bool = Field(default=False, description="recompute blocks in the backward pass: less memory")
    ff_gate: Gate = Field(default="none", description="gate on the hidden numbers before they become bits")
    ff_gate_activation: GateActivation = Field(default="sigmoid", description="of the gates linear, tm, deeptm")
    ff_mix_type: Literal["none", "linear", "depthwise", "linear_depthwise"] = Field(
        default="none", description="linear maps around the clauses, a 3 x 3 depthwise one, or both"
    )
    ff_bitwise_mix: bool = Field(default=False, description="threshold gates over bits and negations before clauses")
    ff_sparsity_weight: float = Field(default=0.0, ge=0, description="weight of the mean strength, summed over blocks")
    layerscale_init: float = Field(default=1.0, gt=0, description="start of the clause branch's gains; 1e-4 buries it")
    use_layerscale: bool = Field(default=True, description="learned gain per channel on both branches")
    clause_dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on clause strengths")
    literal_dropout: float = Field(default=0.0, ge=0, lt=1, description="share of literals made don't-care in a step")
    clause_bias_init: float | None = Field(default=0.0, description="start of each clause's bias; none: no bias")
    norm_type: Norm = Field(default="layernorm", description="norms in the blocks; patch and final norm are LayerNorm")
    learnable_tau: bool = Field(default=False, description="one learned tau a bank (ste, deeptm)")
    tau_ema_beta: float | None = Field(default=None, gt=0, lt=1, description="memory of a moving average of tau")
    clause_attention: bool = Field(default=False, description="add an MLP of the token's clause strengths")
    clause_routing: bool = Field(default=False, description="multiply by a gate computed from the clause strengths")
    continuous_bypass: bool = Field(default=False, description="add a plain MLP beside the clauses, times tanh(gain)")
    bypass_scale: float = Field(default=1.0, description="start of that gain")
    use_flash_attention: bool = Field(default=False, description="fused kernels; a warning where none takes the inputs")
    use_residual_attention: bool = Field(default=False, description="add the previous block's attention output")
    relative_position_type: Literal["auto", "none", "learned", "rotary"] = Field(
        default="auto",
        description="in attention: bias table, or rotary in two axes; auto: of Swin alone, rotary if it can",
    )
    use_absolute_positions: bool = Field(default=True, description="learned positions, begun as sines and cosines")
    pixel_mean: Numbers = Field(default=0.0, description="subtracted from the pixels in [0, 1]")
    pixel_std: Numbers = Field(default=1.0, description="divides them")

    def __post_init__(self) -> None:
        stages = self.stages()
        odd = next((c for stage in stages for c in stage.clauses if c < 2 or c % 2), None)
        if self.feed_forward == "clauses" and odd is not None:
            raise ValueError(f"tm_clauses: expected even numbers of at least 2, got {odd}")
        if self.architecture == "swin" and (self.use_cls_token or self.pool == "cls"):
            raise ValueError("use_cls_token, pool: Swin reads the mean of its tokens and has no class token")
        if self.pool == "cls" and self.use_cls_token is False:
            raise ValueError("pool='cls' reads the class token, but use_cls_token is off; take pool='mean'")
        if self.relative_position_type == "rotary" and any((s.width // s.heads) % 4 for s in stages):
            raise ValueError("relative_position_type: rotary expects heads of a multiple of 4 channels")

    def relative_position(self, head_width: int) -> str:
        """How attention of this head width gets positions, `auto` resolved."""
        if self.relative_position_type != "auto":
            return self.relative_position_type
        if self.architecture == "vit":
            return "none"
        return "learned" if head_width % 4 else "rotary"

    @property
    def class_token(self) -> bool:
        """Whether there is one, defaults resolved."""
        return self.architecture == "vit" if self.use_cls_token is None else self.use_cls_token

    def clause_options(self) -> ClauseOptions:
        """The rule of every bank."""
        return ClauseOptions(
            failures=self.tm_failures,
            literals=self.tm_literals,
            tau=self.tm_tau,
            learnable_tau=self.learnable_tau,
            tau_ema=self.tau_ema_beta,
            literal_dropout=self.literal_dropout,
            literal_budget=self.tm_literal_budget,
            clause_dropout=self.clause_dropout,
            clause_bias=self.clause_bias_init,
        )

    def stages(self) -> tuple[Stage, ...]:
        """Depth, width, heads, clauses and map of each stage; one for a ViT.

        Raises:
            ValueError: lists that do not fit, heads that do not divide a width, an image smaller than a patch, a window larger
                than the first map.
        """
        swin = self.architecture == "swin"
        given = self.depths if self.depths is not None else ((2, 2, 6, 2) if swin else 4)
        depths = (given,) if isinstance(given, int) else tuple(given)
        if not depths or min(depths) < 1 or (not swin and len(depths) != 1):
            raise ValueError(f"depths: expected at least 1 block, one number for a ViT, got {given}")
        count = len(depths)
        widths = broadcast_setting("embed_dim", self.embed_dim, count, doubling=True)
        heads = broadcast_setting("num_heads", self.num_heads, count, doubling=True)
        ratios = broadcast_setting("mlp_ratio", self.mlp_ratio, count)
        clauses = clauses_of(self.tm_clauses, depths)
        _, height, across = self.image_shape
        if min(height, across) < self.patch_size:
            raise ValueError(f"patch_size: expected at most the image ({height} x {across}), got {self.patch_size}")
        grid = (-(-height // self.patch_size), -(-across // self.patch_size))
        if swin and self.window_size is not None and self.window_size > max(grid):
            raise ValueError(
                f"window_size: expected at most the first map ({grid[0]} x {grid[1]} patches), got {self.window_size}"
            )
        window = (self.window_size or USUAL_WINDOW) if swin else 0
        stages = []
        for place, (depth, width, head, ratio) in enumerate(zip(depths, widths, heads, ratios)):
            if width % head:
                raise ValueError(f"embed_dim: expected a multiple of num_heads ({head}), got {width}")
            if place and max(grid) == 1:
                raise ValueError(
                    f"depths: the map is one token after stage {place}; expected at most {place} stages, got {count}"
                )
            if place:
                grid = (-(-grid[0] // 2), -(-grid[1] // 2))
            hidden = int(width * ratio)
            if hidden < 1:
                raise ValueError(f"mlp_ratio: expected at least one hidden bit, got {ratio} x {width}")
            stages.append(Stage(depth, width, head, hidden, clauses[place], grid, window))
        return tuple(stages)

    def drop_paths(self) -> list[float]:
        """Stochastic depth of every block in turn."""
        count = sum(stage.depth for stage in self.stages())
        places = [i / max(1, count - 1) for i in range(count)]
        if self.drop_path_schedule == "cosine":
            places = [(1 - math.cos(math.pi * u)) / 2 for u in places]
        return [self.drop_path_rate * u for u in places]


def broadcast_setting(name: str, value: N | tuple[N, ...], count: int, *, doubling: bool = False) -> tuple[N, ...]:
    """One number for each of `count` places: a number is repeated or doubled, a list must fit.

    Example:
        >>> broadcast_setting("embed_dim", 96, 3, doubling=True), broadcast_setting("mlp_ratio", (4.0,), 1)
        ((96, 192, 384), (4.0,))

    Raises:
        ValueError: a list of another length, or a number that is not positive.
    """
    values = value if isinstance(value, tuple) else tuple(value * 2 ** (place * doubling) for place in range(count))
    if len(values) != count or min(values) <= 0:
        raise ValueError(f"{name}: expected one positive number or a list of {count} (one a stage), got {value}")
    return values


def clauses_of(value: Wholes, depths: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Clauses of every block of every stage: from one number, one a stage, or one a block.

    Example:
        >>> clauses_of((64, 32), (1, 2)), clauses_of((8, 16, 32), (1, 2))
        (((64,), (32, 32)), ((8,), (16, 32)))

    Raises:
        ValueError: a list that fits neither.
    """
    if not isinstance(value, int) and len(value) == sum(depths):
        places = iter(value)
        return tuple(tuple(next(places) for _ in range(depth)) for depth in depths)
    return tuple(
        (clauses,) * depth for clauses, depth in zip(broadcast_setting("tm_clauses", value, len(depths)), depths)
    )


@configclass
class TsetlinViTConfig(ClauseStudent):
    """A vision transformer whose feed-forward is a bank of fuzzy logic clauses (`UnifiedTMTransformer`)."""

    kind: Literal["tsetlin-vit"] = "tsetlin-vit"
    part_field: ClassVar[str] = "feed_forward"
    patch_size: int = Field(default=4, gt=0, description="side of a patch; an image it does not divide is padded")
    embed_dim: int = Field(default=96, gt=0, description="width of a token, a multiple of heads")
    depth: int = Field(default=4, gt=0, description="number of blocks")
    heads: int = Field(default=3, gt=0, description="attention heads")
    mlp_ratio: float = Field(default=4.0, gt=0, description="bits that the clauses read, per token width")
    clauses: int = Field(default=256, gt=0, description="clauses in each block")
    failures: int = Field(default=4, ge=1, description="LF: misses that silence a clause")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on tokens and on both branches")
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="stochastic depth of the last block")
    class_token: bool = Field(default=True, description="prepend a learned class token")
    pool: Literal["cls", "mean"] = Field(default="cls", description="read the class token, or the mean of the patches")
    feed_forward: Feedforward = Field(default="clauses", description="what follows attention, or a control: mlp, none")

    def __post_init__(self) -> None:
        if self.embed_dim % self.heads:
            raise ValueError(f"embed_dim: expected a multiple of heads ({self.heads}), got {self.embed_dim}")

    def build(self, input_spec: InputSpec) -> Any:
        """The network, with weights from torch's global generator.

        Raises:
            InputError: not images.
            ConfigError: the image is smaller than a patch, a class token is read that is off.
        """
        sides = images_for(self, input_spec).shape[1:]
        settings = {UNIFIED.get(name, name): value for name, value in to_mapping(self).items() if name != "kind"}
        fixed = {"image_size": sides, "use_layerscale": False, "clause_bias_init": None}
        return parse(UnifiedTMConfig, settings | fixed).build(input_spec)


SWIN_SIZES = {
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "large": (192, (2, 2, 18, 2), (6, 12, 24, 48)),
}


@configclass
class SwinTMConfig(NormalizedConfig):
    """Swin with a clause layer that reads a whole window at once, and one that votes after every stage."""

    kind: Literal["swin-tm"] = "swin-tm"
    network: ClassVar[str] = "swin:SwinTM"
    usual: ClassVar[Mapping[str, Any]] = {"training": {**IMAGES["training"], "learning_rate": 5e-4}}  # 2e-3 unlearns
    size: Literal["tiny", "small", "base", "large"] = Field(default="tiny", description="widths, depths, heads of Swin")
    embed_dim: int | None = Field(default=None, gt=0, description="width of the first stage in place of the size's")
    depths: tuple[int, ...] | None = Field(default=None, description="blocks of each stage in place of the size's")
    num_heads: tuple[int, ...] | None = Field(default=None, description="heads of each stage in place of the size's")
    patch_size: int = Field(default=4, gt=0, description="side of a patch; an image it does not divide is padded")
    window_size: int | None = Field(default=None, gt=0, description="side of a window; none: 7, capped to maps")
    cap_windows: bool = Field(default=True, description="off, as documented: pad small maps to the window (175 M)")
    tm_hidden: int = Field(default=256, gt=0, description="bits that each clause layer reads")
    clauses: Even = Field(default=256, description="clauses of each block, even")
    head_clauses: Even = Field(default=128, description="clauses of each read-out, even")
    drop_path_rate: float = Field(default=0.1, ge=0, lt=1, description="stochastic depth of the last block")
    drop_rate: float = Field(default=0.0, ge=0, lt=1, description="dropout on tokens and on both branches")
    attn_drop_rate: float = Field(default=0.0, ge=0, lt=1, description="dropout on the attention weights")

    def __post_init__(self) -> None:
        self.backbone()

    def backbone(self) -> UnifiedTMConfig:
        """The sizes, with the stages that the map has room for, checked by the transformer that they are shared with."""
        first, blocks, split = SWIN_SIZES[self.size]
        room = (
            1 + (-(-max(self.image_shape[1:]) // self.patch_size) - 1).bit_length()
        )  # a stage halves the map, to one token
        depths, width = self.depths or blocks[:room], self.embed_dim or first
        return UnifiedTMConfig(
            architecture="swin",
            image_size=self.image_size,
            patch_size=self.patch_size,
            embed_dim=tuple(width * 2**place for place in range(len(depths))),
            depths=depths,
            num_heads=self.num_heads or split[: len(depths)],
            window_size=self.window_size,
            tm_clauses=self.clauses,
            drop_path_rate=self.drop_path_rate,
        )
