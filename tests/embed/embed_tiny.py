"""A configuration and vectors that are small enough for every test."""

import numpy as np

from stillhouse.core.config import merge, parse
from stillhouse.core.experiment import run
from stillhouse.tasks.embed.config import EmbedRunConfig
from stillhouse.tasks.embed.task import TASK

TINY = {
    "name": "tiny",
    "student": {"hidden": [16, 8], "levels": [3, 6]},
    "loss": {"epoch_steps": 6, "perplexity": 5.0, "anchors": 8, "validation_rows": 60},
    "training": {
        **{"epochs": 2, "batch_size": 64, "threads": 1, "device": "cpu", "learning_rate": 5e-3},
        **{"warmup_epochs": 1.0, "weight_decay": 0.0, "checkpoint_seconds": 0.0},
    },
    "anchors": ["pca", "random-projection"],
    "seeds": 2,
}


def write_vectors(path, *, rows=600, width=16, seed=0, **arrays):
    """Clusters with texts and labels, in one file."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(12, size=rows)
    x = rng.normal(size=(12, width))[labels] + 0.4 * rng.normal(size=(rows, width))
    texts = np.array([f"row {row} of topic {label}" for row, label in enumerate(labels)])
    np.savez(path, **{"embeddings": x.astype(np.float32), "texts": texts, "labels": labels, **arrays})
    return path


def distill(config, out, **choices):
    """A run of the task, as the command line starts it."""
    return run(TASK, config, out, **choices)


def config_of(path, **changes):
    base = {**TINY, "data": {"path": str(path), "texts": "texts", "labels": "labels"}}
    return parse(EmbedRunConfig, merge(base, changes))
