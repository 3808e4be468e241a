"""The network of a list of rules: single words first, then rules that begin with the best of them and grow word by word.

Legend: B batch, F features, K classes, R rules of a class, J = K R rules, L literals of a rule, C candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.types import FeatureSpec
from stillhouse.layers.part import Student
from stillhouse.tasks.classification.readable import ReadableModel, Rule

BEGIN = 0.4  # share of the training after which rules are begun
GROW = (0.5, 0.6, 0.7)  # and after which each of them may get one more word
WATCH = 0.08  # share of the training before that over which residuals are gathered
CANDIDATES = 1000  # features that may be added to a rule: the commonest that are more than `and` or `can`
START = 0.1  # points of a rule that is begun late
SPARE = 4  # one rule in so many is kept free for rules of two words


class RuleNetwork(Student):
    """Score of a class = bias + points of those of its rules that hold. In eval mode exactly the rules that are printed.

    Training has three parts. (1) A linear map of single words, of which fewer and fewer are kept. (2) The words with the largest
    weights of a class begin a rule each. (3) Where a rule's class gets too many points if a further word is there, `not word` is
    added to it; where it gets too few, a rule of both words is begun. Both are found by the score test of the product of rule
    and word: the sum of the loss's gradient over the rows where both hold, over the root of the sum of squares (a row that is seen
    several times counts as often). It needs no second loss, so labels and teachers of any kind decide alike.

    Args:
        input_spec: names of features and classes.
        rules: of a class at most.
        literals: words of a rule at most.
        penalty: weight of the L1 norm of single words, until rules are begun.
        evidence: z of the score test that a word must reach to be added to a rule.

    Example:
        >>> spec = FeatureSpec(("a", "b"), ("pin", "card"), (1.0, 1.0), {"kind": "words", "ngrams": 1})
        >>> tuple(RuleNetwork(spec, rules=4, literals=2, penalty=0.0, evidence=5.0)(torch.ones(3, 2)).shape)
        (3, 2)

    Source: Rao 1948, doi:10.1017/S0305004100023987 (score test); Friedman, Popescu 2008, arXiv:0811.1679 (sums of rules).
    """

    literals: Tensor
    begun: Tensor
    grown: Tensor
    common: Tensor
    first: Tensor
    second: Tensor
    spread: Tensor

    def __init__(self, input_spec: FeatureSpec, *, rules: int, literals: int, penalty: float, evidence: float) -> None:
        super().__init__()
        self.input_spec, self.penalty, self.evidence = input_spec, penalty, evidence
        features, classes = len(input_spec.names), input_spec.num_classes
        self.features, self.classes, self.each = features, classes, min(rules, features)
        rules = classes * self.each
        self.words = nn.Parameter(torch.zeros(classes, features))
        self.votes = nn.Parameter(torch.zeros(rules))
        self.bias = nn.Parameter(torch.zeros(classes))
        # f: feature f is there; F + f: it is not; 2 F: nothing is asked
        self.register_buffer("literals", torch.full((rules, literals), 2 * features))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))
        self.register_buffer("grown", torch.zeros((), dtype=torch.int64))
        rare = torch.tensor(input_spec.idf)
        content = torch.tensor([not _is_filler(name) for name in input_spec.names])
        common = torch.where(content, rare, torch.inf).argsort(stable=True)[: min(CANDIDATES, int(content.sum()))]
        self.register_buffer("common", common, persistent=False)
        share = torch.exp(1 - rare).clamp(max=0.5)  # of rows, as idf has it
        self.register_buffer("spread", (share * (1 - share)).sqrt(), persistent=False)
        for name in ("first", "second"):
            self.register_buffer(name, torch.zeros(rules, len(common)), persistent=False)
        self.fraction = 0.0

    # ------------------------------------------------------------------------------------------------ in use

    def forward(self, counts: Tensor) -> Tensor:
        """Counts (B, F) to class scores (B, K)."""
        there = (counts > 0).to(self.words.dtype)
        if self.training and not self.begun:
            return nn.functional.linear(there, self._kept_words(), self.bias)
        literals, votes = (self.literals, self.votes.clamp(min=0)) if self.begun else self._beginnings(self.each)
        holds = self._holds(there, literals)
        scores = (holds * votes).unflatten(1, (self.classes, self.each)).sum(2) + self.bias
        if self.training and self._watches and scores.requires_grad:
            scores.register_hook(lambda gradient: self._watch(there, holds, gradient))
        return scores

    def readable(self) -> ReadableModel:
        """The rules with points, those of a class together, the largest first."""
        literals, votes = (self.literals, self.votes.clamp(min=0)) if self.begun else self._beginnings(self.each)
        rules, bias = [], self.bias.detach().tolist()
        for number in votes.detach().argsort(descending=True, stable=True).tolist():
            asked = sorted(one for one in literals[number].tolist() if one < 2 * self.features)
            if not asked:  # begun by no word yet: it holds for every row
                bias[number // self.each] += float(votes[number].detach())
            elif votes[number] > 0:
                named = tuple((self.input_spec.names[one % self.features], one < self.features) for one in asked)
                points = [0.0] * self.classes
                points[number // self.each] = float(votes[number].detach())
                rules.append(Rule(named, tuple(points)))
        rules.sort(key=lambda rule: rule.best)
        return ReadableModel(
            self.input_spec.class_names, dict(self.input_spec.reading), self.input_spec.names, tuple(rules), tuple(bias)
        )

    def _holds(self, there: Tensor, literals: Tensor) -> Tensor:
        """(B, J) of 0 and 1."""
        used = int((literals < 2 * self.features).sum(1).max().clamp(min=1))
        every = torch.cat([there, 1 - there, there.new_ones(len(there), 1)], dim=1)
        holds = every[:, literals[:, 0]]
        for place in range(1, used):
            holds = holds * every[:, literals[:, place]]
        return holds

    # ------------------------------------------------------------------------------------------------ in training

    def set_progress(self, fraction: float) -> None:
        """How much of training is done, in [0, 1]: rules are begun and grown at set shares of it."""
        if fraction < self.fraction:  # a further stage of a pipeline goes on with the rules that there are
            self.grown.zero_()
        self.fraction = fraction
        if fraction >= BEGIN and not self.begun:
            self._begin()
        due = int(self.grown)
        if due < len(GROW) and fraction >= GROW[due]:
            self._grow()
            self.grown += 1

    def sums(self) -> dict[str, Tensor]:
        """What a training that is interrupted must have to go on, and a trained student need not keep."""
        return {"first": self.first, "second": self.second} if self._watches else {}

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """The L1 penalty of single words, until rules are begun."""
        if self.begun or self.penalty == 0:
            return {}
        return {"sparsity": (self.penalty, (self.words.abs() * self.spread).sum())}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Nothing decays: the penalty of words does that."""
        return [{"params": list(self.parameters()), "weight_decay": 0.0}]

    @property
    def _watches(self) -> bool:
        due = int(self.grown)
        return bool(self.begun) and due < len(GROW) and self.fraction >= GROW[due] - WATCH

    def _kept_words(self) -> Tensor:
        """(K, F) weights: so many of a class as the share of the training allows, the largest."""
        done = min(1.0, max(0.0, (self.fraction / BEGIN - 0.25) / 0.75))
        kept = round(self.features ** (1 - done) * self.each**done)
        if kept >= self.features:
            return self.words
        worth = self.words.detach() * self.spread
        return self.words * (worth >= worth.topk(kept, dim=1).values[:, -1:])

    def _beginnings(self, count: int) -> tuple[Tensor, Tensor]:
        """(J, 1) literals and (J) votes of the `count` best single words of each class."""
        worth = self.words.detach().clamp(min=0) * self.spread
        best = worth.topk(count, dim=1).indices
        votes = self.words.gather(1, best).clamp(min=0)
        if count < self.each:
            best = nn.functional.pad(best, (0, self.each - count), value=2 * self.features)
            votes = nn.functional.pad(votes, (0, self.each - count))
        return best.flatten()[:, None], votes.flatten()

    @torch.no_grad()
    def _begin(self) -> None:
        free = self.each // SPARE if self.literals.shape[1] > 1 and self.features > self.each else 0
        literals, votes = self._beginnings(self.each - free)
        self.literals[:, :1] = literals
        self.votes.copy_(votes)
        self.begun.fill_(True)

    @torch.no_grad()
    def _watch(self, there: Tensor, holds: Tensor, gradient: Tensor) -> None:
        """Add a batch to the sums of gradients, and of their squares, over the rows where a rule and a feature hold."""
        own = holds.detach() * gradient.repeat_interleave(self.each, dim=1)  # (B, J)
        seen = there[:, self.common]
        self.first += own.T @ seen
        self.second += (own * own).T @ seen

    @torch.no_grad()
    def _grow(self) -> None:
        """Add to each rule the word with most evidence; see the class."""
        z = self.first / self.second.sqrt().clamp(min=1e-12)
        z[self.second <= 0] = 0
        nothing, limit = 2 * self.features, self.literals.shape[1]
        counts = (self.literals < nothing).sum(1)
        z[(counts == 0) | (counts >= limit) | (self.votes <= 0)] = 0
        owned = self._owned()  # (K, C)
        elsewhere = (owned.any(0) & ~owned).repeat_interleave(self.each, dim=0)
        for rule, word in self._strongest(z * elsewhere):
            if counts[rule] == (self.literals[rule] < nothing).sum():  # one word a rule at a time
                self.literals[rule, counts[rule]] = self.features + word
        free = [rule for rule in range(len(z)) if self.literals[rule, 0] == nothing]
        known = {frozenset(row) for row in self.literals.tolist()}
        for rule, word in self._strongest(-z * owned.any(0)):
            place = next((one for one in free if one // self.each == rule // self.each), None)
            row = self.literals[rule].clone()
            row[counts[rule]] = word
            if place is not None and frozenset(row.tolist()) not in known:
                known.add(frozenset(row.tolist()))
                free.remove(place)
                self.literals[place], self.votes[place] = row, START
        if int(self.grown) == len(GROW) - 1:
            self._fill()
        self.first.zero_()
        self.second.zero_()

    def _fill(self) -> None:
        """What is still free is begun by the next words."""
        literals, votes = self._beginnings(self.each)
        asked = self.literals[:, 1:].eq(2 * self.features).all(1)
        for kind in range(self.classes):
            rows = range(kind * self.each, (kind + 1) * self.each)
            single = {int(self.literals[rule, 0]) for rule in rows if asked[rule]}
            new = (rule for rule in rows if int(literals[rule, 0]) not in single)
            for place, rule in zip((rule for rule in rows if self.literals[rule, 0] == 2 * self.features), new):
                self.literals[place, 0], self.votes[place] = literals[rule, 0], votes[rule]

    def _owned(self) -> Tensor:
        """(K, C) whether a class has a rule that asks for a candidate."""
        found = torch.zeros(self.classes, 2 * self.features + 1, dtype=torch.bool)
        return found.scatter_(1, self.literals.reshape(self.classes, -1), True)[:, self.common]

    def _strongest(self, z: Tensor) -> Iterator[tuple[int, int]]:
        """Pairs of a rule and a feature that have nothing to do with each other yet, the most evidence first."""
        best = z.flatten().topk(min(2000, z.numel()))
        for score, place in zip(best.values.tolist(), best.indices.tolist()):
            if score <= self.evidence:
                return
            rule, word = place // z.shape[1], int(self.common[place % z.shape[1]])
            asked = (self.literals[rule] % self.features)[self.literals[rule] < 2 * self.features].tolist()
            if not any(self._parts(word) & self._parts(one) for one in asked):
                yield rule, word

    def _parts(self, feature: int) -> set[str]:
        """The words of a run of words, or the column of a threshold: features that share one are of one thing."""
        name = self.input_spec.names[feature]
        if self.input_spec.reading["kind"] == "words":
            return set(name.split())
        return {name.rsplit(" > ", 1)[0].split(" = ", 1)[0]}


def _is_filler(name: str) -> bool:
    """Whether a feature is made of words alone that say nothing of a topic; of English, other languages have none here."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return set(name.split()) <= ENGLISH_STOP_WORDS
