"""Language-model runs from end to end, as a user starts them: teacher, cache, students, verdict, use."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from stillhouse.cli.main import main
from stillhouse.cli.show import print_summary
from stillhouse.core import pipeline
from stillhouse.core.callback import Callback
from stillhouse.core.checks import InputError
from stillhouse.core.experiment import run
from stillhouse.core.records import read_json, write_json
from stillhouse.core.verdict import in_words
from stillhouse.recipes import load_run, load_teacher_run
from stillhouse.tasks.lm.commands import in_file, in_memory
from stillhouse.tasks.lm.metrics.nll import model_nll, score_text
from stillhouse.tasks.lm.recipes import RECIPES, TEACHER_RECIPES
from stillhouse.tasks.lm.run import train_teacher
from stillhouse.tasks.lm.saved import load_lm
from stillhouse.tasks.lm.score import TestWindows
from stillhouse.tasks.lm.task import TASK
from stillhouse.tasks.lm.use import count_energy, evaluate, export, generate

WINDOW = 16


def distill(plan, out, **choices):
    return run(TASK, plan, out, **choices)


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
            "validation_tokens=64", "score.tokens=200", "score.long_window=32", "score.position_windows=4",
        ],
    )  # fmt: skip
    train_teacher(teacher, root / "teacher")
    plan = load_run("wikitext-2", changes(root))
    WATCHED.clear()
    summary = distill(plan, root / "run", force=True, callback=Counted())
    return root, plan, summary


WATCHED = []


class Counted(Callback):
    """Keeps what a terminal would show."""

    def begin(self, done, total):
        WATCHED.append(("begin", done, total))

    def log(self, line):
        WATCHED.append(("line", line))

    def on_progress(self, arm, seed, progress, news):
        WATCHED.append(("progress", arm, seed, sorted(news)))


def changes(root):
    return [
        f"corpus.source={root / 'text'}", f"corpus.tokenizer={root / 'teacher'}", f"corpus.cache={root / 'ids'}",
        "corpus.most_bytes=null", f"teacher.source={root / 'teacher'}", "student.width=16", "student.layers=1",
        "student.heads=2", "student.chunk=8", "student.embedding_width=8", "student.ngram.entries=300",
        f"loss.window={WINDOW}", "loss.epoch_steps=3", "loss.k=8",
        "loss.validation_tokens=64", "training.epochs=2", "training.batch_size=4", "score.tokens=200",
        "score.sliding_tokens=100", "score.long_window=32", "score.position_windows=4", "score.ngram=3",
        "arms=[kd, no-kd, dense, scalar]", "seeds=2",
    ]  # fmt: skip


def test_a_run_compares_what_it_says(made):
    """A verdict from other windows, other tokens or one seed is none."""
    root, _, summary = made
    pairs = {(entry["arm"], entry["control"]) for entry in summary["comparisons"]}
    assert {("kd", "no-kd"), ("kd", "dense"), ("kd", "scalar"), ("kd", "ngram")} <= pairs
    first = summary["comparisons"][0]
    assert first["seeds"] == 2
    assert first["items"] == 200 // WINDOW
    assert in_words(first) == summary["verdict"] == "not tested (2 seeds; a verdict needs 3)"
    bits = {arm: found["bits_per_byte"]["mean"] for arm, found in summary["arms"].items()}
    assert first["difference"] == pytest.approx(bits["no-kd"] - bits["kd"])
    assert summary["gap"] == pytest.approx(bits["kd"] / bits["dense"] - 1)
    for arm in ("kd", "no-kd", "dense", "scalar"):
        folder = root / "run/arms" / arm / "seed-1"
        assert len(np.load(folder / "nll.npz")["positions"]) == 32
        assert read_json(folder / "result.json")["tokens_trained"] == 2 * 3 * 4 * WINDOW
    assert "density" not in summary["arms"]["dense"]
    assert 0 < summary["arms"]["kd"]["density"]["mean"] < 1
    assert (root / "run" / "report.html").is_file()


def test_sliding_windows_are_of_the_same_tokens_or_their_column_says_which(made):
    """A 5-gram read 38.10 and 'the same, sliding windows' 18.08: a quarter of the tokens, and nothing said so."""
    root, plan, summary = made
    assert (summary["tokens_scored"], summary["tokens_scored_sliding"]) == (200, 100)
    assert "perplexity, sliding windows, of the first 100 tokens alone" in (root / "run/report.html").read_text()
    corpus = TASK.data(plan, print)
    both = TestWindows.of(corpus, replace(plan.score, sliding_tokens=None), WINDOW)
    assert np.array_equal(both.sliding_ids, both.ids)
    one = both.score(lambda inputs, targets: torch.ones(targets.shape)).metrics  # a nat each, whatever the window
    assert one["sliding_bits_per_byte"] == pytest.approx(200 / np.log(2) / both.size)
    assert evaluate(root / "run/arms/kd/seed-0")["tokens_sliding"] == 100
    for recipe in (*RECIPES.values(), *TEACHER_RECIPES.values()):
        assert recipe().score.sliding_tokens is None


def test_a_run_says_what_the_network_adds_to_its_ngram(made, capsys):
    """Every student equalled the n-gram inside it, and nothing but a row of figures in a table showed it."""
    root, _, summary = made
    assert summary["plain"]["ngram-inside"] == "the n-gram inside it"
    row = next(row for row in summary["comparisons"] if row["name"] == "ngram-inside" and row["arm"] == "kd")
    said = "the n-gram inside it" if row["difference"] < 0 else "kd"
    assert said in (root / "run/report.html").read_text(encoding="utf-8").partition("<h1>")[2]
    print_summary(summary, root)
    assert said in capsys.readouterr().out


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
    arms = "arms=[kd, no-kd, dense, dense-no-kd]"
    distill(small(made, arms, f"curriculum={CURRICULUM}"), tmp_path / "curriculum", force=True)
    for taught_arm, control in (("kd", "no-kd"), ("dense", "dense-no-kd")):
        (kd, a, first), (alone, b, second) = seen[taught_arm, "seed-0"], seen[control, "seed-0"]
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert kd.stage_teacher is not None
        assert alone.stage_teacher is None
        assert alone.signal_set.teacher is alone.signal_set.curriculum is None
        assert first != second
    plain = seen["no-kd", "seed-0"][2]
    distill(small(made, arms), tmp_path / "plain", force=True)
    for arm in ("kd", "no-kd", "dense", "dense-no-kd"):
        assert seen[arm, "seed-0"][2] == plain  # equal rows in every arm, and the control's are those of no curriculum
    ends = {arm: torch.load(tmp_path / f"plain/arms/{arm}/seed-0/checkpoint.pt")["model"] for arm in ("kd", "no-kd")}
    assert any(not torch.equal(x, ends["no-kd"][name]) for name, x in ends["kd"].items())


def test_a_curriculum_begins_with_the_windows_of_the_least_loss(made, tmp_path, monkeypatch):
    """Turned round on the way from the task to the curriculum, POCL is its own control."""
    found, original = [], pipeline.fit

    def watched(job, *words, **more):
        found.append((job.stage_teacher, job.windows, job.order(0)))
        return original(job, *words, **more)

    monkeypatch.setattr(pipeline, "fit", watched)
    distill(small(made, "arms=[kd]", f"curriculum={CURRICULUM}"), tmp_path / "run", force=True)
    stage_teacher, windows, rows = found[0]
    inputs, targets = windows(np.arange(len(windows)))
    logits = stage_teacher.teacher(inputs).logits
    loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none").mean(1)
    assert set(rows.tolist()) <= set(loss.argsort()[: len(windows) // 4 + 1].tolist())


def test_another_file_is_scored_as_far_as_is_asked(made, tmp_path, capsys):
    """`--source FILE --tokens 8000` scored the last twentieth of the file, as if it were to be learned from, and did not say so."""
    root, _, _ = made
    folder = root / "run/arms/kd/seed-0"
    text = 2 * (root / "text/test.txt").read_text()
    (tmp_path / "mine.txt").write_text(text)
    model, tokenizer, _ = load_lm(folder)
    assert main(["lm", "evaluate", str(folder), "--source", str(tmp_path / "mine.txt"), "--tokens", "300"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scored"] == f"the first 300 tokens of {tmp_path / 'mine.txt'}"
    ids = np.concatenate(list(tokenizer.encode_lines(text.splitlines(keepends=True))))[:301]
    nll = score_text(model_nll(model), ids, length=WINDOW, batch=4)
    assert found["nll"] == pytest.approx(float(nll.mean()), rel=1e-5)
    assert main(["lm", "evaluate", str(folder), "--source", str(tmp_path / "mine.txt"), "--tokens", "90000"]) == 0
    whole = json.loads(capsys.readouterr().out)["scored"]
    assert re.fullmatch(r"all [\d,]+ tokens of .*mine.txt \(up to 90,000 were wanted\)", whole)
    assert main(["lm", "evaluate", str(folder), "--source", str(root / "text")]) == 0
    assert json.loads(capsys.readouterr().out)["scored"] == "the first 200 tokens of the test split"


def test_of_the_runs_own_file_the_test_split_alone_is_scored(made, tmp_path):
    """Nine tenths of it are what the model has learned by heart."""
    root, _, _ = made
    lines = "".join((root / f"text/{name}.txt").read_text() + "\n" for name in ("train", "valid", "test"))
    (tmp_path / "own.txt").write_text(lines)
    (tmp_path / "run/arms").mkdir(parents=True)
    shutil.copytree(root / "run/arms/kd/seed-0", tmp_path / "run/arms/seed-0")
    about = read_json(root / "run/run.json")
    about["config"]["corpus"]["source"] = str(tmp_path / "own.txt")
    write_json(tmp_path / "run/run.json", about)
    found = evaluate(tmp_path / "run/arms/seed-0", source=str(tmp_path / "own.txt"), tokens=5000)
    assert found["scored"].endswith("tokens of the test split (up to 5,000 were wanted)")


def test_the_packed_student_writes_what_the_network_writes(made, tmp_path, capsys):
    """Also after a prompt longer than any training window: nothing in the network has a length."""
    root, _, _ = made
    folder, prompt = root / "run/arms/kd/seed-0", "the river ran over the stone . " * 12
    _, tokenizer, _ = load_lm(folder)
    assert len(tokenizer.encode(prompt)) > 2 * WINDOW
    packed, torch_ = (generate(folder, prompt, 12, packed=how) for how in (True, False))
    assert packed["tokens"] == torch_["tokens"]
    assert packed["state_bytes"] > 0
    pack = export(folder, tmp_path / "packed")["bytes"]  # with the file's header
    assert 0 < packed["packed_ngram_bytes"] < packed["packed_bytes"] < pack < packed["packed_bytes"] + 20_000
    assert main(["lm", "generate", str(folder), "--prompt", "the river", "--tokens", "3"]) == 0
    shown = capsys.readouterr().err  # 4.8 MB in memory stood alone beside a card and a README that said 1 MB
    assert f"in memory: {in_memory(packed)}; " in shown
    assert f"in the packed file (lm export): {in_file(packed)}\n" in shown
    with pytest.raises(InputError, match=r"at least one token"):
        generate(folder, "", 3)


def test_energy_is_counted_and_labelled(made):
    """An estimate passed off as a measurement; a teacher counted without its context."""
    root, _plan, _ = made
    folder = root / "run/arms/kd/seed-0"
    found, longer = count_energy(folder), count_energy(folder, context=64)
    assert "counted" in found["label"]
    assert sum(found["student_parts"].values()) == pytest.approx(found["student"]["operations_pj"])
    assert longer["student"] == found["student"]
    # 2 layers, width 16: a score and a sum for each of 48 more tokens, 4.6 pJ each
    more = longer["teacher"]["operations_pj"] - found["teacher"]["operations_pj"]
    assert more == pytest.approx(2 * 2 * 48 * 16 * 4.6)
    with pytest.raises(InputError, match=r"expected a student with spikes"):
        count_energy(root / "run/arms/dense/seed-0")


def test_commands_do_what_they_say(made, tmp_path, capsys):
    """Flags that reach nothing."""
    root, _, _ = made
    student = str(root / "run/arms/kd/seed-0")
    assert main(["lm", "generate", student, "--prompt", "the river", "--tokens", "3"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("the river")
    model = load_lm(root / "run/arms/kd/seed-0")[0]
    ngram = generate(root / "run/arms/kd/seed-0", "the river", 3)["ngram_bytes"]
    assert ngram > 0
    assert f"({sum(p.numel() for p in model.parameters()):,} weights, ternary ones a byte each)" in captured.err
    assert f", n-gram inside {ngram:,} bytes; " in captured.err
    assert main(["lm", "export", student, "--to", "packed", "--out", str(tmp_path / "packed")]) == 0
    assert "times smaller" in capsys.readouterr().out
    assert (tmp_path / "packed/tokenizer.json").is_file()
    assert main(["lm", "evaluate", student, "--tokens", "100"]) == 0
    assert json.loads(capsys.readouterr().out)["perplexity"] > 1
    assert (
        main(["lm", "generate", str(root / "run"), "--prompt", "the river", "--tokens", "3"]) == 0
    )  # a run: its student
    assert capsys.readouterr().out.startswith("the river")
    assert main(["lm", "evaluate", str(root / "run"), "--tokens", "100"]) == 0
    assert json.loads(capsys.readouterr().out)["perplexity"] > 1
    assert main(["lm", "distill", "wikitext-2", "--seeds", "5", "--print-config"]) == 0
    assert "seeds: 5" in capsys.readouterr().out
    flags = changes(root)
    assert main(["lm", "generate", student, "--prompt", "", "--tokens", "3"]) == 2
    assert main(["lm", "distil"]) == 2
    assert "did you mean 'distill'" in capsys.readouterr().err
    assert main(["lm"]) == 2
    assert main(["lm", "--help"]) == 0
    capsys.readouterr()
    out = tmp_path / "run"
    more = ["--seeds", "1", "arms=[kd]", "--force", "--quiet"]
    assert main(["lm", "distill", "wikitext-2", *flags, *more, "--out", str(out)]) == 0
    assert "bits per byte" in capsys.readouterr().out
    assert main(["lm", "distill", "wikitext-2", *flags, *more, "--out", str(out)]) == 2
    assert "--resume" in capsys.readouterr().err


def test_a_teacher_brings_its_tokenizer(tmp_path):
    """A student of other tokens learns from a teacher that knows nothing: the recipe's tokenizer was taken, or refused."""
    from stillhouse.recipes import load, load_run

    (tmp_path / "tokenizer.json").write_text("{}")
    named = [f"teacher.source={tmp_path}"]
    assert load_run("wikitext-2", named).corpus.tokenizer == str(tmp_path)
    assert load_run("wikitext-2", [*named, "corpus.tokenizer=bytes"]).corpus.tokenizer == "bytes"
    assert load_run("wikitext-2", [*named, "teacher.tokens=byte-marginals"]).corpus.tokenizer != str(tmp_path)
    assert load("wikitext-2", named)[1].corpus.tokenizer == str(tmp_path)  # `stillhouse distill`, without `lm`


def small(made, *further):
    """The run of `made` with one seed and two arms."""
    root = made[0]
    return load_run("wikitext-2", [*changes(root), "seeds=1", "arms=[kd, no-kd]", *further])


def test_a_damaged_cache_is_not_learned_from(made, tmp_path):
    """NaN in the cache went through as a loss of null: four rows alone were compared."""
    plan = small(made)
    distill(plan, tmp_path / "run", force=True)
    shutil.rmtree(tmp_path / "run" / "arms")
    file = tmp_path / "run" / "logits" / "train-00000.rest.npy"
    sums = np.load(file)
    sums[1:] = np.nan
    np.save(file, sums)
    with pytest.raises(InputError, match=r"train-00000\.rest\.npy was changed after it was written"):
        distill(plan, tmp_path / "run", force=True, resume=True)
