"""A small convolutional network of spiking neurons: its answer is the mean over a few time steps. No torch until it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import ImageSpec, InputSpec

if TYPE_CHECKING:
    from torch import nn


@configclass
class SpikingStudentConfig:
    """Convolutions of stride 2 whose neurons add up what comes and spike; `head` puts out class scores at every time step."""

    kind: Literal["spiking"] = "spiking"
    width: int = Field(
        default=16, gt=0, description="channels of the first convolution; each further one has twice as many"
    )
    depth: int = Field(default=2, gt=0, description="number of convolutions")
    steps: int = Field(default=4, gt=0, description="T, time steps that an image is shown; the answer is their mean")
    decay: float = Field(
        default=0.5, ge=0, lt=1, description="share of a neuron's charge that is left after a time step"
    )

    def build(self, input_spec: InputSpec) -> nn.Module:
        """The network, with weights from torch's global generator; it normalizes raw pixels itself.

        Raises:
            InputError: texts, or more convolutions of stride 2 than the image has room for.
        """
        from stillhouse.layers.pixels import Normalized
        from stillhouse.layers.spikes.neurons import SpikingNetwork

        if not isinstance(input_spec, ImageSpec):
            raise InputError(f"student {self.kind!r}: expected images, got {input_spec.rows}")
        if min(input_spec.shape[1:]) < 2**self.depth:
            raise InputError(
                f"student {self.kind!r}: expected images of {2**self.depth} pixels a side for depth {self.depth}, got "
                f"{input_spec.shape[1]} x {input_spec.shape[2]}"
            )
        widths = [input_spec.shape[0], *(self.width * 2**i for i in range(self.depth))]
        network = SpikingNetwork(widths, input_spec.num_classes, steps=self.steps, decay=self.decay)
        return Normalized(network, input_spec.pixel_mean, input_spec.pixel_std)
