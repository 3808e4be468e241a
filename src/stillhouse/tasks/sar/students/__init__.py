"""Students (and teachers) that focus radar lines as they come. The configuration is here; torch is loaded when one is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass

if TYPE_CHECKING:
    from stillhouse.tasks.sar.students.network import SarSSM

SIZES = {"standard": (64, 540, 6), "compressed": (32, 256, 4), "tiny": (24, 128, 3)}
"""(model_dim, state_dim, num_layers) of the documented students."""
Activation = Literal["identity", "gelu", "silu", "relu"]  # sigmoid has no phase at 0, and glu would halve the channels


@configclass
class StateSpaceConfig:
    """A stack of diagonal state-space layers with complex kernels (`SarSSM`)."""

    kind: Literal["state-space"] = "state-space"
    input_dim: int = Field(default=1, gt=0, description="complex numbers a line, the position code included")
    output_dim: int = Field(default=1, gt=0, description="complex numbers a focused line")
    use_pos_encoding: bool = Field(default=False, description="the last channel is a code that scales the embedding")
    model_dim: int = Field(default=64, gt=0, description="channels of every layer")
    state_dim: int = Field(default=540, gt=1, description="real numbers of state a channel: two a complex mode")
    num_layers: int = Field(default=6, gt=0, description="state-space layers")
    look_ahead: int | None = Field(default=None, ge=0, description="latency in lines; null: the whole scene, no stream")
    use_selectivity: bool = Field(default=False, description="a gate a layer, by magnitude and relative phase")
    activation_function: Activation = Field(default="identity", description="of the modulus; the phase stays")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of complex numbers dropped, both parts at once")
    shared_modes: bool = Field(default=True, description="one set of poles a layer, else one a channel")
    doppler_band: float = Field(default=1.0, gt=0, le=1, description="share of the pulse rate that poles cover first")
    memory: float = Field(default=64.0, gt=0, description="lines after which a mode has decayed to 1/e at the start")

    def __post_init__(self) -> None:
        if self.state_dim % 2:
            raise ValueError(f"state_dim: expected an even number (two a complex mode), got {self.state_dim}")
        if self.use_pos_encoding and self.input_dim < 2:
            raise ValueError(
                f"use_pos_encoding: true takes the last of input_dim channels, 2 or more, got {self.input_dim}"
            )

    @property
    def signal_channels(self) -> int:
        """Input channels that are signal."""
        return self.input_dim - self.use_pos_encoding

    def layer_look_ahead(self) -> tuple[int | None, ...]:
        """Lines that each layer looks ahead; they sum to the latency.

        Example:
            >>> StateSpaceConfig(num_layers=3, look_ahead=8).layer_look_ahead()
            (3, 3, 2)
        """
        count, total = self.num_layers, self.look_ahead
        if total is None:
            return (None,) * count
        return tuple(total // count + (place < total % count) for place in range(count))

    def build(self) -> SarSSM:
        """The network, with weights from torch's global generator."""
        from stillhouse.tasks.sar.students.network import SarSSM

        return SarSSM(self)
