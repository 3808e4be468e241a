"""The signal of class scores."""

from __future__ import annotations

from torch import Tensor, nn

from stillhouse.checks import InputError
from stillhouse.losses import forward_kl, generalized_js, mse_logits, reverse_kl
from stillhouse.signals.config.logits import LogitsConfig
from stillhouse.types import Batch, Outputs, OutputSpec, Progress


class LogitSignal(nn.Module):
    """Compares (B, K) logits by the configured loss; (B,) unweighted.

    Raises:
        InputError: teacher and student differ in the number of classes.
    """

    def __init__(self, config: LogitsConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__()
        if student.num_classes != teacher.num_classes:
            raise InputError(
                f"signal 'logits': expected equal class counts, student has {student.num_classes}, teacher {teacher.num_classes}"
            )
        self.name, self.weight, self.loss = "logits", config.weight, config.loss
        self.temperature = 2.0 if config.temperature is None else config.temperature
        self.beta = 0.5 if config.beta is None else config.beta

    def forward(self, said: Outputs, told: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        if self.loss == "mse":
            return mse_logits(said.logits, told.logits)
        if self.loss == "js":
            return generalized_js(said.logits, told.logits, beta=self.beta, temperature=self.temperature)
        compare = forward_kl if self.loss == "forward-kl" else reverse_kl
        return compare(said.logits, told.logits, temperature=self.temperature)
