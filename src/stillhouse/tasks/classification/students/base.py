"""What every image model of the task shares: raw pixels in, a strict configuration, tau, optimizer groups.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse, to_mapping
from stillhouse.layers.part import Student
from stillhouse.tasks.classification.students.clauses import ClauseBank

M = TypeVar("M", bound="ClauseModel")


class ClauseModel(Student):
    """An image model with clauses; it takes raw pixels in [0, 1].

    Args:
        **options: fields of the class's configuration; an unknown one is refused with the near one.

    Attributes:
        config: the configuration, defaults included.
        model_kwargs: what builds the same network again: `type(model)(**model.model_kwargs)`.

    Raises:
        ConfigError: an unknown keyword, a value out of range, sizes that do not fit.
    """

    config_class: ClassVar[type]
    clause_learning_rate_factor: float = 1.0  # of a run's training, see `parameter_groups`

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.config: Any = parse(self.config_class, options)
        self.model_kwargs: dict[str, Any] = {n: v for n, v in to_mapping(self.config).items() if n != "kind"}
        self.image_shape: tuple[int, int, int] = self.config.image_shape
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        for name in ("pixel_mean", "pixel_std"):
            if hasattr(self.config, name):
                values = torch.as_tensor(getattr(self.config, name), dtype=torch.float32)
                self.register_buffer(name, values.reshape(-1, 1, 1))

    @classmethod
    def from_config(cls: type[M], config: Any) -> M:
        """The network of a configuration, weights from torch's global generator."""
        return cls(**{name: value for name, value in to_mapping(config).items() if name != "kind"})

    def checked(self, pixels: Tensor) -> Tensor:
        """The pixels as they are.

        Raises:
            InputError: another shape than (B, C, H, W) of the configuration.
        """
        if tuple(pixels.shape[1:]) != self.image_shape:
            raise InputError(
                f"pixels: expected (B, {', '.join(map(str, self.image_shape))}), got {tuple(pixels.shape)}"
            )
        return pixels

    def normalized(self, pixels: Tensor) -> Tensor:
        """Raw pixels (B, C, H, W), checked, minus the mean, over the deviation."""
        return (self.checked(pixels) - self.pixel_mean) / self.pixel_std

    def __getstate__(self) -> dict[str, Any]:
        """Without the loss term of the last forward pass: its graph cannot be copied or pickled."""
        return {name: None if name == "_penalty" else value for name, value in self.__dict__.items()}

    def banks(self) -> Iterator[ClauseBank]:
        """Every clause bank, those of gates and hidden layers included."""
        return (module for module in self.modules() if isinstance(module, ClauseBank))

    def advance_tau(self) -> None:
        """One step of the averages of tau, in training mode; a forward pass begins with it."""
        if self.training:
            for bank in self.banks():
                bank.threshold.advance()

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for an optimizer: matrices decay; biases, norms, positions, tokens and include logits do not.

        Decay would pull an include logit towards 0, which is the threshold: it would include literals, not forget them.
        What belongs to a layer of clauses (include logits, votes, biases of clauses) is at `clause_learning_rate_factor` times
        the common rate: an include logit has to cross half a unit or more before anything changes, a weight a few hundredths.
        """
        layers = (module for module in self.modules() if any(isinstance(c, ClauseBank) for c in module.children()))
        of_clauses = {id(parameter) for layer in layers for parameter in layer.parameters()}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {(False, False): [], (False, True): []}
        for name, parameter in self.named_parameters():
            free = parameter.ndim < 2 or name.endswith("include_logits") or name in {"positions", "class_token"}
            scaled = self.clause_learning_rate_factor != 1 and id(parameter) in of_clauses
            groups.setdefault((scaled, free), []).append(parameter)
        return [
            {"params": parameters, "weight_decay": 0.0 if free else weight_decay}
            | ({"rate_factor": self.clause_learning_rate_factor} if scaled else {})
            for (scaled, free), parameters in sorted(groups.items(), key=lambda entry: entry[0])
        ]
