"""Configurations of students made of clauses: what they share, the transformers, and their stages. No torch here.

Names of `UnifiedTMConfig` are those of older checkpoints ("model_kwargs"). Where their default buries or freezes a part, the
default here is one that works, as the description states.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass, parse, to_mapping
from stillhouse.core.types import ImageSpec, InputSpec

if TYPE_CHECKING:
    from stillhouse.tasks.classification.students.base import ClauseModel

Even = Annotated[int, Field(ge=2, multiple_of=2)]  # clauses: half of them for, half against
Wholes = int | tuple[int, ...]
Numbers = float | tuple[float, ...]
Feedforward = Literal["clauses", "mlp", "none"]
Gate = Literal["none", "linear", "geglu", "swiglu", "tm", "deeptm"]
GateActivation = Literal["sigmoid", "tanh", "relu"]
Norm = Literal["layernorm", "rmsnorm", "scalenorm", "ln", "rms", "scale"]
USUAL_WINDOW = 7  # of Swin


@configclass
class ClauseOptions:
    """The rule of one bank of clauses; `failures` well below `literals` makes a clause a soft AND and not a count."""

    failures: int = Field(default=4, ge=1, description="LF: misses that silence a clause")
    literals: float | None = Field(default=None, gt=0, description="literals of a clause at the start; none: 3 LF")
    tau: float = Field(default=0.5, gt=0, lt=1, description="include threshold on the sigmoid of the include logits")
    learnable_tau: bool = Field(default=False, description="tau is learned: it gets the gradient of the masks")
    tau_min: float = Field(default=0.05, gt=0, lt=1, description="lower bound of a learned tau")
    tau_max: float = Field(default=0.95, gt=0, lt=1, description="upper bound of a learned tau")
    tau_ema: float | None = Field(default=None, gt=0, lt=1, description="memory of a moving average of tau")
    literal_dropout: float = Field(default=0.0, ge=0, lt=1, description="share of literals made don't-care in a step")
    literal_budget: int | None = Field(default=None, gt=0, description="L: most literals that a clause may include")
    clause_dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on clause strengths")
    clause_bias: float | None = Field(default=0.0, description="start of each clause's bias; none: one on the votes")
    leak: float = Field(default=0.1, ge=0, le=1, description="backward slope of a silent clause, so that it can return")

    per_failure: ClassVar[float] = 3.0

    @property
    def literals_at_start(self) -> float:
        """Literals of a clause at the start. Half of them are drawn wrong for a given input: far above 2 LF nothing fires."""
        return self.per_failure * self.failures if self.literals is None else self.literals

    def __post_init__(self) -> None:
        if not self.tau_min < self.tau_max or (self.learnable_tau and not self.tau_min < self.tau < self.tau_max):
            raise ValueError(
                f"tau: expected between tau_min and tau_max ({self.tau_min}, {self.tau_max}), got {self.tau}"
            )


@configclass
class PixelClauseOptions(ClauseOptions):
    """The rule for clauses that read a whole image: more literals, more of which may fail."""

    failures: int = Field(default=16, ge=1, description="LF: misses that silence a clause")
    literals: float | None = Field(default=None, gt=0, description="literals of a clause at the start; none: 2.25 LF")
    per_failure: ClassVar[float] = 2.25


@configclass
class ImageModelConfig(ABC):
    """What every network over images has; not a network itself."""

    num_classes: int = Field(default=10, ge=2, description="K; the data set gives it when a run builds the student")
    image_size: int | tuple[int, int] = Field(default=(32, 32), description="height and width, or one side, in pixels")
    in_channels: int = Field(default=3, gt=0, description="channels of the image")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        size = self.image_size
        return (self.in_channels, size, size) if isinstance(size, int) else (self.in_channels, *size)

    def for_task(self, input_spec: InputSpec) -> Self:
        """This configuration with the classes, the image and the pixel statistics of a data set.

        Raises:
            InputError: not images.
            ConfigError: sizes that do not fit the image.
        """
        spec = images_for(self, input_spec)
        found: dict[str, Any] = {
            "image_size": spec.shape[1:],
            "in_channels": spec.shape[0],
            "num_classes": spec.num_classes,
        }
        if hasattr(self, "pixel_mean"):
            found |= {"pixel_mean": tuple(spec.pixel_mean), "pixel_std": tuple(spec.pixel_std)}
        return parse(type(self), {**to_mapping(self), **found})  # an image that does not fit is the user's fault

    @abstractmethod
    def model_class(self) -> type[ClauseModel]:
        """The class of the network."""

    def build(self, input_spec: InputSpec) -> ClauseModel:
        """The network for a data set, with weights from torch's global generator."""
        return self.model_class().from_config(self.for_task(input_spec))


def images_for(config: Any, input_spec: InputSpec) -> ImageSpec:
    """The spec of a student's images.

    Raises:
        InputError: it is of texts or tables.
    """
    if not isinstance(input_spec, ImageSpec):
        raise InputError(f"student {config.kind!r}: expected images, got {input_spec.rows}")
    return input_spec


@configclass
class ClauseModelConfig(ImageModelConfig):
    """Networks whose clause layers have an ordinary layer as control."""

    part: Feedforward = Field(default="clauses", description="clause layers, or the controls: mlp, none (linear maps)")
    rule: ClauseOptions = Field(default_factory=ClauseOptions, description="how clauses are evaluated and learned")

    def without_special_part(self) -> Self:
        """The same network, linear where clause layers were."""
        return replace(self, part="none")

    def with_ordinary_part(self) -> Self:
        """The same network with MLPs where clause layers were."""
        return replace(self, part="mlp")


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
    architecture: Literal["vit", "swin"] = Field(default="vit", description="global attention, or windows in stages")
    backend: Literal["ste", "deeptm"] = Field(default="ste", description="one layer of clauses, or two in a row")
    patch_size: int = Field(default=4, gt=0, description="side of a patch; an image it does not divide is padded")
    embed_dim: Wholes = Field(default=96, description="width of a token; one number doubles from stage to stage (Swin)")
    depths: Wholes | None = Field(default=None, description="blocks, for Swin in each stage; none: 4, or 2,2,6,2")
    num_heads: Wholes = Field(default=3, description="attention heads; one number doubles from stage to stage (Swin)")
    mlp_ratio: Numbers = Field(default=4.0, description="bits that the clauses read, per token width")
    tm_clauses: Wholes = Field(default=256, description="clauses of each block, even; or one number a stage or block")
    tm_tau: float = Field(default=0.5, gt=0, lt=1, description="include threshold on the sigmoid of the include logits")
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
    tau_min: float = Field(default=0.05, gt=0, lt=1, description="lower bound of a learned tau")
    tau_max: float = Field(default=0.95, gt=0, lt=1, description="upper bound of a learned tau")
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
    use_absolute_positions: bool = Field(
        default=True, description="learned positions, which begin as sines and cosines"
    )
    pixel_mean: Numbers = Field(default=0.0, description="subtracted from the pixels in [0, 1]")
    pixel_std: Numbers = Field(default=1.0, description="divides them")

    def __post_init__(self) -> None:
        self.clause_options()  # its bounds of tau
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

    def model_class(self) -> type[ClauseModel]:
        """UnifiedTMTransformer."""
        from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer

        return UnifiedTMTransformer

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
            tau_min=self.tau_min,
            tau_max=self.tau_max,
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
        widths = [int(w) for w in spread("embed_dim", self.embed_dim, count, doubling=True)]
        heads = [int(h) for h in spread("num_heads", self.num_heads, count, doubling=True)]
        ratios = spread("mlp_ratio", self.mlp_ratio, count)
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

    def without_special_part(self) -> UnifiedTMConfig:
        """The same network trained without its clause branch."""
        return replace(self, feed_forward="none")

    def with_ordinary_part(self) -> UnifiedTMConfig:
        """The same network with an MLP of the same hidden width where the clauses are."""
        return replace(self, feed_forward="mlp")


def spread(name: str, value: Numbers, count: int, *, doubling: bool = False) -> tuple[float, ...]:
    """One number for each of `count` places: a number is repeated or doubled, a list must fit.

    Example:
        >>> spread("embed_dim", 96, 3, doubling=True), spread("mlp_ratio", (4.0,), 1)
        ((96, 192, 384), (4.0,))

    Raises:
        ValueError: a list of another length, or a number that is not positive.
    """
    if isinstance(value, Sequence):
        values = tuple(value)
    else:
        values = tuple(value * 2**place if doubling else value for place in range(count))
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
    each = spread("tm_clauses", value, len(depths))
    return tuple((int(clauses),) * depth for clauses, depth in zip(each, depths))


@configclass
class TsetlinViTConfig:
    """A vision transformer whose feed-forward is a bank of fuzzy logic clauses (`UnifiedTMTransformer`)."""

    kind: Literal["tsetlin-vit"] = "tsetlin-vit"
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
        if self.pool == "cls" and not self.class_token:
            raise ValueError("pool: 'cls' reads the class token, but class_token is off; take 'mean'")

    def without_special_part(self) -> TsetlinViTConfig:
        """The same network trained without its clause branch: the control that shows whether clauses earn their place."""
        return replace(self, feed_forward="none")

    def with_ordinary_part(self) -> TsetlinViTConfig:
        """The same network with an MLP of the same hidden width where the clauses are."""
        return replace(self, feed_forward="mlp")

    def build(self, input_spec: InputSpec) -> ClauseModel:
        """The network, with weights from torch's global generator.

        Raises:
            InputError: not images, or the image is smaller than a patch.
        """
        images_for(self, input_spec)
        config = UnifiedTMConfig(
            patch_size=self.patch_size,
            embed_dim=self.embed_dim,
            depths=self.depth,
            num_heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            tm_clauses=self.clauses,
            tm_failures=self.failures,
            drop_rate=self.dropout,
            drop_path_rate=self.drop_path,
            use_cls_token=self.class_token,
            pool=self.pool,
            feed_forward=self.feed_forward,
            use_layerscale=False,
            clause_bias_init=None,
        )
        return config.build(input_spec)
