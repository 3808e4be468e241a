"""Students that vote with readable logic clauses. The configuration is here; torch is loaded when one is built."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import ImageSpec, InputSpec, TextSpec
from stillhouse.tasks.classification.students.config import UnifiedTMConfig

if TYPE_CHECKING:
    from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer


@configclass
class TsetlinViTConfig:
    """A vision transformer whose feed-forward is a bank of fuzzy logic clauses (`UnifiedTMTransformer`)."""

    kind: Literal["tsetlin-vit"] = "tsetlin-vit"
    patch_size: int = Field(
        default=4, gt=0, description="side of a patch in pixels; an image it does not divide is padded"
    )
    embed_dim: int = Field(default=96, gt=0, description="width of a token, a multiple of heads")
    depth: int = Field(default=4, gt=0, description="number of blocks")
    heads: int = Field(default=3, gt=0, description="attention heads")
    mlp_ratio: float = Field(default=4.0, gt=0, description="bits that the clauses read, per token width")
    clauses: int = Field(default=256, gt=0, description="clauses in each block")
    failures: int = Field(default=4, ge=1, description="LF: misses that silence a clause")
    literals: float | None = Field(
        default=None, gt=0, description="literals that a clause includes at the start, on average; none: 3 LF"
    )
    tau: float = Field(default=0.5, gt=0, lt=1, description="include threshold on the sigmoid of the include logits")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on tokens and on both branches")
    attention_dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on the attention weights")
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="stochastic depth of the last block")
    class_token: bool = Field(default=True, description="prepend a learned class token")
    pool: Literal["cls", "mean"] = Field(
        default="cls", description="read the class token, or the mean of the patch tokens"
    )
    feed_forward: Literal["clauses", "mlp", "none"] = Field(
        default="clauses", description="what follows attention; mlp and none are the controls"
    )

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

    def build(self, input_spec: InputSpec) -> UnifiedTMTransformer:
        """The network, with weights from torch's global generator.

        Raises:
            InputError: the image is smaller than a patch.
        """
        if not isinstance(input_spec, ImageSpec):
            raise InputError(f"student {self.kind!r}: expected images, got {input_spec.rows}")
        config = UnifiedTMConfig(
            patch_size=self.patch_size,
            embed_dim=self.embed_dim,
            depths=self.depth,
            num_heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            tm_clauses=self.clauses,
            tm_failures=self.failures,
            tm_literals=self.literals,
            tm_tau=self.tau,
            drop_rate=self.dropout,
            attn_drop_rate=self.attention_dropout,
            drop_path_rate=self.drop_path,
            use_cls_token=self.class_token,
            pool=self.pool,
            feed_forward=self.feed_forward,
            use_layerscale=False,
            clause_bias_init=None,
        )
        return config.build(input_spec)


__all__ = ["TsetlinViTConfig", "UnifiedTMConfig"]
