"""Language-model runs from end to end, as a user starts them: teacher, cache, students, verdict, use."""

import json

import numpy as np
import pytest
import torch

from stillhouse.cli.main import main
from stillhouse.cli.show import print_summary
from stillhouse.core import pipeline
from stillhouse.core.callback import NULL_CALLBACK
from stillhouse.core.checks import ConfigError, InputError
from stillhouse.core.experiment import run
from stillhouse.core.folder import student_folder
from stillhouse.core.records import read_json
from stillhouse.core.verdict import format_verdict
from stillhouse.recipes import load_run, load_teacher_run
from stillhouse.tasks.lm import task
from stillhouse.tasks.lm.predict import PackedPredictor, TextPredictor
from stillhouse.tasks.lm.score import model_nll, score_text
from stillhouse.tasks.lm.task import TASK
from stillhouse.tasks.lm.use import evaluate, load_lm

WINDOW = 16


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A text, a teacher of it and a whole run, made once."""
    root = tmp_path_factory.mktemp("lm")
    text = root / "text"
    text.mkdir()
    generator = np.random.default_rng(0)
    words = np.array(["the", "a", "river", "stone", "sang", "ran", "over", "under", "and", "."])
    for name, count in {"train": 900, "valid": 150, "test": 200}.items():
        chosen = words[generator.choice(len(words), count, p=np.arange(10, 0, -1) / 55)]
        (text / f"{name}.txt").write_text("\n".join(" ".join(part) for part in np.array_split(chosen, count // 10)))
    teacher = load_teacher_run(
        "wikitext-2-teacher",
        [
            f"corpus.source={text}", "corpus.tokenizer=bpe:280", f"corpus.cache={root / 'ids'}", "model.width=16",
            "model.layers=2", "model.heads=2", "model.context=64", f"window={WINDOW}", "epoch_steps=4", "training.epochs=2",
            "validation_tokens=64", "score.tokens=200",
        ],
    )  # fmt: skip
    TASK.train_teacher(teacher, root / "teacher", resume=False, callback=NULL_CALLBACK)
    arms = ["arms=[kd, no-kd, dense]", "seeds=2"]
    summary = run(TASK, load_run("wikitext-2", [*changes(root), *arms]), root / "run", force=True)
    return root, summary


def changes(root):
    return [
        f"corpus.source={root / 'text'}", f"corpus.tokenizer={root / 'teacher'}", f"corpus.cache={root / 'ids'}",
        f"teacher.source={root / 'teacher'}", "student.width=16", "student.layers=1", "student.heads=2", "student.chunk=8",
        "student.embedding_width=8", "student.ngram.entries=300", f"loss.window={WINDOW}", "loss.epoch_steps=3", "loss.k=8",
        "loss.validation_tokens=64", "training.epochs=2", "training.batch_size=4", "score.tokens=200", "score.ngram=3",
    ]  # fmt: skip


def test_a_run_compares_what_it_says(made, capsys):
    """A verdict from other windows, other tokens or one seed is none; what the network adds to its n-gram is said."""
    root, summary = made
    pairs = {(entry["arm"], entry["control"]): entry for entry in summary["comparisons"]}
    assert {("kd", "no-kd"), ("kd", "dense"), ("kd", "ngram"), ("kd", "ngram-inside")} <= set(pairs)
    first = summary["comparisons"][0]
    assert (first["seeds"], first["items"]) == (2, 200 // WINDOW)
    assert format_verdict(first) == summary["verdict"] == "not tested (2 seeds; a verdict needs 3)"
    bits = {arm: found["bits_per_byte"]["mean"] for arm, found in summary["arms"].items()}
    assert first["difference"] == pytest.approx(bits["no-kd"] - bits["kd"])
    result = read_json(root / "run/arms/kd/seed-1/result.json")
    assert result["tokens_trained"] == 2 * 3 * 4 * WINDOW
    assert "density" not in summary["arms"]["dense"]
    assert 0 < summary["arms"]["kd"]["density"]["mean"] < 1
    said = "the n-gram inside it" if pairs["kd", "ngram-inside"]["difference"] < 0 else "kd"
    page = (root / "run/report.html").read_text(encoding="utf-8")
    assert said in page.partition("<h1>")[2]
    assert "it writes" in page
    assert "Energy, counted" in page
    assert 0 < summary["costs"]["kd"]["energy_ratio"] < 1
    assert "energy_pj" not in summary["costs"]["dense"]
    print_summary(summary, root)
    assert said in capsys.readouterr().out


def test_a_taught_n_gram_counts_the_teacher_and_the_control_does_not(made, tmp_path, monkeypatch):
    """Both students begin with an n-gram of the text; what the teacher expects is in one of them, and stays there on disk."""
    words = [*changes(made[0]), "seeds=1", "arms=[kd, no-kd]", "student.ngram.held_out=2", "student.ngram.taught=true"]
    run(TASK, load_run("wikitext-2", words), tmp_path / "run", force=True)
    kd, alone = (load_lm(tmp_path / f"run/arms/{arm}/seed-0")[0].prior for arm in ("kd", "no-kd"))
    old = load_lm(made[0] / "run/arms/kd/seed-0")[0].prior
    assert torch.equal(alone.codes, old.codes)
    assert not torch.equal(kd.codes, old.codes)
    named = (
        TASK.arms(load_run("wikitext-2", words))[-1].plain,
        TASK.arms(load_run("wikitext-2", changes(made[0])))[-1].plain,
    )
    assert named == ("the text's own n-gram", "the n-gram inside it")
    monkeypatch.setattr(task, "MOST_EXPECTED", 1)  # of a long text the likeliest alone
    run(TASK, load_run("wikitext-2", [*words, "arms=[kd]"]), tmp_path / "short", force=True)
    one = load_lm(tmp_path / "short/arms/kd/seed-0")[0].prior
    run(TASK, load_run("wikitext-2", [*words, "arms=[kd]", "loss.k=1"]), tmp_path / "k1", force=True)
    assert torch.equal(one.codes, load_lm(tmp_path / "k1/arms/kd/seed-0")[0].prior.codes)
    assert not torch.equal(one.codes, kd.codes)
    with pytest.raises(ConfigError, match=r"student\.ngram\.taught: counts the teacher's stored answers"):
        load_run("wikitext-2", [*words, "loss.source=live"])
    load_run("wikitext-2", [*words, "loss.source=live", "arms=[no-kd]"])


CURRICULUM = "{by_class: false, measures: [loss], shares: [0.25, 1.0], replay: 0}"


def test_arms_begin_alike_and_the_control_never_hears_the_teacher(made, tmp_path, monkeypatch):
    """no-kd trained in the order of the teacher's curriculum, so that POCL could not be measured."""
    seen, original = {}, pipeline.fit

    def watched(job, *words, **more):
        arm, seed = more["folder"].parts[-2:]
        start = {name: x.clone() for name, x in job.model.state_dict().items()}
        seen[arm, seed] = job, start, [job.order(epoch).tolist() for epoch in range(2)]
        return original(job, *words, **more)

    monkeypatch.setattr(pipeline, "fit", watched)
    small = [*changes(made[0]), "seeds=1", "arms=[kd, no-kd, dense, dense-no-kd]"]
    run(TASK, load_run("wikitext-2", [*small, f"curriculum={CURRICULUM}"]), tmp_path / "curriculum", force=True)
    for taught_arm, control in (("kd", "no-kd"), ("dense", "dense-no-kd")):
        (kd, a, first), (alone, b, second) = seen[taught_arm, "seed-0"], seen[control, "seed-0"]
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert kd.stage_teacher is not None
        assert alone.stage_teacher is None
        assert alone.signal_set.teacher is alone.signal_set.curriculum is None
        assert first != second
    plain = seen["no-kd", "seed-0"][2]
    run(TASK, load_run("wikitext-2", small), tmp_path / "plain", force=True)
    for arm in ("kd", "no-kd", "dense", "dense-no-kd"):
        assert seen[arm, "seed-0"][2] == plain  # equal rows in every arm, and the control's are those of no curriculum
    ends = {arm: torch.load(tmp_path / f"plain/arms/{arm}/seed-0/checkpoint.pt")["model"] for arm in ("kd", "no-kd")}
    assert any(not torch.equal(x, ends["no-kd"][name]) for name, x in ends["kd"].items())


def test_a_student_is_scored_on_another_text(made, tmp_path, capsys):
    """As far as is asked; its own text again gives the figures of the run."""
    root, _ = made
    folder = root / "run/arms/kd/seed-0"
    text = 2 * (root / "text/test.txt").read_text()
    (tmp_path / "mine.txt").write_text(text)
    model, tokenizer, _ = load_lm(folder)
    words = ["evaluate", str(root / "run"), "--source", str(tmp_path / "mine.txt"), "--tokens", "300"]
    assert main([*words[:1], str(folder), *words[2:]]) == 0
    found = json.loads(capsys.readouterr().out)
    ids = tokenizer.encode_lines(text.splitlines(keepends=True))[:301]
    assert found["tokens"] == 300
    assert found["nll"] == pytest.approx(float(score_text(model_nll(model), ids, length=WINDOW).mean()), rel=1e-5)
    assert evaluate(folder)["bits_per_byte"] == read_json(folder / "result.json")["metrics"]["bits_per_byte"]


def test_the_packed_student_writes_what_the_network_writes(made, tmp_path, capsys):
    """Also after a prompt longer than any training window: nothing in the network has a length."""
    root, _ = made
    prompt = "the river ran over the stone . " * 12
    student = TextPredictor(student_folder(root / "run"))
    assert len(student.transform(prompt)) > 2 * WINDOW
    assert main(["export", str(root / "run"), "--to", "packed", "--out", str(tmp_path / "packed")]) == 0
    assert "times smaller" in capsys.readouterr().out
    packed = PackedPredictor(tmp_path / "packed")
    assert packed.written(packed.transform(prompt), 12) == student.written(student.transform(prompt), 12)
    with pytest.raises(InputError, match=r"at least one token"):
        student.predict([""])


def test_a_teacher_brings_its_tokenizer(tmp_path):
    """A student of other tokens learns from a teacher that knows nothing: the recipe's tokenizer was taken, or refused."""
    (tmp_path / "tokenizer.json").write_text("{}")
    named = [f"teacher.source={tmp_path}"]
    assert load_run("wikitext-2", named).corpus.tokenizer == str(tmp_path)
    assert load_run("wikitext-2", [*named, "corpus.tokenizer=bytes"]).corpus.tokenizer == "bytes"
    assert load_run("wikitext-2", [*named, "teacher.tokens=byte-marginals"]).corpus.tokenizer != str(tmp_path)
