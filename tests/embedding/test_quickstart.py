"""Every snippet of the founding document runs, from its own import path, and prints what it says."""

import importlib
import sys

import pytest
import torch

from stillhouse.compat.documents import lay_out

BASIC = """
import torch
from atlas.training import distill_loss, DistillationConfig
student_embeddings = torch.randn(32, 5)
teacher_embeddings = torch.randn(32, 1536)
loss = distill_loss(student_embeddings, teacher_embeddings)
print(f"Distillation loss: {loss.item():.4f}")
"""

CONFIGURATION = """
from atlas.training import DistillationConfig, DEFAULT_OPENAI_CONFIG
config = DEFAULT_OPENAI_CONFIG
print(f"Teacher dim: {config.teacher_dim}, Student dim: {config.student_dim}")
print(f"Temperature: {config.tau}, Alpha: {config.alpha}")
custom_config = DistillationConfig(
    teacher_checkpoint="models/teacher_1536d.pt",
    teacher_dim=1536,
    student_dim=5,
    tau=2.0,
    alpha=0.7,
    device="cpu",
)
"""

CHECKPOINT = """
from atlas.training import load_teacher_checkpoint
checkpoint = load_teacher_checkpoint(
    checkpoint_path="models/teacher_1536d.pt",
    device="cpu"
)
teacher_embeddings = checkpoint.get("embeddings")
teacher_model_state = checkpoint.get("model_state")
"""

LINEAR = """
import torch
from atlas.training import create_curriculum_schedule, curriculum_distill_step
schedule = create_curriculum_schedule(
    start_tau=4.0,
    end_tau=0.5,
    num_stages=5,
    schedule_type="linear"
)
student = torch.randn(32, 5)
teacher = torch.randn(32, 1536)
losses = []
for stage in range(5):
    loss, tau = curriculum_distill_step(
        student_vec=student,
        teacher_vec=teacher,
        stage=stage,
        tau_schedule=schedule,
        alpha=0.7
    )
    losses.append(loss.item())
    print(f"Stage {stage}: tau={tau:.2f}, loss={loss.item():.4f}")
"""

CURRICULUM = """
from atlas.training import CURRICULUM_CONFIG
config = CURRICULUM_CONFIG
print(f"Curriculum enabled: {config.curriculum}")
print(f"Stages: {config.curriculum_stages}")
print(f"Temperature schedule: {config.curriculum_tau_schedule}")
for stage in range(config.curriculum_stages):
    tau = config.get_tau_for_stage(stage)
    print(f"Stage {stage}: tau={tau:.2f}")
"""

COMBINED = """
import torch
from atlas.training import combined_distill_loss
student = torch.randn(16, 5)
teacher = torch.randn(16, 1536)
reconstruction_loss = torch.tensor(0.3)
total_loss = combined_distill_loss(
    student_vec=student,
    teacher_vec=teacher,
    reconstruction_loss=reconstruction_loss,
    alpha=0.7,  # 70% distillation, 30% reconstruction
    tau=1.0
)
print(f"Total loss: {total_loss.item():.4f}")
"""


TRAINING = """
import torch
from atlas.training import (
    load_teacher_checkpoint,
    create_curriculum_schedule,
    curriculum_distill_step,
    DistillationConfig
)
config = DistillationConfig(
    teacher_checkpoint="models/teacher_1536d.pt",
    teacher_dim=1536,
    student_dim=5,
    device="cpu",
    curriculum=True,
    curriculum_stages=5,
    curriculum_tau_schedule=(4.0, 0.5),
    alpha=0.7,
    batch_size=32,
    learning_rate=1e-4,
)
checkpoint = load_teacher_checkpoint(config.teacher_checkpoint, device=config.device)
teacher_embeddings = checkpoint["embeddings"]  # Shape: (N, 1536)

class StudentModel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Linear(1536, 5)

    def forward(self, x):
        return self.encoder(x)

student_model = StudentModel()
optimizer = torch.optim.Adam(student_model.parameters(), lr=config.learning_rate)
schedule = create_curriculum_schedule(
    start_tau=config.curriculum_tau_schedule[0],
    end_tau=config.curriculum_tau_schedule[1],
    num_stages=config.curriculum_stages,
    schedule_type="linear"
)
num_samples = teacher_embeddings.shape[0]
num_batches = (num_samples + config.batch_size - 1) // config.batch_size

for stage in range(config.curriculum_stages):
    print(f"\\n=== Curriculum Stage {stage} ===")
    for epoch in range(10):  # 10 epochs per stage
        total_loss = 0.0
        for batch_idx in range(num_batches):
            start_idx = batch_idx * config.batch_size
            end_idx = min(start_idx + config.batch_size, num_samples)
            teacher_batch = teacher_embeddings[start_idx:end_idx]
            student_batch = student_model(teacher_batch)
            loss, tau = curriculum_distill_step(
                student_vec=student_batch,
                teacher_vec=teacher_batch,
                stage=stage,
                tau_schedule=schedule,
                alpha=config.alpha
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total_loss += loss.item()
        avg_loss = total_loss / num_batches
        print(f"Epoch {epoch}: loss={avg_loss:.4f}, tau={tau:.2f}")
print("\\nTraining complete!")
"""

TYPES = """
from atlas.training import create_curriculum_schedule
linear = create_curriculum_schedule(4.0, 0.5, 5, "linear")
exponential = create_curriculum_schedule(4.0, 0.5, 5, "exponential")
cosine = create_curriculum_schedule(4.0, 0.5, 5, "cosine")
"""

PRESETS = """
from atlas.training import DEFAULT_OPENAI_CONFIG, CURRICULUM_CONFIG, FAST_CONFIG
configs = [DEFAULT_OPENAI_CONFIG, CURRICULUM_CONFIG, FAST_CONFIG]
"""

LEVELS = """
import torch
from atlas.training import distill_loss
student_coarse, teacher_coarse = torch.randn(16, 5), torch.randn(16, 1536)
student_fine, teacher_fine = torch.randn(16, 25), torch.randn(16, 1536)
loss_coarse = distill_loss(student_coarse, teacher_coarse)
loss_fine = distill_loss(student_fine, teacher_fine)
total_loss = 0.7 * loss_coarse + 0.3 * loss_fine
"""


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path, monkeypatch):
    """The document's folder with a teacher of 1536 numbers, and its import path."""
    lay_out(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    groups = torch.randn(8, 1536, generator=generator).repeat(10, 1)
    vectors = groups + 0.5 * torch.randn(80, 1536, generator=generator)
    torch.save({"embeddings": vectors, "metadata": {"model": "made here"}}, "models/teacher_1536d.pt")
    torch.manual_seed(0)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "atlas"]:
        del sys.modules[name]


def run(code):
    scope = {}
    exec(code, scope)
    return scope


def test_the_path_has_exactly_the_documented_names():
    """A missing re-export breaks a document that people follow."""
    names = importlib.import_module("atlas.training").__all__
    assert len(names) == 10
    assert all(hasattr(importlib.import_module("atlas.training"), name) for name in names)


def test_basic(capsys):
    """5 against 1536 dimensions."""
    assert run(BASIC)["loss"].item() > 0
    assert capsys.readouterr().out.startswith("Distillation loss: 0.")


def test_configuration(capsys):
    """Defaults as printed."""
    assert run(CONFIGURATION)["custom_config"].tau == 2.0
    assert capsys.readouterr().out == "Teacher dim: 1536, Student dim: 5\nTemperature: 1.0, Alpha: 0.5\n"


def test_curriculum_configuration_prints_the_documented_table(capsys):
    """To the digit."""
    run(CURRICULUM)
    assert capsys.readouterr().out == (
        "Curriculum enabled: True\nStages: 5\nTemperature schedule: (4.0, 0.5)\nStage 0: tau=4.00\nStage 1: tau=3.12\n"
        "Stage 2: tau=2.25\nStage 3: tau=1.38\nStage 4: tau=0.50\n"
    )


def test_combined():
    """0.7 of the distillation and 0.3 of 0.3."""
    scope = run(COMBINED)
    alone = scope["combined_distill_loss"](scope["student"], scope["teacher"], tau=1.0)
    assert scope["total_loss"].item() == pytest.approx(0.7 * alone.item() + 0.09, rel=1e-5)


def test_training_lowers_the_loss_of_every_stage(capsys):
    """The document's whole example, with two epochs a stage; within a stage tau is fixed, so losses compare."""
    assert "range(10)" in TRAINING
    scope = run(TRAINING.replace("range(10)", "range(4)").replace("learning_rate=1e-4", "learning_rate=1e-3"))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch")]
    losses = [float(line.split("loss=")[1].split(",")[0]) for line in lines]
    assert len(losses) == 20
    assert scope["tau"] == 0.5
    assert all(losses[4 * stage + 3] <= losses[4 * stage] for stage in range(5))
    assert losses[-1] < losses[16]


def test_schedule_types():
    """All three end where they should."""
    scope = run(TYPES)
    for kind in ("linear", "exponential", "cosine"):
        assert (scope[kind](0), scope[kind](4)) == (4.0, 0.5)


def test_presets():
    """Three, with the documented differences."""
    assert [(c.batch_size, c.max_epochs, c.curriculum) for c in run(PRESETS)["configs"]] == [
        (32, 100, False),
        (32, 100, True),
        (64, 20, False),
    ]


def test_levels():
    """5 and 25 numbers of one teacher."""
    assert run(LEVELS)["total_loss"].ndim == 0
