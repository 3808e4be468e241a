"""Who is asked and never trained: the base of all teachers, and a frozen network.

Shapes: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, ImageSpec, InputSpec, Outputs, OutputSpec
from stillhouse.layers.hooks import FeatureExtractor


@dataclass(frozen=True)
class Input:
    """What a network wants to see: the side it is resized to, channels, and its own pixel normalization."""

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int | None = None

    def prepare(self, pixels: Tensor) -> Tensor:
        """Raw pixels (B, C, H, W) in [0, 1] as the network wants them."""
        if self.side is not None and tuple(pixels.shape[-2:]) != (self.side, self.side):
            size = (self.side, self.side)
            pixels = nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        if pixels.shape[1] != self.channels:
            pixels = pixels.mean(1, keepdim=True) if self.channels == 1 else pixels.expand(-1, self.channels, -1, -1)
        mean, std = (pixels.new_tensor(x).reshape(-1, 1, 1) for x in (self.mean, self.std))
        return (pixels - mean) / std


@dataclass(frozen=True)
class Tokens:
    """What a network of texts wants to see: token ids (B, L), as they are."""

    def prepare(self, ids: Tensor) -> Tensor:
        """The same token ids."""
        return ids


@dataclass(frozen=True)
class Origin:
    """How the network can be built again: what `save_teacher` writes and `ckpt:` reads."""

    source: str
    architecture: dict[str, int | float | bool | str] = field(default_factory=dict)


class Teacher(ABC):
    """Whoever is asked in training: called with a `Batch`, it gives `Outputs` without a gradient.

    A plain class and never a sub-module of what is trained, so that no `.train()` reaches it.

    Attributes:
        name: shown in reports.
        spec: class count and shapes of the features.
    """

    name: str
    spec: OutputSpec

    @abstractmethod
    def __call__(self, batch: Batch) -> Outputs:
        """Logits (B, K) and features, on the batch's device."""

    @property
    def params(self) -> int:
        """Number of weights; 0 where it is not known."""
        return 0

    @property
    def head_is_new(self) -> bool:
        """Whether its last layer was re-made for the task and knows nothing yet (see `fit_head`)."""
        return False

    @property
    def head_was_fitted(self) -> bool:
        """Whether its last layer was fitted on frozen features."""
        return False

    def identity(self) -> str:
        """What distinguishes it from other teachers: two of one identity give the same outputs for the same inputs."""
        return self.name

    @property
    def fingerprint(self) -> str:
        """The same of the teacher as it was built: what is fitted to the data follows from it and from the data."""
        return str(getattr(self, "built_as", None) or self.identity())

    def update(self, model: nn.Module, step: int) -> None:
        """Follow the student; called after optimizer step number `step`, counted from 0. Most teachers stay as they are."""

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs of a teacher that follows."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""

    @staticmethod
    def from_module(
        module: nn.Module,
        input_spec: InputSpec,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        side: int | None = None,
        channels: int | None = None,
        name: str | None = None,
        features: Sequence[str] = (),
    ) -> NetworkTeacher:
        """A module of your own as a teacher.

        Args:
            module: normalized pixels, or token ids (B, L) -> logits (B, K).
            input_spec: of the data (`ImageData.task`).
            mean: pixel mean it was trained with [0: raw pixels].
            std: pixel deviation it was trained with [1].
            side: resize to this square first.
            channels: it wants [those of the data].
            name: shown in reports [its class].
            features: paths of sub-modules for feature signals.

        Example:
            >>> task = ImageSpec(("a", "b"), (1, 4, 4), (0.5,), (0.5,))
            >>> teacher = Teacher.from_module(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), task)
            >>> teacher.spec.num_classes, teacher.params
            (2, 34)
        """
        if not isinstance(input_spec, ImageSpec):
            return NetworkTeacher(module, input_spec, Tokens(), name=name or type(module).__name__, features=features)
        wants = Input(channels or input_spec.shape[0], tuple(mean or (0.0,)), tuple(std or (1.0,)), side)
        return NetworkTeacher(module, input_spec, wants, name=name or type(module).__name__, features=features)


@dataclass(frozen=True)
class StageTeacher:
    """Whom the signals of a stage listen to.

    Attributes:
        teacher: itself, for inputs that it was not asked about.
        spec: its classes and features.
        cached: its outputs by row, asked beforehand; None where inputs change from epoch to epoch.
        facts: further values that a task keeps of it (its probabilities on the validation split).
    """

    teacher: Any
    spec: OutputSpec
    cached: Callable[[Batch], Outputs] | None = None
    facts: Any = None

    def __call__(self, batch: Batch) -> Outputs:
        """What the teacher puts out for a batch; no gradient."""
        outputs: Outputs = (self.teacher if self.cached is None else self.cached)(batch)
        return outputs


class NetworkTeacher(Teacher):
    """A frozen network with its own resizing, channels and normalization.

    Use `TeacherConfig(...).build(task)`, or `Teacher.from_module` for a module of your own.

    Attributes:
        module: the network, in eval mode, without gradients.
        order: which of its scores each class of the data has; None: as they come.
        built_as: its identity as it was built, before a head was fitted to data; None where nobody asked for it.
    """

    head_is_new: bool = False
    head_was_fitted: bool = False
    built_as: str | None = None

    def __init__(
        self,
        module: nn.Module,
        input_spec: InputSpec,
        wants: Input | Tokens,
        *,
        name: str,
        origin: Origin | None = None,
        head_is_new: bool = False,
        features: Sequence[str] = (),
        order: Sequence[int] | None = None,
    ) -> None:
        _check_weights(module, name)
        self.module = module.eval()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        self.name, self.input_spec, self.wants, self.origin = name, input_spec, wants, origin
        self.order = None if order is None else tuple(order)
        self.head_is_new, self.head_was_fitted = head_is_new, False
        self._tapped = FeatureExtractor(self.module, features)
        try:
            self.spec: OutputSpec = self._tapped.spec(self.prepare(input_spec.example(2)))
        except (RuntimeError, AssertionError, ValueError) as error:
            shape = " x ".join(map(str, input_spec.shape))
            raise InputError(f"teacher {name} cannot take inputs of {shape}: {error}; try another image_size") from None
        if self.spec.num_classes != input_spec.num_classes:
            raise InputError(
                f"teacher {name}: expected {input_spec.num_classes} classes, it has {self.spec.num_classes}; "
                "head: probe re-makes its last layer and fits it to this data"
            )
        self.spec = self._of_data(self.spec)

    def __call__(self, batch: Batch) -> Outputs:
        """Logits and features of raw pixels; no gradient, always in eval mode, on the batch's device."""
        device = batch.inputs.device
        if next(self.module.parameters(), batch.inputs).device != device:
            self.module.to(device)
        self.module.eval()  # whoever holds the module may have called .train() on it
        # no_grad, not inference_mode: inference tensors cannot enter the backward pass of a projector
        with torch.no_grad():
            found = self._tapped(self.prepare(batch.inputs))
        return found if self.order is None else replace(found, logits=found.logits[:, list(self.order)])

    def with_features(self, features: Sequence[str]) -> NetworkTeacher:
        """Itself, tapped at these sub-modules from now on.

        Raises:
            InputError: a path that it does not have.
        """
        self._tapped.close()
        self._tapped = FeatureExtractor(self.module, features)
        self.spec = self._of_data(self._tapped.spec(self.prepare(self.input_spec.example(2))))
        return self

    def _of_data(self, spec: OutputSpec) -> OutputSpec:
        """The shapes, with the number of the data's classes."""
        return spec if self.order is None else replace(spec, num_classes=len(self.order))

    def prepare(self, pixels: Tensor) -> Tensor:
        """Raw pixels (B, C, H, W) in [0, 1], resized and normalized as the network was trained."""
        return self.wants.prepare(pixels)

    @property
    def params(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.module.parameters())

    def identity(self) -> str:
        """SHA-256 of how it sees pixels and of its weights, by name."""
        parts = (repr(self.wants), repr(self.order), weights_sha256(self.module))
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 over all tensors of a module's state, sorted by name; devices and strides do not count.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> before = weights_sha256(net)
        >>> _ = nn.init.constant_(net.bias, 3.0)
        >>> before == weights_sha256(net), len(before)
        (False, 64)
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_weights(module: nn.Module, name: str) -> None:
    """Refuse a lazy layer that no input has shaped: such a network has learned nothing either."""
    for path, part in module.named_modules():
        if any(map(is_lazy, (*part.parameters(recurse=False), *part.buffers(recurse=False)))):
            raise InputError(
                f"teacher {name}: layer {path!r} ({type(part).__name__}) has no weights yet; call the network on a batch and "
                "load or train its weights first"
            )
