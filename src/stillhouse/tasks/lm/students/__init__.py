"""Recurrent language models with ternary spikes and weights. The configuration is here; torch is loaded when one is built."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from stillhouse.core.config import configclass

if TYPE_CHECKING:
    from stillhouse.tasks.lm.students.network import SpikingLM

Part = Literal["mixer", "output", "gates", "ffn"]
BODY: tuple[Part, ...] = ("mixer", "output", "ffn")


@configclass
class SpikeConfig:
    """Where activations are spikes, how many levels they have and how often they fire."""

    parts: tuple[Part, ...] = Field(default=BODY, min_length=1, description="matrix products whose input spikes")
    levels: int = Field(default=1, ge=1, le=127, description="largest signed count; 1 is ternary")
    hidden_levels: int = Field(default=1, ge=1, le=127, description="largest count inside a feed-forward layer")
    density: float = Field(default=0.3, gt=0, lt=1, description="target share of channels that fire at a token")
    density_weight: float = Field(default=10.0, ge=0, description="weight of the squared distance from that target")
    floor: float = Field(default=0.01, ge=0, lt=1, description="rate below which a channel's threshold is pulled down")


@configclass
class NGramConfig:
    """A pruned n-gram model inside the student: counted once from text (and teacher), it learns nothing more."""

    order: int = Field(default=5, ge=2, le=8, description="longest sequence of tokens")
    entries: int = Field(default=200_000, gt=0, description="longer sequences that are kept, about two bytes each")
    held_out: int = Field(
        default=4,
        ge=1,
        le=64,
        description="parts of the text: while it learns from one, the student is given an n-gram of the others; 1: its own",
    )
    taught: bool = Field(
        default=False,
        description="count what the teacher expects at each place beside the text; wants loss.source=cache",
    )


@configclass
class SpikingLMConfig:
    """A recurrent language model whose matrix products take spikes and ternary weights, each of which can be off."""

    kind: Literal["spiking-lm"] = "spiking-lm"
    vocab_size: int = Field(default=4096, gt=1, description="tokens of the tokenizer")
    width: int = Field(default=128, gt=1, description="channels of the residual stream")
    layers: int = Field(default=4, gt=0, description="blocks of mixer and feed-forward layer")
    heads: int = Field(default=4, gt=0, description="heads of the mixer, a divisor of the width")
    ffn: float = Field(default=4.0, gt=0, description="width of the feed-forward layers, in widths of the network")
    activation: Literal["relu-square", "signed-square"] = Field(
        default="relu-square",
        description="inside feed-forward layers: relu-square, which spikes stand in for; signed-square: x|x|, no spikes",
    )
    embedding_width: int | None = Field(
        default=None, gt=1, description="channels of the embedding, joined to the width by a matrix each way [width]"
    )
    ngram: NGramConfig | None = Field(default=None, description="scores are added to those of a small n-gram")
    spikes: SpikeConfig | None = Field(default_factory=SpikeConfig, description="null: dense activations")
    ternary_weights: tuple[Part, ...] = Field(default=BODY, description="parts whose weights are ternary; empty: none")
    chunk: int = Field(default=32, ge=1, le=128, description="tokens of a chunk of the parallel form")
    floats: Literal["float32", "compact"] = Field(
        default="float32",
        description="what is not ternary at the end of a training; compact: 8 bits of the embedding, 16 of the rest",
    )

    special_part: ClassVar[str] = "spikes"

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads: expected a divisor of width {self.width}, got {self.heads}")

    def without_special_part(self) -> SpikingLMConfig:
        """The dense network of equal size: no spikes, no ternary weights."""
        return replace(self, spikes=None, ternary_weights=())

    def build(self) -> SpikingLM:
        """The network, with weights from torch's global generator."""
        from stillhouse.tasks.lm.students.network import SpikingLM

        return SpikingLM(self)
