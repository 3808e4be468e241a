"""A difference has one sign wherever it is shown: above 0 the arm is better, also where less is better."""

import numpy as np
import pytest

from stillhouse.core.parts import Contrast, Metric
from stillhouse.core.summary import _compared
from stillhouse.core.verdict import format_verdict
from stillhouse.report import figures
from stillhouse.report.compare import difference_cell
from stillhouse.report.words import GAP, MINUS, direction, sentence
from stillhouse.tasks.lm.results import RESULTS

BITS, ACCURACY = RESULTS.metrics[0], Metric("accuracy", "accuracy", "points", "test images", scale=100.0, digits=2)


def difference(metric, gap, seeds=3):
    """An arm that is `gap` above its control on average, and the figures of both; luck is larger than the gap."""
    rng = np.random.default_rng(1)
    control = np.full((seeds, 40), 2.0) + rng.normal(size=(seeds, 40))
    luck = rng.normal(size=(seeds, 40))
    arm = control + gap + luck - luck.mean()
    row = _compared(Contrast("teacher", "kd", "no-kd", metric.name), _tables(metric, kd=arm, no_kd=control), metric)
    means = {"kd": arm, "no-kd": control}
    arms = {n: {metric.name: {"mean": x.mean(), "values": x.mean(1).tolist()}} for n, x in means.items()}
    return row, arms


def _tables(metric, kd, no_kd):
    return {"kd": {metric.name: kd}, "no-kd": {metric.name: no_kd}}


def drawn(row, metric, monkeypatch):
    """What the chart of a report shows: (difference, interval or None), and its text for who does not see it."""
    texts = []
    monkeypatch.setattr(figures, "_svg", lambda figure, name, label: texts.append(label))
    figures.plot_differences([("kd against no-kd", row, row["seeds"])], metric)
    _, middle, low, high, few = figures._scaled("", row, row["seeds"], metric)
    return middle, None if few else (low, high), texts[0]


@pytest.mark.parametrize("gap", [0.0022, -0.0022])
@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_text_chart_and_comparison_agree_where_less_is_better(gap, seeds, monkeypatch):
    """The text said +0.0022, the chart below drew -0.002 under 'right of 0: better': a reader believed the wrong one."""
    row, arms = difference(BITS, gap, seeds)
    word = "worse" if gap > 0 else "better"  # more bits are worse
    text = sentence(row, arms, {BITS.name: BITS}).detail.replace(GAP, " ")
    assert f"difference 0.0022 bits per byte {word}" in text
    assert "+0.0022" not in text
    assert f"{MINUS}0.0022" not in text
    middle, ends, label = drawn(row, BITS, monkeypatch)
    assert (middle > 0) == (word == "better")
    assert middle == pytest.approx(-gap)
    assert ends is None if seeds < 3 else ends[0] < 0 < ends[1]
    assert "of bits per byte less is better" in label
    beside = difference_cell(BITS, {**row, "word": format_verdict(row), "paired_seeds": list(range(seeds))})
    assert beside.text.startswith(f"0.0022 {word}")


def test_more_accuracy_is_a_plus(monkeypatch):
    """A rule that is turned for bits must not be turned for accuracy too."""
    row, arms = difference(ACCURACY, 0.0022)
    text = sentence(row, arms, {ACCURACY.name: ACCURACY}).detail
    assert "difference +0.22" in text
    assert drawn(row, ACCURACY, monkeypatch)[0] == pytest.approx(0.22)
    assert direction(ACCURACY) == "Right of 0 is better"
