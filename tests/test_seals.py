"""What is read back is what was written: JSON with its hash in it, npz with its hash at its end, records with theirs outside."""

import io
import json
import random
import zipfile

import numpy as np
import pytest

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.folder import RunFolder
from stillhouse.core.records import append_record, open_mapped, read_arrays, read_json, read_records, write_arrays

CONTENT = {
    "config": {"epochs": 3, "rate": 0.1, "names": ["a", "ü"]},
    "metrics": {"accuracy": 0.93},
    "sha256": "of data",
}


def flips(raw, count, seed=0):
    """The bytes with one bit changed, at seeded places."""
    draw = random.Random(seed)
    for _ in range(count):
        at = draw.randrange(len(raw))
        yield at, raw[:at] + bytes([raw[at] ^ (1 << draw.randrange(8))]) + raw[at + 1 :]


def test_a_flipped_bit_in_json_is_an_error_or_nothing(tmp_path):
    """A number of `result.json` that was changed on the disk became the figure of the report."""
    path = tmp_path / "result.json"
    records.write_json(path, CONTENT)
    assert read_json(path) == CONTENT
    raw, refused = path.read_bytes(), 0
    for at, damaged in flips(raw, 400):
        path.write_bytes(damaged)
        try:
            found = read_json(path)
            found.pop("semal", None)
            assert {key: found[key] for key in CONTENT} == CONTENT, at
        except InputError:
            refused += 1
    assert refused > 300  # the rest are in white space, or in the name of the seal itself


def test_a_number_changed_by_hand_is_an_error(tmp_path):
    """As opposed to flips, what still parses."""
    records.write_json(tmp_path / "run.json", CONTENT)
    text = (tmp_path / "run.json").read_text().replace("0.93", "0.99")
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json was changed after it was written"):
        read_json(tmp_path / "run.json")


def test_json_without_a_seal_is_read_as_it_is(tmp_path):
    """Folders of earlier versions, and files of others."""
    (tmp_path / "run.json").write_text(json.dumps(CONTENT))
    assert read_json(tmp_path / "run.json") == CONTENT


def test_half_a_surrogate_pair_is_written_as_json_writes_it(tmp_path):
    """A file name that is not Unicode ended a finished run in a traceback."""
    records.write_json(tmp_path / "run.json", {"command": "x \udc80"})
    assert json.loads((tmp_path / "run.json").read_bytes())["command"] == "x \udc80"
    assert read_json(tmp_path / "run.json") == {"command": "x \udc80"}


def test_a_flipped_bit_in_arrays_is_an_error(tmp_path):
    """Errors of zlib, of zipfile and of numpy came through as they were, and other arrays could."""
    path = tmp_path / "scores.npz"
    write_arrays(path, accuracy=np.arange(50.0), labels=np.arange(50))
    assert np.array_equal(np.load(path)["accuracy"], np.arange(50.0))  # any reader reads it
    assert zipfile.ZipFile(path).testzip() is None
    for _, damaged in flips(path.read_bytes(), 200):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="changed after it was written"):
            read_arrays(path)


def test_arrays_of_another_hand_are_an_error(tmp_path):
    """Labels changed with numpy gave another accuracy, without a word."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, accuracy=np.ones(3))
    (tmp_path / "scores.npz").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="sha256"):
        read_arrays(tmp_path / "scores.npz")
    with pytest.raises(InputError, match="cannot read"):
        read_arrays(tmp_path / "none.npz")


def test_an_array_that_is_not_there_is_named(tmp_path):
    """A KeyError before."""
    write_arrays(tmp_path / "a.npz", one=np.ones(2))
    with pytest.raises(InputError, match="expected the arrays two, got one"):
        read_arrays(tmp_path / "a.npz", ["two"])


class Figures:
    """What a family scores."""

    items = {"accuracy": np.array([1.0, 0.0])}  # noqa: RUF012
    arrays = {"predictions.npz": {"labels": np.array([0, 1])}}  # noqa: RUF012
    scalars = {}  # noqa: RUF012
    facts = {}  # noqa: RUF012


def test_records_of_a_finished_training_are_those_of_its_result(tmp_path):
    """A digit of a loss curve that was changed was drawn as it stood."""
    folder = RunFolder(tmp_path)
    place = folder.arm("kd", 0)
    place.mkdir(parents=True)
    for step in range(3):
        append_record(place / records.RECORDS, {"split": "train", "step": step, "loss": 0.5})
    assert len(list(read_records(place / records.RECORDS))) == 3
    folder.keep("kd", 0, Figures, {})
    assert len(list(read_records(place / records.RECORDS))) == 3
    assert set(folder.result("kd", 0)["sha256"]) == {"scores.npz", "predictions.npz", "records.jsonl"}
    text = (place / records.RECORDS).read_text()
    (place / records.RECORDS).write_text(text.replace("0.5", "0.4", 1))
    with pytest.raises(InputError, match=r"records\.jsonl was changed after the training ended"):
        list(read_records(place / records.RECORDS))


def test_space_is_taken_before_it_is_mapped(tmp_path):
    """A full disk under a mapped file ends the process by SIGBUS, with no message: so the disk is asked first."""
    array = open_mapped(tmp_path / "a.npy", np.uint8, (1000, 100))
    status = (tmp_path / "a.npy").stat()
    assert status.st_blocks * 512 >= 100_000  # really there, not a hole
    array[:] = 7
    array.flush()
    assert int(np.load(tmp_path / "a.npy").sum()) == 700_000
    with pytest.raises(InputError, match=r"cannot write .*b\.npy \([0-9,]{20,} bytes\)"):
        open_mapped(tmp_path / "b.npy", np.uint8, (10**9, 10**8))
    assert not (tmp_path / "b.npy").exists()
