"""Ordinary networks of timm as students: the same task as most teachers, the peer to hold other tasks against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import configclass
from stillhouse.core.types import ImageSpec, InputSpec

if TYPE_CHECKING:
    from torch import nn


@configclass
class TimmStudentConfig:
    """Any timm architecture, from random weights, at the size of the data."""

    kind: Literal["timm"] = "timm"
    architecture: str = Field(default="test_resnet", min_length=1, description="name of the architecture in timm")
    arguments: dict[str, int | float | bool | str | tuple[int, ...]] = Field(
        default_factory=dict, description="more keyword arguments of the architecture, as channels or embed_dim"
    )

    def build(self, input_spec: InputSpec) -> nn.Module:
        """The network, with weights from torch's global generator; it normalizes raw pixels itself.

        Raises:
            InputError: timm has no such architecture, or it does not take an argument or the size of the images.
        """
        import timm
        import torch

        from stillhouse.layers.pixels import Normalized
        from stillhouse.teachers.from_timm import own_arguments

        if not isinstance(input_spec, ImageSpec):
            raise InputError(f"student {self.kind!r}: expected images, got {input_spec.rows}")
        if not timm.is_model(self.architecture):
            raise InputError(
                f"timm has no model {self.architecture!r}; {nearest(self.architecture, timm.list_models())}"
            )
        own_arguments(self.arguments, f"student timm:{self.architecture}")
        settings: dict[str, Any] = {
            "num_classes": input_spec.num_classes,
            "in_chans": input_spec.shape[0],
            **self.arguments,
        }
        try:
            try:
                network: nn.Module = timm.create_model(self.architecture, img_size=input_spec.shape[1:], **settings)
            except TypeError as error:
                if "img_size" not in str(error):
                    raise
                network = timm.create_model(self.architecture, **settings)
            student = Normalized(network, input_spec.pixel_mean, input_spec.pixel_std)
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                student.eval()(torch.zeros(1, *input_spec.shape))
        except (AssertionError, ValueError, TypeError, RuntimeError) as error:
            shape = " x ".join(map(str, input_spec.shape))
            raise InputError(f"student timm:{self.architecture} cannot be built for {shape}: {error}") from None
        return student.train()
