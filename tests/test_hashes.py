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


def test_hashing_a_card_again_changes_nothing(student):
    """The old hashes are no part of what is hashed."""
    card = read_json(student / CARD)
    assert with_hashes(card, student, [STUDENT, "tokenizer.json"]) == card


@pytest.mark.parametrize("name", [STUDENT, "tokenizer.json"])
def test_a_flipped_bit_in_a_file_is_an_error(student, name):
    """12 of 20 in weights went through."""
    whole, card = (student / name).read_bytes(), read_json(student / CARD)
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 1 << place % 8
        (student / name).write_bytes(broken)
        with pytest.raises(InputError, match=f"{name} was changed"):
            verify_files(student, card)


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


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ([], "expected an object with sha256, got \\[\\]"),
        ({}, "sha256: missing"),
        ({"sha256": 3}, "sha256: expected a valid dictionary, got 3"),
        ({"sha256": {STUDENT: 1}}, "expected a valid string, got 1"),
        ({"sha256": {}}, "was changed"),
    ],
)
def test_a_card_without_hashes_is_an_error(tmp_path, card, words):
    """An object that says something else."""
    with pytest.raises(InputError, match=words):
        verify_files(tmp_path, card)


def test_a_card_must_name_what_is_loaded_and_nothing_elsewhere(student):
    """A hash that is left out protects nothing."""
    with pytest.raises(InputError, match=r"expected the sha256 of rules\.json"):
        verify_files(student, read_json(student / CARD), [STUDENT, "rules.json"])
    (student / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"cannot read .*tokenizer\.json"):
        verify_files(student, read_json(student / CARD))
    outside = with_hashes({}, student, [f"../{student.name}/{STUDENT}"])
    with pytest.raises(InputError, match="was changed"):
        verify_files(student, outside)


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


@pytest.mark.parametrize(
    "raw", [b"", b"1234", b"x" * 100, (2).to_bytes(8, "little") + b"[]", (1 << 63).to_bytes(8, "little"), save(WEIGHTS)]
)
def test_what_has_no_hash_is_an_error(tmp_path, raw):
    """Cut, of another kind, or written without."""
    (tmp_path / "a").write_bytes(raw)
    with pytest.raises(InputError, match=str(tmp_path / "a")):
        read_sealed(tmp_path / "a")
