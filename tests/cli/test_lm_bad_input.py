"""What a user can get wrong with a language student: one line that says what was expected and what came, status 2, no traceback."""

import shutil

import pytest
import torch

from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.core.records import STUDENT
from stillhouse.tasks.lm.students import SpikingLMConfig
from stillhouse.tasks.lm.tokenizer import byte_tokenizer
from stillhouse.tasks.lm.use import load_lm, save_lm


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    torch.manual_seed(0)
    model = SpikingLMConfig(vocab_size=256, width=16, layers=1, heads=2, chunk=8).build()
    model.quantize(1)
    save_lm(folder, model, byte_tokenizer(), window=16)
    return folder


def refused(capsys, *words):
    """The message of a command that must be refused."""
    assert main([*map(str, words)]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_a_folder_of_neither_kind_is_called_so(tmp_path, student, capsys):
    """A run's folder is near, and the message was about its text; a number out of its range is named."""
    assert "tokens: expected greater than 1, got 1" in refused(capsys, "evaluate", student, "--tokens=1")
    for folder in (tmp_path, tmp_path / "absent"):
        said = refused(capsys, "evaluate", folder)
        assert "(card.json in it) or a finished run, got neither" in said


@pytest.mark.parametrize("name", [STUDENT, "tokenizer.json"])
def test_changed_files_are_named(student, tmp_path, name):
    """Weights of one student beside the card of another."""
    folder = shutil.copytree(student, tmp_path / "s")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-2] + b"\n" + content[-1:])
    with pytest.raises(InputError, match=rf"{name} was changed after it was written"):
        load_lm(folder)
