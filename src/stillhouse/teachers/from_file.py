"""A network of the user's own file as a teacher: `py:net.py:MyNet`. The file is imported as it lies, and nothing else."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.types import InputSpec, TextSpec
from stillhouse.teachers.teacher import Input, Tokens


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
