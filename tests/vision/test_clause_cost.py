"""What clauses cost as logic: counted by hand."""

from types import SimpleNamespace

import pytest
import torch

from stillhouse.families.clauses import cost as cost_module
from stillhouse.families.clauses.cost import add_packed_cost, logic_cost, packed_cost
from stillhouse.families.clauses.cost_report import cost_blocks
from stillhouse.families.clauses.family import ClausesFamily
from stillhouse.families.clauses.students.flat import FlatTM
from stillhouse.families.clauses.students.transformer import UnifiedTMTransformer
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.metrics.energy import OperationEnergies


def test_operations_of_two_clauses():
    """Four literals, all must hold: 3 AND. Five literals, worth up to 3 (2 bits): 4 adders and a difference of 2 bits, 5 each."""
    clauses = ClauseSet.of([[0, 1, 2, 3], [0, 1, 2, 3, 4]], bits=8, capacity=[1, 3], votes=[[1, 0], [-2, 300]])
    cost = logic_cost(clauses, places=4)
    assert cost.word_operations * 64 == 4 * (3 + 5 * (4 + 2))
    assert (cost.adds, cost.multiplies) == (4 * 3, 4 * 2)
    assert cost.bytes == 9 * 1 + 2 * (1 + 1) + 4 * 2 + 2 * 8


def test_energy_of_a_flat_machine_is_of_its_words_and_sums():
    """Nothing of it is dense; torch's side is its product, half of it additions."""
    torch.manual_seed(0)
    model = FlatTM(image_size=4, in_channels=1, clauses=8, num_classes=3, rule={"failures": 1}).eval()
    table = OperationEnergies(1.0, 10.0, 100.0, 0.01, 0.02, 0.001)
    cost = packed_cost(model, lambda count: torch.rand(count, 1, 4, 4), table)
    logic = cost["logic"]
    assert cost["dense"] == {"flops": 0, "bytes": 0}
    assert (logic["clauses"], logic["multiplies"], logic["adds"]) == (8, 0, 24)
    expected = 0.001 * logic["word_operations"] + 0.01 * 24
    assert cost["energy"]["operations_pj"] == pytest.approx(expected)
    assert cost["energy"]["with_weight_traffic_pj"] == pytest.approx(expected + 100 * logic["bytes"])
    flops = 2 * 16 * 8 + 2 * 8 * 3  # literals of 8 clauses, and their votes
    assert cost["torch_energy"]["operations_pj"] == pytest.approx(flops / 2 * 11)
    assert cost["torch_bytes"] == 4 * sum(p.numel() for p in model.parameters())


def test_of_a_transformer_the_dense_part_is_what_stays():
    """Patches, queries to projection, scores and sums of attention, numbers before the bits, the head."""
    side, width, tokens, hidden, classes = 4, 8, 5, 16, 3
    model = UnifiedTMTransformer(
        classes,
        image_size=8,
        in_channels=1,
        patch_size=side,
        embed_dim=width,
        depths=1,
        num_heads=2,
        mlp_ratio=2.0,
        tm_clauses=6,
    ).eval()
    cost = packed_cost(model, lambda count: torch.rand(count, 1, 8, 8))
    patches = 2 * (tokens - 1) * side * side * width
    attention = 2 * tokens * (4 * width * width) + 2 * 2 * tokens * tokens * width
    assert cost["dense"]["flops"] == patches + attention + 2 * tokens * width * hidden + 2 * width * classes
    assert 1 <= cost["logic"]["clauses"] <= 6  # without those that can never speak
    assert cost["logic"]["adds"] == tokens * cost["logic"]["clauses"] * width
    own = sum(p.numel() for name, p in model.named_parameters() if ".core." in name)
    assert cost["dense"]["bytes"] == 4 * (sum(p.numel() for p in model.parameters()) - own)


def test_only_clauses_that_can_be_logic_are_counted():
    """A control has none; the product rule is no logic."""
    for settings in ({"part": "mlp"}, {"rule": {"operator": "product"}}):
        cost = {}
        model = FlatTM(image_size=4, in_channels=1, clauses=8, num_classes=3, **settings)
        add_packed_cost(cost, model, lambda count: torch.rand(count, 1, 4, 4))
        assert cost == {}


def test_the_report_has_both_sides(tmp_path):
    """Torch's row and the row of logic; a run without clauses has no table."""
    from stillhouse.core.records import write_json

    model = FlatTM(image_size=4, in_channels=1, clauses=8, num_classes=3)
    cost = {"flops": 304, "ms_batch_1": 0.5}
    add_packed_cost(cost, model, lambda count: torch.rand(count, 1, 4, 4))
    write_json(tmp_path / "summary.json", {"costs": {"kd": cost, "mlp": {"flops": 1}}})
    (table,) = cost_blocks(tmp_path)
    assert [row[0].text for row in table.rows] == ["kd", "as logic"]
    assert "word operations" in table.rows[1][1].text
    write_json(tmp_path / "summary.json", {"costs": {"mlp": {"flops": 1}}})
    assert cost_blocks(tmp_path) == []


@pytest.mark.parametrize(("rows", "seconds", "timed"), [(1_000, 900.0, False), (5_000, 2.0, True)])
def test_what_is_timed_does_not_depend_on_the_machine(rows, seconds, timed, monkeypatch):
    """A short training on a slow machine would wait as long again for kernels that a fast machine never compiles."""
    monkeypatch.setattr(cost_module, "packed_times", lambda model, inputs: {"ms_batch_1": 1.0})
    summary = {"shipped": {"arm": "kd", "seed": 0}, "costs": {"kd": {"packed": {}}}}
    lab = SimpleNamespace(
        folder=SimpleNamespace(result=lambda arm, seed: {"epochs": 24, "seconds": seconds}),
        data=SimpleNamespace(sizes={"train": rows}, task=SimpleNamespace(example=None)),
        place=lambda arm, seed: None,
    )
    family = ClausesFamily()
    monkeypatch.setattr(family, "load", lambda place: None)
    family._time_logic(lab, summary)
    assert bool(summary["costs"]["kd"]["packed"]) is timed
