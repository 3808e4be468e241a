"""Every keyword of `UnifiedTMTransformer`, as one strict configuration. No torch here.

Names are those of older checkpoints ("model_kwargs"). Where their default buries or freezes a part, the
default here is one that works, as the description states.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass, parse, to_mapping
from stillhouse.core.types import ImageSpec, InputSpec
from stillhouse.tasks.classification.students.base_config import ClauseOptions
from stillhouse.tasks.classification.students.geometry import Numbers, Stage, Wholes, stages_of

if TYPE_CHECKING:
    from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer

Mix = Literal["none", "linear", "depthwise", "linear_depthwise"]
Gate = Literal["none", "linear", "geglu", "swiglu", "tm", "deeptm"]
Position = Literal["auto", "none", "learned", "rotary", "log"]
Norm = Literal["layernorm", "rmsnorm", "scalenorm", "ln", "rms", "scale"]


@configclass
class UnifiedTMConfig:
    """A vision or Swin transformer whose feed-forward is made of clauses, with every option of the documents."""

    kind: Literal["unified-tm"] = "unified-tm"
    num_classes: int = Field(default=10, ge=2, description="K; taken from the data set when a run builds the student")
    architecture: Literal["vit", "swin"] = Field(default="vit", description="global attention, or windows in stages")
    backend: Literal["ste", "deeptm"] = Field(default="ste", description="one layer of clauses, or two in a row")
    image_size: int | tuple[int, int] = Field(default=(32, 32), description="height and width, or one side, in pixels")
    in_channels: int = Field(default=3, gt=0, description="channels of the image")
    patch_size: int = Field(default=4, gt=0, description="side of a patch; an image it does not divide is padded")
    embed_dim: Wholes = Field(default=96, description="width of a token; one number doubles from stage to stage (Swin)")
    depths: Wholes | None = Field(default=None, description="blocks, for Swin in each stage; none: 4, or 2,2,6,2")
    num_heads: Wholes = Field(default=3, description="attention heads; one number doubles from stage to stage (Swin)")
    mlp_ratio: Numbers = Field(default=4.0, description="bits that the clauses read, per token width")
    tm_clauses: Wholes = Field(
        default=256, description="clauses of each block, even; or one number a stage, or a block"
    )
    tm_tau: float = Field(default=0.5, gt=0, lt=1, description="include threshold on the sigmoid of the include logits")
    tm_failures: int = Field(default=4, ge=1, description="LF: misses that silence a clause")
    tm_literals: float | None = Field(default=None, gt=0, description="literals of a clause at the start; none: 3 LF")
    tm_literal_budget: int | None = Field(default=None, gt=0, description="L: most literals that a clause may include")
    deeptm_last_factor: int = Field(default=2, ge=1, description="clauses of the last layer over tm_clauses (deeptm)")
    feed_forward: Literal["clauses", "mlp", "none"] = Field(
        default="clauses", description="what follows attention; mlp and none are the controls"
    )
    drop_rate: float = Field(
        default=0.0, ge=0, lt=1, description="dropout: tokens, attention's and feed-forward's output, inside deeptm"
    )
    attn_drop_rate: float = Field(default=0.0, ge=0, lt=1, description="dropout on the attention weights")
    drop_path_rate: float = Field(default=0.1, ge=0, lt=1, description="stochastic depth of the last block")
    drop_path_schedule: Literal["linear", "cosine"] = Field(
        default="linear", description="how it rises from 0 at the first block"
    )
    window_size: int | None = Field(
        default=None, gt=0, description="Swin: side of a window, at most the first map; none: 7; smaller maps cap it"
    )
    use_cls_token: bool | None = Field(default=None, description="class token; none: on for ViT, off for Swin")
    pool: Literal["cls", "mean"] | None = Field(
        default=None, description="readout; none: cls with a class token, else mean"
    )
    swin_version: Literal[1, 2] = Field(
        default=1, description="2: cosine attention with a learned scale, and norms after the branches (Swin V2)"
    )
    grad_checkpoint: bool = Field(default=False, description="recompute blocks in the backward pass: less memory")
    ff_gate: Gate = Field(default="none", description="gate on the hidden numbers before they become bits")
    ff_gate_activation: Literal["sigmoid", "tanh", "relu"] = Field(
        default="sigmoid", description="activation of the gates linear, tm, deeptm"
    )
    ff_mix_type: Mix = Field(
        default="none", description="linear maps around the clauses, a 3 x 3 depthwise one, or both"
    )
    ff_bitwise_mix: bool = Field(
        default=False, description="a layer of threshold gates over bits and negations before the clauses"
    )
    ff_sparsity_weight: float = Field(
        default=0.0, ge=0, description="weight of the mean clause strength, summed over blocks"
    )
    ff_literal_weight: float = Field(
        default=0.0, ge=0, description="weight of the expected share of literals included, summed over blocks"
    )
    layerscale_init: float = Field(
        default=1.0, gt=0, description="start of the gains on the clause branch; 1e-4 buries it"
    )
    use_layerscale: bool = Field(default=True, description="learned gain per channel on both branches")
    clause_dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on clause strengths")
    literal_dropout: float = Field(default=0.0, ge=0, lt=1, description="share of literals made don't-care in a step")
    clause_bias_init: float | None = Field(
        default=0.0, description="start of the learned bias of each clause; none: no bias"
    )
    norm_type: Norm = Field(
        default="layernorm", description="norms in the blocks; the patch and final norm stay LayerNorm"
    )
    learnable_tau: bool = Field(default=False, description="one learned tau a bank (ste, deeptm)")
    tau_min: float = Field(default=0.05, gt=0, lt=1, description="lower bound of a learned tau")
    tau_max: float = Field(default=0.95, gt=0, lt=1, description="upper bound of a learned tau")
    tau_ema_beta: float | None = Field(default=None, gt=0, lt=1, description="memory of a moving average of tau")
    clause_attention: bool = Field(default=False, description="add an MLP of the token's clause strengths")
    clause_routing: bool = Field(default=False, description="multiply by a gate computed from the clause strengths")
    continuous_bypass: bool = Field(default=False, description="add a plain MLP beside the clauses, times tanh(gain)")
    bypass_scale: float = Field(default=1.0, description="start of that gain")
    use_flash_attention: bool = Field(
        default=False, description="fused kernels; where none takes the inputs, a warning and the ordinary one"
    )
    use_residual_attention: bool = Field(default=False, description="add the previous block's attention output")
    relative_position_type: Position = Field(
        default="auto",
        description="bias table, rotary in two axes, or log-spaced MLP (Swin V2) in attention; auto: rotary for Swin, whose "
        "windows have no other place (a table where heads are no multiple of 4 wide), none for ViT",
    )
    use_absolute_positions: bool = Field(
        default=True, description="learned positions on the patches, which begin as sines and cosines"
    )
    diagnostic_heads: bool = Field(
        default=False, description="a linear read-out after every part, on detached features"
    )
    diagnostic_gradient: bool = Field(default=False, description="their loss reaches the trunk: auxiliary heads")
    pixel_mean: float | tuple[float, ...] = Field(default=0.0, description="subtracted from the pixels in [0, 1]")
    pixel_std: float | tuple[float, ...] = Field(default=1.0, description="divides them")

    def __post_init__(self) -> None:
        self.clause_options()  # its bounds of tau
        stages = self.stages()
        if self.feed_forward == "clauses":
            odd = next((c for stage in stages for c in stage.clauses if c < 2 or c % 2), None)
            if odd is not None:
                raise ValueError(f"tm_clauses: expected even numbers of at least 2, got {odd}")
        if self.architecture == "swin" and (self.use_cls_token or self.pool == "cls"):
            raise ValueError("use_cls_token, pool: Swin reads the mean of its tokens and has no class token")
        if self.pool == "cls" and self.use_cls_token is False:
            raise ValueError("pool='cls' reads the class token, but use_cls_token is off; take pool='mean'")
        if self.relative_position_type == "rotary":
            width = next((s.width // s.heads for s in stages if (s.width // s.heads) % 4), None)
            if width is not None:
                raise ValueError(
                    f"relative_position_type: rotary expects heads of a multiple of 4 channels, got {width}"
                )

    def relative_position(self, head_width: int) -> Literal["none", "learned", "rotary", "log"]:
        """How attention of this head width gets positions, `auto` resolved."""
        if self.relative_position_type != "auto":
            return self.relative_position_type
        if self.architecture == "vit":
            return "none"
        return "learned" if head_width % 4 else "rotary"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        size = self.image_size
        return (self.in_channels, size, size) if isinstance(size, int) else (self.in_channels, *size)

    @property
    def class_token(self) -> bool:
        """Whether there is one, defaults resolved."""
        return self.architecture == "vit" if self.use_cls_token is None else self.use_cls_token

    @property
    def readout(self) -> Literal["cls", "mean"]:
        """What the head reads, defaults resolved."""
        return self.pool or ("cls" if self.class_token else "mean")

    @property
    def deep(self) -> bool:
        """Whether two clause layers follow each other in a block."""
        return self.backend == "deeptm"

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
        """Depth, width, heads, clauses and map of each stage; one for a ViT."""
        return stages_of(self)

    def drop_paths(self) -> list[float]:
        """Stochastic depth of every block in turn."""
        import math

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

    def for_task(self, input_spec: InputSpec) -> UnifiedTMConfig:
        """This configuration with the classes, the image and the pixel statistics of a data set.

        Raises:
            InputError: not images.
            ConfigError: sizes that do not fit the image.
        """
        if not isinstance(input_spec, ImageSpec):
            raise InputError(f"student {self.kind!r}: expected images, got {input_spec.rows}")
        channels, height, width = input_spec.shape
        fitted = {
            "num_classes": input_spec.num_classes,
            "image_size": (height, width),
            "in_channels": channels,
            "pixel_mean": tuple(input_spec.pixel_mean),
            "pixel_std": tuple(input_spec.pixel_std),
        }
        return parse(type(self), {**to_mapping(self), **fitted})  # an image that does not fit is the user's fault

    def build(self, input_spec: InputSpec) -> UnifiedTMTransformer:
        """The network for a data set, with weights from torch's global generator."""
        from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer

        return UnifiedTMTransformer.from_config(self.for_task(input_spec))
