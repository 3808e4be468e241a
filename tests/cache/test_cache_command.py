"""`stillhouse cache`: write, show, estimate, and what it refuses."""

import numpy as np
import pytest
import yaml

from stillhouse.cache.stored import StoredTeacher
from stillhouse.cli.main import main
from stillhouse.recipes import load_run


@pytest.fixture
def recipe(tmp_path):
    """A run on noise whose teacher is not trained: nothing here is about what it knows."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", images=(255 * rng.random((80, 8, 8))).astype(np.uint8), labels=np.arange(80) % 3)
    run = {
        "data": {"name": "npz", "root": str(tmp_path / "x.npz")},
        "teacher": {"source": "timm:test_resnet", "pretrained": False, "image_size": 32, "head": "keep"},
        "student": {"kind": "timm", "architecture": "test_resnet"},
        "signals": [{"kind": "logits"}],
        "arms": ["kd"],
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    return str(tmp_path / "run.yaml")


def test_a_cache_is_written_and_shown(recipe, tmp_path, capsys):
    """A folder without its teacher says what it is of."""
    both = str(tmp_path / "both")
    more = ["--force", "--quiet", "--content", "topk:2", "features:layer1", "--licence", "CC-BY-4.0"]
    assert main(["cache", recipe, "--out", both, *more]) == 0
    assert "use it with teacher_cache=" in capsys.readouterr().out
    assert main(["cache", "show", both]) == 0
    printed = capsys.readouterr().out
    for words in (
        "licence: CC-BY-4.0",
        "teacher: timm:test_resnet",
        "key content: topk:2",
        "every row as it was written",
    ):
        assert words in printed
    stored = StoredTeacher(tmp_path / "both")
    assert (stored.spec.kept, list(stored.spec.features)) == (2, ["layer1"])
    assert set(stored.plan.about["teacher_check"]) >= {"score", "low", "chance"}


def test_refusals(recipe, tmp_path, capsys):
    """Before hours of a teacher are spent."""
    for words, said in (
        (["--content", "top:2"], "expected scores, topk:K or features"),
        (["--content", "scores", "topk:2"], "got both"),
        (["--content", "features:layer9"], "has none"),
        (["data.augment=crop-flip"], "data.views=N"),
        (["teacher.source=cache:nowhere"], "there is none; write it with"),
    ):
        assert main(["cache", recipe, "--out", str(tmp_path / "c"), "--force", "--quiet", *words]) == 2, words
        assert said in capsys.readouterr().err
    assert main(["cache", recipe, "--views", "3", "data.augment=crop-flip", "--print-config"]) == 0
    assert "views: 3" in capsys.readouterr().out
    assert load_run("digits", ["teacher_cache=c"]).teacher_cache == "c"


def test_a_flipped_byte_of_a_finished_cache_is_shown(recipe, tmp_path, capsys):
    """The same command asks nothing again; `show` reads every byte."""
    out = tmp_path / "c"
    words = ["cache", recipe, "--out", str(out), "--force", "--quiet"]
    assert main(words) == main(words) == 0
    path = max(out.glob("*.npy"), key=lambda file: file.stat().st_size)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert main(["cache", "show", str(out)]) == 2
    assert path.name in capsys.readouterr().err
