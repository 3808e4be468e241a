"""A changed bit in what is read back is an error, never another answer."""

import hashlib

import pytest
import torch
from safetensors.torch import load, save

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import read_sealed, sealed, sha256_of, verify_files, with_hashes
from stillhouse.core.records import CARD, STUDENT, read_json, write_json

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3, dtype=torch.bfloat16), "none": torch.zeros(0)}


@pytest.fixture
def student(tmp_path):
    """A folder with a card, weights and a tokenizer."""
    (tmp_path / STUDENT).write_bytes(save(WEIGHTS))
    (tmp_path / "tokenizer.json").write_text("{}")
    card = {"format": "x", "mean": (0.5, 0.25), "odd": float("nan"), 3: None, "word": "schön"}
    write_json(tmp_path / CARD, with_hashes(card, tmp_path, [STUDENT, "tokenizer.json"]))
    return tmp_path


def test_the_hash_is_that_of_the_file(student):
    """Against hashlib on the bytes."""
    raw = (student / STUDENT).read_bytes()
    assert sha256_of(student / STUDENT) == hashlib.sha256(raw).hexdigest()
    assert read_json(student / CARD)["sha256"][STUDENT] == hashlib.sha256(raw).hexdigest()
    verify_files(student, read_json(student / CARD), [STUDENT])
    with pytest.raises(InputError, match="cannot read"):
        sha256_of(student / "none")


def test_a_flipped_bit_in_a_card_is_an_error_or_nothing(student):
    """A number of the card decides what the weights are used for. White space decides nothing."""
    whole = (student / CARD).read_bytes()
    good = read_json(student / CARD)
    refused = 0
    for place in range(len(whole)):
        for bit in (place % 8, (place + 3) % 8):
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            (student / CARD).write_bytes(broken)
            try:
                card = read_json(student / CARD)
                verify_files(student, card)
                assert card == good
            except InputError:
                refused += 1
    assert refused > 1.5 * len(whole)


def test_a_sealed_file_is_still_a_safetensors_file(tmp_path):
    """Read by the library itself: tensors and other metadata as they were."""
    from safetensors import safe_open

    packed = sealed(save(WEIGHTS, metadata={"format": "x"}))
    found = load(packed)
    assert {name: x.dtype for name, x in found.items()} == {name: x.dtype for name, x in WEIGHTS.items()}
    assert all(torch.equal(found[name], x) for name, x in WEIGHTS.items())
    (tmp_path / "a").write_bytes(packed)
    with safe_open(tmp_path / "a", "pt") as file:
        assert file.metadata()["format"] == "x"
        assert len(file.metadata()["sha256"]) == 64
    assert read_sealed(tmp_path / "a") == packed == sealed(packed)


def test_a_flipped_bit_in_a_sealed_file_is_an_error(tmp_path):
    """Every bit of it: length, names, shapes, hash, numbers."""
    packed = sealed(save(WEIGHTS))
    for place in range(len(packed)):
        for bit in (place % 8, (place + 3) % 8):
            broken = bytearray(packed)
            broken[place] ^= 1 << bit
            (tmp_path / "a").write_bytes(broken)
            with pytest.raises(InputError):
                read_sealed(tmp_path / "a")
