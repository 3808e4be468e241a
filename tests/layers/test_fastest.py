"""The slower way is never kept, whichever it is, and nothing is measured twice."""

import itertools

import pytest

from stillhouse.layers import fastest as module
from stillhouse.layers.fastest import fastest


@pytest.fixture(autouse=True)
def a_memory_of_its_own(monkeypatch):
    monkeypatch.setattr(module, "_remembered", {})


class Clock:
    """Seconds that pass only while a way is at work: `seconds[name]` for each call in turn, the last one for ever."""

    def __init__(self, **seconds):
        self.now, self.calls = 0.0, []
        self.ways = {name: lambda name=name: self.work(name) for name in seconds}
        self.left = {name: itertools.chain(some, itertools.repeat(some[-1])) for name, some in seconds.items()}

    def work(self, name):
        self.calls.append(name)
        self.now += next(self.left[name])

    def __call__(self):
        return self.now

    def fastest(self, key, **options):
        return fastest(lambda: self.ways, key, timer=self, **options)


@pytest.mark.parametrize("slow", ["floats", "integers"])
@pytest.mark.parametrize("times", [1.01, 2, 27, 58])
def test_the_slower_one_is_never_kept(slow, times):
    clock = Clock(**{name: [1e-3 * (times if name == slow else 1)] for name in ("floats", "integers")})
    assert clock.fastest("key") == {"floats": "integers", "integers": "floats"}[slow]


def test_a_first_call_that_prepares_does_not_decide():
    """oneDNN builds its kernel in the first call of a shape: that call alone takes longer than all the others."""
    assert Clock(floats=[2.0], integers=[50.0, 1.0]).fastest("key") == "integers"


def test_a_core_that_is_taken_for_a_while_does_not_decide():
    """The best of five, in turns: whoever is at work when another process comes looks slow, but not for ever."""
    assert Clock(floats=[2.0], integers=[1.0, 9.0, 9.0, 1.0, 9.0]).fastest("key") == "integers"


def test_an_answer_is_remembered_by_its_key():
    clock = Clock(floats=[1.0], integers=[2.0])
    assert [clock.fastest("a"), clock.fastest("a")] == ["floats", "floats"]
    assert len(clock.calls) == 2 * 6
    clock.fastest("b")
    assert len(clock.calls) == 4 * 6


@pytest.mark.parametrize(("packed", "kept"), [(0.5, "packed"), (0.85, "packed"), (0.95, "own"), (1.5, "own")])
def test_a_usual_way_stays_where_little_is_gained(packed, kept):
    assert Clock(own=[1.0], packed=[packed]).fastest("key", usual="own") == kept


def test_the_usual_way_comes_before_every_measurement_and_hopeless_ones_only_once():
    """What a way costs in its place includes what ran before it."""
    clock = Clock(own=[1.0], packed=[0.5], slow=[9.0])
    assert clock.fastest("key", usual="own") == "packed"
    assert clock.calls[:3] == ["own", "packed", "slow"]
    assert clock.calls[3::2].count("own") == len(clock.calls[3::2])
    assert clock.calls.count("slow") == 2
