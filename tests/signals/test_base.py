"""What all signals share: one base class, whose optional methods the training asks, and one list."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.core.config import kinds, parse, to_mapping
from stillhouse.core.types import Outputs, OutputSpec, Progress
from stillhouse.signals import Signal, SignalBase, SignalConfig
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationTrainingConfig
from stillhouse.training.distillation import SignalSet
from stillhouse.training.optimizer import extra_groups

SPEC = OutputSpec(3, {"a": (4, 6), "b": (4, 6)}, (OutputSpec(3), OutputSpec(3)))
SMALLEST = {
    "logits": {},
    "features": {"student": "a", "teacher": "a"},
    "hidden": {"student": ["a", "b"], "teacher": ["a", "b"]},
    "relations": {"student": "a", "teacher": "a"},
    "attention": {"student": "a", "teacher": "a", "relation_heads": 1},
    "dynamics": {"student": ["a", "b"], "teacher": ["a", "b"]},
    "ensemble": {},
    "exits": {"places": ["a"]},
    "dual-head": {"student": "a"},
    "probes": {"places": ["a"]},
    "contrastive": {"place": "a"},
    "ofa": {"places": ["a"]},
    "clause-targets": {"student": "a", "teacher": "a"},
}


@pytest.mark.parametrize("kind", kinds(SignalConfig))
def test_every_configuration_builds_a_signal_and_survives_yaml(kind):
    """One that builds something else has no methods to ask; a name is the key of its record."""
    config = parse(kinds(SignalConfig)[kind], {**SMALLEST[kind], "name": "mine", "weight": 0.25})
    signal = config.build(SPEC, SPEC)
    assert isinstance(config, SignalBase)
    assert isinstance(signal, Signal)
    assert (signal.name, signal.weight) == ("mine", 0.25)
    assert (signal.figures(), signal.regularizers()) == ({}, {})
    assert parse(type(config), to_mapping(config)) == config
    assert next(iter(to_mapping(config))) == "kind"
    assert set(config.student_paths) <= {"a", "b"}
    assert config.needs_teacher == (kind not in {"exits", "probes", "contrastive"})


def test_what_compares_samples_and_what_reads_one_label_say_so():
    """By it micro-batches are warned of and mixed images refused."""
    for change, comparing, labelled in (
        ({"kind": "logits"}, False, False),
        ({"kind": "logits", "loss": "dkd"}, False, True),
        ({"kind": "logits", "loss": "dist"}, True, False),
        ({"kind": "logits", "loss": "dist", "intra_weight": 0.0}, False, False),
        ({"kind": "logits", "loss": "ofa"}, False, True),
        ({"kind": "ofa", "places": ["a"]}, False, True),
        ({"kind": "ensemble", "pool": "gradient"}, True, True),
        ({"kind": "ensemble"}, False, True),
        ({"kind": "hidden", "distance": "cka", "projector": "none", **SMALLEST["hidden"]}, True, False),
        ({"kind": "contrastive", "place": "a"}, True, False),
        ({"kind": "clause-targets", "student": "a", "teacher": "a"}, True, False),
    ):
        config = parse(kinds(SignalConfig)[change["kind"]], change)
        assert (config.compares_samples, config.reads_one_label) == (comparing, labelled), change


class Mine(Signal):
    """A signal of a user's, with everything that one may have."""

    def __init__(self):
        super().__init__("mine", 2.0)
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.rest = nn.Parameter(torch.tensor(1.0))

    def forward(self, student_out, teacher_out, batch, progress):
        return self.scale * self.rest * (student_out.logits - teacher_out.logits).square().mean(1)

    def figures(self):
        return {"scale": self.scale.item()}

    def regularizers(self):
        return {"anchor": (0.5, self.scale.square())}

    def groups(self):
        return [{"params": [self.scale], "lr": 0.125}]

    def exit_logits(self, student_out):
        return {"place": student_out.logits}


def job(signals):
    images = (np.random.default_rng(0).random((60, 1, 4, 4)) * 255).astype(np.uint8)
    data = ImageData.from_arrays(images, np.arange(60) % 2, config=DataConfig(test_fraction=0.2))
    student = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    signal_set = SignalSet(lambda batch: Outputs(torch.zeros(len(batch.labels), 2)), nn.ModuleList(signals))
    return ClassificationJob(
        student, data, replace(ClassificationTrainingConfig(), device="cpu"), seed=0, signal_set=signal_set
    )


def test_a_training_asks_every_method_of_a_signal():
    """A method that nobody calls is a promise without effect."""
    work = job([Mine()])
    terms = work.terms(torch.arange(8), Progress(0, 10))
    assert set(terms) == {"labels", "mine", "mine/anchor"}
    assert terms["mine"][0] == 2.0
    assert (terms["mine/anchor"][0], terms["mine/anchor"][1].item()) == (0.5, 9.0)
    assert work.figures() == {"mine/scale": 3.0}
    work.model.eval()
    metrics = work.validate(work.model).metrics
    assert metrics["component/place"] == metrics["accuracy"]
    first, second = extra_groups(work.extras)
    assert (len(first["params"]), first["lr"], len(second["params"])) == (1, 0.125, 1)
    assert "lr" not in second
