"""A tiny teacher and a tiny distillation, trained once for all tests of this folder, by the commands that a user has."""

import pytest
from sar_tiny import STUDENT, TEACHER, distill_words, sar, written


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sar")
    return written(folder / "teacher.yaml", TEACHER), written(folder / "student.yaml", STUDENT)


@pytest.fixture(scope="session")
def teacher_run(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sar-teacher") / "run"
    assert sar("train", "--config", files[0], "--save_dir", folder, "--quiet") == 0
    return folder


@pytest.fixture(scope="session")
def student_run(files, teacher_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sar-student") / "run"
    # a teacher of three epochs may be worse than silence
    assert sar(*distill_words(files, teacher_run, folder, "--force")) == 0
    return folder
