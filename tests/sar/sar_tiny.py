"""Tiny configurations of the focusing family, and the commands on them."""

import yaml

from stillhouse.cli.main import main

DATA = {"preset": "toy-64", "length": 160, "train": 8, "validation": 4, "test": 6}
TRAINING = {"epochs": 3, "batch_size": 4, "lr": 0.02, "warmup_epochs": 0, "loss_fn": "complex_nmse", "threads": 1}
TEACHER = {
    "data": DATA,
    "model": {
        "name": "s4_ssm",
        "model_dim": 4,
        "state_dim": 32,
        "num_layers": 2,
        "use_selectivity": True,
        "doppler_band": 0.8,
        "memory": 32,
    },
    "training": TRAINING,
    "device": "cpu",
}
STUDENT = {
    "model": {
        "name": "s4_ssm",
        "model_dim": 3,
        "state_dim": 16,
        "num_layers": 2,
        "use_selectivity": False,
        "look_ahead": 32,
        "doppler_band": 0.8,
        "memory": 32,
    },
    "training": {**{k: v for k, v in TRAINING.items() if k != "epochs"}, "num_epochs": 2},
    "distillation": {"temperature": 4.0, "alpha": 0.3, "beta": 0.5, "gamma": 0.2},
    "seeds": 2,
    "device": "cpu",
}


def sar(*words):
    """The exit status of one command."""
    return main(["sar", *[str(word) for word in words]])


def written(path, mapping):
    path.write_text(yaml.safe_dump(mapping))
    return path


def distill_words(files, teacher_run, folder, *more):
    words = ["distill", "--teacher_config", files[0], "--teacher_checkpoint", teacher_run, "--student-config", files[1]]
    return [*words, "--save_dir", folder, "--quiet", *more]
