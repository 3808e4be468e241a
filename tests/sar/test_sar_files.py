"""The documented YAML files: every key is honoured or refused with its reason, all faults of a file at once."""

import copy
from dataclasses import replace

import pytest
import yaml
from sar_tiny import STUDENT, written

from stillhouse.core.config import ConfigError, to_mapping
from stillhouse.tasks.sar.documented import read_student, read_teacher
from stillhouse.tasks.sar.recipes import FILES, recipe_path

# the teacher's file as it is in the public repository, without its conflict markers
PUBLIC = """
data_dir: /data/maya4
model: {name: s4_ssm, dim_head: 1, input_dim: 2, model_dim: 64, state_dim: 540, output_dim: 1, num_layers: 6, dropout: 0.2,
  use_pos_encoding: true, complex_valued: true, use_selectivity: true, activation_function: gelu}
training: {patience: 50, delta: 0.00001, weight_decay: 0.001, epochs: 300, lr: 0.0001, scheduler_type: cosine,
  loss_fn: complex_mse, save_dir: results, mode: parallel, warmup_epochs: 5, warmup_start_lr: 0.00001}
device: cpu
dataloader:
  data_dir: /data/maya4
  level_from: rc
  level_to: az
  num_workers: 0
  patch_mode: rectangular
  patch_size: [10000, 1]
  buffer: [1000, 1000]
  stride: [10000, 1]
  max_base_sample_size: [5000, 5000]
  shuffle_files: false
  complex_valued: true
  save_samples: false
  backend: zarr
  verbose: false
  cache_size: 1000
  online: true
  concatenate_patches: false
  concat_axis: 0
  positional_encoding: true
  train: {batch_size: 32, samples_per_prod: 1000, patch_order: row, max_products: 5,
    filters: {years: [2023], polarizations: [vv]}}
  validation: {batch_size: 32, samples_per_prod: 1000, patch_order: row, max_products: 5,
    filters: {years: [2024], polarizations: [vv]}}
  test: {batch_size: 32, samples_per_prod: 1000, patch_order: row, max_products: 5,
    filters: {years: [2025], polarizations: [vv]}}
  inference: {batch_size: 32, samples_per_prod: 5000, patch_order: row, max_products: 1,
    filters: {years: [2023], polarizations: [vv]}}
transforms: {normalize: true, complex_valued: true, rc_min: -2000, rc_max: 2000, gt_min: -2000, gt_max: 2000}
"""
REFUSED_HERE = {
    "training.warmup_start_lr",
    "dataloader.max_base_sample_size",
    "dataloader.cache_size",
    "dataloader.online",
    "dataloader.inference",
    "dataloader.train.patch_order",
    "dataloader.validation.patch_order",
    "dataloader.test.patch_order",
    "transforms.rc_min",
    "transforms.rc_max",
    "transforms.gt_min",
    "transforms.gt_max",
}


def public():
    return yaml.safe_load(PUBLIC)


def corrected():
    """Without the keys that are refused."""
    mapping = public()
    for key in REFUSED_HERE:
        block, *path, last = key.split(".")
        inner = mapping[block]
        for part in path:
            inner = inner[part]
        inner.pop(last, None)
    return mapping


def faults(path, read=read_teacher):
    with pytest.raises(ConfigError) as caught:
        read(path)
    return str(caught.value)


def test_every_key_of_the_public_file_is_honoured_or_refused_by_name(tmp_path):
    """None is swallowed: the faults name just the keys that are refused, each with a reason, all at once."""
    text = faults(written(tmp_path / "public.yaml", public()))
    lines = [line.strip().split(": ", 1) for line in text.splitlines()[1:]]
    assert {key for key, _ in lines} == REFUSED_HERE
    assert all(len(reason) > 30 for _, reason in lines)


def test_every_honoured_key_lands_somewhere(tmp_path):
    """Value by value."""
    config = read_teacher(written(tmp_path / "mine.yaml", corrected()))
    model, training, data = config.model, config.training, config.data
    assert (model.input_dim, model.model_dim, model.state_dim, model.output_dim, model.num_layers) == (2, 64, 540, 1, 6)
    assert (model.dropout, model.use_pos_encoding, model.use_selectivity, model.activation_function) == (
        0.2,
        True,
        True,
        "gelu",
    )
    assert (training.patience, training.weight_decay, training.epochs) == (50, 1e-3, 300)
    assert (training.learning_rate, training.schedule, training.warmup_epochs) == (1e-4, "cosine", 5)
    assert (training.batch_size, training.evaluation_batch_size, training.device) == (32, 32, "cpu")
    assert config.delta == 1e-5
    assert config.loss == "mse"
    products = data.products
    assert (products.root, products.level_from, products.level_to) == ("/data/maya4", "rc", "az")
    geometry = (products.row_buffer, products.column_buffer, products.row_stride, products.column_stride)
    assert geometry == (1000, 1000, 10000, 1)
    assert (data.length, data.train, data.validation, data.test) == (10000, 5000, 5000, 5000)
    assert data.position_channel
    assert (products.train_years, products.validation_years, products.test_years) == ((2023,), (2024,), (2025,))
    assert (products.polarizations, products.max_products) == (("vv",), 5)


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("model.dropout", 0.1, lambda c: c.model.dropout),
        ("model.use_selectivity", False, lambda c: c.model.use_selectivity),
        ("model.activation_function", "silu", lambda c: c.model.activation_function),
        ("training.patience", 3, lambda c: c.training.patience),
        ("training.delta", 0.5, lambda c: c.delta),
        ("training.weight_decay", 0.5, lambda c: c.training.weight_decay),
        ("training.epochs", 7, lambda c: c.training.epochs),
        ("training.lr", 0.5, lambda c: c.training.learning_rate),
        ("training.scheduler_type", "constant", lambda c: c.training.schedule),
        ("training.loss_fn", "complex_nmse", lambda c: c.loss),
        ("training.warmup_epochs", 1, lambda c: c.training.warmup_epochs),
        ("training.gradient_clip_val", 0.5, lambda c: c.training.clip_norm),
        ("dataloader.level_from", "rcmc", lambda c: c.data.products.level_from),
        ("dataloader.patch_size", [500, 1], lambda c: c.data.length),
        ("dataloader.buffer", [3, 5], lambda c: c.data.products.column_buffer),
        ("dataloader.stride", [3, 5], lambda c: c.data.products.column_stride),
        ("dataloader.train", {"samples_per_prod": 3, "max_products": 2}, lambda c: c.data.train),
    ],
)
def test_a_changed_value_changes_the_run(tmp_path, key, value, shown):
    """A key that is read into nothing."""
    plain, other = corrected(), corrected()
    for split in ("train", "validation", "test"):
        for mapping in (plain, other):
            mapping["dataloader"][split] = {"filters": mapping["dataloader"][split]["filters"]}
    block, name = key.split(".")
    if name == "train":
        value = {**other[block][name], **value}
    other[block][name] = value
    first, second = (read_teacher(written(tmp_path / f"{n}.yaml", m)) for n, m in enumerate((plain, other)))
    assert shown(first) != shown(second)
    assert to_mapping(first) != to_mapping(second)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("model.use_selectivty", True, "did you mean 'use_selectivity'"),
        ("training.scheduler_type", "plateau", "training.schedule: expected"),
        ("training.num_epochs", 3, "are the same and differ"),
        ("dataloader.patch_size", [100, 4], "expected one range column"),
        ("dataloader.patch_size", 100, r"expected [azimuth, range], got 100"),
        ("dataloader.num_wrokers", 0, "dataloader.num_wrokers: unknown key"),
        ("dataloader.train", {"filters": {"polarizations": ["hh"]}}, "are the same and differ"),
        ("optimizer", {"lr": 1}, "optimizer: unknown key"),
        ("distillation", {"alpha": 1}, "it belongs to the student's file"),
    ],
)
def test_what_cannot_be_honoured_is_said(tmp_path, key, value, words):
    """In the words of the file, not of our classes."""
    mapping = corrected()
    block, _, name = key.partition(".")
    if name:
        mapping.setdefault(block, {})[name] = value
    else:
        mapping[block] = value
    assert words in faults(written(tmp_path / "bad.yaml", mapping))


def test_the_students_file(files, tmp_path):
    """It learns on the teacher's data unless it has its own; alpha and beta alone leave the rest to the features."""
    teacher = read_teacher(files[0])
    config = read_student(files[1], files[0], "x")
    assert config.data == teacher.data
    assert config.teacher == teacher.model
    assert config.objective.weights == (0.3, 0.5, 0.2)
    assert config.objective.temperature == 4.0
    assert config.seeds == 2
    mapping = copy.deepcopy(STUDENT)
    mapping["data"] = {"preset": "toy-128"}
    mapping["seed"] = 3
    with pytest.raises(ConfigError, match="seed: unknown key"):
        read_student(written(tmp_path / "s.yaml", mapping), files[0], "x")
    del mapping["seed"]
    assert read_student(written(tmp_path / "s.yaml", mapping), files[0], "x").data.preset == "toy-128"


def test_shipped_recipes_are_read():
    """The two documented ones at their documented sizes, and the toys."""
    teacher = read_teacher(recipe_path("s4_ssm_complex"))
    student = read_student(recipe_path("s4_ssm_student"), recipe_path("s4_ssm_complex"), "x")
    assert (teacher.model.model_dim, teacher.model.state_dim, teacher.model.num_layers) == (64, 540, 6)
    assert teacher.model.use_selectivity
    assert student.student == replace(teacher.model, use_selectivity=False)
    assert (student.objective.temperature, student.objective.weights) == (4.0, (0.3, 0.5, 0.2))
    read_student(recipe_path("s4_ssm_student_toy"), recipe_path("s4_ssm_complex_toy"), "x")
    assert len(FILES) == 4
    for name, words in (("s4_smm_complex", "did you mean"), ("training/s4_ssm_complex.yaml", "'s4_ssm_complex'")):
        with pytest.raises(ConfigError, match=words):
            recipe_path(name)
