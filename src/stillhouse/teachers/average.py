"""The student's own past as its teacher: an exponential average of its weights (self-distillation)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.teachers.teacher import Teacher


class AverageTeacher(Teacher):
    """A copy of the student that follows it slowly: weights <- m weights + (1 - m) student's, and buffers alike.

    The average moves less than the student, so its answers are steadier targets. At the start both are the same network: the
    loss between them is exactly 0 and teaches nothing until they see different things. Show the two other views of the
    images (`training.teacher_view`), or have dropout in the student: the teacher runs in eval mode. Raise the weight of the
    signal slowly.

    A plain class, so it is never a sub-module of what is trained; call `update` after every optimizer step.

    Args:
        model: the student, pixels (B, C, H, W) in [0, 1] -> logits (B, K); it is copied, taps on it are left out.
        example: (B, C, H, W), some images, to know the shapes of what it puts out.
        decay: m in [0, 1) once the ramp is over; step t uses min(m, (1 + t)/(10 + t)), else the random start would stay
            in the average for 1/(1 - m) steps.
        features: paths of sub-modules for feature signals.

    Raises:
        InputError: a path that the model does not have.

    Example:
        A weight of 0 follows one of 1: step 0 has decay 1/10, step 1 has 2/11.

        >>> student = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.zeros_(student.weight)
        >>> teacher = AverageTeacher(student, torch.zeros(1, 1))
        >>> _ = nn.init.ones_(student.weight)
        >>> teacher.update(student, step=0); round(teacher.module.weight.item(), 4)
        0.9
        >>> teacher.update(student, step=1); round(teacher.module.weight.item(), 4)
        0.9818

    Relations:
        Born-again networks take the finished student as the next one's teacher; `signals.ExitsConfig` lets the deepest layer
        teach the shallower ones.

    Source: Tarvainen, Valpola 2017, arXiv:1703.01780 (mean teacher).
    """

    def __init__(
        self, model: nn.Module, example: Tensor, *, decay: float = 0.999, features: Sequence[str] = ()
    ) -> None:
        from timm.utils import ModelEmaV3

        self.name, self.decay = "average of the student", decay
        self._average = ModelEmaV3(model, exclude_buffers=False)  # averages whole numbers by copying them
        self.module: nn.Module = self._average.module.requires_grad_(False)
        _remove_taps(self.module)
        self._tapped = FeatureExtractor(self.module, features)
        self.spec: OutputSpec = self._tapped.spec(example)

    def __call__(self, batch: Batch) -> Outputs:
        """Logits and features of the average on its view of the pixels; no gradient, always in eval mode."""
        self._follow(batch.inputs.device)
        self.module.eval()
        # no_grad, not inference_mode: inference tensors cannot enter the backward pass of a projector
        with torch.no_grad():
            return self._tapped(batch.inputs)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model; call it after optimizer step number `step`, counted from 0."""
        self._follow(next(model.parameters()).device)
        self._average.decay = self.decay_at(step)
        self._average.update(model)
        # timm averages what is in the state dict; a buffer outside it (an annealed number) has to be followed too
        kept = set(self.module.state_dict())
        current = dict(model.named_buffers())
        for name, buffer in self.module.named_buffers():
            if name not in kept:
                buffer.copy_(current[name])

    def _follow(self, device: torch.device) -> None:
        if next(self.module.parameters()).device != device:
            self.module.to(device)

    def decay_at(self, step: int) -> float:
        """The decay of a step: min(m, (1 + t)/(10 + t))."""
        return min(self.decay, (1 + step) / (10 + step))

    @property
    def params(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.module.parameters())

    def identity(self) -> str:
        """It follows the student: its decay is all that is its own."""
        return f"{self.name}, decay {self.decay}"

    def state_dict(self) -> dict[str, Any]:
        """What resume needs: the averaged weights and buffers."""
        return self.module.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.module.load_state_dict(state)


def _remove_taps(module: nn.Module) -> None:
    """A copied tap still writes into the student's features; hooks of others stay."""
    for part in module.modules():
        for key, hook in list(part._forward_hooks.items()):
            if getattr(hook, "__module__", None) == FeatureExtractor.__module__:
                del part._forward_hooks[key]
