"""Distilling wide embeddings into few dimensions: the ten documented names of the Atlas distillation quickstart.

    from stillhouse.tasks.embed.documented import distill_loss, create_curriculum_schedule, curriculum_distill_step

They keep the document's names, argument names, defaults and error texts. Where the document is wrong (a temperature that changes
nothing, a KL divided by the number of classes, a pickle that may run code), they do what is right and point it out. To train a
student that beats PCA, take `stillhouse embed distill`; these are the pieces for a loop that you write. What needs torch is in
losses.py, loaded when one of its names is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, get_args

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass, parse, to_mapping

ScheduleType = Literal["linear", "exponential", "cosine"]
OF_TORCH = (
    *("combined_distill_loss", "curriculum_distill_step", "distill_loss", "kl_distill_loss"),
    "load_teacher_checkpoint",
)


def __getattr__(name: str) -> Any:
    if name in OF_TORCH:
        return getattr(import_module(f"{__name__}.losses"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class CurriculumSchedule:
    """stage -> temperature; a value, so that it compares, pickles and goes into a checkpoint. See `create_curriculum_schedule`."""

    values: tuple[float, ...]

    def __call__(self, stage: int) -> float:
        """The temperature of a stage, counted from 0; a stage beyond the ends has the temperature of the end."""
        return self.values[min(max(stage, 0), len(self.values) - 1)]


def create_curriculum_schedule(
    start_tau: float, end_tau: float, num_stages: int, schedule_type: ScheduleType = "linear"
) -> CurriculumSchedule:
    """Temperatures of a curriculum: many neighbors count at first (high tau), the nearest at the end (low tau).

    No falling schedule was better than one temperature where that was measured (docs/embedding.md): a low one alone was as good or
    better.

    Args:
        start_tau: of stage 0.
        end_tau: of the last stage, above 0.
        num_stages: how many; a single stage has `start_tau`.
        schedule_type: `linear`: equal differences. `exponential`: equal ratios, which falls fastest at FIRST (in the document:
            the opposite). `cosine`: slow at both ends, the gentle start.

    Returns:
        A picklable object: call it with a stage; `.values` lists all.

    Raises:
        InputError: a temperature that is not positive, start not above end, no stage, an unknown type.

    Example:
        >>> for kind in ("linear", "exponential", "cosine"):
        ...     print(" ".join(f"{tau:.3f}" for tau in create_curriculum_schedule(4.0, 0.5, 5, kind).values))
        4.000 3.125 2.250 1.375 0.500
        4.000 2.378 1.414 0.841 0.500
        4.000 3.487 2.250 1.013 0.500

    Source: Bengio et al. 2009 (curriculum learning); Jafari et al. 2021, arXiv:2104.07163 (annealed temperature).
    """
    if not 0 < end_tau < math.inf:
        raise InputError(f"end_tau must be positive, got {end_tau}")
    if not end_tau < start_tau < math.inf:
        raise InputError(f"start_tau must be greater than end_tau, got {start_tau} and {end_tau}")
    if num_stages < 1:
        raise InputError(f"num_stages must be at least 1, got {num_stages}")
    if schedule_type not in get_args(ScheduleType):
        raise InputError(f"schedule_type must be 'linear', 'exponential', or 'cosine', got {schedule_type}")
    shares = [stage / max(1, num_stages - 1) for stage in range(num_stages)]
    if schedule_type == "exponential":
        return CurriculumSchedule(tuple(start_tau * (end_tau / start_tau) ** p for p in shares))
    if schedule_type == "cosine":
        shares = [(1.0 - math.cos(math.pi * p)) / 2.0 for p in shares]
    return CurriculumSchedule(tuple(start_tau - (start_tau - end_tau) * p for p in shares))


@configclass
class DistillationConfig:
    """What the document's training loop reads; frozen, so that nobody who changes a preset changes it for all.

    Attributes:
        teacher_checkpoint: file for `load_teacher_checkpoint`.
        teacher_dim: width of the teacher's vectors.
        student_dim: width of the student's.
        tau: temperature without a curriculum.
        alpha: share of the distillation loss beside a reconstruction loss.
        loss_type: `cosine` for vectors, `kl` for logits.
        device: `auto` takes CUDA where there is one.
        curriculum: whether the temperature changes by stage.
        curriculum_stages: how many stages.
        curriculum_tau_schedule: temperature of the first and of the last.
        batch_size: rows of a step; a relational loss needs at least 3.
        learning_rate: of the optimizer (1e-3 suits a linear student better than the documented 1e-4).
        max_epochs: passes over the data.
        save_dir: folder of checkpoints.
        save_every: epochs between two of them.
        validation_split: share of rows held out.
        early_stopping_patience: epochs without improvement.
        schedule_type: how the temperature goes from first to last (the document's configuration knew `linear` alone).
    """

    teacher_checkpoint: str | None = None
    teacher_dim: int = Field(default=1536, gt=0)
    student_dim: int = Field(default=5, gt=0)
    tau: float = Field(default=1.0, gt=0)
    alpha: float = Field(default=0.5, ge=0, le=1)
    loss_type: Literal["cosine", "kl"] = "cosine"
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    curriculum: bool = False
    curriculum_stages: int = 3
    curriculum_tau_schedule: tuple[float, float] = (3.0, 0.5)
    batch_size: int = Field(default=32, gt=0)
    learning_rate: float = Field(default=1e-4, gt=0)
    max_epochs: int = Field(default=100, gt=0)
    save_dir: str = "checkpoints"
    save_every: int = Field(default=10, gt=0)
    validation_split: float = 0.1
    early_stopping_patience: int = 5
    schedule_type: ScheduleType = "linear"

    def __post_init__(self) -> None:
        self.get_tau_for_stage(0)  # judges start, end and type

    def get_tau_for_stage(self, stage: int) -> float:
        """The temperature of a stage: `tau` without a curriculum; a stage beyond the ends has the temperature of the end.

        Example:
            >>> [f"{CURRICULUM_CONFIG.get_tau_for_stage(stage):.2f}" for stage in range(5)]
            ['4.00', '3.12', '2.25', '1.38', '0.50']
        """
        if not self.curriculum:
            return self.tau
        first, last = self.curriculum_tau_schedule
        return create_curriculum_schedule(first, last, self.curriculum_stages, self.schedule_type)(stage)


DEFAULT_OPENAI_CONFIG = DistillationConfig()
"""1536 -> 5, tau 1, no curriculum."""

CURRICULUM_CONFIG = DistillationConfig(
    tau=2.0, alpha=0.7, curriculum=True, curriculum_stages=5, curriculum_tau_schedule=(4.0, 0.5)
)
"""Five stages from tau 4 to 0.5 (`tau` itself is not read); no better than one temperature where that was measured."""

FAST_CONFIG = DistillationConfig(tau=0.5, batch_size=64, max_epochs=20)
"""Fewer epochs of LARGER batches (64 against 32; smaller in the document)."""


# ------------------------------------------------------------------------------- documented settings as those of a run

PRESETS: Mapping[str, DistillationConfig] = {  # recipes, whose files say the same in our settings
    "embedding-documented": DEFAULT_OPENAI_CONFIG,
    "embedding-documented-curriculum": CURRICULUM_CONFIG,
    "embedding-documented-fast": FAST_CONFIG,
}
DOCUMENTED = set(DistillationConfig.__dataclass_fields__) - {"teacher_dim"}
PRESET_KEYS = DOCUMENTED - {"teacher_checkpoint", "save_dir", "save_every"}
PLACES = {
    "teacher_checkpoint": ("data", "path"),
    "validation_split": ("data", "validation_fraction"),
    "batch_size": ("training", "batch_size"),
    "learning_rate": ("training", "learning_rate"),
    "max_epochs": ("training", "epochs"),
    "device": ("training", "device"),
    "early_stopping_patience": ("training", "patience"),
}


def documented(settings: Mapping[str, Any], preset: DistillationConfig | None = None) -> dict[str, Any]:
    """Documented settings as changes of a run, on top of a preset if its recipe is what the run starts from.

    A temperature, or a curriculum of them, compares directions (output `sphere`); without one rows are compared by perplexity.
    `alpha` is the share of what is learnt from the teacher's relations, the rest goes to rebuilding its vector.
    `loss_type: kl` takes the vectors as scores of classes, of which the codes are as many. Epochs are passes over the rows.
    `save_dir` and `save_every` belong to the command (`--out`; each validation is saved).

    Raises:
        ConfigError: an unknown setting, or one that cannot be honoured here.

    Example:
        >>> change = documented({"teacher_checkpoint": "t.npy", "student_dim": 5, "alpha": 0.7, "max_epochs": 20})
        >>> change["data"], change["student"], change["training"]
        ({'path': 't.npy'}, {'levels': [5]}, {'epochs': 20})
        >>> {name: value if name == "epoch_steps" else round(value, 3) for name, value in change["loss"].items()}
        {'epoch_steps': 'pass', 'neighbor_weight': 0.7, 'global_weight': 0.7, 'reconstruction_weight': 0.3}
    """
    start = {} if preset is None else {key: value for key, value in to_mapping(preset).items() if key in PRESET_KEYS}
    given = {**start, **settings}
    whole = parse(DistillationConfig, given)
    change: dict[str, Any] = {"student": {}, "loss": {}}
    for key, (part, name) in PLACES.items():
        if key in given:
            change.setdefault(part, {})[name] = given[key]
    student, loss = change["student"], change["loss"]
    if "teacher_dim" in given:
        change["teacher_dim"] = whole.teacher_dim
    if "student_dim" in given:
        student["levels"] = [whole.student_dim]
    if "max_epochs" in given:
        loss["epoch_steps"] = "pass"
    classes = whole.loss_type == "kl"
    if "alpha" in given:
        loss |= dict.fromkeys(("class_weight",) if classes else ("neighbor_weight", "global_weight"), whole.alpha)
        loss["reconstruction_weight"] = round(1 - whole.alpha, 12)
    if classes:
        loss |= {"class_weight": loss.get("class_weight", 1.0), "neighbor_weight": 0.0, "global_weight": 0.0}
        student |= {"normalize": False, "output": "euclidean"}
    if whole.curriculum or "tau" in given:
        stages = whole.curriculum_stages if whole.curriculum else 1
        loss |= {"tau": [whole.get_tau_for_stage(stage) for stage in range(stages)], "guard_weight": 0.0}
        student |= {} if classes else {"output": "sphere"}
    return {part: new for part, new in change.items() if new != {}}
