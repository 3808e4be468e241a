"""Focusing radar lines as a task of the shared run: a complex network that sees the whole scene teaches one that streams."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from stillhouse.core import processes, ranks
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.checks import InputError
from stillhouse.core.config import to_mapping
from stillhouse.core.exports import ExportChoices, Target
from stillhouse.core.folder import SCORES, SHIPPED, check_test_data, student_folder
from stillhouse.core.machine import weight_bytes
from stillhouse.core.parts import Arm, Objective, Scores, TeacherCheck, use_of
from stillhouse.core.pipeline import StageContext, signal_set_of
from stillhouse.core.records import write_arrays
from stillhouse.core.task import RunContext, Task
from stillhouse.core.verdict import mean_interval
from stillhouse.losses.complex import complex_nmse
from stillhouse.signals import teacher_features
from stillhouse.tasks.sar import saved
from stillhouse.tasks.sar.data.radar import convolve_lines
from stillhouse.tasks.sar.data.sequences import SarData, SarSplit
from stillhouse.tasks.sar.job import MONITOR, SarJob, SarMonitor, find_wandb
from stillhouse.tasks.sar.metrics import judge, line_figures, noise_quality, point_figures
from stillhouse.tasks.sar.plan import SarDistillConfig, SarObjective, SarTrainConfig
from stillhouse.tasks.sar.results import FOCUS, SarResults
from stillhouse.tasks.sar.saved import load_data_config, load_model, load_teacher, save_documented, save_model
from stillhouse.tasks.sar.signals import as_complex, objective_signals
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.students.compression import step_cost
from stillhouse.tasks.sar.students.network import SarSSM, noise
from stillhouse.tasks.sar.teacher import PIECE, LineTeacher, batch_of, focus_lines, in_units, line_spec
from stillhouse.teachers.cached import CachedTeacher
from stillhouse.teachers.teacher import StageTeacher
from stillhouse.training.loop import Fit

POINTS, PICTURED = 16, 48  # isolated points of an evaluation, test lines of a page
CHECKED = 200  # samples of noise on which an export is held against its network
SarContext = RunContext[SarDistillConfig, SarData]


class SarTask(SarResults, Task[SarDistillConfig, SarData]):
    """Lines of raw data -> focused lines; quality is 1 - NMSE of a line in its valid region, 0 for silence."""

    Config: ClassVar[type] = SarDistillConfig
    TeacherRun: ClassVar[type | None] = SarTrainConfig
    objective: ClassVar[Objective] = Objective("validation quality (1 \u2212 NMSE)")

    def train_teacher(self, config: SarTrainConfig, out: Path, *, resume: bool, callback: Callback) -> Sequence[str]:
        """Train a network on the ground truth."""
        result = train(config, out, resume=resume, callback=callback)
        found = result["metrics"]
        return (
            f"quality {found['quality']:.4f} (NMSE {-found['snr_db']:.2f} dB), coherence {found['coherence']:.4f}",
            use_of(result, f"teacher_checkpoint={out}"),
        )

    # ------------------------------------------------------------------------------------------------ before training

    def data(self, config: SarDistillConfig, log: Callable[[str], None]) -> SarData:
        """The lines of a run; without W&B where it is wanted, the run is refused."""
        if config.wandb:
            find_wandb()
        return _read(config, log)

    def teachers(
        self, config: SarDistillConfig, data: SarData, given: Any, log: Callable[[str], None]
    ) -> Sequence[LineTeacher]:
        """The network of `teacher_checkpoint`, with factors from the units of these data to those that it learned from."""
        if isinstance(given, LineTeacher):
            return (given,)
        scale = None
        if given is None:
            given, scale = load_teacher(config.teacher, Path(config.teacher_checkpoint))
        frozen, name = config.objective.freeze_teacher, config.teacher_checkpoint
        return (in_units(given, scale, data, frozen=frozen, name=name),)

    def teacher_check(
        self, teacher: LineTeacher, config: SarDistillConfig | SarTrainConfig, data: SarData
    ) -> TeacherCheck:
        """Quality on the validation lines against silence, which has 0, or what noise can reach there."""
        wanted = data.validation.targets[..., 0].numpy()[:, data.valid]
        figures = line_figures(focus_lines(teacher, data.validation.inputs)[:, data.valid], wanted)
        quality = figures["quality"]
        if not np.isfinite(quality).all():
            raise InputError("teacher: its outputs are not finite numbers; its weights hold a NaN or an infinity")
        low = mean_interval(quality[None]).low if len(quality) > 1 else float(quality.mean())
        facts = {"coherence": float(figures["coherence"].mean()), "params": teacher.params}
        found = TeacherCheck(teacher.name, float(quality.mean()), low, noise_quality(wanted), "quality", facts)
        return replace(found, plain=filter_quality(data, data.validation), baseline_name="the matched filter")

    def stage_teachers(self, context: SarContext, assistants: Sequence[Any] = ()) -> Sequence[StageTeacher]:
        """The teacher, or the newest assistant, with the hidden lines that any stage reads; a frozen one is asked beforehand."""
        teacher = context.teacher
        if assistants:
            frozen = context.config.objective.freeze_teacher
            teacher = LineTeacher(assistants[-1], frozen=frozen, name="assistant")
        return (_stage_teacher(teacher, context),) * len(context.config.stages_of(True))

    # ------------------------------------------------------------------------------------------------ training

    def arms(self, config: SarDistillConfig) -> Sequence[Arm]:
        """Taught and control, in the order of the configuration."""
        about = {"kd": "taught by the teacher", "no-kd": "the same network on the ground truth alone"}
        chains = {"kd": config.teacher_assistants, "no-kd": ()}
        return tuple(
            Arm(name, config.student, name == "kd", config.seeds, chains[name], about=about[name])
            for name in config.arms
        )

    def student(self, arm: Arm, choice: StateSpaceConfig, seed: int, context: SarContext) -> SarSSM:
        """A network of a configuration."""
        return choice.build()

    def job(self, stage_context: StageContext[SarDistillConfig, SarData]) -> SarJob:
        """The objective's terms of the teacher as signals beside those of the stage."""
        context, stage_teacher = stage_context.context, stage_context.stage_teacher
        config, data = context.config, context.data
        if stage_teacher is not None:
            teacher = stage_teacher.teacher
            if not teacher.frozen:  # every training starts anew
                own_teacher = replace(teacher, module=copy.deepcopy(teacher.module))
                stage_context = replace(stage_context, stage_teacher=replace(stage_teacher, teacher=own_teacher))
            depths = len(stage_context.student.blocks), len(teacher.module.blocks)
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
        data, teacher = context.data, LineTeacher(judge) if isinstance(judge, nn.Module) else judge
        found = []
        for rows in torch.arange(len(data.train)).split(context.config.training.evaluation_batch_size):
            batch = batch_of(data.train, rows, _device(context))
            lines = (x[:, data.valid] for x in (teacher(batch).logits, batch.labels))
            found.append(complex_nmse(*lines).cpu())
        return np.asarray(torch.cat(found).double()), None

    # ------------------------------------------------------------------------------------------------ afterwards

    def score(self, model: Any, arm: Arm | None, seed: int, context: SarContext) -> Scores:
        """Quality and coherence of every test line; further figures of all of them together."""
        return scores_of(model if arm is None else LineTeacher(model.cpu()), context.data)

    def save(self, folder: Path, model: SarSSM, choice: StateSpaceConfig, context: SarContext) -> None:
        """Weights, and a card with the units that the network learned in."""
        save_model(folder, model, context.data)

    def load(self, folder: Path) -> SarSSM:
        """The network of a folder."""
        return load_model(folder)[0]

    def exports(self) -> Mapping[str, Target]:
        """Whole lines as a program."""
        return {"torch": Target("whole lines, for torch.export.load", ".pt2", _write_program, takes=())}

    def finish(self, context: SarContext, summary: dict[str, Any]) -> None:
        """The documented files of the shipped student, and pictures."""
        config, data, out = context.config, context.data, context.folder.path
        model, _ = load_model(out / SHIPPED)
        save_documented(out / saved.FINAL, model)
        saved.save_documented_config(out / saved.FINAL_CONFIG, model.config)
        networks = {"teacher": context.teacher}
        networks |= {arm: in_units(*load_model(context.place(arm, 0)), data) for arm in config.arms}
        inputs, targets = (x[:PICTURED] for x in (data.test.inputs, data.test.targets))
        images: dict[str, Any] = {"before": inputs[..., 0].numpy(), "target": targets[..., 0].numpy()}
        if data.parameters is not None:
            images["matched filter"] = convolve_lines(images["before"], data.kernels(data.test)[: len(inputs)])
        images |= {name: focus_lines(network, inputs) for name, network in networks.items()}
        write_arrays(out / FOCUS, **{name: np.asarray(x[:, data.valid], np.complex64) for name, x in images.items()})

    def cost(self, folder: Path) -> dict[str, float]:
        """Counted, of a line in the step form: real multiply-adds (a complex one is four), state, weights."""
        step = step_cost(load_model(folder)[0])
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
        network = in_units(model, scale, built)
        found: dict[str, Any] = {"data": built.name, "lines": len(built.test)}
        found |= judge(focus_lines(network, built.test.inputs), built.test, built.valid)
        found["matched_filter_quality"] = filter_quality(built, built.test)
        if built.parameters is not None:
            points = built.points(POINTS)
            found["points"] = point_figures(focus_lines(network, points.inputs), points, built.valid)
        return found


def _read(config: SarDistillConfig | SarTrainConfig, log: Callable[[str], None]) -> SarData:
    """The lines, with one line on them."""
    data: SarData = config.data.build()
    sizes = ", ".join(f"{count:,} {split}" for split, count in data.sizes.items())
    log(f"data: {data.name}, lines of {data.length}: {sizes}; judged in {data.valid.start} to {data.valid.stop}")
    return data


def scores_of(network: LineTeacher, data: SarData) -> Scores:
    """Of a network in the units of the data, on the test split."""
    lines, wanted = focus_lines(network, data.test.inputs), data.test.targets[..., 0].numpy()
    return Scores(line_figures(lines[:, data.valid], wanted[:, data.valid]), judge(lines, data.test, data.valid))


def filter_quality(data: SarData, split: SarSplit) -> float | None:
    """The matched filter on the lines of a split; None where radar or rates are not known exactly."""
    if data.parameters is None or "azimuth_rate" not in split.facts:
        return None  # the nominal filter of a product has another gain, which quality would count
    lines = np.asarray(convolve_lines(split.inputs[..., 0].numpy(), data.kernels(split)), np.complex64)
    return judge(lines, split, data.valid)["quality"]


def _stage_teacher(teacher: LineTeacher, context: SarContext) -> StageTeacher:
    """A teacher with the hidden lines that objective and signals of any stage read; a frozen one is asked beforehand if it fits.

    `facts` are its outputs on the validation lines, asked in the same way.
    """
    config, data, device = context.config, context.data, _device(context)
    layers = len(teacher.module.blocks)
    own = objective_signals(config.objective, data.valid, layers, layers)
    wanted = teacher_features((*own, *(signal for stage in config.stages_of(True) for signal in stage.signals)))
    asked = teacher.with_features(wanted, data.train.inputs[:2].to(device))
    kept: list[CachedTeacher | None] = [None, None]
    for place, split in enumerate((data.train, data.validation)):
        if asked.frozen and CachedTeacher.fits(asked.spec, len(split)):
            pieces = torch.arange(len(split)).split(PIECE)
            kept[place] = CachedTeacher(asked, (batch_of(split, rows, device) for rows in pieces), len(split))
    return StageTeacher(asked, asked.spec, *kept)


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
    folder = stage_context.context.folder.path / MONITOR / name
    return SarMonitor(folder, config.wandb, f"{config.name}-{name}", to_mapping(config))


def _write_program(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    from stillhouse.export import write_compared

    model, _ = load_model(folder)
    return [write_compared(model, noise(model, CHECKED), out, f"{CHECKED} samples of noise")]


TASK = SarTask()


# ---------------------------------------------------------------------------------------------- a teacher


def train(
    config: SarTrainConfig, out: Path, *, resume: bool = False, callback: Callback = NULL_CALLBACK
) -> dict[str, Any]:
    """Train a network on the ground truth; the folder holds its weights in our form and where the documents look for them.

    See `core.train_teacher.train`.
    """
    from stillhouse.core import train_teacher as shared  # it loads what draws pages

    if config.wandb:
        find_wandb()

    def job(model: Any, data: SarData) -> SarJob:
        settings = to_mapping(config)
        monitor = SarMonitor(out / MONITOR, config.wandb, config.name, settings) if ranks.first() else None
        objective = SarObjective(alpha=1.0, beta=0.0, gamma=0.0, student_loss=config.loss)
        given: dict[str, Any] = {"seed": config.seed, "objective": objective, "monitor": monitor}
        return SarJob(model, data, config.training, delta=config.delta, **given)

    def save(model: Any, data: SarData, done: Fit) -> tuple[LineTeacher, dict[str, Any]]:
        model.cpu()
        processes.run_on_first(lambda: save_model(out, model, data, weights=saved.TEACHER_WEIGHTS))
        processes.run_on_first(lambda: save_documented(out / saved.BEST, model))
        scores = scores_of(LineTeacher(model), data)
        write_arrays(out / SCORES, **scores.items)
        return LineTeacher(model, name=str(out)), {"metrics": dict(scores.scalars)}

    how = shared.TeacherTraining(
        TASK.kind, partial(_read, config), lambda data: config.model.build(), job, save, arm="train"
    )
    return shared.train(TASK, config, out, how, resume=resume, callback=callback)
