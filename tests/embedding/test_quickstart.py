"""What document 004 shows, from its own import path; tests/documents runs its snippets as printed."""

import importlib
import sys

import pytest
import torch

from stillhouse.compat.documents import write_document_files


@pytest.fixture
def atlas(tmp_path, monkeypatch):
    """The document's folder with a teacher of 1536 numbers, and its import path."""
    write_document_files(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    groups = torch.randn(8, 1536, generator=generator).repeat(10, 1)
    vectors = groups + 0.5 * torch.randn(80, 1536, generator=generator)
    torch.save({"embeddings": vectors, "metadata": {"model": "made here"}}, "models/teacher_1536d.pt")
    torch.manual_seed(0)
    yield importlib.import_module("atlas.training")
    for name in [name for name in sys.modules if name.split(".")[0] == "atlas"]:
        del sys.modules[name]


def test_the_path_has_exactly_the_documented_names(atlas):
    """A missing re-export breaks a document that people follow."""
    assert len(atlas.__all__) == 10
    assert all(hasattr(atlas, name) for name in atlas.__all__)


def test_basic(atlas):
    """5 against 1536 dimensions."""
    loss = atlas.distill_loss(torch.randn(32, 5), torch.randn(32, 1536))
    assert f"Distillation loss: {loss.item():.4f}".startswith("Distillation loss: 0.")


def test_configuration(atlas):
    """Defaults as printed."""
    config = atlas.DEFAULT_OPENAI_CONFIG
    assert (config.teacher_dim, config.student_dim, config.tau, config.alpha) == (1536, 5, 1.0, 0.5)
    given = {
        "teacher_checkpoint": "models/teacher_1536d.pt",
        "teacher_dim": 1536,
        "student_dim": 5,
        "tau": 2.0,
        "alpha": 0.7,
    }
    assert atlas.DistillationConfig(**given, device="cpu").tau == 2.0


def test_curriculum_configuration_prints_the_documented_table(atlas):
    """To the digit."""
    config = atlas.CURRICULUM_CONFIG
    assert (config.curriculum, config.curriculum_stages, config.curriculum_tau_schedule) == (True, 5, (4.0, 0.5))
    taus = [f"{config.get_tau_for_stage(stage):.2f}" for stage in range(5)]
    assert taus == ["4.00", "3.12", "2.25", "1.38", "0.50"]


def test_combined(atlas):
    """0.7 of the distillation and 0.3 of 0.3."""
    given = {"student_vec": torch.randn(16, 5), "teacher_vec": torch.randn(16, 1536), "tau": 1.0}
    total = atlas.combined_distill_loss(**given, reconstruction_loss=torch.tensor(0.3), alpha=0.7)
    assert total.item() == pytest.approx(0.7 * atlas.combined_distill_loss(**given).item() + 0.09, rel=1e-5)


def test_training_lowers_the_loss_of_every_stage(atlas):
    """The document's whole example, with four epochs a stage; within a stage tau is fixed, so losses compare."""
    settings = {"curriculum": True, "curriculum_stages": 5, "curriculum_tau_schedule": (4.0, 0.5), "alpha": 0.7}
    config = atlas.DistillationConfig(teacher_checkpoint="models/teacher_1536d.pt", learning_rate=1e-3, **settings)
    vectors = atlas.load_teacher_checkpoint(config.teacher_checkpoint, device=config.device)["embeddings"]
    student = torch.nn.Linear(1536, 5)
    optimizer = torch.optim.Adam(student.parameters(), lr=config.learning_rate)
    schedule = atlas.create_curriculum_schedule(*config.curriculum_tau_schedule, config.curriculum_stages, "linear")
    for stage in range(config.curriculum_stages):
        losses = []
        for _ in range(4):
            losses.append(0.0)
            for batch in vectors.split(config.batch_size):
                loss, tau = atlas.curriculum_distill_step(
                    student_vec=student(batch),
                    teacher_vec=batch,
                    stage=stage,
                    tau_schedule=schedule,
                    alpha=config.alpha,
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses[-1] += loss.item()
        assert losses[-1] <= losses[0]
    assert losses[-1] < losses[0]
    assert tau == 0.5


def test_schedule_types(atlas):
    """All three end where they should."""
    for kind in ("linear", "exponential", "cosine"):
        schedule = atlas.create_curriculum_schedule(4.0, 0.5, 5, kind)
        assert (schedule(0), schedule(4)) == (4.0, 0.5)


def test_presets(atlas):
    """Three, with the documented differences."""
    presets = (atlas.DEFAULT_OPENAI_CONFIG, atlas.CURRICULUM_CONFIG, atlas.FAST_CONFIG)
    assert [(c.batch_size, c.max_epochs, c.curriculum) for c in presets] == [
        (32, 100, False),
        (32, 100, True),
        (64, 20, False),
    ]


def test_levels(atlas):
    """5 and 25 numbers of one teacher."""
    teacher = torch.randn(16, 1536)
    coarse, fine = (atlas.distill_loss(torch.randn(16, width), teacher) for width in (5, 25))
    assert 0.7 * coarse + 0.3 * fine > 0
