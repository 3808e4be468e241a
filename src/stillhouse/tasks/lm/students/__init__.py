"""Recurrent language models with ternary spikes and weights. The configuration is here; torch is loaded when one is built."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from stillhouse.core.config import configclass

if TYPE_CHECKING:
    from stillhouse.tasks.lm.students.network import SpikingLM

Part = Literal["mixer", "output", "gates", "ffn", "readout"]
BODY: tuple[Part, ...] = ("mixer", "output", "ffn")


@configclass
class SpikeConfig:
    """Where activations are spikes, how many levels they have and how often they fire."""

    parts: tuple[Part, ...] = Field(
        default=BODY,
        description="matrix products whose input spikes: mixer (r, k, v), output of the mixer, gates, ffn, readout",
    )
    levels: int = Field(default=1, ge=1, le=127, description="largest signed count; 1 is ternary")
    hidden_levels: int = Field(
        default=1, ge=1, le=127, description="largest count inside a feed-forward layer, where spikes are one-sided"
    )
    density: float = Field(default=0.3, gt=0, lt=1, description="target share of channels that fire at a token")
    density_weight: float = Field(
        default=10.0, ge=0, description="weight of the squared distance from that target, a mean over the units"
    )
    floor: float = Field(default=0.01, ge=0, lt=1, description="rate below which a channel's threshold is pulled down")

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("spikes.parts: expected at least one part, got none; spikes: null is the network without")
        if self.floor >= self.density:
            raise ValueError(f"spikes.floor: expected less than density {self.density}, got {self.floor}")


@configclass
class NGramConfig:
    """A pruned n-gram model inside the student: counted once from the training text, it learns nothing more."""

    order: int = Field(default=4, ge=2, le=8, description="longest sequence of tokens")
    entries: int = Field(
        default=200_000, gt=0, description="sequences of two and more tokens that are kept, about two bytes each"
    )
    held_out: int = Field(
        default=4,
        ge=1,
        le=64,
        description="parts of the text: while the student learns from one, it is given an n-gram of the others, since a text's"
        " own n-gram predicts it too well; 1: its own",
    )


@configclass
class SpikingLMConfig:
    """A recurrent language model whose matrix products take spikes and ternary weights, each of which can be off."""

    kind: Literal["spiking-lm"] = "spiking-lm"
    vocab_size: int = Field(default=4096, gt=1, description="tokens of the tokenizer")
    width: int = Field(default=128, gt=1, description="channels of the residual stream")
    layers: int = Field(default=4, gt=0, description="blocks of mixer and feed-forward layer")
    heads: int = Field(default=4, gt=0, description="heads of the mixer, a divisor of the width")
    mixer: Literal["delta", "scalar"] = Field(
        default="delta",
        description="delta: RWKV-7's generalized delta rule; scalar: one number a"
        " channel, the public design's baseline",
    )
    ffn: float = Field(default=4.0, gt=0, description="width of the feed-forward layers, in widths of the network")
    activation: Literal["relu-square", "signed-square"] = Field(
        default="relu-square",
        description="inside feed-forward layers: relu-square, which spikes stand in for; signed-square: x|x|, whose product"
        " with the down projection never spikes",
    )
    embedding_width: int | None = Field(
        default=None,
        gt=1,
        description="channels of the embedding and of the readout, joined to the width by a matrix each [width]",
    )
    ngram: NGramConfig | None = Field(
        default=None, description="scores are added to the log-probabilities of a small n-gram; null: there is none"
    )
    spikes: SpikeConfig | None = Field(default_factory=SpikeConfig, description="null: dense activations")
    ternary_weights: tuple[Part, ...] = Field(default=BODY, description="parts whose weights are ternary; empty: none")
    chunk: int = Field(default=32, ge=1, le=128, description="tokens of a chunk of the parallel form")
    tie_embeddings: bool = Field(default=True, description="the readout is the embedding")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of what a layer adds that is dropped in training"
    )
    floats: Literal["float32", "compact"] = Field(
        default="float32",
        description="weights that are not ternary at the end of a training: as they are; compact: embedding and readout to 8"
        " bits, one scale a row, the rest to 16 bits, scored and packed so",
    )

    special_part: ClassVar[str] = "spikes"

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads: expected a divisor of width {self.width}, got {self.heads}")

    @property
    def embedded(self) -> int:
        """Channels of the embedding and of what the readout is given."""
        return self.embedding_width or self.width

    @property
    def hidden(self) -> int:
        """Width of a feed-forward layer."""
        return max(1, round(self.ffn * self.width))

    def without_special_part(self) -> SpikingLMConfig:
        """The dense network of equal size: no spikes, no ternary weights.

        Example:
            >>> dense = SpikingLMConfig(width=64).without_special_part()
            >>> dense.spikes is None, dense.ternary_weights, dense.width
            (True, (), 64)
        """
        return replace(self, spikes=None, ternary_weights=())

    def build(self) -> SpikingLM:
        """The network, with weights from torch's global generator."""
        from stillhouse.tasks.lm.students.network import SpikingLM

        return SpikingLM(self)


__all__ = ["BODY", "NGramConfig", "Part", "SpikeConfig", "SpikingLMConfig"]
