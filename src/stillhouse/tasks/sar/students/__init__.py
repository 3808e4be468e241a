"""Students (and teachers) that focus radar lines as they come. The configuration is here; torch is loaded when one is built."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from stillhouse.core.config import configclass

if TYPE_CHECKING:
    from stillhouse.tasks.sar.students.network import SarSSM

SIZES: dict[str, tuple[int, int, int]] = {
    "standard": (64, 540, 6),
    "compressed": (32, 256, 4),
    "tiny": (24, 128, 3),
    "toy-standard": (16, 128, 3),
    "toy-compressed": (8, 96, 3),
    "toy-tiny": (6, 64, 2),
}
"""(model_dim, state_dim, num_layers): the documented three, and three that train on a CPU in minutes."""


@configclass
class StateSpaceConfig:
    """A stack of diagonal state-space layers with complex kernels (`SarSSM`)."""

    kind: Literal["state-space"] = "state-space"
    input_dim: int = Field(default=1, gt=0, description="complex numbers a line, the position code included")
    output_dim: int = Field(default=1, gt=0, description="complex numbers a focused line")
    position: Literal["none", "modulate", "channel"] = Field(
        default="none",
        description="what the last input channel is: signal like the others (none), or a position code that scales the"
        " embedding (modulate; a global phase still commutes) or is added to it as if it were signal (channel)",
    )
    model_dim: int = Field(default=64, gt=0, description="channels of every layer")
    state_dim: int = Field(default=540, gt=1, description="real numbers of state a channel: two a complex mode")
    num_layers: int = Field(default=6, gt=0, description="state-space layers")
    look_ahead: int | None = Field(
        default=None, ge=0, description="latency in lines, over all layers; null: the whole scene (cannot stream)"
    )
    use_selectivity: Literal["none", "gate"] = Field(
        default="none", description="gate: by magnitude and relative phase (`true` means this)"
    )
    activation: str = Field(default="identity", description="of the modulus: identity, gelu, silu, relu, tanh, ...")
    norm: Literal["none", "rms"] = Field(
        default="none", description="before each filter; it takes a line's amplitude away"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of complex numbers dropped, both parts at once")
    real_kernel: bool = Field(default=False, description="every kernel and mixing weight real: the ablation")
    shared_modes: bool = Field(default=True, description="one set of poles a layer, else one a channel")
    doppler_band: float = Field(
        default=1.0, gt=0, le=1, description="share of the pulse rate that the poles cover at the start"
    )
    memory: float = Field(default=64.0, gt=0, description="lines after which a mode has decayed to 1/e at the start")

    special_part: ClassVar[str] = "selectivity"

    @field_validator("use_selectivity", mode="before")
    @classmethod
    def _documented_switch(cls, value: object) -> object:
        """`use_selectivity: true` of older files is the gate."""
        return {True: "gate", False: "none"}[value] if isinstance(value, bool) else value

    def __post_init__(self) -> None:
        if self.state_dim % 2:
            raise ValueError(
                f"state_dim: expected an even number (two real numbers a complex mode), got {self.state_dim}"
            )
        if self.coded and self.input_dim < 2:
            raise ValueError(
                f"position: {self.position!r} takes the last of input_dim channels, so at least 2, got {self.input_dim}"
            )

    @property
    def modes(self) -> int:
        """Complex modes a channel."""
        return self.state_dim // 2

    @property
    def signal_channels(self) -> int:
        """Input channels that are signal."""
        return self.input_dim - self.coded

    @property
    def coded(self) -> bool:
        """Whether the last input channel is a position code."""
        return self.position != "none"

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

    def sized(self, size: str) -> StateSpaceConfig:
        """The same network in a size of `SIZES`.

        Example:
            >>> StateSpaceConfig().sized("tiny").model_dim
            24

        Raises:
            InputError: no such size, with the near one.
        """
        from stillhouse.core.checks import InputError, nearest

        if size not in SIZES:
            raise InputError(f"size: there is no {size!r}; {nearest(size, SIZES)}")
        model_dim, state_dim, num_layers = SIZES[size]
        return replace(self, model_dim=model_dim, state_dim=state_dim, num_layers=num_layers)

    def without_special_part(self) -> StateSpaceConfig:
        """The same network trained without selectivity: time-invariant if the activation is the identity."""
        return replace(self, use_selectivity="none")

    def build(self) -> SarSSM:
        """The network, with weights from torch's global generator."""
        from stillhouse.tasks.sar.students.network import SarSSM

        return SarSSM(self)


__all__ = ["SIZES", "StateSpaceConfig"]
