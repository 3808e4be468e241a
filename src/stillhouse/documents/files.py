"""The files that the documents call, a few lines each, laid out in a folder of the user's.

`atlas` and `model` are laid out there and not installed: names as general as these in site-packages would stand in the way of
every program that has a module of that name. `fptm_ste` is installed with stillhouse.
"""

from __future__ import annotations

import shlex
import sys
from functools import partial
from importlib import resources
from pathlib import Path
from typing import IO

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.records import write_atomically

SOURCE = """# source SOURCE.THIS: the environment that stillhouse is installed in, and the import paths of the documents
# from wherever you are, in bash and zsh; a shell that does not say which file it reads (sh): from this folder
_documents="$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE:-$0}")" && pwd)"
[ -f "$_documents/SOURCE.THIS" ] || _documents="$PWD"
if [ -f "$_documents/SOURCE.THIS" ]; then
    . "$_documents/venv/bin/activate"
    export PYTHONPATH="$_documents:$_documents/python${PYTHONPATH:+:$PYTHONPATH}"
else
    echo "SOURCE.THIS: this shell does not say where the file lies: cd to its folder, then . ./SOURCE.THIS" >&2
fi
unset _documents
"""
ACTIVATE = """# puts the Python that laid out this folder first
export PATH=%s${PATH:+:$PATH}
"""
REQUIREMENTS = """stillhouse[train]
matplotlib
tensorboard
"""
CONFTEST = '''"""Tests import from this folder."""
'''
RUNNER = '''"""Documents 000, 001: `stillhouse vision`; runs/run_mnist_equiv-1, -2, ... keep what it finds."""

import sys

from stillhouse.documents.programs import vision

sys.exit(vision(sys.argv[1:]))
'''
CALLS_MAIN = '''"""Document {document}: `{module}`."""

import sys

from {module} import main

sys.exit(main())
'''
CALLS_PROGRAM = '''"""Document 002: {about}."""

import sys

from stillhouse.documents.programs import {name}

sys.exit({name}(sys.argv[1:]))
'''
TEST_TRANSFORMER = '''"""Document 000: clause metrics and specialization."""

import torch
from fptm_ste.tm_transformer import UnifiedTMTransformer

from stillhouse.tasks.classification.specialize import has_clauses, set_gains

VIT = {"image_size": 8, "in_channels": 1, "num_classes": 4, "patch_size": 4, "embed_dim": 16, "depths": 2, "num_heads": 2}


def model(**more):
    torch.manual_seed(0)
    return UnifiedTMTransformer(**{**VIT, "tm_clauses": 12, **more}).eval()


def test_every_block_measures_its_clauses():
    logits, notes = model()(torch.rand(5, 1, 8, 8), collect_diagnostics=True)
    assert logits.shape == (5, 4)
    assert [len(mean) for mean in notes.clause_mean.values()] == [12, 12]
    assert [len(mean) for mean in notes.head_mean.values()] == [2, 2]


def test_specialization_turns_heads_up_and_down():
    one, images = model(), torch.rand(3, 1, 8, 8)
    assert has_clauses(one)
    before = one(images)
    _, notes = one(images, collect_diagnostics=True)
    set_gains(one, {block: torch.tensor([3.0, 1.0]) for block in notes.head_mean}, 1.0)
    assert not torch.allclose(before, one(images))


def test_a_student_comes_back_from_its_own_settings():
    one, images = model(backend="deeptm"), torch.rand(3, 1, 8, 8)
    again = UnifiedTMTransformer(**one.model_kwargs)
    again.load_state_dict(one.state_dict())
    assert torch.equal(again.eval()(images), one(images))
'''
TEST_VISUALIZATION = '''"""Document 000: overlays."""

import pytest
import torch
from fptm_ste.tm_transformer import UnifiedTMTransformer
from fptm_ste.visualization import maps_of

pytest.importorskip("matplotlib")


def test_maps_have_a_value_for_every_patch_and_follow_the_image():
    torch.manual_seed(0)
    model = UnifiedTMTransformer(
        image_size=8, in_channels=1, num_classes=4, patch_size=2, embed_dim=16, depths=2, num_heads=2, tm_clauses=12
    ).eval()
    attention, clauses, logits = maps_of(model, torch.rand(3, 1, 8, 8))
    assert attention.shape == clauses.shape == (3, 4, 4)
    assert logits.shape == (3, 4)
    assert (attention.std(0) > 0).all()
    assert (clauses >= 0).all() and (clauses > 0).any()
'''
DISTILLATION = '''"""Document 002: losses, signals and the run of networks that focus radar."""

from stillhouse.core.experiment import run
from stillhouse.tasks.sar.documented import read_student, read_teacher
from stillhouse.tasks.sar.plan import SarObjective
from stillhouse.tasks.sar.task import TASK, train

__all__ = ["TASK", "SarObjective", "read_student", "read_teacher", "run", "train"]
'''
MODEL_UTILS = '''"""`from model.model_utils import get_model_from_configs`, as document 002 loads a student.

Its dictionary ends in "other parameters": they are those of training/s4_ssm_student.yaml.
"""

from stillhouse.tasks.sar import documented


def get_model_from_configs(**config):
    """The network of a `model:` block; keys that are left out are those of the documented files."""
    return documented.get_model_from_configs(**{"activation_function": "gelu", "dropout": 0.2, **config})
'''
ATLAS = '''"""`from atlas.training import ...`: the ten names of document 004."""

from stillhouse.tasks.embed.documented import (
    CURRICULUM_CONFIG,
    DEFAULT_OPENAI_CONFIG,
    FAST_CONFIG,
    DistillationConfig,
    combined_distill_loss,
    create_curriculum_schedule,
    curriculum_distill_step,
    distill_loss,
    kl_distill_loss,
    load_teacher_checkpoint,
)

__all__ = [
    "CURRICULUM_CONFIG",
    "DEFAULT_OPENAI_CONFIG",
    "FAST_CONFIG",
    "DistillationConfig",
    "combined_distill_loss",
    "create_curriculum_schedule",
    "curriculum_distill_step",
    "distill_loss",
    "kl_distill_loss",
    "load_teacher_checkpoint",
]
'''
EXAMPLE = '''"""Document 004: embeddings of a teacher distilled into five numbers by a linear map, stage by stage.

python examples/distillation_example.py
"""

import sys
from pathlib import Path

import torch

HOME = Path(__file__).parents[1]
sys.path.insert(0, str(HOME))

from atlas.training import CURRICULUM_CONFIG, create_curriculum_schedule, curriculum_distill_step, load_teacher_checkpoint

config = CURRICULUM_CONFIG
vectors = load_teacher_checkpoint(HOME / "models" / "teacher_1536d.pt", device="cpu")["embeddings"]
torch.manual_seed(0)
student = torch.nn.Linear(vectors.shape[1], config.student_dim)
optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
schedule = create_curriculum_schedule(*config.curriculum_tau_schedule, config.curriculum_stages, "linear")
for stage in range(config.curriculum_stages):
    for _ in range(10):
        for batch in vectors.split(config.batch_size):
            loss, tau = curriculum_distill_step(student(batch), batch, stage, schedule, alpha=0.7)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    print(f"stage {stage}: tau {tau:.2f}, loss {loss.item():.3g}")
'''
TEST_DISTILL = '''"""Document 004: the losses."""

import pytest
import torch
from atlas.training import combined_distill_loss, create_curriculum_schedule, distill_loss, kl_distill_loss


def test_a_student_that_is_the_teacher_has_nothing_to_learn():
    vectors = torch.randn(8, 5)
    assert distill_loss(vectors, vectors).item() == pytest.approx(0, abs=1e-5)
    assert kl_distill_loss(vectors, vectors).item() == pytest.approx(0, abs=1e-6)
    assert distill_loss(torch.randn(8, 5), torch.randn(8, 1536)).item() > 0


def test_alpha_shares_between_distillation_and_reconstruction():
    student, teacher = torch.randn(8, 5), torch.randn(8, 1536)
    alone = combined_distill_loss(student, teacher)
    both = combined_distill_loss(student, teacher, reconstruction_loss=torch.tensor(0.3), alpha=0.7)
    assert both.item() == pytest.approx(0.7 * alone.item() + 0.3 * 0.3, rel=1e-5)


@pytest.mark.parametrize("kind", ["linear", "exponential", "cosine"])
def test_schedules_fall_from_start_to_end(kind):
    schedule = create_curriculum_schedule(4.0, 0.5, 5, kind)
    taus = [schedule(stage) for stage in range(5)]
    assert (taus[0], taus[-1]) == (4.0, 0.5)
    assert taus == sorted(taus, reverse=True)
'''
HIERARCHY = """# Architecture

A student of stillhouse may have levels: 5 numbers, then 25. Networks: `stillhouse.tasks.embed.students`. Losses of document 004:
`stillhouse.tasks.embed.documented`. Runs: `stillhouse embed distill --help`.
"""
LINES = """# The products of the documented run are not in this folder, so lines are simulated;
# `stillhouse sar train --config s4_ssm_complex` reads products from disk.
data:
  preset: toy-64
  position_channel: true
  train: 512
  validation: 64
  test: 128
"""

FILES: dict[str, str] = {
    "SOURCE.THIS": SOURCE,
    "requirements.txt": REQUIREMENTS,
    "conftest.py": CONFTEST,
    "python/fptm_ste/tests/run_mnist_equiv.py": RUNNER,
    "python/fptm_ste/benchmark_profiles.py": CALLS_MAIN.format(document="001", module="fptm_ste.benchmark_profiles"),
    "python/fptm_ste/imagenet_sweeps.py": CALLS_MAIN.format(document="000", module="fptm_ste.imagenet_sweeps"),
    "python/fptm_ste/tests/test_tm_transformer.py": TEST_TRANSFORMER,
    "python/fptm_ste/tests/test_visualization.py": TEST_VISUALIZATION,
    "training_script.py": CALLS_PROGRAM.format(name="train", about="`stillhouse sar train`"),
    "training/distillation_script.py": CALLS_PROGRAM.format(name="distill", about="`stillhouse sar distill`"),
    "training/distillation_example.py": CALLS_PROGRAM.format(name="example", about="compare, print and run"),
    "training/knowledge_distillation.py": DISTILLATION,
    "model/__init__.py": '"""The import path of document 002; all work is done by stillhouse."""\n',
    "model/model_utils.py": MODEL_UTILS,
    "atlas/__init__.py": '"""The import path of document 004; all work is done by stillhouse."""\n',
    "atlas/training/__init__.py": ATLAS,
    "examples/distillation_example.py": EXAMPLE,
    "tests/test_distill.py": TEST_DISTILL,
    "docs/HIERARCHICAL_IMPLEMENTATION.md": HIERARCHY,
}
VECTORS = "models/teacher_1536d.pt"


def lay_out(folder: Path) -> list[str]:
    """Write the documents' files into a folder; one that is there and differs is kept as it is.

    Args:
        folder: is made.

    Returns:
        Names of the files that were kept because they differ.

    Raises:
        InputError: the folder cannot be written.
    """
    files = {**FILES, "venv/bin/activate": ACTIVATE % shlex.quote(str(Path(sys.executable).parent)), **_recipes()}
    kept = []
    try:
        for name, text in files.items():
            path = folder / name
            if path.is_file():
                if path.read_text(encoding="utf-8") != text:
                    kept.append(name)
                continue
            write_atomically(path, partial(_fill, text.encode()))
        if not (folder / VECTORS).is_file():
            write_atomically(folder / VECTORS, _fill_vectors)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from None
    return kept


def _recipes() -> dict[str, str]:
    """The YAML files of document 002: the networks and trainings of the shipped recipes, on simulated lines."""
    shipped = resources.files("stillhouse.tasks.sar.recipes")
    files = (shipped / "teachers" / "s4_ssm_complex.yaml", shipped / "s4_ssm_student.yaml")
    teacher, student = (file.read_text(encoding="utf-8") for file in files)
    head, _, _ = teacher.partition("dataloader:")
    head = "".join(line for line in head.splitlines(keepends=True) if not line.startswith(("#", "data_dir:")))
    return {"training/s4_ssm_complex.yaml": LINES + head, "training/s4_ssm_student.yaml": student}


def _fill(text: bytes, file: IO[bytes]) -> None:
    file.write(text)


def _fill_vectors(file: IO[bytes]) -> None:
    """Document 004's teacher in its form: 256 rows of 1536 numbers in 8 groups, drawn here. Put your own in its place."""
    import torch

    drawn = np.random.default_rng(0)
    vectors = drawn.standard_normal((8, 1536)).repeat(32, 0) + 0.5 * drawn.standard_normal((256, 1536))
    held = {
        "embeddings": torch.from_numpy(vectors.astype(np.float32)),
        "metadata": {"source": "drawn by stillhouse documents"},
    }
    torch.save(held, file)
