"""The texts and the curriculum of the associative recall benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import recall_curriculum
from benchmarks.recall_curriculum import Run, climb, learn, rungs
from benchmarks.recall_texts import Task, accuracy, texts

from stillhouse.families.lm.students import SpikingLMConfig


def test_every_asked_key_has_the_value_it_was_bound_to() -> None:
    """An answer that no binding gives would bound accuracy below 1 whatever a memory can hold."""
    task, distance = Task(pairs=20, keys=50, values=7), 9
    tokens, answers = texts(5, distance, torch.Generator().manual_seed(0), task)
    assert tokens.shape == (5, 4 * 20 + distance - 2)
    for text, asked in zip(tokens.tolist(), answers.tolist()):
        bound = dict(zip(text[0:40:2], text[1:40:2]))
        places = [place for place, answer in enumerate(asked) if answer]
        assert len(bound) == 20
        assert sorted(text[place - 1] for place in places) == sorted(bound)
        for place in places:
            assert text[place] == bound[text[place - 1]]
            assert place - 1 - text.index(text[place - 1]) >= distance
        assert max(bound) < 50
        assert min(bound.values()) >= 50
        assert max(bound.values()) < 57
        assert min(text[40 : 40 + distance - 2]) >= 57
        assert max(text) < task.vocabulary


def test_the_table_of_six_pairs_is_what_it_was() -> None:
    """Committed figures were taken on these very tokens: another order of draws would be another test set."""
    tokens, answers = texts(2, 5, torch.Generator().manual_seed(0))
    assert tokens.shape == (2, 27)
    assert answers.sum().item() == 12
    assert tokens[0].tolist() == FIRST


FIRST = [12, 19, 2, 16, 3, 19, 13, 21, 14, 30, 4, 31, 35, 37, 35, 4, 31, 13, 21, 3, 19, 12, 19, 14, 30, 2, 16]


def test_a_network_that_learnt_nothing_is_at_chance() -> None:
    """A score that counted other places than the answers would show more, or nothing."""
    torch.manual_seed(0)
    task = Task(pairs=8, keys=8, values=4)
    config = SpikingLMConfig(vocab_size=task.vocabulary, width=8, layers=1, heads=1).without_special_part()
    model = config.build()
    with torch.no_grad():  # it guesses among the values alone, always the same
        model.embedding.weight.zero_()
        model.embedding.weight[task.keys] = 1.0
        model.norm.weight.zero_()
        model.norm.bias.fill_(1.0)
    assert abs(accuracy(model, 4, task=task, count=512) - 1 / 4) < 0.03  # 4 096 answers: 4 standard deviations


def test_a_curriculum_goes_on_where_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, moments, random numbers, place in the curriculum: one forgotten, and what follows is another training."""
    task = Task(pairs=12, keys=12, values=4)
    config = SpikingLMConfig(vocab_size=task.vocabulary, width=16, layers=1, heads=1, ffn=1.0, chunk=8)
    run = Run(steps=60, tokens=256)
    whole = climb(config, 4, task, run, tmp_path / "whole")
    calls = iter(range(100))

    def killed(*given: Any) -> tuple[float, float]:
        if next(calls) == 55:
            raise KeyboardInterrupt
        return learn(*given)

    monkeypatch.setattr(recall_curriculum, "learn", killed)
    with pytest.raises(KeyboardInterrupt):
        climb(config, 4, task, run, tmp_path / "halves")
    monkeypatch.undo()
    assert next(calls) == 56
    halves = climb(config, 4, task, run, tmp_path / "halves")
    assert set(whole["accuracy"]) == {"8", "12"}
    for name in ("accuracy", "passed", "density"):
        assert halves[name] == whole[name], name


def test_pairs_are_doubled_when_they_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that nothing passes would train on few pairs and score many."""
    seen: list[int] = []

    def all_right(model: Any, optimizer: Any, tokens: Any, answers: Any) -> tuple[float, float]:
        seen.append(int(answers[0].sum()))
        return 0.0, 1.0

    monkeypatch.setattr(recall_curriculum, "learn", all_right)
    task = Task(pairs=24, keys=24, values=4)
    config = SpikingLMConfig(vocab_size=task.vocabulary, width=8, layers=1, heads=1).without_special_part()
    found = climb(config, 4, task, Run(steps=80, tokens=256), tmp_path)
    assert list(dict.fromkeys(seen)) == [8, 16, 24] == rungs(24)
    assert [pairs for pairs, _ in found["passed"]] == [8, 16]
