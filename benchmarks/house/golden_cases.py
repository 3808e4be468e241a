"""The runs of `golden.py`: every task at a size of seconds, as commands and YAML files. No part of the library is imported."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Mapping = dict[str, Any]
LOOP = {"device": "cpu", "threads": 1, "log_every": 1}


@dataclass(frozen=True)
class Case:
    """One command in the folder of its task; its run folder bears the name of the case."""

    command: str
    files: Mapping = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def merged(base: Mapping, change: Mapping) -> Mapping:
    """`base` with `change` over it, mapping by mapping; one of another `kind` replaces the old one."""
    found = dict(base)
    for key, value in change.items():
        old = found.get(key)
        same = isinstance(old, dict) and isinstance(value, dict) and value.get("kind") == old.get("kind")
        found[key] = merged(old, value) if same else value
    return found


# ------------------------------------------------------------------------------------------------ images

ONE_RATE = {
    "clause_learning_rate_factor": 1.0,
    "weight_decay": 0.05,
    "ema_decay": 0.0,
    "batch_size": 32,
}  # as first recorded
IMAGES = {
    "recipe": "digits",
    "data": {"train_limit": 128, "test_limit": 60},
    "student": {"patch_size": 2, "embed_dim": 16, "clauses": 16, "depth": 2, "dropout": 0.0},
    "training": {**LOOP, "epochs": 2, "learning_rate": 3e-3, "warmup_epochs": 1.0, "precision": "32-true", **ONE_RATE},
    "arms": ["kd"],
    "seeds": 1,
}
FEATURES = {"kind": "features", "student": "blocks.0", "teacher": "layer2"}
TINY_TEACHER = {
    "recipe": "digits-teacher",
    "data": {"train_limit": 256, "test_limit": 60},
    "training": {**LOOP, "epochs": 3, "precision": "32-true"},
}
CKPT = {"source": "ckpt:teacher/teacher.safetensors"}


def images(*needs: str, flags: str = "", **change: Any) -> Case:
    """A run of `stillhouse distill` on the digits that ship with scikit-learn."""
    return Case(f"distill run.yaml --out {{out}} --quiet {flags}", {"run.yaml": merged(IMAGES, change)}, needs)


def teacher(**change: Any) -> Case:
    """A run of `stillhouse train-teacher`."""
    return Case("train-teacher run.yaml --out {out} --quiet", {"run.yaml": merged(TINY_TEACHER, change)})


CURRICULUM = {
    "shares": [0.25, 0.5, 0.75, 1.0],
    "label_weights": [0.3, 0.2, 0.1, 0.05],
    "signal_weights": [0.7, 0.8, 0.9, 1.0],
}
RISING = {"kind": "scheduled", "schedule": {"kind": "linear", "start": 1.0, "end": 4.0, "over": "stages"}}
QKV = {"kind": "attention", "student": "blocks.0.attention.qkv", "teacher": "blocks.0.attn.qkv"}
FOUR = {"name": "general", "epochs": 1, "label_weight": 0.0, "signals": [FEATURES]}

IMAGE_CASES = {
    "teacher": teacher(),
    "vit-teacher": teacher(teacher={"source": "timm:test_vit"}),
    "arms": images(arms=["kd", "no-kd", "clauses-off", "mlp"], seeds=2),
    "stages": images(
        arms=["kd", "no-kd"],
        signals=[{"kind": "logits", "temperature": 2.0}],
        stages=[FOUR, {"name": "task", "epochs": 1}, {"name": "head", "epochs": 1, "train_only": ["head"]}],
    ),
    "curriculum": images(
        arms=["kd", "no-kd"],
        curriculum=CURRICULUM,
        training={"epochs": 4},
        signals=[{"kind": "logits", "temperature": RISING}],
    ),
    "curriculum-of-student": images(
        curriculum={"order": "hard-first", "shares": [0.5, 1.0], "transition": {"kind": "plateau", "metric": "nll"}},
        difficulty_model="student",
    ),
    "chain": images(
        teacher_assistants=[{"kind": "timm", "architecture": "test_resnet"}],
        assistant_teachers="all",
        arms=["kd", "direct"],
    ),
    "several-teachers": images(
        "teacher",
        more_teachers=[CKPT],
        signals=[{"kind": "ensemble", "temperature": 4.0}, {"kind": "logits"}],
        flags="--force",
    ),
    "learned-pool": images(
        "teacher",
        more_teachers=[CKPT],
        signals=[{"kind": "ensemble", "pool": "learned", "student": "blocks.0"}],
        flags="--force",
    ),
    "temperatures": images(
        signals=[
            {"kind": "logits", "temperature": {"kind": "learned", "initial": 4.0, "anchor_weight": 0.1}},
        ]
    ),
    "signals": images(
        signals=[
            {"kind": "logits", "loss": "dkd", "temperature": 4.0},
            {"kind": "logits", "name": "dist", "loss": "dist"},
            {"kind": "logits", "name": "js", "loss": "js", "beta": 0.3, "standardize": True},
            {"kind": "hidden", "student": ["blocks.0", "blocks.1"], "teacher": ["layer2", "layer4"], "map": "learned"},
            {"kind": "relations", "student": "blocks.1", "teacher": "layer4", "relation": "rkd"},
            {"kind": "relations", "student": "blocks.1", "teacher": "layer4", "relation": "contrastive"},
            {"kind": "dynamics", "student": ["blocks.0", "blocks.1"], "teacher": ["layer1", "layer1.0"]},
            {"kind": "dual-head", "student": "blocks.1"},
        ]
    ),
    "attention": images(
        "vit-teacher",
        teacher={"source": "ckpt:vit-teacher/teacher.safetensors"},
        student={"patch_size": 4},
        signals=[{**QKV, "student_heads": 2, "teacher_heads": 2, "relation_heads": 2}],
        flags="--force",
    ),
    "inherit": images(
        "teacher",
        teacher=CKPT,
        student={"kind": "timm", "architecture": "test_resnet"},
        init_from_teacher={"network.layer1": "layer1"},
        arms=["kd", "no-kd"],
        flags="--force",
    ),
    "dot": images(training={"optimizer": "dot", "learning_rate": 0.1, "weight_decay": 5.0e-4}),
    "muon": images(training={"optimizer": "muon", "accumulate": 2}),
    "own": images(
        teacher=None,
        signals=[{"kind": "exits", "places": ["blocks.0"], "weight": 0.3}],
        auxiliary_losses=[
            {"kind": "logits"},
            {"kind": "probes", "places": ["blocks.0"]},
            {"kind": "contrastive", "place": "norm"},
        ],
        auxiliary_decay=0.9,
        arms=["kd", "no-kd"],
    ),
    "average": images(teacher={"source": "self:average", "decay": 0.5}, student={"dropout": 0.1}, prior="symmetric"),
    "views": images(
        data={"augment": "crop-flip"},
        training={"mixing": {"mixup_alpha": 0.2, "cutmix_alpha": 0.2}, "layer_decay": 0.8},
    ),
    "independent-views": images(data={"augment": "affine"}, training={"teacher_view": "independent", "keep": "best"}),
}

# ------------------------------------------------------------------------------------------------ vision

DIGITS = (
    "vision --dataset digits data.train_limit=96 data.test_limit=40 --device cpu --batch-size 32 --threads 1 --epochs 2"
    " training.log_every=1 training.precision=32-true --out {out} --quiet "
)
SMALL = "--transformer-d-model 12 --transformer-heads 3 --transformer-clauses 12 --transformer-mlp-ratio 2 "
VIT = DIGITS + SMALL + "--transformer-patch 2 --transformer-layers 2 "
VISION_CASES = {
    "transformer": Case(
        VIT + "--lr 0.01 teacher.source=builtin:digits --distill-teacher-weight 0.5 --transformer-ema-decay 0.9"
        " --transformer-self-distill-weight 0.5 --mixup-alpha 0.2 --transformer-aux-weight 0.1"
        " --transformer-contrastive-weight 0.1 --lr-layer-decay 0.8 --transformer-sparsity-weight 0.01"
        " --transformer-clause-specialize --report-epoch-test"
    ),
    "arms": Case(VIT + "--seeds 2 arms=[no-kd,clauses-off,mlp]"),
    "options": Case(
        VIT + "--transformer-backend deeptm --transformer-ff-gate linear --transformer-ff-mix linear"
        " --transformer-bitwise-mix --transformer-clause-attention --transformer-clause-routing --transformer-bypass"
        " --transformer-learnable-tau --transformer-clause-drop 0.1 --transformer-literal-drop 0.1"
        " --transformer-drop-path 0.1 --transformer-dropout 0.1"
    ),
    "auto-clause": Case(VIT + "--transformer-auto-clause clauses.auto_steps=5 --transformer-auto-clause-batches 2"),
    "swin": Case(
        DIGITS + "--transformer-arch swin --transformer-patch 1 --transformer-depths 1,1 --transformer-stage-heads 2,4"
        " --transformer-embed-dims 8,16 --transformer-window 4 --transformer-clauses 12 --transformer-mlp-ratio 2"
    ),
    "tm": Case(DIGITS + "--models tm model.tm.clauses=40 model.tm.levels=2 output.bitpack=true"),
    "deep_tm": Case(DIGITS + "--models deep_tm model.deep_tm.hidden_dims=[24,16] model.deep_tm.clauses=24"),
    "hybrid": Case(DIGITS + "--models hybrid model.hybrid.thresholds=8 model.hybrid.clauses=24"),
    "resnet_tm": Case(
        DIGITS + "--models resnet_tm model.resnet_tm.stem=small model.resnet_tm.width=8 model.resnet_tm.tm_hidden=8"
        " model.resnet_tm.clauses=12"
    ),
    "swin_tm": Case(
        DIGITS + "--models swin_tm model.swin_tm.embed_dim=8 model.swin_tm.depths=[1,1]"
        " model.swin_tm.num_heads=[2,4] model.swin_tm.patch_size=1 model.swin_tm.window_size=4"
        " model.swin_tm.tm_hidden=8 model.swin_tm.clauses=12 model.swin_tm.head_clauses=20"
    ),
    "pyramid_tm": Case(DIGITS + "--models pyramid_tm model.pyramid_tm.clauses=[24,20,16,12]"),
}

# ------------------------------------------------------------------------------------------------ radar

LINES = {"preset": "toy-64", "length": 160, "train": 8, "validation": 4, "test": 6}
FOCUS = {"batch_size": 4, "lr": 0.02, "warmup_epochs": 0, "loss_fn": "complex_nmse", "threads": 1, "log_every": 1}
NETWORK = {"name": "s4_ssm", "model_dim": 4, "state_dim": 32, "num_layers": 2, "doppler_band": 0.8, "memory": 32}
SAR_TEACHER = {
    "data": LINES,
    "model": {**NETWORK, "use_selectivity": True},
    "training": {**FOCUS, "epochs": 3},
    "device": "cpu",
}
SAR_STUDENT = {
    "model": {**NETWORK, "model_dim": 3, "state_dim": 16, "use_selectivity": False, "look_ahead": 32},
    "training": {**FOCUS, "num_epochs": 4},
    "distillation": {"alpha": 0.3, "beta": 0.5, "gamma": 0.2},
    "seeds": 1,
    "device": "cpu",
}


def sar(**distillation: Any) -> Case:
    """A run of `stillhouse sar distill`."""
    files = {"teacher.yaml": SAR_TEACHER, "run.yaml": merged(SAR_STUDENT, {"distillation": distillation})}
    words = "sar distill --teacher_config teacher.yaml --teacher_checkpoint teacher --student_config run.yaml"
    return Case(words + " --save_dir {out} --quiet", files, ("teacher",))


SAR_CASES = {
    "teacher": Case("sar train --config run.yaml --save_dir {out} --quiet", {"run.yaml": SAR_TEACHER}),
    "projection": sar(temperature=4.0),
    "unfrozen": sar(freeze_teacher=False),
}

# ------------------------------------------------------------------------------------------------ language

CORPUS = {"source": "text", "cache": "ids"}
SCORE = {"tokens": 200, "ngram": 3}
LM_LOOP = {**LOOP, "epochs": 3, "batch_size": 4}
LM_TEACHER = {
    "recipe": "wikitext-2-teacher",
    "corpus": {**CORPUS, "tokenizer": "bpe:280"},
    "model": {"width": 16, "layers": 2, "heads": 2, "context": 64},
    **{"window": 16, "epoch_steps": 4, "validation_tokens": 64, "training": LM_LOOP},
    "score": {"tokens": 200},
}
PLAIN = {"embedding_width": None, "activation": "relu-square", "floats": "float32"}
LM = {
    "recipe": "wikitext-2",
    "corpus": {**CORPUS, "tokenizer": "teacher", "most_bytes": None},
    "teacher": {"source": "teacher"},
    # as the recipe was when the losses were written
    "student": {"width": 16, "layers": 2, "heads": 2, "chunk": 8, "ngram": None, **PLAIN},
    "loss": {"window": 16, "epoch_steps": 4, "k": 8, "validation_tokens": 64},
    **{"training": {**LM_LOOP, "optimizer": "adamw", "weight_decay": 0.1}, "score": SCORE, "arms": ["kd"], "seeds": 1},
}
LIVE = {"source": "live"}
PATHS = {"student": ["blocks.0", "blocks.1"], "teacher": ["model.layers.0", "model.layers.1"]}
EASY = {"by_class": False, "measures": ["loss"], "shares": [0.5, 1.0]}


def lm(**change: Any) -> Case:
    """A run of `stillhouse distill`, also with a teacher that knows little."""
    files = {"run.yaml": merged(LM, change)}
    return Case("distill run.yaml --out {out} --force --quiet", files, ("teacher",))


LM_CASES = {
    "teacher": Case("train-teacher run.yaml --out {out} --quiet", {"run.yaml": LM_TEACHER}),
    "cached": lm(arms=["kd", "no-kd", "dense"]),
    "live": lm(
        arms=["kd", "no-kd"],
        loss={**LIVE, "temperature": {"kind": "learned"}},
        signals=[{"kind": "hidden", **PATHS}],
    ),
    "dynamics": lm(loss=LIVE, signals=[{"kind": "dynamics", **PATHS}]),
    "curriculum": lm(arms=["kd", "no-kd"], curriculum=EASY),
}

# ------------------------------------------------------------------------------------------------ embeddings

EMBED = {
    "data": {"path": "vectors.npz", "texts": "texts", "labels": "labels"},
    "student": {"hidden": [16, 8], "levels": [3], "normalize": True},
    "loss": {"epoch_steps": 6, "perplexity": 5.0, "anchors": 8, "validation_rows": 60},
    "training": {**LOOP, "epochs": 3, "batch_size": 64, "warmup_epochs": 1.0},
    "anchors": ["pca"],
    "seeds": 1,
}
AXES = [["age", "old", "new"], ["heat", "cold", "hot"]]
CONTROLS = ["pca", "random-projection", "truncation"]


def embed(**change: Any) -> Case:
    """A run of `stillhouse embed distill`."""
    return Case("embed distill run.yaml --out {out} --quiet", {"run.yaml": merged(EMBED, change)})


EMBED_CASES = {
    "levels": embed(student={"levels": [3, 6]}, anchors=CONTROLS, seeds=2),
    "tau": embed(student={"output": "sphere"}, loss={"tau": [4.0, 2.0, 0.5], "reconstruction_weight": 0.3}),
    "losses": embed(anchors=["autoencoder"], loss={"noise": 0.1}),
    "poles": embed(student={"axes": [["size", "small", "large"], *AXES]}, poles_file="poles.csv"),
}

TASKS = {"images": IMAGE_CASES, "vision": VISION_CASES, "sar": SAR_CASES, "lm": LM_CASES, "embed": EMBED_CASES}


def write_material(folder: Path) -> None:
    """A text in three splits; vectors of 12 clusters with texts and labels; rows at the ends of an axis."""
    (folder / "text").mkdir(parents=True)
    rng = np.random.default_rng(0)
    words = np.array(["the", "a", "river", "stone", "sang", "ran", "over", "under", "and", "."])
    for name, count in {"train": 900, "valid": 150, "test": 200}.items():
        chosen = words[rng.choice(len(words), count, p=np.arange(10, 0, -1) / 55)]
        lines = (" ".join(part) for part in np.array_split(chosen, count // 10))
        (folder / "text" / f"{name}.txt").write_text("\n".join(lines))
    labels = rng.integers(12, size=600)
    x = rng.normal(size=(12, 16))[labels] + 0.4 * rng.normal(size=(600, 16))
    texts = [f"the {words[label % 10]} number {row} of {label}" for row, label in enumerate(labels)]
    np.savez(folder / "vectors.npz", embeddings=x.astype(np.float32), texts=np.array(texts), labels=labels)
    with (folder / "poles.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "axis", "pole"])
        rows.writerows([texts[n], "size", "large" if labels[n] < 6 else "small"] for n in range(0, 600, 5))
