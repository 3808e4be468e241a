"""TF-IDF and scorecards: against scikit-learn's numbers, and the cut that leaves few features."""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfTransformer

from stillhouse.core.config import parse
from stillhouse.core.experiment import run
from stillhouse.core.types import FeatureSpec, Progress
from stillhouse.layers.part import regularizers
from stillhouse.tasks.classification.data.config import WordDataConfig
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationRunConfig, ClassificationTrainingConfig
from stillhouse.tasks.classification.students.linear_features import SCALE, Scorecard
from stillhouse.tasks.classification.students.networks import ScorecardConfig, TfidfConfig
from stillhouse.tasks.classification.task import TASK

SPEC = FeatureSpec(("a", "b", "c"), tuple("vwxyz"), (1.2, 2.0, 3.1, 1.0, 4.0), {"kind": "words", "ngrams": 1})


def test_tf_idf_is_that_of_scikit_learn():
    """Sublinear counts, the same inverse document frequencies, rows of length 1; an empty row scores its bias alone."""
    counts = torch.tensor([[1.0, 2, 0, 5, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
    reference = TfidfTransformer(sublinear_tf=True).fit(np.eye(5))
    reference.idf_ = np.array(SPEC.idf)
    model = TfidfConfig().build(SPEC)
    with torch.no_grad():
        model.weight.copy_(torch.arange(15.0).reshape(3, 5))
        model.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    expected = SCALE * reference.transform(counts.numpy()).toarray() @ model.weight.detach().numpy().T + [0, 1, 2]
    np.testing.assert_allclose(model(counts).detach().numpy(), expected, rtol=1e-5)


def test_a_scorecard_loses_its_features_gradually_and_is_judged_with_few():
    """All at a tenth of training, `words` from six tenths on, and in eval mode at any time; counts above 1 are 1."""
    model = ScorecardConfig(words=2, penalty=0.1).build(SPEC)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[5.0, 4, 3, 2, 1], [1, 2, 3, 4, 5], [1, -9, 1, 8, 1]]))
    left = []
    for fraction in (0.1, 0.35, 0.6, 1.0):
        model.set_progress(fraction)
        left.append(int((model.points() != 0).sum(1)[0]))
    assert left == [5, 3, 2, 2]
    model.set_progress(0.0)
    assert set(regularizers(model)) == {"sparsity"}
    model.eval()
    assert (model.points() != 0).sum(1).tolist() == [2, 2, 2]
    assert torch.equal(model(torch.tensor([[7.0, 0, 0, 0, 0]])), model(torch.tensor([[1.0, 0, 0, 0, 0]])))
    model.set_progress(0.6)
    assert regularizers(model) == {}


def test_rare_features_are_cut_before_common_ones():
    """Of two equal weights, that of the feature which tells more rows apart stays."""
    model = Scorecard(
        FeatureSpec(("a", "b"), ("rare", "common"), (6.0, 1.5), {"kind": "words"}), words=1, penalty=0.0
    ).eval()
    with torch.no_grad():
        model.weight.fill_(1.0)
    assert model.points().tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_the_job_tells_a_student_how_far_training_is():
    """Else a scorecard would lose no feature before it is judged."""
    data = WordDataConfig(root="builtin:banking").build()
    model = ScorecardConfig().build(data.input_spec)
    ClassificationJob(model, data, ClassificationTrainingConfig(), seed=0).terms(torch.arange(8), Progress(3, 12))
    assert model.fraction == 0.25


@pytest.mark.parametrize("kind", ["tf-idf", "scorecard"])
def test_a_run_learns_the_messages_and_is_used_on_a_sentence(tmp_path, kind):
    """All labels of the bundled messages: a scorecard keeps its few words, the saved student reads a sentence."""
    settings = {
        "data": {"name": "words", "root": "builtin:banking"},
        "teacher": None,
        "student": {"kind": kind, **({"words": 10} if kind == "scorecard" else {})},
        "training": {"epochs": 12, "learning_rate": 5e-2, "warmup_epochs": 0, "keep": "last", "threads": 1},
        "signals": [],
        "arms": ["no-kd"],
        "seeds": 1,
    }
    config = parse(ClassificationRunConfig, settings)
    assert isinstance(config.data, WordDataConfig)
    summary = run(TASK, config, tmp_path / "run")
    assert summary["arms"]["no-kd"]["accuracy"]["mean"] > (0.93 if kind == "tf-idf" else 0.85)
    student = TASK.predictor(tmp_path / "run")
    assert student.predict(["Someone stole my card, it was stolen"])[0]["class"] == "lost_or_stolen_card"
    assert TASK.evaluate(tmp_path / "run")["rows"] == 480
    if kind == "scorecard":
        known, unknown = student.predict(["Someone stole my card", "zzz qqq"])
        default = student.classes[int(student.network.bias.argmax())]
        assert (known["note"], unknown["class"], unknown["note"]) == ("", default, "no rule holds: the default class")
        assert (TASK.load(tmp_path / "run" / "student").points() != 0).sum(1).max() == 10
