"""The spiking text student, and the published forms on texts: SpikeBERT's two stages, DistilBERT's, TinyBERT's."""

import csv

import numpy as np
import pytest
import torch

from stillhouse.core.config import merge, parse, to_mapping
from stillhouse.core.experiment import run
from stillhouse.core.records import read_records
from stillhouse.core.types import TextSpec
from stillhouse.tasks.classification.recipes import RECIPES
from stillhouse.tasks.classification.students.networks import SpikingTextConfig
from stillhouse.tasks.classification.task import TASK

SPEC = TextSpec(("no", "yes"), length=6, vocabulary=20)


def student(**settings):
    torch.manual_seed(0)
    return SpikingTextConfig(width=16, depth=2, heads=2, steps=3, **settings).build(SPEC)


def test_padding_says_nothing_and_order_does():
    """More padding after a text must not change what is read of it; a bag of words would score both orders alike."""
    model = student()
    torch.nn.init.normal_(model.positions)
    torch.testing.assert_close(model(torch.tensor([[3, 4, 5]])), model(torch.tensor([[3, 4, 5, 0, 0, 0]])))
    assert not torch.allclose(model(torch.tensor([[3, 4, 5]])), model(torch.tensor([[5, 4, 3]])))
    assert torch.isfinite(model(torch.tensor([[0, 0, 0]]))).all()


def test_products_take_spikes_and_the_answer_is_the_mean_over_time():
    """Inputs of every linear layer of a block but its attention's product are 0 or 1; every weight learns."""
    model, seen, scores = student(), {}, []
    for name, part in model.blocks.named_modules():
        if isinstance(part, torch.nn.Linear):
            part.register_forward_pre_hook(lambda module, given, name=name: seen.setdefault(name, given[0]))
    model.head.register_forward_hook(lambda module, given, out: scores.append(out))
    ids = torch.randint(1, 20, (8, 6))
    out = model(ids)
    assert len(seen) == 2 * 4
    assert all(x.shape[:2] == (8, 3) and set(x.unique().tolist()) == {0.0, 1.0} for x in seen.values())
    assert scores[0].shape == (8, 3, 2)
    torch.testing.assert_close(out, scores[0].mean(1))
    assert not torch.allclose(scores[0][:, 0], scores[0][:, -1])
    out.square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert silent == []


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Sentences whose class is a word of them, and a tiny encoder of the recipe that has learned them."""
    root = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    words = ["film", "plot", "actor", "scene", "and", "the"]
    with (root / "rows.tsv").open("w", newline="") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(["text", "label"])
        for _ in range(240):
            label = int(rng.integers(2))
            text = [*rng.choice(words, 4), ("dull", "fine")[label]]
            rows.writerow([" ".join(rng.permutation(text)), ("negative", "positive")[label]])
    run(TASK, tiny("sst2-encoder", root, width=16, training={"epochs": 6}), root / "encoder", force=True)
    return root


def tiny(name, root, width, training=None, **more):
    plan = to_mapping(RECIPES[name]())
    small = {
        "data": {"root": str(root / "rows.tsv"), "length": 8, "vocabulary": 64},
        "student": {"width": width},
        "training": {"batch_size": 24, "warmup_epochs": 0, "learning_rate": 1e-2, **(training or {})},
        "seeds": 1,
    }
    if plan["teacher"] is not None:
        small["teacher"] = {"source": f"run:{root / 'encoder'}"}
    if plan["stages"]:
        more["stages"] = [{**stage, "epochs": 2} for stage in plan["stages"]]
    return parse(type(RECIPES[name]()), merge(merge(plan, small), more))


@pytest.mark.parametrize(
    ("name", "width", "first", "last"),
    [
        ("sst2-spikebert", 8, {"hidden"}, {"labels", "logits", "hidden"}),
        ("sst2-distilbert", 16, set(), {"labels", "logits", "hidden"}),
        ("sst2-tinybert", 8, {"hidden", "attention"}, {"labels", "logits"}),
    ],
)
def test_published_forms_run_as_recipes(encoder, tmp_path, name, width, first, last):
    """Stages learn what the papers say and nothing else: no labels in a first stage, none of its layers in TinyBERT's second."""
    plan = tiny(name, encoder, width, training={"epochs": 2}, arms=["kd"])
    run(TASK, plan, tmp_path / "run", force=True)
    folder = tmp_path / "run/arms/kd/seed-0"
    places = [(folder, last)] + ([(folder / "stages" / plan.stages[0].name, first)] if first else [])
    for place, want in places:
        terms = next(line for line in read_records(place / "records.jsonl") if line["split"] == "train")["terms"]
        assert {term.partition(":")[0] for term in terms} == want
