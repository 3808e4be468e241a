"""What a forward pass holds, by hand; the documents' tables of costs."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fptm_ste import benchmark_profiles
from fptm_ste.benchmark_profiles import BASELINES, DOCUMENTED, MODELS, main, table
from stillhouse.metrics.cost import activation_bytes


def test_every_output_is_counted_once():
    """Six layers of 40 000 bytes; identities and views of the input are no activations."""
    chain = nn.Sequential(*(nn.Linear(1000, 1000, bias=False) for _ in range(6)))
    assert activation_bytes(chain, torch.zeros(10, 1000)) == 6 * 40_000
    assert all(part.training for part in chain.modules())
    net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(4, 2, bias=False), nn.Identity())
    assert activation_bytes(net, torch.zeros(1, 2, 2)) == 8


def test_both_tables_by_one_command(tmp_path, capsys):
    """Counts of a known network (timm's ResNet-18: 11.69 M, 1.81 G multiply-adds), and a row of 6.1, beside the document's."""
    words = [
        "--table",
        "6.1",
        "6.2",
        "--rows",
        "flat_tm",
        "resnet18",
        "--iters",
        "1",
        "--warmup",
        "0",
        "--device",
        "cpu",
    ]
    assert main([*words, "--output", str(tmp_path / "t.json")]) == 0
    found = json.loads((tmp_path / "t.json").read_text())["tables"]
    (flat,), (resnet,) = found["6.1"], found["6.2"]
    assert min(flat["median_ms"], resnet["median_ms"]) > 0
    for row in (flat, resnet):
        assert row["images_per_second"] == pytest.approx(1e3 / row["median_ms"])
    assert resnet["parameters"] == 11_689_512
    assert abs(resnet["flops"] / 2e9 - 1.814) < 0.01
    assert flat["parameters"] > 2 * 3072 * 512
    assert flat["flops"] == 2 * (3072 * 512 + 512 * 10)  # one level a pixel, as documented
    assert resnet["operations_pj"] == pytest.approx(resnet["flops"] / 2 * 4.6)
    said = capsys.readouterr().out
    assert "| resnet18 | 11.69 (11.7) |" in said
    assert f"| {resnet['median_ms']:.1f} | {resnet['images_per_second']:.1f} |" in said


def test_a_latency_is_the_clocks(monkeypatch):
    """The middle one of the calls after the warm-up: 30 ms of 3 waits, however slow the first call was."""
    clock = iter([0.0, 10.0, 10.02, 11.0, 11.03, 12.0, 12.05])
    monkeypatch.setattr(benchmark_profiles, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    found = benchmark_profiles._timed(nn.Identity(), torch.zeros(6, 1), 1, 3)
    assert (found["median_ms"], found["images_per_second"]) == (pytest.approx(30.0), pytest.approx(200.0))


def test_every_row_of_the_document_is_there():
    """Eight networks and thirteen baselines; the largest as documented, which needs windows that are not capped."""
    assert set(DOCUMENTED) == set(MODELS)
    assert (len(MODELS), len(BASELINES)) == (8, 13)
    (row,) = table("6.1", "cpu", 0, 1, ["swin_tm"])
    assert round(row["parameters"] / 1e6) == 175
