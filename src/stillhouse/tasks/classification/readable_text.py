"""A readable model on one screen: its first rules with how often they hold and are right, then the points of each class. No torch.

What is shown is chosen on training rows, by the model's own answers; what is said of it is counted on rows that trained nothing.

Legend: N rows, K classes, J rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_json, write_atomically, write_json
from stillhouse.tasks.classification.readable import ReadableModel, Rule

FILE, TEXT = "readable.json", "rules.txt"
SCREEN, WIDTH = 34, 118  # lines, characters
EXAMPLES, SHOWN = 3, 2  # of each first rule; rules whose examples are on the screen
PAGE = 8  # rules with examples on a page
MOST_CLASSES, MOST_ROWS = 12, 6  # that have lines of their own; lines of one class where they are few
LARGEST = 4.0  # points of the strongest rule where all would be weak: thresholds of a table share what they say

WEAK = 0.75  # points below which a rule is not printed
GROUPS = 24  # characters for the points themselves, which stand once for all rules that have them
SHRINK, FITTED = 1e-4, 4000  # weight of the squared points, training rows that they are fitted to
LEAST, MOST = 0.005, 0.6  # share of the rows between which a rule is worth a line
SURE = 0.75  # and share of them to which the whole model gives its class, at least


@dataclass(frozen=True)
class Line:
    """A rule on the screen.

    Attributes:
        rule: its number in the model.
        words: as it is read.
        class_name: that it gives most points.
        points: to that class.
        holds: share of the rows on which it holds.
        right: share of those that are of the class.
        rows: on how many it holds.
        examples: rows on which it holds, first those whose answer it decides.
        asked: names of the features that must be there.
    """

    rule: int
    words: str
    class_name: str
    points: float
    holds: float
    right: float
    rows: int
    examples: tuple[str, ...]
    asked: tuple[str, ...]


@dataclass(frozen=True)
class Screen:
    """What people read of a model.

    Attributes:
        lines: the first rules; a page shows all of them.
        first: so many of them are on the screen.
        classes: (class, its rules with points) as far as they have room.
        rules: of the whole model.
        rows: on which everything is counted.
        unit: what a row is called.
        full: accuracy of the whole model on them.
        shown: accuracy of the screen alone, whose points are fitted to the answers of the whole model on training rows; of a tree
            that of the lines on the screen.
        tree: whether the first line that holds decides alone.
    """

    lines: tuple[Line, ...]
    first: int
    classes: tuple[tuple[str, str], ...]
    rules: int
    rows: int
    unit: str
    full: float
    shown: float
    tree: bool = False

    def text(self, head: str = "") -> str:
        """At most a screen."""
        found = [head] if head else []
        width = max((len(f"{line.words} -> {line.class_name}") for line in self.lines[: self.first]), default=0)
        for place, line in enumerate(self.lines[: self.first]):
            arrow = f"{line.words} -> {line.class_name}".ljust(min(width, 60))
            found.append(f"{arrow}   {describe_rule_accuracy(line, self.unit)}")
            if place < SHOWN and line.examples and not self.tree:
                found.append("    " + "  |  ".join(_short(one, 34) for one in line.examples))
        if self.classes:
            longest = max(len(name) for name, _ in self.classes)
            for name, words in self.classes:
                rows = wrap(words, WIDTH - longest - 2) or [""]
                found += [f"{'' if place else name:<{longest}}  {row}".rstrip() for place, row in enumerate(rows)]
        found.append(self.kept())
        return "\n".join(found) + "\n"

    def kept(self) -> str:
        """What the screen alone is worth."""
        if self.tree:
            part = "" if self.first >= len(self.lines) else f" ({self.first} of {len(self.lines)} lines are shown)"
            return (
                f"The first line whose words are all there decides{part}: right on {_percent(self.shown, 1)} of {self.rows:,} "
                f"{self.unit}s that trained nothing."
            )
        return (
            f"The points shown here alone are right on {_percent(self.shown, 1)} of {self.rows:,} {self.unit}s that trained "
            f"nothing; all {self.rules:,} rules: {_percent(self.full, 1)}."
        )


def describe_rule_accuracy(line: Line, unit: str) -> str:
    """How often a rule holds and is right.

    Example:
        >>> describe_rule_accuracy(Line(0, "pin", "change_pin", 1.0, 0.04, 0.96, 25, (), ("pin",)), "message")
        'holds for 4 % of messages, right in 96 %'
    """
    return f"holds for {_percent(line.holds)} of {unit}s, right in {_percent(line.right)}"


def screen(
    model: ReadableModel, train: Any, held: Any, labels: NDArray[Any], raw: Sequence[Any], *, lines: int = SCREEN
) -> Screen:
    """Choose what is shown, and count what it is worth.

    Args:
        model: the whole of it.
        train: (N, F) counts of training rows, by which lines are chosen.
        held: (M, F) counts of rows that trained nothing.
        labels: (M) their classes.
        raw: (M) their texts, or mappings from columns to values.
        lines: on the screen, the last one included.
    """
    if model.tree:
        return _tree_screen(model, held, labels, raw, lines)
    votes = model.votes
    holds, there = model.holds(train), model.holds(held)
    share = holds.mean(0)
    worth = np.abs(votes) * np.sqrt(share * (1 - share))[:, None]  # (J, K)
    named = len(model.class_names) <= MOST_CLASSES and lines >= len(model.class_names) + 5
    rows = min(MOST_ROWS, max(1, (lines - 10) // len(model.class_names)))
    first = max(1, lines - 1 - (rows * len(model.class_names) if named else 0) - SHOWN - 1)
    whole = model.scores(train)
    chosen = _chosen(holds, votes, worth, whole.argmax(1), max(first, PAGE))
    points, start = np.zeros(votes.shape), np.zeros(votes.shape[1])
    if named:
        seen: dict[frozenset[tuple[str, bool]], int] = {}
        again = [seen.setdefault(frozenset(rule.literals), j) != j for j, rule in enumerate(model.rules)]
        cost = np.where(again, np.inf, [len(f"{rule}, ") for rule in model.rules])
        room = np.full(len(start), rows * (WIDTH - max(map(len, model.class_names)) - 2) - GROUPS)
        points, start = _small(cost, holds, _softmax(whole), room)
    else:
        free = np.zeros(votes.shape, dtype=bool)
        free[chosen[:first], votes[chosen[:first]].argmax(1)] = True
        points, start = _fit(holds.astype(np.float64), _softmax(whole), free, points, start)
    classes = _class_lines(model, points, start, rows) if named else ()
    scores = there @ votes + np.array(model.bias)
    found = []
    for number in chosen:
        kind = int(votes[number].argmax())
        on = there[:, number]
        without = scores - there[:, [number]] * votes[number]
        decides = on & (scores.argmax(1) == kind) & (without.argmax(1) != kind)
        found_on = [*np.flatnonzero(decides), *np.flatnonzero(on & ~decides)][:EXAMPLES]
        found.append(_line(model, number, kind, on, labels, [raw[row] for row in found_on]))
    alone = there @ points + start
    return Screen(
        tuple(found),
        first,
        classes,
        len(model.rules),
        len(labels),
        _unit(model),
        float((scores.argmax(1) == labels).mean()),
        float((alone.argmax(1) == labels).mean()),
    )


def _line(
    model: ReadableModel, number: int, kind: int, on: NDArray[Any], labels: NDArray[Any], raw: Sequence[Any]
) -> Line:
    """A rule and its class, the rows on which it holds, and some of them."""
    rule = model.rules[number]
    asked = tuple(name for name, positive in rule.literals if positive)
    words = (" and ".join(asked) or "otherwise") if model.tree else str(rule)
    right = float((labels[on] == kind).mean()) if on.any() else 0.0
    examples = tuple(_example(one, model, number) for one in raw)
    points = rule.votes[kind]
    return Line(number, words, model.class_names[kind], points, float(on.mean()), right, int(on.sum()), examples, asked)


def _unit(model: ReadableModel) -> str:
    return "message" if model.reading["kind"] == "words" else "row"


def _tree_screen(model: ReadableModel, held: Any, labels: NDArray[Any], raw: Sequence[Any], lines: int) -> Screen:
    """The leaves of a tree in order; leaves of one question that give one class are one line."""
    stack: list[tuple[tuple[tuple[str, bool], ...], NDArray[Any], int]] = []  # path, rows, class
    for rule, on in zip(model.rules, model.holds(held).T, strict=True):
        stack.append((rule.literals, on, rule.best))
        while len(stack) > 1 and stack[-1][0][:-1] == stack[-2][0][:-1] and stack[-1][2] == stack[-2][2]:
            path, rows, kind = stack.pop()
            stack[-1] = (path[:-1], rows | stack[-1][1], kind)
    certain = np.eye(len(model.class_names))
    rules = tuple(Rule(path, tuple(certain[kind])) for path, _, kind in stack)
    merged = replace(model, rules=rules)
    found = tuple(
        _line(merged, j, kind, on, labels, [raw[row] for row in np.flatnonzero(on)[:EXAMPLES]])
        for j, (_, on, kind) in enumerate(stack)
    )
    right = np.array([one.right * one.rows for one in found]) / max(1, len(labels))
    first = min(len(found), lines - 1)
    full, shown = float(right.sum()), float(right[:first].sum())
    return Screen(found, first, (), len(found), len(labels), _unit(model), full, shown, tree=True)


def _chosen(
    holds: NDArray[Any], votes: NDArray[Any], worth: NDArray[Any], answers: NDArray[Any], room: int
) -> list[int]:
    """Numbers of the rules that have a line: of each class in turn the one that is worth most, if it tells classes apart."""
    share = holds.mean(0)
    turns: list[list[int]] = []
    for k in range(votes.shape[1]):
        own = [j for j in range(len(votes)) if votes[j].argmax() == k and votes[j, k] > 0 and LEAST <= share[j] <= MOST]
        sure = [j for j in own if (answers[holds[:, j]] == k).mean() >= SURE]
        turns.append(sorted(sure, key=lambda j, k=k: -worth[j, k]))  # type: ignore[misc]
    turns.sort(key=lambda own: -worth[own[0]].max() if own else 0.0)
    order = [j for turn in itertools.zip_longest(*turns) for j in turn if j is not None]
    return order[:room]


def _small(
    cost: NDArray[Any], holds: NDArray[Any], target: NDArray[Any], room: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Few points that alone give nearly the whole model's probabilities: a scorecard distilled from the model.

    In each round every class takes the rule that lowers the cross-entropy with the model most, to second order and for the
    room that it needs; then all points so far are fitted anew. At last the weak ones go.

    Args:
        cost: (J) characters of a rule on the screen.
        holds: (N, J) which rules hold on training rows.
        target: (N, K) probabilities of the whole model there.
        room: (K) characters of each class.

    Returns:
        (J, K) points and (K) those that every row has, in steps of half a point.
    """
    chosen = np.random.default_rng(0).permutation(len(holds))[:FITTED]
    holds, target = holds[chosen].astype(np.float64), target[chosen]
    there, room = holds - holds.mean(0), room.astype(np.float64)
    points = np.zeros((holds.shape[1], target.shape[1]))
    start = np.log(target.mean(0) + 1e-9)
    printed = np.zeros(points.shape, dtype=bool)
    while True:
        now = _softmax(holds @ points + start)
        curve = (there * there).T @ (now * (1 - now)) + 2 * SHRINK * len(holds) + 1e-6
        gain = (there.T @ (target - now)) ** 2 / curve  # twice the nats
        gain[printed | (cost[:, None] > room) | (gain < 1)] = 0
        gain /= np.sqrt(cost)[:, None]
        best = gain.argmax(0)
        taken = np.flatnonzero(gain.max(0))
        if not len(taken):
            break
        printed[best[taken], taken] = True
        room[taken] -= cost[best[taken]]
        points, start = _fit(holds, target, printed, points, start)
    largest = float(np.abs(points).max(initial=0))
    scale = LARGEST / largest if 0 < largest < 2 * WEAK else 1.0
    points, start = _fit(holds, target, np.abs(scale * points) >= WEAK, points, start)
    points, start = scale * points, scale * start
    return np.round(2 * points) / 2, np.round(
        2 * (start - np.median(start))
    ) / 2  # of a common factor no answer depends


def _fit(
    holds: NDArray[Any], target: NDArray[Any], free: NDArray[Any], points: NDArray[Any], start: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Those points (J, K) that are free, and what every row has (K), of least cross-entropy with the target (N, K)."""
    from scipy.optimize import minimize

    used, classes = np.flatnonzero(free.any(1)), len(start)
    there, own = holds[:, used], free[used]

    def spread(flat: NDArray[Any]) -> NDArray[Any]:
        found = np.zeros(own.shape)
        found[own] = flat[classes:]
        return found

    def loss(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        now = _softmax(there @ spread(flat) + flat[:classes])
        slope = (now - target) / len(target)
        found = -(target * np.log(now + 1e-12)).sum() / len(target) + SHRINK * (flat[classes:] ** 2).sum()
        return float(found), np.concatenate([slope.sum(0), (there.T @ slope)[own] + 2 * SHRINK * flat[classes:]])

    begin = np.concatenate([start, points[used][own]])
    flat = minimize(loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x
    found = np.zeros(points.shape)
    found[used] = spread(flat)
    return found, flat[:classes]


def _class_lines(
    model: ReadableModel, points: NDArray[Any], start: NDArray[Any], rows: int
) -> tuple[tuple[str, str], ...]:
    """(class, its points) in at most so many rows; what finds no room has its points taken away, the smallest first."""
    width = WIDTH - max(map(len, model.class_names)) - 2
    found = []
    for k, name in enumerate(model.class_names):
        while len(wrap(_points_of(model, points[:, k], start[k]), width)) > rows:
            own = np.flatnonzero(points[:, k])
            points[own[np.abs(points[own, k]).argmin()], k] = 0
        found.append((name, _points_of(model, points[:, k], start[k])))
    return tuple(found)


def _points_of(model: ReadableModel, points: NDArray[Any], start: float) -> str:
    """Rules of one class by their points, the most first: `+2.5 pin, my pin; +1 change; -0.5 always`."""
    groups = []
    for value in sorted({*points.tolist(), start} - {0.0}, reverse=True):
        names = [str(model.rules[j]) for j in np.flatnonzero(points == value)] + (["always"] if start == value else [])
        groups.append(f"{value:+g} {', '.join(names)}")
    return "; ".join(groups)


def _softmax(scores: NDArray[Any]) -> NDArray[Any]:
    raised = np.exp(scores - scores.max(1, keepdims=True))
    found: NDArray[Any] = raised / raised.sum(1, keepdims=True)
    return found


def _example(raw: Any, model: ReadableModel, number: int) -> str:
    """A text as it is; of a row the columns that the rule asks about."""
    if isinstance(raw, str):
        return raw
    names = [name for name, _ in model.rules[number].literals]
    asked = [column for column in raw if any(name.startswith(f"{column} ") for name in names)]
    return ", ".join(f"{column} = {raw[column]}" for column in asked)


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3].rstrip(" ,") + "..."


# ------------------------------------------------------------------------------------------------ on disk


def write_screen(folder: Path, model: ReadableModel, found: Screen, **more: Any) -> None:
    """`rules.txt` for people, `readable.json` for programs: the model, and what was found of it."""
    text = found.text().encode()
    write_atomically(folder / TEXT, lambda file: file.write(text))
    write_json(folder / FILE, {"model": model.to_mapping(), "screen": asdict(found), **more})


def read_screen(path: Path) -> tuple[ReadableModel, Screen, Mapping[str, Any]]:
    """What `write_screen` wrote.

    Raises:
        InputError: another file.
    """
    found = read_json(path)
    try:
        made = dict(found["screen"])
        made["lines"] = tuple(
            Line(**{**line, "examples": tuple(line["examples"]), "asked": tuple(line["asked"])})
            for line in made["lines"]
        )
        made["classes"] = tuple((name, words) for name, words in made["classes"])
        return ReadableModel.from_mapping(found["model"]), Screen(**made), found
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: malformed file ({error!r})") from None
