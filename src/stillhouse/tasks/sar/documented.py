"""The documented YAML files: every key is honoured, or refused with its reason. Torch only where a network is named.

A file has the documented blocks `model`, `training`, `dataloader`, `transforms`, `distillation`, `device`, `data_dir`; beside their
documented keys, blocks take the names of our own settings. `data` (a `SarConfig`, for simulated lines) may stand in place of
`dataloader`. All faults of a file are listed at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, load_yaml, parse, settings
from stillhouse.tasks.sar.data import ProductsConfig, SarConfig
from stillhouse.tasks.sar.objective import SarObjective
from stillhouse.tasks.sar.plan import SarDistillConfig, SarTrainConfig, SarTraining
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.students.keys import Keys
from stillhouse.training.config import TrainingConfig

Block = dict[str, Any]

TOP = (
    "name", "data_dir", "model", "training", "device", "data", "dataloader", "transforms", "distillation", "arms", "seeds", "seed",
    "wandb", "compare",
)  # fmt: skip
RUN_LEVEL = (
    "signals",
    "stages",
    "teacher_assistants",
    "init_from_teacher",
    "curriculum",
    "difficulty_model",
)  # of every task, in a student's file
FILTERS = ("years", "polarizations", "beams", "parts")
WORDS = {"mse": {"mse": 1.0, "nmse": 0.0}, "nmse": {"nmse": 1.0}}
LOSSES = {"complex_mse": {"mse": 1.0, "nmse": 0.0}, "complex_nmse": {"nmse": 1.0}}

COMPLEX = (True, "focusing turns phases; real parts apart cannot")
COLUMN = "a sample is one range column"
TRAINING = Keys(
    names={
        "num_epochs": "epochs",
        "lr": "learning_rate",
        "scheduler_type": "schedule",
        "gradient_clip_val": "clip_norm",
        "accumulate_grad_batches": "accumulate",
    },
    fixed={"mode": ("parallel", "the step form of the same weights is `stillhouse sar stream`")},
    refused={
        "warmup_start_lr": "the warm-up starts at a hundredth of the learning rate; warmup_epochs is its length",
        "wrapper": "networks take lines of any length, so there is no overlap-add wrapper",
    },
    extra=("loss_fn", "save_dir", "delta"),
)
LOADER = Keys(
    names={"data_dir": "root", "cache_size": "cache_chunks", "positional_encoding": "position_channel"},
    fixed={
        "num_workers": (0, "lines are held in memory"),
        "patch_mode": (
            "rectangular",
            "azimuth lines are straight after range cell migration correction (level_from: rcmc)",
        ),
        "shuffle_files": (False, "patches are drawn over whole products and shuffled every epoch"),
        "complex_valued": COMPLEX,
        "save_samples": (False, "`stillhouse sar simulate` writes data to disk"),
        "backend": ("zarr", "products are Zarr"),
        "verbose": (False, "the progress bar shows where the run is"),
        "online": (False, "products are read from disk; download them first"),
        "concatenate_patches": (False, COLUMN),
        "concat_axis": (0, COLUMN),
    },
    refused={
        "max_base_sample_size": "the size is read from the product",
        "inference": "`stillhouse sar evaluate` and `stream` are given what they read",
    },
    extra=("patch_size", "buffer", "stride", "train", "validation", "test"),
)
SPLIT = Keys(
    refused={
        "patch_order": "patches are drawn at random over a product: the first ones of any order would be one narrow strip"
    }
)
TRANSFORMS = Keys(
    fixed={"normalize": (True, "lines are always divided by one RMS a side"), "complex_valued": COMPLEX},
    refused=dict.fromkeys(
        ("rc_min", "rc_max", "gt_min", "gt_max"),
        "min-max scaling puts 97 % of a zero-mean signal's power into a constant; lines are divided by their RMS instead",
    ),
)
LOADER_BLOCKS = ("dataloader", "transforms", "data_dir")
LINES = ("data", *LOADER_BLOCKS)  # what decides which lines a run sees


def read_teacher(path: str | Path, changes: Mapping[str, Any] | None = None) -> SarTrainConfig:
    """The run that trains a network, from a documented file.

    Args:
        path: of the YAML file.
        changes: laid over it, as `{"training": {"epochs": 3}}`; a None takes a key away.

    Raises:
        ConfigError: broken YAML, conflict markers, or any key or value that cannot be honoured: all of them are listed.
    """
    file = _File(path, changes)
    file.unwanted(("distillation", "arms", "seeds", *RUN_LEVEL), "it belongs to the student's file")
    training, extra = file.training()
    found: Block = {
        "name": file.top.get("name", Path(path).stem),
        "data": file.data(training),
        "model": file.model(),
        "training": training,
        "loss": extra.get("loss", {}),
        **{key: file.top[key] for key in ("seed", "wandb", "compare") if key in file.top},
        **{key: extra[key] for key in ("delta",) if key in extra},
    }
    return file.finished(SarTrainConfig, found)


def read_student(
    path: str | Path, teacher: SarTrainConfig, checkpoint: str, changes: Mapping[str, Any] | None = None
) -> SarDistillConfig:
    """The run that distils a student, from a documented file, its teacher's and the teacher's weights.

    Args:
        path: of the YAML file; without `data` and `dataloader` it takes the teacher's data.
        teacher: what `read_teacher` gave.
        checkpoint: the teacher's run folder or file of weights.
        changes: as `read_teacher`.

    Raises:
        ConfigError: as `read_teacher`.
    """
    file = _File(path, changes)
    file.unwanted(("seed",), "arms run under seeds: 0, 1, ...; seeds is their number")
    training, extra = file.training()
    found: Block = {
        "name": file.top.get("name", Path(path).stem),
        "data": file.data(training) if {"data", "dataloader"} & set(file.top) else teacher.data,
        "teacher": teacher.model,
        "teacher_checkpoint": checkpoint,
        "student": file.model(),
        "training": training,
        "objective": file.objective(extra),
        **{key: file.top[key] for key in ("arms", "seeds", "wandb", "compare", *RUN_LEVEL) if key in file.top},
        **{key: extra[key] for key in ("delta",) if key in extra},
    }
    return file.finished(SarDistillConfig, found)


def read_distillation(
    teacher_path: str | Path, student_path: str | Path, checkpoint: str, changes: Mapping[str, Any] | None = None
) -> SarDistillConfig:
    """The run that distils a student, from both documented files, on the lines that `read_teacher` would see with these changes.

    Args:
        teacher_path: of the teacher's YAML file.
        student_path: of the student's. If it has lines of its own, changes of the lines are laid over those.
        checkpoint: the teacher's run folder or file of weights.
        changes: as `read_teacher`; those of the lines are laid over the file that the lines come from, all others over the
            student's.

    Raises:
        ConfigError: as `read_teacher`.
    """
    given = changes or {}
    lines = {key: value for key, value in given.items() if key in LINES}
    own = bool({"data", "dataloader"} & set(read_yaml(student_path)))
    # a file of lines takes the place of those of both files: a teacher's file without any is then whole
    teacher = read_teacher(teacher_path, lines if not own or _of_a_file(lines.get("data")) else None)
    return read_student(
        student_path, teacher, checkpoint, given if own else {key: given[key] for key in given if key not in LINES}
    )


def save_folder(path: str | Path) -> str | None:
    """`training.save_dir` of a file, where it has one."""
    training = read_yaml(path).get("training")
    return str(training["save_dir"]) if isinstance(training, dict) and training.get("save_dir") else None


def read_yaml(path: str | Path) -> Block:
    """A YAML file whose top is a mapping and in which no key stands twice.

    Raises:
        ConfigError: missing, not YAML, a key that stands twice, or the markers of an unresolved merge.
    """
    try:
        return load_yaml(path)
    except ConfigError:
        lines = Path(path).read_bytes().splitlines() if Path(path).is_file() else []
        marked = [str(n) for n, line in enumerate(lines, 1) if re.match(rb"(<<<<<<<|=======|>>>>>>>)(\s|$)", line)]
        if marked:
            raise ConfigError(
                f"{path}: merge-conflict markers in lines {', '.join(marked)}: two versions of this file were never reconciled; "
                "keep one of them"
            ) from None
        raise


class _File:
    """One documented file on its way to our configuration; faults are collected and raised together."""

    def __init__(self, path: str | Path, changes: Mapping[str, Any] | None) -> None:
        self.path, self.faults = path, list[str]()
        base = read_yaml(path)
        if _of_a_file((changes or {}).get("data")):  # lines of another radar: nothing of the file's fits
            base = {key: value for key, value in base.items() if key not in LINES}
        self.top: Block = _changed(base, changes or {})
        self._read("", self.top, Keys(), [*TOP, *RUN_LEVEL])

    def finished(self, kind: Any, found: Block) -> Any:
        """The configuration, or all faults."""
        found["training"].setdefault("batch_size", TrainingConfig().batch_size)  # what a file without one means
        if not self.faults:
            try:
                return parse(kind, found)
            except ConfigError as error:
                self.faults += str(error).splitlines()
        raise ConfigError(f"{self.path}:\n  " + "\n  ".join(self.faults))

    def unwanted(self, keys: Iterable[str], why: str) -> None:
        """Top-level keys of the other file."""
        self.faults += [f"{key}: {why}; leave it out" for key in keys if key in self.top]

    def model(self) -> StateSpaceConfig:
        """The `model` block, judged by the factory that the document names."""
        from stillhouse.tasks.sar.students.documented import get_model_from_configs

        try:
            return get_model_from_configs(**self._block("model")).config
        except (InputError, ConfigError) as error:
            self.faults += [line if line.startswith("model") else f"model.{line}" for line in str(error).splitlines()]
        return StateSpaceConfig()

    def training(self) -> tuple[Block, Block]:
        """(settings of the loop, loss and delta)."""
        own = set(settings(SarTraining)) - {"delta"}  # an optimizer's; the documented one belongs to patience
        found = self._read("training", self._block("training"), TRAINING, own)
        extra: Block = {}
        if "loss_fn" in found:
            chosen = str(found["loss_fn"])
            if chosen not in LOSSES:
                self.faults.append(f"training.loss_fn: expected one of {', '.join(LOSSES)}, got {chosen!r}")
            extra["loss"] = LOSSES.get(chosen, {})
        if "delta" in found:
            extra["delta"] = found["delta"]
        if found.get("schedule") not in (None, "cosine", "constant"):
            self.faults.append(f"training.scheduler_type: expected cosine or constant, got {found['schedule']!r}")
            del found["schedule"]
        base: Block = {"learning_rate": TrainingConfig().learning_rate, "final_learning_rate": 0.0}
        if "device" in self.top:
            base["device"] = self.top["device"]
        return {**base, **{key: value for key, value in found.items() if key in own}}, extra

    def objective(self, extra: Block) -> Block:
        """The `distillation` block; `training.loss_fn` is that of the student term unless it has its own."""
        found = self._read("distillation", self._block("distillation"), Keys(), settings(SarObjective))
        for name in ("student_loss", "distillation_loss"):  # the document's word for both is MSE
            word = str(found.get(name)).lower()
            if word in WORDS:
                found[name] = WORDS[word]
            elif isinstance(found.get(name), str):
                self.faults.append(f"distillation.{name}: expected weights, or one of {', '.join(WORDS)}, got {word!r}")
        if "loss" in extra:
            found.setdefault("student_loss", extra["loss"])
        return found

    def data(self, training: Block) -> Any:
        """The `data` block as it is, or what `dataloader` and `transforms` mean for Zarr products."""
        if "data" in self.top:
            self.unwanted(LOADER_BLOCKS, "the lines come from the data block")
            return self.top["data"]
        own = {**settings(ProductsConfig), **settings(SarConfig)}
        block = self._read("dataloader", self._block("dataloader"), LOADER, own)
        self._read("transforms", self._block("transforms"), TRANSFORMS, ())
        if "data_dir" in self.top:
            block.setdefault("root", self.top["data_dir"])
        found = {key: value for key, value in block.items() if key in settings(SarConfig)}
        products = {key: value for key, value in block.items() if key in settings(ProductsConfig)}
        self._geometry(block, found, products)
        self._splits(block, found, products, training)
        return {**found, "source": "zarr", "products": products}

    def _geometry(self, block: Block, found: Block, products: Block) -> None:
        """patch_size, buffer, stride: (azimuth, range)."""
        pairs: dict[str, list[Any]] = {}
        for key in ("patch_size", "buffer", "stride"):
            value = block.get(key)
            if value is None:
                continue
            if not isinstance(value, list) or len(value) != 2:
                self.faults.append(f"dataloader.{key}: expected [azimuth, range], got {value!r}")
            else:
                pairs[key] = value
        if "patch_size" in pairs:
            found["length"], width = pairs["patch_size"]
            if width != 1:
                self.faults.append(
                    f"dataloader.patch_size: expected one range column ([lines, 1]), got {pairs['patch_size']}"
                )
        for key, names in (("buffer", ("row_buffer", "column_buffer")), ("stride", ("row_stride", "column_stride"))):
            products.update(zip(names, pairs.get(key, ())))

    def _splits(self, block: Block, found: Block, products: Block, training: Block) -> None:
        """Counts, batch sizes and filters of the three splits."""
        given: dict[str, Block] = {}
        for split in ("train", "validation", "test"):
            entry = block.get(split, {})
            if not isinstance(entry, Mapping):
                continue  # a number of lines, as `SarConfig` has it
            found.pop(split, None)
            where = f"dataloader.{split}"
            given[split] = one = self._read(
                where, entry, SPLIT, ("batch_size", "samples_per_prod", "max_products", "filters")
            )
            one["filters"] = self._read(f"{where}.filters", one.get("filters") or {}, Keys(), FILTERS)
            if "samples_per_prod" in one:
                count = _whole(one["samples_per_prod"]), _whole(one.get("max_products", 1))
                found[split] = None if None in count else count[0] * count[1]  # type: ignore[operator]
            if "years" in one["filters"]:
                products[f"{split}_years"] = one["filters"]["years"]
        for key in ("polarizations", "beams", "parts"):
            self._common(key, {s: e["filters"][key] for s, e in given.items() if key in e["filters"]}, products)
        self._common("max_products", {s: e["max_products"] for s, e in given.items() if "max_products" in e}, products)
        sizes = {s: e["batch_size"] for s, e in given.items() if "batch_size" in e}
        if "train" in sizes:
            training.setdefault("batch_size", sizes.pop("train"))
        self._common("batch_size", sizes, training, "evaluation_batch_size")

    def _common(self, key: str, values: dict[str, Any], into: Block, name: str | None = None) -> None:
        """What must be the same for all splits."""
        if len({repr(value) for value in values.values()}) > 1:
            shown = ", ".join(f"{split} {value!r}" for split, value in values.items())
            self.faults.append(f"dataloader: {key}: expected the same for these splits, got {shown}")
        elif values:
            into.setdefault(name or key, next(iter(values.values())))

    def _block(self, name: str) -> Block:
        found = self.top.get(name)
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            self.faults.append(f"{name}: expected a mapping (key: value), got {found!r}")
            return {}
        return dict(found)

    def _read(self, where: str, block: Mapping[str, Any], keys: Keys, own: Iterable[str]) -> Block:
        found, faults = keys.read(where, block, own)
        self.faults += faults
        return found


def _of_a_file(data: Any) -> bool:
    """Whether a `data` block names a file of arrays, which holds all lines as they are."""
    return isinstance(data, Mapping) and data.get("source") == "npz"


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _changed(base: Mapping[str, Any], change: Mapping[str, Any]) -> Block:
    """`change` laid over `base`; None takes a key away, and a name replaces its documented twin."""
    found = dict(base)
    for key, value in change.items():
        for old, new in TRAINING.names.items():
            if key in (old, new):
                found.pop(old, None)
                found.pop(new, None)
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
            found[key] = _changed(found[key], value)
        else:
            found[key] = _changed({}, value) if isinstance(value, Mapping) else value
    return found
