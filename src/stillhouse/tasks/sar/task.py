"""Focusing radar lines as a task of the shared run: a complex network that sees the whole scene teaches one that streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from stillhouse.cache.array_file import sha256_of_arrays
from stillhouse.cache.queries import TeacherQueries
from stillhouse.cache.stored import SOURCE, spot_check
from stillhouse.core import ranks
from stillhouse.core.callback import Callback
from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.config import to_mapping
from stillhouse.core.context import RunContext
from stillhouse.core.costs import weight_bytes
from stillhouse.core.exports import ExportChoices, Target
from stillhouse.core.folder import SHIPPED, check_test_data, student_folder
from stillhouse.core.pipeline import StageContext
from stillhouse.core.sample import sample_rows
from stillhouse.core.signal_set import signal_set_of
from stillhouse.core.task import Arm, Contrast, Scores, Task, TeacherCheck, use_of
from stillhouse.core.verdict import mean_interval
from stillhouse.losses.complex import complex_nmse
from stillhouse.signals import teacher_features
from stillhouse.tasks.sar.compare import compare_run, teacher_of
from stillhouse.tasks.sar.data.matched_filter import filtered
from stillhouse.tasks.sar.data.sequences import SarData, SarScale, SarSplit
from stillhouse.tasks.sar.job import SarJob, check_lines
from stillhouse.tasks.sar.light import SarLight
from stillhouse.tasks.sar.monitor import MONITOR, SarMonitor, find_wandb, mode_of
from stillhouse.tasks.sar.pictures import write_pictures
from stillhouse.tasks.sar.plan import SarDistillConfig, SarTrainConfig
from stillhouse.tasks.sar.saved import (
    FINAL,
    FINAL_CONFIG,
    load_data_config,
    load_model,
    save_documented,
    save_documented_config,
    save_model,
)
from stillhouse.tasks.sar.score import POINTS, judge, line_figures, noise_quality, point_figures
from stillhouse.tasks.sar.signals import as_complex, objective_signals, refused, unsupported_reason
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.students.cost import step_cost
from stillhouse.tasks.sar.students.network import SarSSM
from stillhouse.tasks.sar.teacher import (
    LineTeacher,
    StoredLines,
    batch_of,
    focused,
    in_units,
    line_spec,
    stage_teacher_of,
    teacher_queries_of,
)
from stillhouse.teachers.identity import weights_sha256
from stillhouse.teachers.stage_teacher import StageTeacher

VERDICT_METRICS = ("quality", "coherence")
CHECKED_LINES = 16  # of the test split, that an export is held against
SarContext = RunContext[SarDistillConfig, SarData]


class SarTask(SarLight, Task[SarDistillConfig, SarData]):
    """Lines of raw data -> focused lines; quality is 1 - NMSE of a line in its valid region, 0 for silence."""

    Config: ClassVar[type] = SarDistillConfig
    TeacherRun: ClassVar[type | None] = SarTrainConfig
    may_change: ClassVar[tuple[str, ...]] = ("wandb", "compare")
    validated: ClassVar[str] = "validation quality (1 \u2212 NMSE)"

    def owns(self, mapping: Mapping[str, Any]) -> bool:
        """A run on lines: an objective against their focus, or a teacher's checkpoint."""
        return bool({"objective", "teacher_checkpoint"} & set(mapping))

    def owns_teacher(self, mapping: Mapping[str, Any]) -> bool:
        """A network that focuses lines: `model`, and no text."""
        return "model" in mapping and "corpus" not in mapping

    def teacher_settings(self, path: str, mapping: dict[str, Any]) -> dict[str, Any]:
        """A documented file, as `sar train --config` takes it, or one of our settings, as --print-config writes it."""
        from stillhouse.tasks.sar.documented import read_teacher

        ours = isinstance(model := mapping["model"], Mapping) and "kind" in model
        return mapping if ours else dict(to_mapping(read_teacher(path)))

    def train_teacher(self, config: SarTrainConfig, out: Path, *, resume: bool, callback: Callback) -> Sequence[str]:
        """Train a network on the ground truth."""
        from stillhouse.tasks.sar.run import train

        result = train(config, out, resume=resume, callback=callback)
        found = result["metrics"]
        return (
            f"quality {found['quality']:.4f} (NMSE {-found['snr_db']:.2f} dB), coherence {found['coherence']:.4f}",
            use_of(result, f"teacher_checkpoint={out}"),
        )

    # ------------------------------------------------------------------------------------------------ before training

    def data(self, config: SarDistillConfig, log: Callable[[str], None]) -> SarData:
        """Simulated lines, or those of products."""
        return load_data(config.data, log)

    def facts(self, data: SarData) -> dict[str, Any]:
        """Name, sizes and fingerprint, and where lines are judged."""
        return data_facts(data)

    def check(self, config: SarDistillConfig, data: SarData) -> None:
        """Refuse signals that cannot read lines, and W&B where it is not installed."""
        lists = {"signals": config.signals}
        lists |= {f"stages.{n}.signals": stage.signals or () for n, stage in enumerate(config.stages)}
        for place, signals in lists.items():
            if why := refused(place, signals):
                raise InputError(why)
        if config.wandb:
            find_wandb()

    def unsupported_reason(self, signal: Any) -> str | None:
        """Lines have neither classes nor attention."""
        return unsupported_reason(signal)

    def teachers(
        self, config: SarDistillConfig, data: SarData, given: Any, log: Callable[[str], None]
    ) -> Sequence[LineTeacher | StoredLines]:
        """The network of `teacher_checkpoint`, in the units of these data, or the cache of its lines."""
        if given is None and config.teacher_checkpoint.startswith(SOURCE):
            return (_stored(config, data),)
        if given is None:
            given = teacher_of(config, data)
        if not isinstance(given, LineTeacher):
            given = in_units(given, None, data, frozen=config.objective.freeze_teacher)
        check_lines("teacher", given.module, data)
        if config.teacher_cache is not None:
            stored = StoredLines(Path(config.teacher_cache), live=given)
            teacher_queries = self.teacher_queries(config, data, given, stored.content.features)
            stored.require(teacher_queries.key)
            log(spot_check(stored, teacher_queries))
        return (given,)

    def teacher_queries(
        self, config: SarDistillConfig, data: SarData, teacher: Any, features: Sequence[str] = ()
    ) -> TeacherQueries:
        """All lines of all splits, and the hidden lines that objective and signals read."""
        if not isinstance(teacher, LineTeacher) or not teacher.frozen:
            raise InputError(
                "cache: expected a frozen teacher, whose answers stay as they are; take objective.freeze_teacher"
            )
        wanted = _features(config, data, len(teacher.module.blocks))
        return teacher_queries_of(teacher, data, to_mapping(config.data), (*wanted, *features))

    def fingerprint(self, teacher: LineTeacher | StoredLines) -> str:
        """Of its weights."""
        return teacher.identity() if isinstance(teacher, StoredLines) else weights_sha256(teacher.module)

    def teacher_check(
        self, teacher: LineTeacher | StoredLines, config: SarDistillConfig | SarTrainConfig, data: SarData
    ) -> TeacherCheck:
        """Quality on the validation lines against silence, which has 0, or what noise can reach there."""
        figures = _figures(teacher, data.validation, data.valid)
        quality = figures["quality"]
        if not np.isfinite(quality).all():
            raise InputError("teacher: its outputs are not finite numbers; its weights hold a NaN or an infinity")
        low = mean_interval(quality[None]).low if len(quality) > 1 else float(quality.mean())
        coherence = float(figures["coherence"].mean())
        params = (
            sum(p.numel() for p in teacher.module.parameters()) if isinstance(teacher, LineTeacher) else teacher.params
        )
        facts = {"coherence": coherence, "params": params}
        chance = noise_quality(data.validation.targets[..., 0].numpy()[:, data.valid])
        plain = _filter_quality(data)
        return TeacherCheck(
            teacher.name,
            float(quality.mean()),
            low,
            chance,
            "quality",
            facts,
            plain=plain,
            baseline_name="the matched filter",
        )

    def prepare(self, context: SarContext) -> None:
        """Nothing is made; what is minimized is said before numbers of it are printed."""
        if "kd" in context.config.arms:
            context.callback.log(context.config.objective.in_words())

    def stage_teachers(self, context: SarContext) -> Sequence[StageTeacher]:
        """The teacher with the hidden lines that any stage reads; a frozen one is asked beforehand."""
        return (_stage_teacher(context.teacher, context),) * len(context.config.stages_of(True))

    # ------------------------------------------------------------------------------------------------ training

    def arms(self, config: SarDistillConfig) -> Sequence[Arm]:
        """Taught and control, in the order of the configuration."""
        about = {"kd": "taught by the teacher", "no-kd": "the same network on the ground truth alone"}
        chains = {"kd": config.teacher_assistants, "no-kd": ()}
        return tuple(
            Arm(name, config.student, name == "kd", config.seeds, chains[name], about=about[name])
            for name in config.arms
        )

    def contrasts(self, config: SarDistillConfig) -> Sequence[Contrast]:
        """Whether the teacher helped, by quality and by coherence."""
        return tuple(Contrast("teacher", "kd", "no-kd", metric, always=True) for metric in VERDICT_METRICS)

    def student(self, arm: Arm, choice: StateSpaceConfig, seed: int, context: SarContext) -> SarSSM:
        """A network of a configuration."""
        return choice.build()

    def job(self, stage_context: StageContext[SarDistillConfig, SarData]) -> SarJob:
        """The objective's terms of the teacher as signals beside those of the stage."""
        config, data, stage_teacher = (
            stage_context.context.config,
            stage_context.context.data,
            stage_context.stage_teacher,
        )
        if stage_teacher is not None:
            teacher = stage_teacher.teacher
            if not teacher.frozen:
                stage_context = replace(
                    stage_context, stage_teacher=replace(stage_teacher, teacher=teacher.copied())
                )  # every training starts anew
            depths = len(stage_context.student.blocks), _depth(config, teacher)
            own = objective_signals(config.objective, data.valid, *depths)
            signals = (*own, *map(as_complex, stage_context.stage.signals))
            stage_context = replace(stage_context, stage=replace(stage_context.stage, signals=signals))
        example = data.train.inputs[:2]
        signal_set = signal_set_of(
            stage_context, example, lambda student, features: line_spec(student, features, example)
        )
        return SarJob(
            stage_context.student,
            data,
            stage_context.stage.training,
            seed=stage_context.job_seed,
            objective=config.objective,
            signal_set=signal_set,
            monitor=_monitor(stage_context),
            delta=config.delta,
        )

    def difficulty(self, judge: Any, context: SarContext) -> tuple[np.ndarray, None]:
        """(N,) NMSE of the judge against the truth on every training line."""
        data, teacher = context.data, judge
        if isinstance(judge, nn.Module):
            teacher = LineTeacher(judge)
        found = []
        for rows in torch.arange(len(data.train)).split(context.config.training.evaluation_batch_size):
            batch = batch_of(data.train, rows, _device(context))
            lines = (x[:, data.valid] for x in (teacher(batch).logits, batch.labels))
            found.append(complex_nmse(*lines).cpu())
        return np.asarray(torch.cat(found).double()), None

    def as_stage_teacher(self, students: Sequence[SarSSM], context: SarContext) -> StageTeacher:
        """The newest assistant, asked beforehand as a teacher is."""
        return _stage_teacher(
            LineTeacher(students[-1], frozen=context.config.objective.freeze_teacher, name="assistant"), context
        )

    # ------------------------------------------------------------------------------------------------ afterwards

    def score(self, model: SarSSM, arm: Arm, seed: int, context: SarContext) -> Scores:
        """Quality and coherence of every test line; further figures of all of them together."""
        return scores_of(LineTeacher(model.cpu()), context.data)

    def score_teacher(self, context: SarContext) -> Scores:
        """The same of the teacher."""
        return scores_of(context.teacher, context.data)

    def save(self, folder: Path, model: SarSSM, choice: StateSpaceConfig, context: SarContext) -> None:
        """Weights, and a card with the units that the network learned in."""
        save_model(folder, model, context.data)

    def load(self, folder: Path) -> SarSSM:
        """The network of a folder."""
        return load_model(folder)[0]

    def exports(self) -> Mapping[str, Target]:
        """One step of the stream as an ONNX graph; whole lines as a program."""
        return {
            "onnx": Target("one step of the stream, for onnxruntime", ".onnx", _write_step, takes=()),
            "torch": Target("whole lines, for torch.export.load", ".pt2", _write_program, takes=()),
        }

    def on_run_end(self, context: SarContext, summary: dict[str, Any]) -> None:
        """The documented files of the shipped student, comparison with filters and truncation, pictures, shares kept."""
        config, data, out = context.config, context.data, context.folder.path
        model, _ = load_model(out / SHIPPED)
        save_documented(out / FINAL, model)
        save_documented_config(out / FINAL_CONFIG, model.config)
        if config.compare:
            context.callback.log("comparing with truncation and filters, measuring times (compare=false leaves it out)")
            rows = compare_run(config, out, data, context.teacher, context.callback.log)
            summary["findings"] = [line for line in [beside_filter(rows, summary["shipped"]["arm"])] if line]
        context.callback.log("drawing pictures")
        networks: dict[str, Any] = {"teacher": context.teacher} if isinstance(context.teacher, LineTeacher) else {}
        networks |= {arm: in_units(*load_model(context.place(arm, 0)), data) for arm in config.arms}
        write_pictures(out, data, networks)
        test = summary["teacher"]["test"]
        for figures in summary["arms"].values():
            for name in VERDICT_METRICS:
                figures[name]["kept"] = figures[name]["mean"] / test[name] if test[name] else None

    def cost(self, folder: Path) -> dict[str, float]:
        """Counted, of a line in the step form: real multiply-adds (a complex one is four), state, weights."""
        model, _ = load_model(folder)
        step = step_cost(model)
        macs = 4 * step.complex_macs + step.real_macs
        counts = {"params": step.parameters, "macs": macs, "state_bytes": step.state_bytes}
        return {**{name: float(count) for name, count in counts.items()}, **weight_bytes(folder)}

    def predictor(self, folder: Path) -> Any:
        """Raw lines into focused lines."""
        from stillhouse.tasks.sar.use import LinePredictor

        return LinePredictor(student_folder(folder))

    def evaluate(self, folder: Path, **choices: Any) -> dict[str, Any]:
        """Score a saved network on the test split of its own data, or of others (`data`: a `SarConfig`)."""
        model, scale = load_model(folder)
        built = (choices.get("data") or load_data_config(folder)).build()
        if choices.get("data") is None:
            check_test_data(folder, "sha256", built.sha256, "--config")
        if built.channels != model.config.input_dim:
            raise InputError(
                f"{folder}: the network takes {model.config.input_dim} channels, {built.name} has {built.channels}"
            )
        network = in_units(model, scale, built)
        figures: dict[str, Any] = judge(focused(network, built.test.inputs), built.test, built.valid)
        if built.parameters is not None:
            points = built.points(POINTS)
            figures["points"] = point_figures(focused(network, points.inputs), points, built.valid)
        return {"data": built.name, "lines": len(built.test), **figures}


def beside_filter(rows: Sequence[Mapping[str, Any]], arm: str) -> str | None:
    """How the shipped student stands beside the matched filter, which takes no training; None where the radar is not known.

    Example:
        >>> student = {"name": "kd", "arm": "kd", "kind": "network", "quality": 0.91, "parameters": 1488}
        >>> beside_filter([student, {"name": "matched filter", "quality": 0.98, "parameters": 130}], "kd")
        'the student (1,488 parameters) is behind the matched filter (130 parameters, no training): quality 0.9100 against 0.9800'
    """
    student = next((row for row in rows if row.get("arm") == arm), None)
    matched = next((row for row in rows if row["name"] == "matched filter"), None)
    if student is None or matched is None:
        return None
    word = "ahead of" if student["quality"] > matched["quality"] else "behind"
    return (
        f"the student ({student['parameters']:,} parameters) is {word} the matched filter ({matched['parameters']:,} "
        f"parameters, no training): quality {student['quality']:.4f} against {matched['quality']:.4f}"
    )


def load_data(config: Any, log: Callable[[str], None]) -> SarData:
    """The lines of a run, with one line on them."""
    data: SarData = config.build()
    sizes = ", ".join(f"{count:,} {split}" for split, count in data.sizes.items())
    log(f"data: {data.name}, lines of {data.length}: {sizes}; judged in {data.valid.start} to {data.valid.stop}")
    return data


def data_facts(data: SarData) -> dict[str, Any]:
    """What `run.json` holds of the lines."""
    named = {"name": data.name, "sizes": dict(data.sizes), "sha256": data.sha256}
    return {**named, "length": data.length, "valid": [data.valid.start, data.valid.stop]}


def scores_of(network: LineTeacher | StoredLines, data: SarData) -> Scores:
    """Of a network in the units of the data, on the test split."""
    lines = focused(network, data.test.inputs)
    whole = judge(lines, data.test, data.valid)
    scalars = {name: value if math.isfinite(value) else None for name, value in whole.items()}
    return Scores(_figures(network, data.test, data.valid, lines), scalars)


def _stored(config: SarDistillConfig, data: SarData) -> StoredLines:
    """The cache that is named in the teacher's place, if it is of these lines."""
    if not config.objective.freeze_teacher:
        raise InputError(
            "objective.freeze_teacher: a cache holds a teacher's answers, which cannot learn; expected true, got false"
        )
    stored = StoredLines(Path(config.teacher_checkpoint.removeprefix(SOURCE)))
    targets = sha256_of_arrays(torch.view_as_real(split.targets).numpy() for split in data.splits.values())
    stored.require({"labels": targets, "data": data.sha256})
    return stored


def _depth(config: SarDistillConfig, teacher: Any) -> int:
    """Blocks of the teacher; of a cache those of the configured network."""
    return len(teacher.module.blocks) if isinstance(teacher, LineTeacher) else config.teacher.num_layers


def _features(config: SarDistillConfig, data: SarData, layers: int) -> tuple[str, ...]:
    """Hidden lines that the objective and the signals of any stage read of a teacher."""
    own = objective_signals(config.objective, data.valid, layers, layers)
    stages = [signal for stage in config.stages_of(True) for signal in stage.signals]
    return teacher_features((*own, *stages))


def _figures(
    network: LineTeacher | StoredLines, split: SarSplit, valid: slice, lines: Any = None
) -> Mapping[str, np.ndarray]:
    lines = focused(network, split.inputs) if lines is None else lines
    return line_figures(lines[:, valid], split.targets[..., 0].numpy()[:, valid])


def _filter_quality(data: SarData) -> float | None:
    """The matched filter on the validation lines; None where radar or rates are not known exactly."""
    split = data.validation
    if data.parameters is None or "azimuth_rate" not in split.facts:
        return None  # the nominal filter of a product has another gain, which quality would count
    lines = np.asarray(filtered(split.inputs[..., 0].numpy(), data.kernels(split)), np.complex64)
    return float(line_figures(lines[:, data.valid], split.targets[..., 0].numpy()[:, data.valid])["quality"].mean())


def _stage_teacher(teacher: LineTeacher | StoredLines, context: SarContext) -> StageTeacher:
    """A teacher with the hidden lines that any stage reads; from its cache where the run names one."""
    wanted = _features(context.config, context.data, _depth(context.config, teacher))
    device = _device(context)
    example = context.data.train.inputs[:2].to(device)
    signal_set = teacher.with_features(wanted, example)
    if context.config.teacher_cache is not None and teacher is context.teacher:
        stored = StoredLines(Path(context.config.teacher_cache), features=wanted, live=teacher)
        return StageTeacher(signal_set, signal_set.spec, stored, stored)
    return stage_teacher_of(signal_set, context.data, device)


def _device(context: SarContext) -> torch.device:
    wanted = context.config.training.device
    return torch.device("cuda" if wanted in ("auto", "cuda") and torch.cuda.is_available() else "cpu")


def _monitor(stage_context: StageContext[SarDistillConfig, SarData]) -> SarMonitor | None:
    """For the student itself; assistants and a student that judges lines are not what the documents watch."""
    config, arm = stage_context.context.config, stage_context.arm
    judges = config.curriculum is not None and config.difficulty_model == "student" and stage_context.curriculum is None
    if stage_context.student.config is not arm.student or judges or not ranks.first():
        return None
    name = f"{arm.name}-seed-{stage_context.seed}"
    if len(config.stages) > 1:
        name += f"-{stage_context.stage.name}"
    wandb = f"{config.name}-{name}" if config.wandb else None
    return SarMonitor(
        stage_context.context.folder.path / MONITOR / name,
        wandb=wandb,
        mode=mode_of(config.wandb),
        settings=to_mapping(config),
    )


def _write_step(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    from stillhouse.tasks.sar.onnx_step import write_checked_step

    model, scale = load_model(folder)
    return [write_checked_step(model, out, *_checked_lines(folder, model, scale))]


def _write_program(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    from stillhouse.export.program import write_compared

    model, scale = load_model(folder)
    lines, what = _checked_lines(folder, model, scale)
    return [write_compared(model, lines, out, what)]


def _checked_lines(folder: Path, model: SarSSM, scale: SarScale) -> tuple[torch.Tensor, str]:
    """(N, L, C) test lines of a network's run in its units, and what they are in words; made-up ones where they are not at hand."""
    from stillhouse.tasks.sar.onnx_step import made_up_lines

    try:
        data = load_data_config(folder).build()
        check_test_data(folder, "sha256", data.sha256, "--config")
        lines = data.test.inputs[sample_rows(len(data.test), CHECKED_LINES)].clone()
        lines[..., : model.config.signal_channels] *= data.scale.input_rms / scale.input_rms
        return lines, f"{len(lines)} test lines of the run"
    except StillhouseError as error:
        lines = made_up_lines(model)
        return lines, f"{lines.shape[1]} made-up samples (no test lines: {error})"


TASK = SarTask()

__all__ = ["TASK", "SarTask"]
