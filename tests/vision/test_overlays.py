"""What overlays show and where gains come from: read from the arrays themselves, against an independent way to the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.job import ClassificationJob, clause_usage
from stillhouse.tasks.classification.plan import ClassificationTrainingConfig
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer
from stillhouse.tasks.classification.vision.overlays import OVERLAYS, write_overlays

SMALL = {"num_classes": 3, "image_size": 8, "in_channels": 1, "patch_size": 2, "embed_dim": 24, "depths": 2}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return UnifiedTMTransformer(**SMALL, num_heads=2, tm_clauses=32, drop_path_rate=0.0).eval()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = (rng.random((120, 1, 8, 8)) * 255).astype(np.uint8)
    return ImageData.from_arrays(images, np.arange(120) % 3, config=DataConfig(test_fraction=0.2))


def test_overlays_hold_what_the_model_sees(model, data, tmp_path):
    """Maps of zeros, or the same map for every image, make a picture that looks like an answer."""
    write_overlays(model, data, tmp_path, samples=4)
    found = np.load(tmp_path / OVERLAYS)
    for name in ("attention", "clauses"):
        maps = found[name]
        assert maps.shape == (4, 4, 4)
        assert (maps > 0).any(axis=(1, 2)).all(), name
        assert all(not np.allclose(maps[0], other) for other in maps[1:]), name
        assert maps.std(axis=(1, 2)).min() > 0, name
    # weights of a softmax over the patches and the class token, so positive and below 1 in all
    total = found["attention"].sum(axis=(1, 2))
    assert ((found["attention"] > 0).all(), (total > 0.5).all(), (total < 1).all()) == (True, True, True)
    batch = data.test.sample(4).batch(torch.arange(4))
    with torch.no_grad():
        np.testing.assert_allclose(found["probabilities"], model(batch.inputs).softmax(1).numpy(), atol=1e-6)
    np.testing.assert_array_equal(found["labels"], batch.labels.numpy())


def test_clause_maps_are_the_means_of_the_last_block(model, data, tmp_path):
    """Against the diagnostics, which take another way: the mean over images and places."""
    write_overlays(model, data, tmp_path, samples=4)
    strengths = []
    last = model.blocks[-1].feed_forward.core.layers[-1].bank
    handle = last.register_forward_hook(lambda bank, args, strength: strengths.append(strength))
    with torch.no_grad():
        model(data.test.sample(4).batch(torch.arange(4)).inputs)
    handle.remove()
    expected = strengths[0][:, int(model.class_token is not None) :].mean(-1).reshape(4, 4, 4)
    np.testing.assert_allclose(np.load(tmp_path / OVERLAYS)["clauses"], expected.numpy(), atol=1e-6)


def test_heads_are_weighed_by_the_validation_split(model, data):
    """As published the gains came from the test split, which makes its score an optimist."""
    shares = {name: clause_usage(model, getattr(data, name)) for name in ("validation", "test")}
    config = ClassificationTrainingConfig(clause_specialize=0.5)
    job = SimpleNamespace(config=config, data=data, model=model)
    news = ClassificationJob.before_validation(job, model)
    gains = {name: block.attention.head_gains.clone() for name, block in model.named_blocks()}
    expected = {
        split: {name: 0.5 + 0.5 * used["heads"] / used["heads"].mean() for name, used in found.items()}
        for split, found in shares.items()
    }
    assert news["head_gain/most"] > news["head_gain/least"]
    for name, gain in gains.items():
        torch.testing.assert_close(gain, expected["validation"][name])
    assert any(not torch.allclose(gain, expected["test"][name], rtol=1e-4) for name, gain in gains.items())


def test_attention_maps_are_those_of_the_last_block(model, data, tmp_path):
    """Softmax of queries and keys by hand, from the weights alone: what the class token reads, mean over heads."""
    write_overlays(model, data, tmp_path, samples=4)
    found = np.load(tmp_path / OVERLAYS)["attention"]
    inputs = data.test.sample(4).batch(torch.arange(4)).inputs
    maps = {}
    with torch.no_grad():
        x = model.embed(inputs)
        for name, block in model.named_blocks():
            q, k, _ = (block.attention.qkv(block.norm1(x))).chunk(3, dim=-1)
            heads = [
                torch.softmax(a @ b.transpose(1, 2) / a.shape[-1] ** 0.5, -1)[:, 0, 1:]
                for a, b in zip(q.chunk(2, dim=-1), k.chunk(2, dim=-1), strict=True)
            ]
            maps[name] = torch.stack(heads).mean(0).reshape(4, 4, 4).numpy()
            x = block(x, None).tokens
    np.testing.assert_allclose(found, maps["block_2"], atol=1e-6)
    assert np.abs(found - maps["block_1"]).max() > 0.01
