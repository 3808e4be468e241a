"""Runs of ordinary networks that are known to work, and the teachers that other recipes ask for; no torch."""

from __future__ import annotations

from dataclasses import replace

from stillhouse.classification.data import DataConfig, TextDataConfig
from stillhouse.classification.plan import StageConfig, TeacherRunConfig
from stillhouse.classification.students import SpikingTextConfig, TextTransformerConfig, TimmStudentConfig
from stillhouse.classification.training import ClassificationTrainingConfig
from stillhouse.families.images.plan import ImagesRunConfig
from stillhouse.signals import AttentionConfig, HiddenConfig, LogitsConfig
from stillhouse.signals.hidden import LastOnlyMap
from stillhouse.signals.logits import ForwardKL
from stillhouse.signals.projectors import NoProjector
from stillhouse.teachers import TeacherConfig


def digits_timm() -> ImagesRunConfig:
    """8 x 8 digits, the teacher in the package, and a student of its own kind: offline."""
    return ImagesRunConfig(
        name="digits-timm",
        data=DataConfig(name="digits"),
        teacher=TeacherConfig(source="builtin:digits"),
        student=TimmStudentConfig(architecture="test_resnet"),
        training=ClassificationTrainingConfig(epochs=10, batch_size=32, learning_rate=3e-3, warmup_epochs=1, threads=1),
    )


def sst2_encoder() -> ImagesRunConfig:
    """A transformer of four blocks on sentences of SST-2 (a .tsv with columns text and label): the teacher of the next three."""
    return ImagesRunConfig(
        name="sst2-encoder",
        data=TextDataConfig(root="data/sst2.tsv", length=40),
        teacher=None,
        student=TextTransformerConfig(width=128, depth=4, heads=4, dropout=0.2),
        training=ClassificationTrainingConfig(epochs=8, batch_size=64, learning_rate=1e-3, warmup_epochs=1, threads=1),
        arms=("no-kd",),
        seeds=1,
    )


def sst2_spikebert() -> ImagesRunConfig:
    """SpikeBERT's two stages: a spiking transformer learns the encoder's layers without labels, then layers, scores and labels."""
    layers = HiddenConfig(
        student=("layers.0", "layers.1"), teacher=("blocks.1", "blocks.3"), pool="none", distance="mse", normalize=False
    )
    plain = sst2_encoder()
    return replace(
        plain,
        name="sst2-spikebert",
        teacher=TeacherConfig(source="run:runs/sst2-encoder"),
        student=SpikingTextConfig(width=64, depth=2, heads=2, steps=4),
        training=replace(plain.training, learning_rate=2e-3),
        stages=(
            StageConfig(name="layers", epochs=4, label_weight=0.0, signals=(layers,)),
            StageConfig(
                name="task",
                epochs=8,
                signals=(LogitsConfig(loss=ForwardKL(temperature=1.0)), replace(layers, weight=0.5)),
            ),
        ),
        arms=("kd", "no-kd"),
        seeds=3,
    )


def sst2_distilbert() -> ImagesRunConfig:
    """DistilBERT's form on sentences: begins with every second block of the encoder; scores, labels, the last block's cosine."""
    plain = sst2_encoder()
    last = HiddenConfig(
        student=("blocks.1",),
        teacher=("blocks.3",),
        map=LastOnlyMap(),
        distance="cosine",
        pool="none",
        projector=NoProjector(),
        normalize=False,
    )
    return replace(
        plain,
        name="sst2-distilbert",
        teacher=TeacherConfig(source="run:runs/sst2-encoder"),
        student=TextTransformerConfig(width=128, depth=2, heads=4, dropout=0.2),
        inherit={"tokens": "tokens", "blocks.0": "blocks.0", "blocks.1": "blocks.2"},
        signals=(LogitsConfig(loss=ForwardKL(temperature=2.0), weight=2.5), last),
        arms=("kd", "no-kd"),
        seeds=3,
    )


def sst2_tinybert() -> ImagesRunConfig:
    """TinyBERT's form on sentences: attention scores and hidden states of both blocks first, then the encoder's scores."""
    plain = sst2_distilbert()
    hidden = HiddenConfig(
        student=("blocks.0", "blocks.1"), teacher=("blocks.1", "blocks.3"), pool="none", normalize=False
    )
    attention = tuple(
        AttentionConfig(
            student=f"blocks.{ours}.attention.qkv",
            teacher=f"blocks.{theirs}.attention.qkv",
            what="scores",
            student_heads=4,
            teacher_heads=4,
            padding=0,
        )
        for ours, theirs in ((0, 1), (1, 3))
    )
    return replace(
        plain,
        name="sst2-tinybert",
        student=TextTransformerConfig(width=64, depth=2, heads=4, dropout=0.2),
        inherit={},
        signals=(),
        stages=(
            StageConfig(name="inside", epochs=6, label_weight=0.0, signals=(hidden, *attention)),
            StageConfig(name="scores", epochs=6, signals=(LogitsConfig(loss=ForwardKL(temperature=1.0)),)),
        ),
    )


def digits_teacher() -> TeacherRunConfig:
    """How the teacher that ships with the package was made: a tiny ResNet of timm on augmented digits."""
    return TeacherRunConfig(
        name="digits-teacher",
        data=DataConfig(name="digits", augment="affine"),
        teacher=TeacherConfig(source="timm:test_resnet", pretrained=False, image_size=32),
        training=ClassificationTrainingConfig(
            epochs=60, batch_size=64, learning_rate=3e-3, weight_decay=0.05, ema_decay=0.99
        ),
    )


def mnist_teacher() -> TeacherRunConfig:
    """A tiny ResNet of timm on MNIST, from scratch."""
    return TeacherRunConfig(
        name="mnist-teacher",
        data=DataConfig(name="mnist"),
        teacher=TeacherConfig(source="timm:test_resnet", pretrained=False, image_size=32),
        training=ClassificationTrainingConfig(epochs=4, batch_size=128, learning_rate=3e-3, weight_decay=0.05),
    )


def fashion_mnist_teacher() -> TeacherRunConfig:
    """The same on Fashion-MNIST, a little longer."""
    base = mnist_teacher()
    data, training = DataConfig(name="fashion-mnist"), replace(base.training, epochs=10)
    return replace(base, name="fashion-mnist-teacher", data=data, training=training)


RECIPES = {
    "digits-timm": digits_timm,
    "sst2-encoder": sst2_encoder,
    "sst2-spikebert": sst2_spikebert,
    "sst2-distilbert": sst2_distilbert,
    "sst2-tinybert": sst2_tinybert,
}
TEACHER_RECIPES = {
    "digits-teacher": digits_teacher,
    "mnist-teacher": mnist_teacher,
    "fashion-mnist-teacher": fashion_mnist_teacher,
}
