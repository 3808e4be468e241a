"""Any timm image model as a teacher: channels matched, image size matched where the architecture can, head re-made."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from torch import Tensor, nn

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.types import ImageSpec
from stillhouse.teachers import TeacherConfig
from stillhouse.teachers.teacher import Input

SMALLEST_SIDE = 32


def build_timm(name: str, config: TeacherConfig, input_spec: ImageSpec) -> tuple[nn.Module, Input]:
    """The network with a head for the task, and what it wants to see.

    The side: `image_size` if given; else, for a CNN, that of the data but at least 32; else (ViT, Swin: position tables and
    windows of a fixed size) the model's own. An architecture that can be built for a side (`img_size`) is.

    Raises:
        InputError: unknown name, weights that cannot be fetched, a side the architecture refuses.
    """
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise InputError(f"timm has no model {name!r}; {nearest(name, timm.list_models())}")
    own_arguments(config.architecture, f"timm:{name}")
    settings: dict[str, Any] = {
        "num_classes": input_spec.num_classes,
        "in_chans": input_spec.shape[0],
        **config.architecture,
    }
    try:
        module, side = _create(name, config, settings, max(input_spec.shape[1:]))
    except (AssertionError, ValueError, TypeError) as error:
        raise InputError(f"timm:{name} cannot be built with {settings}: {error}") from None
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"the published weights of timm:{name} cannot be fetched ({_short(error)}); offline, give a checkpoint "
            "(teacher.checkpoint=FILE teacher.pretrained=false)"
        ) from None
    if config.pretrained:
        check_adapts(module, input_spec.shape[0], f"timm:{name}")
    if config.pretrained or config.checkpoint is not None:
        published: dict[str, Any] = module.pretrained_cfg
        mean, std = tuple(published["mean"]), tuple(published["std"])
    else:
        mean, std = input_spec.pixel_mean, input_spec.pixel_std  # from scratch: no published pixels to agree with
    if len(mean) not in (1, input_spec.shape[0]):
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return module, Input(input_spec.shape[0], mean, std, side)


def adapt_channels(module: nn.Module, weights: Mapping[str, Tensor], channels: int, where: str) -> dict[str, Tensor]:
    """A state dict whose first convolutions take the channels of the data, by timm's own rule: of gray the three are summed.

    Args:
        module: of timm, built for those channels.
        weights: state dict, of 3 channels as published ones are, or as the module is.
        channels: 1 or 3.
        where: the weights come from, for the message.

    Raises:
        InputError: the first layer is no convolution, which timm cannot adapt.
    """
    from timm.models import adapt_input_conv

    found, ours = dict(weights), module.state_dict()
    for layer in first_layers(module):
        name = f"{layer}.weight"
        if channels != 3 and name in found and found[name].shape != ours[name].shape:
            check_adapts(module, channels, where)
            found[name] = adapt_input_conv(channels, found[name])
    return found


def check_adapts(module: nn.Module, channels: int, where: str) -> None:
    """Refuse weights of 3 channels over a first layer for others, where timm would leave that layer at random.

    Raises:
        InputError: the first layer is no convolution.
    """
    for layer in first_layers(module):
        if channels != 3 and not isinstance(module.get_submodule(layer), nn.Conv2d):
            raise InputError(
                f"{where}: its first layer ({layer}) is for 3 channels, and timm cannot adapt such a layer to {channels}; take "
                "data.channels=3"
            )


def first_layers(module: nn.Module) -> tuple[str, ...]:
    """The layers of a timm network that see pixels."""
    found = getattr(module, "pretrained_cfg", {}).get("first_conv") or ()
    return (found,) if isinstance(found, str) else tuple(found)


def own_arguments(arguments: Mapping[str, Any], name: str) -> None:
    """See that arguments are of an architecture, not of the functions around it, some of which open files and addresses.

    Raises:
        InputError: one of `timm.create_model` or of its builder, as `checkpoint_path` or `pretrained_cfg`.
    """
    import timm
    from timm.models import build_model_with_cfg, load_pretrained

    around = {
        key for f in (timm.create_model, build_model_with_cfg, load_pretrained) for key in signature(f).parameters
    }
    wrong = sorted((around - {"img_size"}) & set(arguments))
    if wrong:
        raise InputError(
            f"{name}: expected arguments of the architecture itself, got {', '.join(wrong)}, which belong to what loads it"
        )


def _create(name: str, config: TeacherConfig, settings: dict[str, Any], data_side: int) -> tuple[Any, int]:
    """The network and the side it was built for; whether an architecture has a fixed one is read from its constructor."""
    import timm

    native = timm.get_pretrained_cfg(name)
    side = config.image_size or (int(native.input_size[-1]) if native is not None else 224)
    try:
        return timm.create_model(name, pretrained=config.pretrained, img_size=side, **settings), side
    except TypeError as error:
        if "img_size" not in str(error):
            raise
    side = config.image_size or max(SMALLEST_SIDE, data_side)
    return timm.create_model(name, pretrained=config.pretrained, **settings), side


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
