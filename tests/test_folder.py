"""A run folder: what it ships, and what it does not go on with."""

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.core.family import Scores
from stillhouse.core.folder import RunFolder
from stillhouse.core.records import RUN, write_json


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
