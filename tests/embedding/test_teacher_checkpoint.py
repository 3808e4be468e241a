"""Teachers from files: every format, and nothing that runs code."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stillhouse.tasks.embed.documented import load_teacher_checkpoint

X = torch.arange(12.0).reshape(4, 3)


class Harmful:
    """Would run on loading."""

    def __reduce__(self):
        return (print, ("code of the file ran",))


@pytest.mark.parametrize("ending", [".pt", ".npy", ".safetensors"])
def test_a_bare_array_is_the_embeddings(ending, tmp_path):
    """In every format that runs read too (tests/data)."""
    path = tmp_path / f"teacher{ending}"
    write = {
        ".pt": torch.save,
        ".npy": lambda x, path: np.save(path, x),
        ".safetensors": lambda x, p: save_file({"v": x}, p),
    }
    write[ending](X, path)
    found = load_teacher_checkpoint(path, device="auto")
    assert torch.equal(found["embeddings"].cpu(), X)
    assert (found["model_state"], found["metadata"]) == (None, {})


def test_all_three_parts_are_read(tmp_path):
    """Weights and metadata beside vectors; a bare mapping of tensors is weights."""
    parts = {"embeddings": X.half(), "model_state": {"w": torch.ones(2)}, "metadata": {"model": "m", "n": 3}, "more": 1}
    torch.save(parts, tmp_path / "a.pt")
    found = load_teacher_checkpoint(tmp_path / "a.pt")
    assert found["embeddings"].dtype == torch.float16
    assert (found["metadata"], found["more"]) == ({"model": "m", "n": 3}, 1)
    torch.save({"layer.weight": torch.ones(2, 2)}, tmp_path / "b.pt")
    found = load_teacher_checkpoint(tmp_path / "b.pt")
    assert (found["embeddings"], list(found["model_state"])) == (None, ["layer.weight"])
    save_file({"embeddings": X, "model_state.w": torch.ones(2)}, str(tmp_path / "c.safetensors"))
    assert list(load_teacher_checkpoint(tmp_path / "c.safetensors")["model_state"]) == ["w"]


def test_no_code_of_a_file_runs(tmp_path, capsys):
    """The document's loader executed whatever a checkpoint said."""
    torch.save({"embeddings": X, "metadata": Harmful()}, tmp_path / "teacher.pt")
    with pytest.raises(RuntimeError, match=r"Failed to load checkpoint.*can run code"):
        load_teacher_checkpoint(tmp_path / "teacher.pt")
    assert "ran" not in capsys.readouterr().out
    np.save(tmp_path / "teacher.npy", np.array([Harmful()], dtype=object))
    with pytest.raises(RuntimeError, match="Failed to load checkpoint"):
        load_teacher_checkpoint(tmp_path / "teacher.npy")


def test_damage_is_said(tmp_path):
    """In the document's words; the reader of all formats is tested in tests/data."""
    path = tmp_path / "teacher.pt"
    torch.save(X, path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FileNotFoundError, match="Checkpoint not found"):
        load_teacher_checkpoint(tmp_path / "nothing.pt")
    with pytest.raises(RuntimeError, match="Failed to load checkpoint"):
        load_teacher_checkpoint(path)
