"""Networks as teachers: any of timm or torchvision, or a class of the user's own file; channels and sides matched, head re-made."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.types import ImageSpec, InputSpec, TextSpec
from stillhouse.teachers.config import TeacherConfig
from stillhouse.teachers.teacher import Input, Tokens

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
    with _building(f"timm:{name}", settings):
        module, side = _create(name, config, settings, max(input_spec.shape[1:]))
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


@contextmanager
def _building(name: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """What fails while a network is built, in a line."""
    try:
        yield
    except (AssertionError, ValueError, TypeError) as error:
        raise InputError(f"{name} cannot be built with {dict(settings)}: {error}") from None
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"the published weights of {name} cannot be fetched ({error}); offline, give a checkpoint "
            "(teacher.checkpoint=FILE teacher.pretrained=false)"
        ) from None


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


def build_torchvision(name: str, config: TeacherConfig, input_spec: ImageSpec) -> tuple[nn.Module, Input]:
    """The network with a head for the task, and what it wants to see: 3 channels, ImageNet's normalization.

    The side: `image_size` if given; else 224 for transformers (a table of positions), else that of the data, at least 32.

    Raises:
        InputError: unknown name, no linear head, weights that cannot be fetched.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise InputError(f"torchvision has no classifier {name!r}; {nearest(name, known)}")
    if wrong := sorted({"weights", "weights_backbone", "pretrained", "progress"} & set(config.architecture)):
        raise InputError(f"torchvision:{name}: expected arguments of the architecture itself, got {', '.join(wrong)}")
    with _building(f"torchvision:{name}", config.architecture):
        weights = "DEFAULT" if config.pretrained else None
        module: nn.Module = models.get_model(name, weights=weights, **config.architecture)
    replace_head(module, final_linear(module, f"torchvision:{name}"), input_spec.num_classes)
    published = models.get_model_weights(name).DEFAULT.transforms()
    own_side = 224 if "vit" in name or "swin" in name or "maxvit" in name else None
    side = config.image_size or own_side or max(SMALLEST_SIDE, *input_spec.shape[1:])
    return module, Input(3, tuple(published.mean), tuple(published.std), side)


def build_own(
    name: str, arguments: Mapping[str, Any], input_spec: InputSpec, side: int | None = None
) -> tuple[nn.Module, Input | Tokens]:
    """The network that a class or function of a file gives, and what it wants to see: raw pixels, or token ids.

    Args:
        name: FILE.py:NAME.
        arguments: by keyword, for the class or function.
        input_spec: of the data; a network of pictures wants the channels of its first convolution.
        side: pictures are resized to this square first.

    Raises:
        InputError: no such file or name, a file or a class that fails, something else than a `torch.nn.Module`.
    """
    path, _, attribute = name.rpartition(":")
    module = _imported(Path(path).expanduser())
    own = [key for key, x in vars(module).items() if callable(x) and getattr(x, "__module__", "") == module.__name__]
    maker = getattr(module, attribute, None)
    if not callable(maker):
        raise InputError(f"teacher py:{name}: {path} has no class or function {attribute!r}; {nearest(attribute, own)}")
    try:
        network = maker(**arguments)
    except Exception as error:
        shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise InputError(
            f"teacher py:{name}: {attribute}({shown}) fails: {type(error).__name__}: {error}; "
            "what it takes goes into teacher.arguments"
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(f"teacher py:{name}: expected a torch.nn.Module, got {type(network).__name__}")
    if isinstance(input_spec, TextSpec):
        return network, Tokens()
    first = next((part for part in network.modules() if isinstance(part, nn.Conv2d)), None)
    channels = first.in_channels if first is not None and first.in_channels in (1, 3) else input_spec.shape[0]
    return network, Input(channels, (0.0,), (1.0,), side)


def _imported(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"teacher file {path} does not exist; expected py:FILE.py:NAME")
    name = f"stillhouse_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"teacher file {path}: expected Python (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles of the file look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"teacher file {path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def final_linear(module: nn.Module, name: str) -> str:
    """Path of the linear layer that gives the logits: timm's own word for it, else the last `nn.Linear`.

    Raises:
        InputError: there is none.

    Example:
        >>> final_linear(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 10)), "mine")
        '2'
    """
    own = getattr(module, "get_classifier", None)
    wanted = own() if callable(own) else None
    linears = [(path, child) for path, child in module.named_modules() if isinstance(child, nn.Linear)]
    for path, child in linears:
        if child is wanted:
            return path
    if wanted is not None or not linears:
        raise InputError(f"teacher {name}: expected a linear last layer, found none; fine-tune it with train-teacher")
    return linears[-1][0]


def replace_head(module: nn.Module, path: str, num_classes: int) -> None:
    """Put a fresh linear layer of `num_classes` outputs at `path`."""
    parent, _, last = path.rpartition(".")
    fresh = nn.Linear(module.get_submodule(path).in_features, num_classes)  # type: ignore[arg-type]
    nn.init.zeros_(fresh.bias)
    setattr(module.get_submodule(parent), last, fresh)
