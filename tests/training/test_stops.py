"""A run that is stopped or killed anywhere and continued equals one that never was, to the bit."""

import hashlib
import io
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from stillhouse.core.checks import InputError, Interrupted
from stillhouse.core.records import CHECKPOINT, RECORDS, read_records
from stillhouse.training import TrainingConfig, loop
from stillhouse.training.job import Job, Validation, epoch_order
from stillhouse.training.loop import fit
from stillhouse.training.state import load_checkpoint

BASE = TrainingConfig(
    epochs=3, batch_size=4, learning_rate=0.05, warmup_epochs=0.5, log_every=1, ema_decay=0.9, device="cpu"
)
CONFIGS = {
    "three-epochs": BASE,
    "one-epoch": replace(BASE, epochs=1),
    "no-average": replace(BASE, ema_decay=0.0, optimizer="sgd"),
    "stops-early": replace(BASE, epochs=5, patience=1),
}


class Kill(Exception):
    """A process that ends without saving."""


class Regression(Job):
    """A job with all that a job may have: something learnt along, noise, a curriculum moved by validations and by steps."""

    def __init__(self, *, patience=0, at_validation=lambda number: None):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, 1))
        extras = nn.ModuleDict({"scale": nn.Linear(1, 1)})
        super().__init__(model, rows=12, seed=1, extras=extras)
        data = torch.Generator().manual_seed(7)
        self.x = torch.randn(12, 3, generator=data)
        self.y = self.x.sum(1, keepdim=True)
        self.patience, self.at_validation = patience, at_validation
        self.level, self.steps, self.scores = 0, 0, []

    def order(self, epoch):
        return epoch_order(12, self.seed + 10 * self.level, epoch)

    def terms(self, rows, progress):
        out = self.model(self.x[rows])
        harder = 1.0 + 0.1 * self.level + 0.01 * self.steps
        other = (self.extras["scale"](out) - self.y[rows]).square().mean()
        return {"labels": (harder, (out - self.y[rows]).square().mean()), "scaled": (0.5, other)}

    def on_train_batch_end(self, step):
        self.steps += 1

    def validate(self, model):
        self.at_validation(len(self.scores) + 1)
        error = float((model(self.x) - self.y).square().mean())
        return Validation({"error": error}, (-float(len(self.scores)) if self.patience else -error,))

    def on_validation_end(self, validation, progress):
        self.scores.append(validation.metrics["error"])
        self.level += 1

    def state_dict(self):
        return {"level": self.level, "steps": self.steps, "scores": list(self.scores)}

    def load_state_dict(self, state):
        self.level, self.steps, self.scores = state["level"], state["steps"], list(state["scores"])


class Stop:
    """A request without signals."""

    asked = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def bits(value):
    """Anything of a checkpoint as bytes, without the clock."""
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {
            key: bits(entry) for key, entry in value.items() if key not in ("seconds", "records")
        }  # hashes of times
    return [bits(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def train(folder, config, *, on_step=lambda step: None, at_validation=lambda number: None, resume=False):
    torch.manual_seed(99 if resume else 5)  # another process has another generator
    job = Regression(patience=config.patience, at_validation=at_validation)
    done = fit(
        job, config, seed=2, folder=folder, resume=resume, on_progress=lambda progress, news: on_step(progress.step)
    )
    return job, done


def ends(folder, job, done):
    """All that a finished run leaves."""
    records = [{k: v for k, v in record.items() if k != "seconds"} for record in read_records(folder / RECORDS)]
    weights = hashlib.sha256(b"".join(x.numpy().tobytes() for x in job.model.state_dict().values())).hexdigest()
    return {
        "records": records,
        "weights": weights,
        "fit": bits(vars(done)),
        "job": job.state_dict(),
        "checkpoint": bits(load_checkpoint(folder / CHECKPOINT)),
    }


@pytest.fixture
def stop(monkeypatch):
    """Ask with `stop.asked = True`; every training begins with a fresh one."""
    asked = Stop()

    def fresh():
        asked.asked = False
        return asked

    monkeypatch.setattr(loop, "_stop_request", fresh)
    return asked


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stop_after_any_step_equals_no_stop(tmp_path, stop, name):
    """At an epoch's last step the validation was lost: another student, or none when it was the only epoch."""
    config = CONFIGS[name]
    whole = ends(tmp_path / "whole", *train(tmp_path / "whole", config))
    steps = whole["fit"]["step"]
    assert [r["step"] for r in whole["records"] if r["split"] == "validation"] == list(range(3, steps + 1, 3))
    assert whole["fit"]["stopped_early"] == (name == "stops-early")
    for cut in range(1, steps + 1):
        folder = tmp_path / f"cut-{cut}"
        with pytest.raises(Interrupted, match=f"step {cut} of"):
            train(folder, config, on_step=lambda step, cut=cut: setattr(stop, "asked", step == cut))
        assert ends(folder, *train(folder, config, resume=True)) == whole, cut


@pytest.mark.slow
def test_a_run_stopped_at_every_step_equals_no_stop(tmp_path, stop):
    """Each step in a process of its own."""
    whole = ends(tmp_path / "whole", *train(tmp_path / "whole", BASE))
    for cut in range(1, 10):
        with pytest.raises(Interrupted, match=f"step {cut} of 9"):
            train(tmp_path / "cut", BASE, on_step=lambda step: setattr(stop, "asked", True), resume=cut > 1)
    assert ends(tmp_path / "cut", *train(tmp_path / "cut", BASE, resume=True)) == whole


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_stop_during_a_validation_is_heard(tmp_path, stop, number):
    """It waited for a step that the last epoch does not have, and the next arm began."""
    whole = ends(tmp_path / "whole", *train(tmp_path / "whole", BASE))
    with pytest.raises(Interrupted, match=f"step {3 * number} of 9"):
        train(tmp_path / "cut", BASE, at_validation=lambda n: setattr(stop, "asked", n == number))
    assert ends(tmp_path / "cut", *train(tmp_path / "cut", BASE, resume=True)) == whole


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_kill_anywhere_equals_no_kill(tmp_path, seconds):
    """The timed save fell between an epoch's last step and its validation."""
    whole = ends(tmp_path / "whole", *train(tmp_path / "whole", BASE))

    def kill_at(moment):
        def now(number):
            if number == moment:
                raise Kill

        return now

    kills = [{"on_step": kill_at(n)} for n in range(1, 10)]
    kills += [{"at_validation": kill_at(n)} for n in range(1, 4)]
    for number, kill in enumerate(kills):
        folder = tmp_path / f"cut-{number}"
        with pytest.raises(Kill):
            train(folder, replace(BASE, checkpoint_seconds=seconds), **kill)
        assert ends(folder, *train(folder, BASE, resume=True)) == whole, kill


def test_the_message_says_what_is_saved_and_how_to_go_on(tmp_path, stop):
    """Three commands of five said so."""
    with pytest.raises(Interrupted) as caught:
        train(tmp_path, BASE, on_step=lambda step: setattr(stop, "asked", step == 2))
    error = caught.value
    assert error.step == 2
    assert str(error) == (
        f"stopped at step 2 of 9; saved {tmp_path / CHECKPOINT}; go on with the same command and --resume"
    )
    assert (tmp_path / CHECKPOINT).is_file()


# ------------------------------------------------------------------------------------------------ damage


@pytest.fixture
def saved(tmp_path):
    """A finished training."""
    train(tmp_path, BASE)
    return tmp_path


def test_a_flipped_bit_anywhere_is_an_error(saved):
    """Without a hash one of ten went through and gave another student."""
    path = saved / CHECKPOINT
    whole = path.read_bytes()
    tail = range(len(whole) - 130, len(whole))
    for place in [*range(0, len(whole), 211), *tail]:
        for bit in (0, 5):
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            path.write_bytes(broken)
            with pytest.raises(InputError, match="cannot be read"):
                load_checkpoint(path)
    path.write_bytes(whole)
    load_checkpoint(path)


@pytest.mark.parametrize("cut", [0, 1, 50, 99, 1000])
def test_a_shortened_or_lengthened_file_is_an_error(saved, cut):
    """A torn copy."""
    path = saved / CHECKPOINT
    whole = path.read_bytes()
    for broken in (whole[: len(whole) - cut - 1], whole[:cut], whole + b"x" * (cut + 1)):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="truncated, damaged"):
            load_checkpoint(path)


def test_torch_reads_a_checkpoint_too(saved):
    """What follows the archive is no obstacle: the format stays an ordinary one."""
    plain = torch.load(saved / CHECKPOINT, weights_only=True)
    assert bits(plain) == bits(load_checkpoint(saved / CHECKPOINT))
    body, _, line = (saved / CHECKPOINT).read_bytes().removesuffix(b"\n").rpartition(b"\n")
    assert line.split()[-1].decode() == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.update(total=18), "expected 9 steps, got 18"),
        (lambda state: state.update(average=None), "is of another training"),
        (lambda state: state["average"].pop("0.weight"), "another model or configuration.*0.weight"),
        (lambda state: state["job"].pop("level"), "another model or configuration.*level"),
        (lambda state: state["optimizer"].pop("param_groups"), "another model or configuration"),
    ],
)
def test_a_checkpoint_of_something_else_is_one_clear_error(saved, change, words):
    """Tracebacks before, and a step of a million was accepted."""
    state = load_checkpoint(saved / CHECKPOINT)
    change(state)
    rewrite(saved / CHECKPOINT, state)
    with pytest.raises(InputError, match=words) as caught:
        train(saved, BASE, resume=True)
    assert str(saved / CHECKPOINT) in str(caught.value)
    assert "\n" not in str(caught.value)


def rewrite(path, state):
    """A checkpoint with a hash that is right, whatever is in it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    path.write_bytes(buffer.getvalue() + f"\nstillhouse-checkpoint-4 sha256 {digest}\n".encode())


def test_a_checkpoint_of_another_network_is_one_clear_error(saved):
    """Sizes that differ were a traceback of torch."""
    job = Regression()
    job.model[0] = nn.Linear(3, 6)
    with pytest.raises(InputError, match=r"another model or configuration: .*size mismatch"):
        fit(job, BASE, seed=2, folder=saved, resume=True)


@pytest.mark.parametrize("line", ["[]", '{"split": "train"}', "{half", None])
def test_records_that_are_not_those_of_the_checkpoint_are_one_clear_error(saved, line):
    """A line that was changed or lost (a power cut before it reached the disk) left another history, without a word."""
    lines = (saved / RECORDS).read_text().splitlines(keepends=True)
    (saved / RECORDS).write_text("".join([lines[0], *([] if line is None else [f"{line}\n"]), *lines[2:]]))
    with pytest.raises(InputError, match=r"records\.jsonl was changed after checkpoint\.pt"):
        train(saved, BASE, resume=True)
    assert json.loads(lines[0])["step"] == 1
