"""A language teacher: which epoch it ends with, and whether it is good enough to learn from."""

import json

import numpy as np
import pytest

from stillhouse.core.watch import Watch
from stillhouse.families.lm.material import load_teacher, load_text
from stillhouse.families.lm.metrics.nll import score_text, teacher_nll
from stillhouse.families.lm.recipes import TEACHERS, load_lm_teacher
from stillhouse.families.lm.run import train_teacher
from stillhouse.families.lm.teachers import LanguageTeacherConfig

WINDOW = 16


class Heard(Watch):
    """Keeps the lines."""

    def __init__(self):
        self.lines = []

    def log(self, line):
        self.lines.append(line)


def text(root, counts=(300, 200, 200)):
    """Words drawn at random: nothing can be learned of their order, and a network that goes on learns one by heart."""
    root.mkdir()
    generator = np.random.default_rng(0)
    words = np.array(["the", "a", "river", "stone", "sang", "ran", "over", "under", "and", "."])
    for name, count in zip(("train", "valid", "test"), counts):
        chosen = words[generator.choice(len(words), count, p=np.arange(10, 0, -1) / 55)]
        (root / f"{name}.txt").write_text("\n".join(" ".join(part) for part in np.array_split(chosen, count // 10)))
    return root


def teacher_of(source, *more):
    return load_lm_teacher(
        "wikitext-2-teacher",
        [
            f"corpus.source={source}", "corpus.tokenizer=bpe:280", f"corpus.cache={source.parent / 'ids'}", "model.width=32",
            "model.layers=1", "model.heads=2", "model.context=64", f"window={WINDOW}", "epoch_steps=60", "training.epochs=4",
            "validation_tokens=128", "score.tokens=200", "score.long_window=32", "score.position_windows=4", *more,
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory):
    """A teacher that learned a short text by heart, and what was said meanwhile."""
    root = tmp_path_factory.mktemp("teacher")
    config = teacher_of(text(root / "text"), "training.learning_rate=0.03")
    heard = Heard()
    result = train_teacher(config, root / "teacher", watch=heard)
    return root, config, result, heard.lines


def test_a_teacher_ends_with_its_best_epoch(overfitted):
    """A teacher that learned its text by heart was kept as it was after the last epoch, 0.35 nats worse than the best."""
    root, config, result, lines = overfitted
    records = [json.loads(line) for line in (root / "teacher/records.jsonl").read_text().splitlines()]
    nll = [record["nll"] for record in records if record["split"] == "validation"]
    best = int(np.argmin(nll))
    assert best + 1 < len(nll)
    corpus = load_text(config.corpus, lambda line: None)
    saved = load_teacher(LanguageTeacherConfig(source=str(root / "teacher")), corpus)
    ids = np.asarray(corpus.valid.ids[: config.validation_tokens + 1])
    assert score_text(teacher_nll(saved), ids, length=WINDOW).mean() == pytest.approx(nll[best], abs=1e-4)
    assert result["best_epoch"] == best + 1
    words = f"kept: epoch {best + 1} of {len(nll)} (validation nll {nll[best]:.4f}); the"
    assert [line for line in lines if line.startswith(words) and line.endswith("got worse")]
    assert json.loads((root / "teacher/result.json").read_text())["kept"].startswith(words)


@pytest.mark.parametrize("name", TEACHERS)
def test_every_recipe_of_a_teacher_keeps_the_best(name):
    """A recipe with knobs of its own would bring the last epoch back."""
    assert TEACHERS[name]().training.keep == "best"
    assert load_lm_teacher(name).training.keep == "best"
