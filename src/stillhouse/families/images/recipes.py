"""Runs of ordinary networks that are known to work, and the teachers that other recipes ask for; no torch."""

from __future__ import annotations

from dataclasses import replace

from stillhouse.classification.data import DataConfig
from stillhouse.classification.plan import TeacherRunConfig
from stillhouse.classification.students import TimmStudentConfig
from stillhouse.classification.training import ClassificationTrainingConfig
from stillhouse.families.images.plan import ImagesRunConfig
from stillhouse.teachers import TeacherConfig


def digits_timm() -> ImagesRunConfig:
    """8 x 8 digits, the teacher in the package, and a student of its own kind: offline, a minute."""
    return ImagesRunConfig(
        name="digits-timm",
        data=DataConfig(name="digits"),
        teacher=TeacherConfig(source="builtin:digits"),
        student=TimmStudentConfig(architecture="test_resnet"),
        training=ClassificationTrainingConfig(epochs=10, batch_size=32, learning_rate=3e-3, warmup_epochs=1, threads=1),
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
    """A tiny ResNet of timm on MNIST, from scratch: a few minutes on two cores."""
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


RECIPES = {"digits-timm": digits_timm}
TEACHER_RECIPES = {
    "digits-teacher": digits_teacher,
    "mnist-teacher": mnist_teacher,
    "fashion-mnist-teacher": fashion_mnist_teacher,
}
