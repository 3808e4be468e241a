"""Clause layers of networks that are not all clauses, written as files and held against the network."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stillhouse.classification.data import ImageSplit
from stillhouse.core.checks import InputError
from stillhouse.core.exports import ExportChoices
from stillhouse.families.clauses import parts
from stillhouse.families.clauses.lower import lower_parts
from stillhouse.families.clauses.students.transformer import UnifiedTMTransformer
from stillhouse.logic.targets.json_file import read_json

SMALL = {
    "image_size": 8,
    "in_channels": 1,
    "num_classes": 3,
    "patch_size": 4,
    "embed_dim": 6,
    "depths": 2,
    "tm_clauses": 6,
}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UnifiedTMTransformer(**SMALL).eval()


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8))
    return SimpleNamespace(test=ImageSplit(images, torch.zeros(40, dtype=torch.int64)))


def test_every_clause_layer_is_written_proved_and_named_by_its_place(network, data, tmp_path):
    lines = parts.export_parts(network, data, tmp_path / "parts", ExportChoices(prove=True))
    index = json.loads((tmp_path / "parts" / "parts.json").read_text())["layers"]
    assert set(index) == set(lower_parts(network))
    rng = np.random.default_rng(1)
    for path, entry in index.items():
        assert "proved" in entry["proof"]
        assert all((tmp_path / "parts" / file).is_file() for file in entry["files"])
        bits = rng.random((30, entry["bits"])) < 0.5
        read = read_json(tmp_path / "parts" / entry["files"][2]).layers[0]
        np.testing.assert_array_equal(read.scores(bits), lower_parts(network)[path].scores(bits))
    assert "every logit of 40 rows" in lines[1]


def test_a_part_in_c_that_votes_otherwise_is_found(network, data, tmp_path, monkeypatch):
    """The network is run with the compiled parts: a vote more in one of them is another logit."""
    from stillhouse.logic.targets import c

    whole = c.c_text
    monkeypatch.setattr(
        c,
        "c_text",
        lambda machine, name: whole(machine, name=name).replace("scores[k] = bias[k];", "scores[k] = bias[k] + 9999;"),
    )
    with pytest.raises(InputError, match="parts in C: expected the logits of the packed ones"):
        parts.export_parts(network, data, tmp_path / "parts", ExportChoices())


def test_a_circuit_of_other_values_is_found_by_its_proof(network, data, tmp_path, monkeypatch):
    """Where nothing simulates, the proof alone must see that a value's lowest bit is turned."""
    from stillhouse.logic.targets import verilog

    whole = verilog.values_module
    monkeypatch.setattr(parts, "_can_simulate", lambda: False)
    turned = "assign value[0*L +: L] = ~v0_0;"
    monkeypatch.setattr(
        verilog, "values_module", lambda *given: whole(*given).replace("assign value[0*L +: L] = v0_0;", turned)
    )
    with pytest.raises(InputError, match="nothing was written"):
        parts.export_parts(network, data, tmp_path / "parts", ExportChoices(prove=True))


def test_clauses_that_something_else_reads_are_no_parts(data, tmp_path):
    attentive = UnifiedTMTransformer(**SMALL, clause_attention=True).eval()
    with pytest.raises(InputError, match="only the votes are read"):
        parts.export_parts(attentive, data, tmp_path / "parts", ExportChoices())
