"""A decision tree that is grown once, on the gradients of whatever it is trained by, and whose leaves go on learning.

Shapes: B batch, F features, K classes, L leaves, M = 2 L - 1 nodes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.types import FeatureSpec
from stillhouse.layers.part import Student
from stillhouse.tasks.classification.readable import ReadableModel, Rule

BEGIN, WATCH = (
    0.25,
    0.15,
)  # share of the training after which the tree is grown, and before that over which rows are gathered
LEAST = 1e-2  # share of a class in a leaf at the start, at least
ROWS = 4  # of a leaf at least, of those gathered (each about three times)
LEAF = -1  # in place of a feature


class TreeClassifier(Student):
    """Questions whether a feature is there, one after the other; each leaf has scores of the classes.

    At first there is one leaf. Its rows and the gradients of the loss by their scores are gathered; scikit-learn's regression
    tree of these is the tree (a step of gradient boosting, with any signal), whose leaves are trained like other weights.

    Args:
        spec: features and classes.
        leaves: at most.

    Example:
        >>> spec = FeatureSpec(("a", "b"), ("pin", "card"), (1.0, 1.0), {"kind": "words", "ngrams": 1})
        >>> tuple(TreeClassifier(spec, leaves=4)(torch.ones(3, 2)).shape)
        (3, 2)

    Source: Friedman 2001, doi:10.1214/aos/1013203451 (trees of gradients); Craven, Shavlik 1996 (trees taught by networks).
    """

    feature: Tensor
    branches: Tensor

    def __init__(self, spec: FeatureSpec, *, leaves: int) -> None:
        super().__init__()
        self.spec, self.leaves = spec, leaves
        nodes = 2 * leaves - 1
        self.scores = nn.Parameter(torch.zeros(nodes, spec.num_classes))
        self.register_buffer("feature", torch.full((nodes,), LEAF))
        self.register_buffer("branches", torch.zeros(nodes, 2, dtype=torch.int64))  # where it is not there, where it is
        self.begun: Tensor
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))
        self.there = torch.zeros(0, len(spec.names), dtype=torch.bool)
        self.gradients = torch.zeros(0, spec.num_classes)
        self.fraction = 0.0

    def forward(self, counts: Tensor) -> Tensor:
        """Counts (B, F) to class scores (B, K)."""
        there = counts > 0
        node = torch.zeros(len(counts), dtype=torch.int64, device=counts.device)
        while (self.feature[node] != LEAF).any():
            asked = self.feature[node]
            answer = there.gather(1, asked.clamp(min=0)[:, None])[:, 0].long()
            node = torch.where(asked == LEAF, node, self.branches[node, answer])
        scores = self.scores[node]
        if self.training and not self.begun and self.fraction >= BEGIN - WATCH and scores.requires_grad:
            scores.register_hook(lambda gradient: self._gather(there, gradient))
        return scores

    def readable(self) -> ReadableModel:
        """A rule a leaf, those first whose features are there: the first whose features are all there decides."""
        scores, rules = self.scores.detach().double(), []

        def walk(node: int, literals: tuple[tuple[str, bool], ...]) -> None:
            if self.feature[node] == LEAF:
                rules.append(Rule(literals, tuple(scores[node].tolist())))
                return
            name = self.spec.names[int(self.feature[node])]
            for there in (1, 0):
                walk(int(self.branches[node, there]), (*literals, (name, bool(there))))

        walk(0, ())
        bias = (0.0,) * self.spec.num_classes
        return ReadableModel(
            self.spec.class_names, dict(self.spec.reading), self.spec.names, tuple(rules), bias, tree=True
        )

    def set_progress(self, fraction: float) -> None:
        """How much of training is done, in [0, 1]: the tree is grown at a set share of it."""
        self.fraction = fraction
        if fraction >= BEGIN and not self.begun and len(self.there):
            self._grow()

    def sums(self) -> dict[str, Tensor]:
        """What a training that is interrupted must have to go on, and a trained student need not keep."""
        return {} if self.begun else {"there": self.there, "gradients": self.gradients}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """No score decays: leaves have rows enough."""
        return [{"params": list(self.parameters()), "weight_decay": 0.0}]

    @torch.no_grad()
    def _gather(self, there: Tensor, gradient: Tensor) -> None:
        """Keep the rows of a batch on which a loss acts; the mean over them is undone."""
        acts = gradient.ne(0).any(1)
        self.there = torch.cat([self.there, there[acts].cpu()])
        self.gradients = torch.cat([self.gradients, gradient[acts].float().cpu() * int(acts.sum())])

    @torch.no_grad()
    def _grow(self) -> None:
        from scipy.sparse import csc_matrix
        from sklearn.tree import DecisionTreeRegressor

        self.begun.fill_(True)
        residual = -self.gradients.numpy()
        grown = DecisionTreeRegressor(max_leaf_nodes=self.leaves, min_samples_leaf=ROWS, random_state=0)
        tree = grown.fit(csc_matrix(self.there.numpy(), dtype="float32"), residual).tree_
        count = tree.node_count
        self.feature[:count] = torch.tensor(tree.feature.tolist()).clamp(min=LEAF)
        self.branches[:count] = torch.tensor([tree.children_left.tolist(), tree.children_right.tolist()]).T
        share = self.scores[0].softmax(0) + torch.from_numpy(tree.value[:, :, 0]).float().to(self.scores)
        self.scores[:count] = share.clamp(min=LEAST).log()
        self.there, self.gradients = self.there[:0], self.gradients[:0]
