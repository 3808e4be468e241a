"""What is looked at before it is believed or asked for: names, sizes, files of another hand, what is shipped, caches."""

import sys

import numpy as np
import pytest
import torch

from stillhouse.cli.main import explain_library_error
from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.folder import RunFolder
from stillhouse.core.hashes import with_hashes
from stillhouse.core.records import run_place, write_json
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.students.networks import TimmStudentConfig
from stillhouse.teachers.config import TeacherConfig


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "a/b", "..", ".hidden", "x\0y", "\ud800", "n" * 300])
def test_no_name_of_a_run_leads_out_of_runs(name):
    """`name: ../../../escaped` in a YAML file wrote outside."""
    with pytest.raises(InputError, match="name"):
        run_place(None, name)
    assert run_place(None, "digits").as_posix() == "runs/digits"


@pytest.mark.parametrize("key", ["checkpoint_path", "pretrained_cfg", "pretrained", "cache_dir"])
def test_arguments_that_open_files_are_none_of_an_architecture(key, tmp_path):
    """A card named `checkpoint_path`, and `evaluate` opened that file."""
    data = ImageData.from_arrays(np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2)
    with pytest.raises(InputError, match=f"arguments of the architecture itself, got {key}"):
        TimmStudentConfig(architecture="test_resnet", arguments={key: str(tmp_path / "x.pt")}).build(data.input_spec)
    with pytest.raises(InputError, match=f"arguments of the architecture itself, got {key}"):
        TeacherConfig(source="timm:test_resnet", pretrained=False, architecture={key: "x"}).build(data.input_spec)


def test_a_checkpoint_that_is_none_is_named_before_anything_is_fetched(tmp_path, monkeypatch):
    """A text file as --teacher-checkpoint asked the hub for 68 seconds and never named the file."""
    from stillhouse.teachers import checkpoint

    monkeypatch.setattr(checkpoint, "build_timm", lambda *given: pytest.fail("the network was asked for first"))
    data = ImageData.from_arrays(np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2)
    (tmp_path / "notes.safetensors").write_text("a text")
    config = TeacherConfig(source="timm:resnet18", checkpoint=str(tmp_path / "notes.safetensors"))
    with pytest.raises(InputError, match=r"notes\.safetensors is truncated or not a checkpoint"):
        config.build(data.input_spec)


def test_a_pickle_of_weights_is_refused_without_a_traceback(tmp_path):
    """transformers refused it after a page of its own."""
    from stillhouse.tasks.lm.teachers import LanguageTeacherConfig
    from stillhouse.tasks.lm.teachers.teacher import load_language_teacher

    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04cposix\nsystem\n.")
    with pytest.raises(InputError, match="cannot read it as a causal model"):
        load_language_teacher(LanguageTeacherConfig(source=str(tmp_path)), vocab_size=8)


def test_a_student_that_was_damaged_is_not_shipped(tmp_path):
    """--resume copied it into `student/` and hashed it anew."""
    folder = RunFolder(tmp_path)
    place = folder.arm("kd", 0)
    place.mkdir(parents=True)
    (place / records.STUDENT).write_bytes(b"weights")
    write_json(place / records.CARD, with_hashes({"format": "x"}, place, [records.STUDENT]))
    write_json(place / records.RESULT, {"metrics": {}, "rank": [1.0]})
    assert folder.ship("kd", 1) == 0
    (place / records.STUDENT).write_bytes(b"weighty")
    with pytest.raises(InputError, match=r"student\.safetensors was changed"):
        folder.ship("kd", 1)


def test_errors_of_libraries_that_a_setting_causes_are_a_line():
    """And no other errors: a fault of ours keeps its traceback."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15, dtype=torch.float64)
    assert explain_library_error(caught.value).startswith("not so much memory is there: ")
    with pytest.raises(MemoryError) as caught:
        np.empty(sys.maxsize // 16)
    assert "not so much memory" in explain_library_error(caught.value)
    assert explain_library_error(RuntimeError("shapes differ")) is None
    assert explain_library_error(KeyError("x")) is None


def test_a_teacher_of_ours_is_hashed(tmp_path):
    """A bit that was flipped in its weights made another teacher."""
    from stillhouse.teachers.checkpoint import load_own, save_teacher

    data = ImageData.from_arrays(np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2)
    teacher = TeacherConfig(source="timm:test_resnet", pretrained=False, image_size=32).build(data.input_spec)
    path = tmp_path / "teacher.safetensors"
    save_teacher(path, teacher, data_name="x", data_sha256="y", score=None)
    load_own(path)
    raw = bytearray(path.read_bytes())
    raw[-100] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match="was changed after it was written"):
        load_own(path)
