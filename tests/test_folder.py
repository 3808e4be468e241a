"""A run folder: what it ships, and what it does not go on with."""

import hashlib
import re

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.core.folder import RunFolder, check_test_data
from stillhouse.core.hashes import with_hashes
from stillhouse.core.manifest import changed_files, check_file, files_of, list_files
from stillhouse.core.parts import Scores
from stillhouse.core.records import RUN, SUMMARY, write_json


def test_the_seed_that_was_best_on_the_validation_split_is_shipped(tmp_path):
    """By the rank of the validation, not by the score on the test split, and not the first."""
    folder = RunFolder(tmp_path)
    for seed, (rank, test) in enumerate([(0.5, 0.9), (0.8, 0.1), (0.7, 0.5)]):
        folder.keep("kd", seed, Scores({"accuracy": np.array([test, test])}), {"rank": [rank]})
        (folder.arm("kd", seed) / "student.bin").write_text(f"seed {seed}")
    assert folder.ship("kd", 3) == 1
    assert (tmp_path / "student" / "student.bin").read_text() == "seed 1"


def test_other_data_than_that_of_the_run_are_refused(tmp_path):
    """Half of the seeds would be of another data set, in one table."""
    config = {"name": "run"}
    write_json(tmp_path / RUN, {"config": config, "data": {"sha256": "1" * 64}})
    with RunFolder.open(tmp_path, config, resume=True) as folder:
        folder.same("data", {"sha256": "1" * 64})
        with pytest.raises(InputError, match="data of the run"):
            folder.same("data", {"sha256": "2" * 64})


def finished(tmp_path, seeds=1):
    """A run of one arm whose training is finished, with a student, records and further arrays."""
    write_json(tmp_path / RUN, {"config": {}})
    folder = RunFolder(tmp_path)
    for seed in range(seeds):
        place = folder.arm("kd", seed)
        place.mkdir(parents=True)
        (place / "student.bin").write_bytes(b"weights")
        (place / "records.jsonl").write_text("{}\n")
        (place / "rules").mkdir()
        (place / "rules" / "rules.txt").write_text("a or b\n")
        write_json(place / "card.json", with_hashes({"kind": "x"}, place, ["student.bin"]))
        folder.keep("kd", seed, Scores({"accuracy": np.ones(2)}, arrays={"predictions.npz": {"p": np.ones(3)}}), {})
    return tmp_path / "arms" / "kd" / "seed-0"


@pytest.mark.parametrize(
    "name", ["student.bin", "card.json", "scores.npz", "predictions.npz", "result.json", "rules/rules.txt"]
)
def test_a_changed_file_of_a_finished_training_is_named(tmp_path, name):
    """A run is not built on it, and a comparison names it, though its figures do not rest on every file."""
    place = finished(tmp_path)
    words = f"{name} was changed after it was written: its sha256 is not the one in manifest.json"
    assert changed_files(tmp_path) == []
    raw = (place / name).read_bytes()
    at = raw.index(b"1", raw.index(b":")) if name.endswith(".json") else len(raw) // 2
    (place / name).write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    assert words in "\n".join(changed_files(tmp_path))
    with pytest.raises(InputError, match=re.escape(words)):
        check_file(place / name)
    unsupported_reason = f"{re.escape(words)}.*delete .*seed-0, and --resume trains it again"
    with pytest.raises(InputError, match=unsupported_reason), RunFolder.open(tmp_path, {}, resume=True):
        pass
    (place / name).unlink()
    if name != "result.json":  # without it the training is not finished
        assert f"{name} is missing" in "\n".join(changed_files(tmp_path))
        with pytest.raises(InputError, match=f"{name} is missing"), RunFolder.open(tmp_path, {}, resume=True):
            pass


def test_curves_that_were_changed_stop_no_run(tmp_path):
    """The page names them, and nothing else rests on them."""
    place = finished(tmp_path)
    (place / "records.jsonl").write_text("{ }\n")
    with RunFolder.open(tmp_path, {}, resume=True):
        pass
    assert "records.jsonl was changed" in changed_files(tmp_path)[0]


@pytest.mark.parametrize("name", ["scores", "result"])
def test_a_figure_is_not_read_from_a_changed_file(tmp_path, name):
    """A number that was changed on the disk became the figure of a table."""
    place, folder = finished(tmp_path), RunFolder(tmp_path)
    assert folder.scores("kd", 0)["accuracy"].tolist() == [1.0, 1.0]
    assert folder.result("kd", 0)["metrics"] == {"accuracy": 1.0}
    if name == "result":
        (place / "result.json").write_text((place / "result.json").read_text().replace("1.0", "0.9"))
    else:
        np.savez_compressed(place / "scores.npz", accuracy=np.zeros(2))
    with pytest.raises(InputError, match=f"{name}.* was changed after it was written"):
        getattr(folder, name)("kd", 0)


def test_the_manifest_holds_what_figures_rest_on(tmp_path):
    """Not what only a resume reads; of a folder with a manifest of its own that manifest; of an arm trained again the new files."""
    place = finished(tmp_path, seeds=2)
    for name in ("checkpoint.pt", "tensorboard/events", "stages/1/x", ".lock"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("")
    for name in ("logits/manifest.json", "logits/shard.npy", "summary.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    arm = [
        "card.json",
        "predictions.npz",
        "records.jsonl",
        "result.json",
        "rules/rules.txt",
        "scores.npz",
        "student.bin",
    ]
    arms = [f"arms/kd/seed-{seed}/{name}" for seed in (0, 1) for name in arm]
    list_files(tmp_path)
    found = files_of(tmp_path)
    assert list(found) == [*arms, "logits/manifest.json", "run.json", "summary.json"]
    assert found["run.json"] == hashlib.sha256((tmp_path / "run.json").read_bytes()).hexdigest()
    (place / "student.bin").unlink()
    (place / "card.json").write_text("{}")
    list_files(tmp_path, place)
    assert set(found) - set(files_of(tmp_path)) == {"arms/kd/seed-0/student.bin"}
    assert changed_files(tmp_path) == []


def test_a_run_of_an_earlier_version_is_one_line(tmp_path):
    """Its files cannot be compared with anything: it is read by the version that wrote it."""
    finished(tmp_path)
    write_json(tmp_path / SUMMARY, {})
    (tmp_path / "manifest.json").unlink()
    assert "expected a manifest.json" in changed_files(tmp_path)[0]
    with pytest.raises(InputError, match="expected a manifest"), RunFolder.open(tmp_path, {}, resume=True):
        pass


def test_data_that_a_run_was_not_scored_on_are_refused(tmp_path):
    """Another figure under the name of the run; a student outside of a run has nothing to compare with."""
    student = tmp_path / "run" / "student"
    student.mkdir(parents=True)
    write_json(tmp_path / "run" / RUN, {"kind": "lm", "config": {}, "data": {"sha256": "a" * 64}})
    check_test_data(student, "sha256", "a" * 64, "--source")
    check_test_data(student, "test_sha256", "b" * 64, "--source")  # runs of before it was written down
    check_test_data(tmp_path, "sha256", "b" * 64, "--source")
    with pytest.raises(InputError, match=r"not those of the run.*was aaaa.*is bbbb.*--source"):
        check_test_data(student, "sha256", "b" * 64, "--source")


def test_a_run_inside_a_run_is_refused(tmp_path):
    """Its files would be among those that the outer run lists, and `report` would make a page of it instead."""
    outer = tmp_path / "outer"
    write_json(outer / RUN, {"config": {"models": ["tm"]}})
    with pytest.raises(InputError, match="it lies in the run"), RunFolder.open(outer / "inner", {}, resume=False):
        pass
    assert not (outer / "inner").exists()
    with RunFolder.open(outer / "tm", {}, resume=False):  # a run of several models has a folder for each
        pass
