"""A language teacher: which epoch it ends with, and whether it is good enough to learn from."""

import json

import numpy as np
import pytest

from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.records import read_json
from stillhouse.recipes import load_run, load_teacher_run
from stillhouse.tasks.lm.corpus import load_corpus
from stillhouse.tasks.lm.ngram import NGram
from stillhouse.tasks.lm.score import model_nll, score_text
from stillhouse.tasks.lm.task import TASK
from stillhouse.tasks.lm.teachers import LanguageTeacherConfig
from stillhouse.tasks.lm.teachers.cache import load_teacher

WINDOW = 16


class Heard(Callback):
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
    return load_teacher_run(
        "wikitext-2-teacher",
        [
            f"corpus.source={source}", "corpus.tokenizer=bpe:280", f"corpus.cache={source.parent / 'ids'}", "model.width=32",
            "model.layers=1", "model.heads=2", "model.context=64", f"window={WINDOW}", "epoch_steps=60", "training.epochs=4",
            "validation_tokens=128", "score.tokens=200", *more,
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory):
    """A teacher that learned a short text by heart, and what was said meanwhile."""
    root = tmp_path_factory.mktemp("teacher")
    config = teacher_of(text(root / "text"), "training.learning_rate=0.03")
    heard = Heard()
    TASK.train_teacher(config, root / "teacher", resume=False, callback=heard)
    return root, config, read_json(root / "teacher/result.json"), heard.lines


def test_a_teacher_ends_with_its_best_epoch(overfitted):
    """A teacher that learned its text by heart was kept as it was after the last epoch, 0.35 nats worse than the best."""
    root, config, result, _ = overfitted
    records = [json.loads(line) for line in (root / "teacher/records.jsonl").read_text().splitlines()]
    nll = [record["nll"] for record in records if record["split"] == "validation"]
    best = int(np.argmin(nll))
    assert best + 1 < len(nll)
    corpus = load_corpus(config.corpus)
    saved = load_teacher(LanguageTeacherConfig(source=str(root / "teacher")), corpus)
    ids = np.asarray(corpus.valid[: config.validation_tokens + 1])
    assert score_text(model_nll(saved), ids, length=WINDOW).mean() == pytest.approx(nll[best], abs=1e-4)
    assert result["best_epoch"] == best + 1


@pytest.fixture(scope="module")
def patterned(tmp_path_factory):
    """A text whose order an n-gram learns at once, and a teacher that saw four steps of it."""
    root = tmp_path_factory.mktemp("patterned")
    generator = np.random.default_rng(0)
    words = ["the river sang", "a stone ran", "over the hill", "under a tree", "and the wind."]
    (root / "text").mkdir()
    for name, count in {"train": 400, "valid": 100, "test": 100}.items():
        (root / f"text/{name}.txt").write_text(" ".join(words[i] for i in generator.integers(5, size=count)))
    plan = teacher_of(root / "text", "epoch_steps=12", "training.epochs=2", "training.learning_rate=0.02")
    TASK.train_teacher(plan, root / "teacher", resume=False, callback=NULL_CALLBACK)
    return root


def plan_of(root, *more):
    return load_run(
        "wikitext-2",
        [
            f"corpus.source={root / 'text'}", f"corpus.tokenizer={root / 'teacher'}", f"corpus.cache={root / 'ids'}",
            f"teacher.source={root / 'teacher'}", f"loss.window={WINDOW}", "loss.validation_tokens=128", "score.tokens=200", *more,
        ],
    )  # fmt: skip


@pytest.mark.parametrize("order", [3, 0])
def test_a_teacher_is_judged_against_an_ngram(patterned, order):
    """A teacher behind the n-gram inside its student was 'ready': it had only to beat the frequencies of tokens."""
    plan = plan_of(patterned, f"score.ngram={order}")
    corpus = load_corpus(plan.corpus)
    teacher = load_teacher(plan.teacher, corpus)
    teacher_check = TASK.teacher_check(teacher, plan, corpus)
    model = NGram(corpus.train, vocab_size=corpus.tokenizer.vocab_size, order=order or 5)
    ids = np.asarray(corpus.valid[:129])
    expected = -model.nll(ids[:-1].reshape(-1, WINDOW), ids[1:].reshape(-1, WINDOW)).mean()
    assert teacher_check.plain == pytest.approx(expected, abs=1e-5)
    assert teacher_check.status == "poor"
    assert teacher_check.ready  # of frequencies it knows more: it is not refused
    assert f"a {order or 5}-gram of the training text is better, so a student" in teacher_check.describe()
    assert teacher_check.to_mapping()["baseline_name"] == f"a {order or 5}-gram of the training text"
