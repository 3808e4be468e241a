"""Whole runs of `stillhouse vision`: the files they promise, several models, clauses shared out, boolean features."""

import re
import shlex
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from stillhouse.cli.main import main
from stillhouse.compat.vision import read
from stillhouse.core.checks import InputError
from stillhouse.core.records import read_json
from stillhouse.tasks.classification.data.images import ImageData, ImageSplit
from stillhouse.tasks.classification.job import clause_usage
from stillhouse.tasks.classification.students.core import ClauseOutput
from stillhouse.tasks.classification.students.flat import FlatTM
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer
from stillhouse.tasks.classification.task import TASK
from stillhouse.tasks.classification.vision.auto_clause import allocate_clauses, divide, worth_of_blocks
from stillhouse.tasks.classification.vision.outputs import compare_packed

TINY = shlex.split(
    "--dataset digits data.train_limit=160 data.test_limit=40 --transformer-patch 2 --device cpu --transformer-d-model 12 "
    "--transformer-heads 3 --transformer-layers 2 --transformer-clauses 12 --transformer-mlp-ratio 2 --batch-size 32 "
    "--threads 1 --quiet"
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One run with every loss term, specialization and all files."""
    out = tmp_path_factory.mktemp("vision")
    words = [
        *("vision", *TINY, "--epochs", "2", "--out", str(out / "run"), "--lr", "0.01", "training.log_every=1"),
        *("teacher.source=builtin:digits", "--distill-teacher-weight", "0.5"),
        *("--transformer-ema-decay", "0.9", "--transformer-self-distill-weight", "0.5", "--mixup-alpha", "0.2"),
        *("--transformer-aux-weight", "0.1", "--transformer-contrastive-weight", "0.1", "--lr-layer-decay", "0.8"),
        *("--transformer-sparsity-weight", "0.01", "--transformer-clause-specialize", "--report-epoch-test"),
        *("--transformer-save-path", str(out / "student.pth"), "--transformer-log-dir", str(out / "board")),
        *("--visualize-overlays", str(out / "pictures"), "--visualize-samples", "2", "--visualize-topk", "4"),
    ]
    assert main(words) == 0
    return out


def test_a_whole_run_leaves_what_it_promises(whole):
    """Checkpoint, TensorBoard groups, overlays, rules, results: each from its flag."""
    results = read_json(whole / "run" / "results.json")
    found = results["models"]["transformer"]
    assert {"teacher_kd_loss", "ema_kd_loss", "aux_loss", "contrastive_loss", "clause_sparsity", "labels"} <= set(
        found["losses"]
    )
    assert found["losses"]["teacher_kd_loss"] > 0
    assert [epoch["epoch"] for epoch in found["epochs"]] == [1, 2]
    assert found["epochs"][0]["mixup_alpha"] == 0.0
    assert found["epochs"][1]["mixup_alpha"] == pytest.approx(0.2)
    assert "component/blocks.1" in found["epochs"][1]
    assert 0 <= found["epochs"][1]["test_accuracy"] <= 1
    assert results["command"]
    assert results["config"]["loss"]["aux_weight"] == 0.1
    assert results["versions"]["torch"]
    pictures = sorted(path.name for path in (whole / "pictures").iterdir())
    assert pictures == ["sample_00000.png", "sample_00001.png"]
    with np.load(whole / "run" / "transformer" / "overlays.npz") as shown:
        for name in ("attention", "clauses", "probabilities"):
            assert shown[name].any(), name
            assert not np.allclose(shown[name][0], shown[name][1]), name
    # which block separates a class best is learned, and not the same for every start
    assert re.search(r"block_[12], clause \d+", (whole / "run" / "transformer" / "rules.txt").read_text())

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(whole / "board")).Reload()
    tags = board.Tags()["scalars"]
    for name in ("loss/train", "aux/teacher_kd_loss", "components/blocks.0", "augment/mixup_alpha", "test/accuracy"):
        assert f"Transformer-VIT/{name}" in tags
    assert [event.step for event in board.Scalars("Transformer-VIT/validation/accuracy")] == [1, 2]


@pytest.mark.parametrize("count", [1, 4])
def test_an_overlay_has_as_many_bars_as_classes_are_wanted(whole, count, tmp_path, monkeypatch):
    """From the flag to what is drawn: the likeliest classes, and no others."""
    from matplotlib.axes import Axes

    from stillhouse.tasks.classification.vision.outputs import write_outputs

    drawn, barh = [], Axes.barh
    monkeypatch.setattr(
        Axes, "barh", lambda axis, y, width, **rest: drawn.append(width) or barh(axis, y, width, **rest)
    )
    shutil.copytree(whole / "run" / "transformer", tmp_path / "run")
    words = f"--visualize-overlays {tmp_path / 'pictures'} --visualize-samples 2 --visualize-topk {count}".split()
    config = read([*TINY, *words, "teacher.source=builtin:digits", "--distill-teacher-weight", "0.5"])[1]
    write_outputs(config.output, config.run_config("transformer"), config.data.build(), tmp_path / "run")
    with np.load(tmp_path / "run" / "overlays.npz") as shown:
        expected = -np.sort(-shown["probabilities"], axis=1)[:, :count]
    np.testing.assert_allclose(np.stack(drawn), expected)


def test_the_checkpoint_reloads_as_documented(whole):
    """Same logits as the saved student to the bit, head gains of the specialization included."""
    held = torch.load(whole / "student.pth", map_location="cpu", weights_only=True)
    student = UnifiedTMTransformer(**held["model_kwargs"])
    student.load_state_dict(held["model_state"])
    saved = TASK.load(whole / "run" / "transformer" / "arms" / "kd" / "seed-0")
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(student.eval()(x), saved(x))
    gains = torch.stack([value for name, value in held["model_state"].items() if name.endswith("head_gains")])
    assert not torch.equal(gains, torch.ones_like(gains))
    assert (
        held["train_metrics"]["test_accuracy"]
        == read_json(whole / "run" / "results.json")["models"]["transformer"]["test_accuracy"]
    )


def test_gains_come_from_validation_and_are_those_that_were_scored(whole):
    """As published they came from the test split, were not saved, and never reached the average that was evaluated."""
    student = TASK.load(whole / "run" / "transformer" / "arms" / "kd" / "seed-0")
    data = read([*TINY])[1].data.build()
    usage = clause_usage(student, data.validation)
    for name, block in student.named_blocks():
        activity = usage[name]["heads"]
        expected = 0.5 + 0.5 * activity / activity.mean()
        # means before the gains that these means gave: correlation does not see a gain on its own head, later blocks do
        torch.testing.assert_close(block.attention.head_gains, expected, atol=0.15, rtol=0)
    kept = read_json(whole / "run" / "transformer" / "clause_usage.json")
    assert set(kept["before"]) == set(kept["after"]) == {"block_1", "block_2"}
    assert kept["before"]["block_2"]["heads"] != kept["after"]["block_2"]["heads"]


def test_models_run_one_after_another(tmp_path, capsys):
    """One command, one folder each, one table."""
    more = f"--epochs 1 --models transformer tm output.bitpack=true --out {tmp_path / 'two'}"
    words = ["vision", *TINY, *more.split()]
    assert main([*words, "model.tm.clauses=20"]) == 0
    results = read_json(tmp_path / "two" / "results.json")
    assert list(results["models"]) == ["transformer", "tm"]
    assert results["models"]["tm"]["config"]["student"]["clauses"] == 20
    assert read_json(tmp_path / "two" / "tm" / "packed.json")["same_answers"] == 1.0
    assert results["models"]["tm"]["packed"]["packed_accuracy"] == pytest.approx(
        results["models"]["tm"]["test_accuracy"]
    )
    assert (tmp_path / "two" / "tm" / "report.html").is_file()
    assert "pixel (" in (tmp_path / "two" / "tm" / "rules.txt").read_text()
    said = capsys.readouterr().out
    assert "transformer" in said
    assert main([*words, "model.tm.clauses=20", "--resume"]) == 0
    again = capsys.readouterr().out
    assert "trained" not in again
    assert again.count("finished before") == 2


@pytest.mark.parametrize("options", [{}, {"levels": 3}])
def test_packed_and_dense_agree(options, tmp_path):
    """Same answers on every image whose best two scores differ; figures of both, and what the packed form consists of."""
    torch.manual_seed(0)
    model = FlatTM(
        image_size=9, in_channels=1, num_classes=10, **{"clauses": 40, "rule": {"failures": 8}, **options}
    ).eval()
    images, labels = torch.randint(0, 256, (400, 1, 9, 9), dtype=torch.uint8), torch.arange(400) % 10
    data = ImageData.from_arrays(images.numpy(), labels.numpy())
    found = compare_packed(model, data, tmp_path, 16)
    assert found == read_json(tmp_path / "packed.json")
    assert found["same_answers"] + found["ties"] >= 1.0
    assert found["ties"] < 0.01
    assert found["images"] == len(data.test)
    assert found["bytes"] > 0
    assert found["packed_seconds"] > 0 < found["dense_seconds"]


def test_the_device_is_used_or_refused(tmp_path, capsys):
    """As published, a missing device fell back with a notice."""
    if torch.cuda.is_available():
        pytest.skip("has a GPU")
    words = [word for word in TINY if word not in {"--device", "cpu"}]
    assert main(["vision", *words, "--device", "cuda", "--epochs", "1", "--out", str(tmp_path / "x")]) == 2
    assert "cuda" in capsys.readouterr().err


def test_processes_are_asked_for(capsys):
    """They reach the training; what they do there is tested with two processes (tests/training/test_processes.py)."""
    words = ["training.devices=2", "training.num_nodes=3"]
    words += ["training.optimizer=adamw", "--print-config"]
    assert main(["vision", *TINY, *words]) == 0
    found = yaml.safe_load(capsys.readouterr().out)["training"]
    assert [found[name] for name in ("devices", "num_nodes")] == [2, 3]


def test_shares_add_up_to_the_total():
    """As published a target of 0 let the total grow by half."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.random(rng.integers(1, 13)) + 1e-3
        total = 2 * int(rng.integers(4 * len(scores), 400))
        counts = divide(scores.tolist(), total)
        assert sum(counts) == total
        assert all(count % 2 == 0 and count >= 8 for count in counts)
        assert counts[int(np.argmax(scores))] == max(counts)
    with pytest.raises(InputError, match="expected an even number"):
        divide([1.0, 1.0], 33)
    with pytest.raises(InputError, match="at least 8"):
        divide([1.0, 1.0, 1.0], 20)


class Useless:
    """A student of which the clauses of one block are read by nobody: its feed-forward puts out zeros."""

    def __init__(self, student, block):
        self.student, self.block = student, block

    def for_task(self, input_spec):
        return self.student.for_task(input_spec)

    def build(self, input_spec):
        model = self.student.build(input_spec)
        dead = model.feed_forwards()[self.block]
        dead.register_forward_hook(lambda part, args, out: ClauseOutput(torch.zeros_like(out.votes), out.strength))
        return model


@pytest.mark.parametrize("block", [1, 2])
def test_clauses_move_away_from_a_useless_block(tmp_path, block):
    """By construction one of two blocks needs none of its clauses: a quarter of them at least go to the other, whichever it is."""
    words = [*TINY, "--transformer-clauses", "64", "--transformer-auto-clause", "--lr", "0.01", "data.train_limit=1000"]
    config = read(words)[1]
    plan, data = config.run_config("transformer"), config.data.build()
    plan = SimpleNamespace(student=Useless(plan.student, f"block_{block}"), training=plan.training, prior=plan.prior)
    lines = []
    counts = allocate_clauses(config.clauses, plan, data, tmp_path / "x.json", resume=False, log=lines.append)
    found = read_json(tmp_path / "x.json")
    assert found["worth"][block - 1] == found["error"][block - 1] == 0.0
    assert counts[block - 1] <= 48
    assert sum(counts) == 128
    assert lines == [f"Auto-tuned clause counts: {counts[0]}, {counts[1]} (before: 64, 64)"]


def test_a_block_is_worth_what_its_clauses_do_for_the_loss():
    """Ten rows by hand: with its clauses at their mean, a planted bank gives every image the same answer."""
    torch.manual_seed(0)
    model = UnifiedTMTransformer(
        2, image_size=4, in_channels=1, patch_size=2, embed_dim=12, depths=1, tm_clauses=8
    ).eval()
    split = ImageSplit(torch.rand(10, 1, 4, 4), torch.arange(10) % 2)
    found = worth_of_blocks(model, split, batch_size=3)
    strengths = []
    bank = model.feed_forwards()["block_1"].bank
    with torch.no_grad():
        hook = bank.register_forward_hook(lambda part, args, out: strengths.append(out))
        plain = model(split.images)
        hook.remove()
        hook = bank.register_forward_hook(lambda part, args, out: strengths[0].mean((0, 1)).expand_as(out))
        held = model(split.images)
        hook.remove()
    losses = [torch.nn.functional.cross_entropy(x, split.labels, reduction="none") for x in (held, plain)]
    assert found["worth"] == pytest.approx([float((losses[0] - losses[1]).mean())], rel=1e-4)
    assert found["error"] == pytest.approx([float(np.std((losses[0] - losses[1]).numpy()) / 10**0.5)], rel=1e-4)
    assert found["worth"][0] != 0.0
    torch.testing.assert_close(model(split.images), plain)  # left as it was


def test_the_budgets_are_logged_before_training(tmp_path, capsys):
    """The documented line; the counts in it are those that are trained, and stand in the results."""
    words = ["vision", *(word for word in TINY if word != "--quiet"), "--epochs", "1", "data.train_limit=64"]
    assert main([*words, "--transformer-auto-clause", "--out", str(tmp_path / "x")]) == 0
    printed = capsys.readouterr().out
    after = read_json(tmp_path / "x" / "auto_clause.json")["after"]
    student = read_json(tmp_path / "x" / "results.json")["models"]["transformer"]["config"]["student"]
    assert student["tm_clauses"] == after
    line = f"Auto-tuned clause counts: {after[0]}, {after[1]} (before: 12, 12)"
    assert line in printed
    assert printed.index(line) < printed.index("epoch 1 of 1")


def test_auto_clause_holds_the_sum(tmp_path):
    """The sum stays, a target is met; batches and steps change what is measured."""
    base = [
        *TINY,
        *("data.train_limit=400", "--transformer-clauses", "40", "--transformer-auto-clause", "--lr", "0.01"),
    ]
    data = read(base)[1].data.build()
    found = {}
    for name, words in {
        "plain": [],
        "target": ["--transformer-clause-target", "60"],
        "batches": ["--transformer-auto-clause-batches", "1"],
        "steps": ["clauses.auto_steps=1"],
    }.items():
        config = read([*base, *words])[1]
        plan = config.run_config("transformer")
        path = tmp_path / name / "auto_clause.json"
        counts = allocate_clauses(config.clauses, plan, data, path, resume=False)
        found[name] = read_json(path)
        assert counts == found[name]["after"] == allocate_clauses(config.clauses, plan, data, path, resume=True)
    assert sum(found["plain"]["after"]) == sum(found["plain"]["before"]) == 80
    assert sum(found["target"]["after"]) == 60
    assert found["batches"]["worth"] != found["plain"]["worth"]
    assert found["steps"]["worth"] != found["plain"]["worth"]


def test_the_usual_rate_grows_with_the_root_of_the_batch():
    """One rate for every batch size left few large steps far too small; --lr is taken as it is."""
    words = ["--batch-size", "256", "--models", "transformer", "tm"]
    assert read(words)[1].run_config("transformer").training.learning_rate == pytest.approx(2 * 3e-3)
    plain = read([*words, "training.optimizer=adamw"])[1].run_config("transformer").training
    assert (plain.optimizer, plain.learning_rate) == ("adamw", pytest.approx(2 * 2e-3))
    assert read(words)[1].run_config("tm").training.learning_rate == pytest.approx(3e-2)
    assert read(words)[1].run_config("transformer").training.optimizer == "muon"
    assert read(words)[1].run_config("tm").training.optimizer == "adamw"
    assert read([*words, "--lr", "0.001"])[1].run_config("transformer").training.learning_rate == pytest.approx(1e-3)
