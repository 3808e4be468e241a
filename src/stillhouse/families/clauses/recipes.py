"""Runs of clause students that are known to work; no torch."""

from __future__ import annotations

from dataclasses import replace

from stillhouse.classification.data import DataConfig
from stillhouse.families.clauses.plan import ClausesRunConfig, ClausesTrainingConfig
from stillhouse.families.clauses.students import TsetlinViTConfig
from stillhouse.families.clauses.students.model_configs import FlatTMConfig
from stillhouse.signals import LogitsConfig
from stillhouse.signals.logits import ForwardKL
from stillhouse.teachers import TeacherConfig

MNIST_TEACHER = "ckpt:runs/mnist-teacher/teacher.safetensors"


def digits() -> ClausesRunConfig:
    """8 x 8 digits of scikit-learn, teacher and data in the package: what `stillhouse demo` runs, offline."""
    return ClausesRunConfig(
        name="digits",
        data=DataConfig(name="digits"),
        teacher=TeacherConfig(source="builtin:digits"),
        student=TsetlinViTConfig(patch_size=2, embed_dim=32, depth=2, heads=2, clauses=128),
        signals=(LogitsConfig(loss=ForwardKL(temperature=1.0)),),
        training=ClausesTrainingConfig(
            epochs=24, batch_size=32, learning_rate=6e-3, warmup_epochs=2, keep="last", threads=1
        ),
    )


def mnist() -> ClausesRunConfig:
    """MNIST at the small size (width 64, 2 blocks), taught by the teacher of the recipe mnist-teacher; four arms."""
    return ClausesRunConfig(
        name="mnist",
        data=DataConfig(name="mnist"),
        teacher=TeacherConfig(source=MNIST_TEACHER),
        student=TsetlinViTConfig(
            patch_size=4, embed_dim=64, depth=2, heads=4, clauses=256, class_token=False, pool="mean"
        ),
        signals=(LogitsConfig(loss=ForwardKL(temperature=2.0), weight=1.0),),
        training=ClausesTrainingConfig(epochs=3, batch_size=128, learning_rate=4e-3),
        arms=("kd", "no-kd", "clauses-off", "mlp"),
    )


def mnist_documented() -> ClausesRunConfig:
    """MNIST, the documented geometry (width 96, 4 blocks, 3 heads, 256 clauses), labels alone, one seed."""
    return ClausesRunConfig(
        name="mnist-documented",
        data=DataConfig(name="mnist"),
        teacher=None,
        signals=(),
        student=TsetlinViTConfig(patch_size=4, embed_dim=96, depth=4, heads=3, clauses=256),
        training=ClausesTrainingConfig(epochs=3, batch_size=64, learning_rate=2e-3),
        arms=("no-kd",),
        seeds=1,
    )


def fashion_mnist() -> ClausesRunConfig:
    """Fashion-MNIST at the small size, taught by the teacher of the recipe fashion-mnist-teacher."""
    base = mnist()
    source = "ckpt:runs/fashion-mnist-teacher/teacher.safetensors"
    return replace(
        base, name="fashion-mnist", data=DataConfig(name="fashion-mnist"), teacher=TeacherConfig(source=source)
    )


def mnist_flat() -> ClausesRunConfig:
    """MNIST, a flat machine of 20 clauses a class over oriented filters joined in squares of 4 x 4, taught."""
    return ClausesRunConfig(
        name="mnist-flat",
        data=DataConfig(name="mnist"),
        teacher=TeacherConfig(source=MNIST_TEACHER),
        student=FlatTMConfig(clauses=200, filters=True, square=4),
        signals=(LogitsConfig(loss=ForwardKL(temperature=1.0), weight=1.0),),
        training=ClausesTrainingConfig(epochs=15, batch_size=128, learning_rate=3e-2, warmup_epochs=0.1),
        arms=("kd", "no-kd"),
    )


def cifar10() -> ClausesRunConfig:
    """CIFAR-10 with a torchvision ResNet-18 whose head is fitted to the data first; for a GPU or a patient CPU."""
    return ClausesRunConfig(
        name="cifar10",
        data=DataConfig(name="cifar10", augment="crop-flip"),
        teacher=TeacherConfig(source="torchvision:resnet18", image_size=96),
        student=TsetlinViTConfig(patch_size=4, embed_dim=96, depth=4, heads=3, clauses=256, drop_path=0.1),
        training=ClausesTrainingConfig(
            epochs=100, batch_size=256, learning_rate=1e-3, warmup_epochs=5, ema_decay=0.999
        ),
    )


RECIPES = {
    "digits": digits,
    "mnist": mnist,
    "mnist-documented": mnist_documented,
    "fashion-mnist": fashion_mnist,
    "mnist-flat": mnist_flat,
    "cifar10": cifar10,
}
