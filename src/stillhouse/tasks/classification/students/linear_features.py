"""Linear students of words, thresholds and categories: TF-IDF with all of them, and a scorecard of few.

Shapes: B batch, F features, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stillhouse.core.types import FeatureSpec
from stillhouse.layers.part import Student

SCALE = 10.0  # of rows of length 1: with it, a weight learns as fast as that of a row of bits
CUT_FROM, CUT_TO = 0.1, 0.6  # shares of training between which a scorecard loses its features


class TfidfClassifier(Student):
    """Logistic regression on TF-IDF: (1 + log count) x inverse document frequency, rows scaled to length 1.

    Args:
        spec: features and classes.

    Example:
        >>> spec = FeatureSpec(("no", "yes"), ("card", "pin"), (1.0, 2.0), {"kind": "words"})
        >>> TfidfClassifier(spec)(torch.tensor([[1.0, 2.0]])).tolist()
        [[0.0, 0.0]]

    Source: Salton, Buckley 1988, Information Processing & Management 24(5).
    """

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(spec.num_classes, len(spec.names)))
        self.bias = nn.Parameter(torch.zeros(spec.num_classes))
        self.idf: Tensor
        self.register_buffer("idf", torch.tensor(spec.idf), persistent=False)

    def forward(self, counts: Tensor) -> Tensor:
        """Counts (B, F) to class scores (B, K)."""
        rows = torch.where(counts > 0, 1 + counts.clamp(min=1).log(), 0.0) * self.idf
        return nn.functional.linear(SCALE * nn.functional.normalize(rows), self.weight, self.bias)


class Scorecard(Student):
    """Points for each feature that is there, of at most so many features a class; the class with most points is the answer.

    All features take part at first; from a tenth to six tenths of training their number falls to `words`, by |weight| x
    deviation of the feature, while a penalty on weights keeps the others small.

    Args:
        spec: features and classes.
        words: features of a class that have points in the end.
        penalty: weight of the L1 norm of the weights, until the cut is made.

    Example:
        >>> spec = FeatureSpec(("no", "yes"), ("card", "pin"), (1.0, 2.0), {"kind": "words"})
        >>> model = Scorecard(spec, words=1, penalty=0.0)
        >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 3.0], [1.0, 2.0]]))
        >>> model.eval()(torch.tensor([[2.0, 1.0]])).tolist()
        [[3.0, 2.0]]

    Source: Tibshirani 1996, J. R. Statist. Soc. B 58(1) (L1); Zhu, Gupta 2017, arXiv:1710.01878 (a gradual cut).
    """

    def __init__(self, spec: FeatureSpec, *, words: int, penalty: float) -> None:
        super().__init__()
        self.keep, self.penalty, self.fraction = words, penalty, 1.0
        self.weight = nn.Parameter(torch.zeros(spec.num_classes, len(spec.names)))
        self.bias = nn.Parameter(torch.zeros(spec.num_classes))
        share = (1 - torch.tensor(spec.idf)).exp().clamp(max=0.5)  # of rows that have a feature
        self.deviation: Tensor
        self.register_buffer("deviation", (share * (1 - share)).sqrt(), persistent=False)

    def set_progress(self, fraction: float) -> None:
        """How much of training is done, in [0, 1]."""
        self.fraction = fraction

    def points(self) -> Tensor:
        """(K, F) weights, 0 for features that are cut."""
        features = self.weight.shape[1]
        done = min(1.0, max(0.0, (self.fraction - CUT_FROM) / (CUT_TO - CUT_FROM))) if self.training else 1.0
        left = min(features, round(features * (self.keep / features) ** done))
        if left >= features:
            return self.weight
        worth = self.weight.detach().abs() * self.deviation
        return self.weight * torch.zeros_like(worth).scatter(1, worth.topk(left, dim=1).indices, 1.0)

    def forward(self, counts: Tensor) -> Tensor:
        """Counts (B, F) to class scores (B, K)."""
        return nn.functional.linear((counts > 0).to(self.weight.dtype), self.points(), self.bias)

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """The L1 norm of weights x deviations, as long as features are being cut."""
        if self.penalty == 0 or self.fraction >= CUT_TO:
            return {}
        return {"sparsity": (self.penalty, (self.weight.abs() * self.deviation).sum())}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, object]]:
        """No weight decays: the penalty is what keeps them small."""
        return [{"params": list(self.parameters()), "weight_decay": 0.0}]
