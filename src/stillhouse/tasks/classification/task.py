"""Classes, by students of any kind: networks of timm, of spikes, of texts, and of clauses with controls, rules and machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from stillhouse.classification.plan import SELF, ClassesRunConfig
from stillhouse.classification.students import SpikingTextConfig, TextTransformerConfig
from stillhouse.classification.task import ABOUT, ClassificationTask
from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.config import kinds
from stillhouse.core.exports import ExportChoices, Target
from stillhouse.core.folder import student_folder
from stillhouse.core.records import write_arrays, write_json
from stillhouse.core.task import Arm, Contrast
from stillhouse.core.types import TextSpec
from stillhouse.tasks.classification.light import Light
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.tasks.classification.students import TsetlinViTConfig, UnifiedTMConfig
from stillhouse.tasks.classification.students.kinds import StudentConfig, has_clauses
from stillhouse.tasks.classification.students.unused import unused_settings

if TYPE_CHECKING:
    from torch import nn

    from stillhouse.core.context import RunContext


CONTROLS = {
    "clauses-off": "the same student, trained without its clauses",
    "mlp": "the same student with an MLP in place of the clauses",
}


class ClassesTask(Light, ClassificationTask):
    """Labelled rows into classes, by students of any kind."""

    Config = ClassificationRunConfig
    Students = StudentConfig
    about: ClassVar[Mapping[str, str]] = {**ABOUT, **CONTROLS}

    def owns(self, mapping: Mapping[str, Any]) -> bool:
        """A run of one of the students; a run that names no student is one where no other task owns it."""
        student = mapping.get("student")
        return isinstance(student, Mapping) and str(student.get("kind")) in kinds(StudentConfig)

    def rebased(self, base: Any, mapping: dict[str, Any]) -> dict[str, Any]:
        """The usual arms, where the student became one without clauses or the labels became few, and arms were left as they are."""
        kind = kinds(StudentConfig).get(str(mapping["student"].get("kind")))
        if mapping["arms"] != list(base.arms):
            return mapping
        if has_clauses(base.student) and not has_clauses(kind):
            mapping["arms"] = [arm for arm in base.arms if arm not in CONTROLS]
        if mapping["data"].get("label_limit") and not base.data.label_limit and {"kd", "no-kd"} <= set(base.arms):
            mapping["arms"] = [*mapping["arms"], SELF]
        return mapping

    def unsupported_reason(self, signal: Any, student: Any = TsetlinViTConfig) -> str | None:
        """Networks without clauses have none to teach."""
        if signal.kind == "clause-targets" and not has_clauses(student):
            return (
                "an ordinary network has no clauses to teach; take a student of clauses (kind: unified-tm, tsetlin-vit)"
            )
        return super().unsupported_reason(signal)

    def check(self, config: ClassesRunConfig, data: Any) -> None:
        """Refuse students and assistants that read the other kind of data, before a teacher is loaded."""
        texts = isinstance(data.input_spec, TextSpec)
        for place, student in [
            ("student", config.student),
            *((f"teacher_assistants.{n}", x) for n, x in enumerate(config.teacher_assistants)),
        ]:
            if isinstance(student, (TextTransformerConfig, SpikingTextConfig)) != texts:
                raise InputError(
                    f"{place}: kind {student.kind!r} reads {'images' if texts else 'texts'}, and data {data.name!r} are "
                    f"{'texts' if texts else 'images'}"
                )
        for stage in config.stages_of(True):
            for number, signal in enumerate(stage.signals):
                if (why := self.unsupported_reason(signal, config.student)) is not None:
                    raise InputError(f"signals.{number} ({signal.kind}): {why}")
        super().check(config, data)

    def unused(self, config: ClassesRunConfig) -> Sequence[str]:
        """Also settings of a clause network that another of its settings turns off."""
        found = [*super().unused(config), *(f"student.{line}" for line in unused_settings(config.student))]
        if getattr(config.student, "feed_forward", "") == "mlp" and "mlp" in config.arms:
            found.append("arms: 'mlp' is the student itself, whose feed_forward is mlp already")
        return found

    def prepare(self, context: RunContext[ClassesRunConfig, Any]) -> None:
        """Announce where images are padded: nothing is ever cut silently."""
        side: int | None = getattr(context.config.student, "patch_size", None)
        if side is None:
            return
        _, height, width = context.data.input_spec.shape
        if min(height, width) >= side and (height % side or width % side):
            padded = (-(-height // side) * side, -(-width // side) * side)
            context.callback.log(
                f"patch {side} does not divide {height} x {width}: padded right and below to {padded[0]} x {padded[1]}"
            )

    def arm(self, name: str, config: ClassesRunConfig) -> Arm:
        """Controls of the clause branch are taught exactly if the reference arm is, and as it is."""
        student = config.student
        if name not in CONTROLS:
            return super().arm(name, config)
        changed = student.with_ordinary_part() if name == "mlp" else student.without_special_part()
        taught = config.reference == "kd"
        return Arm(
            name, changed, taught, config.seeds, config.teacher_assistants if taught else (), about=self.about[name]
        )

    def contrasts(self, config: ClassesRunConfig) -> Sequence[Contrast]:
        """Also the clauses against nothing and against an MLP."""
        teacher, chain, *plain = super().contrasts(config)
        return (
            teacher,
            chain,
            Contrast("clauses", config.reference, "clauses-off", "accuracy"),
            Contrast("clauses against MLP", config.reference, "mlp", "accuracy"),
            *plain,
        )

    def student(self, arm: Arm, choice: Any, seed: int, context: RunContext[ClassesRunConfig, Any]) -> nn.Module:
        """The network, its clauses started from the prior."""
        from stillhouse.tasks.classification import specialize
        from stillhouse.tasks.classification.students.core import apply_prior

        network, config = super().student(arm, choice, seed, context), context.config
        prior: Any = getattr(config, "prior", "none")
        if prior != "none" and specialize.has_clauses(network):  # controls and ordinary assistants have none
            apply_prior(network, prior)
        return network

    def job_class(self) -> Any:
        """With the specialization of heads."""
        from stillhouse.tasks.classification.specialize import ClausesJob

        return ClausesJob

    def on_run_end(self, context: RunContext[ClassesRunConfig, Any], summary: dict[str, Any]) -> None:
        """The shipped student's rules, and of a transformer the clauses that vote most, over validation images."""
        student = context.config.student
        if has_clauses(student):
            self._write_rules(context, summary)
        if not isinstance(student, (TsetlinViTConfig, UnifiedTMConfig)) or student.feed_forward != "clauses":
            return
        from stillhouse.tasks.classification.students.interpret import strongest_clauses

        model = self.load(context.place(context.config.reference, 0))
        index, images, maps = strongest_clauses(model, context.data.validation, context.data.input_spec.class_names)
        write_arrays(context.folder.path / records.CLAUSE_IMAGES, images=images, maps=maps)
        write_json(context.folder.path / records.CLAUSES, index)

    def predictor(self, folder: Path) -> Any:
        """Photos, arrays or texts into classes; a student of boolean features reads those of the photo."""
        from stillhouse.classification.card import read_card
        from stillhouse.classification.use import open_predictor
        from stillhouse.tasks.classification.data.boolean_features import BITS, boolean_features

        place = student_folder(folder)
        student, input_spec = read_card(place, self.Students)
        channels, rest = divmod(input_spec.shape[0], BITS)
        if not has_clauses(student) or rest or channels not in (1, 3):
            return super().predictor(folder)
        return open_predictor(self, place, lambda pixels: boolean_features(pixels).float(), channels)

    def _write_rules(self, context: RunContext[ClassesRunConfig, Any], summary: dict[str, Any]) -> None:
        """Rules of the shipped student into the run folder, and what they keep into the summary."""
        from stillhouse.tasks.classification.rules_file import write_rules
        from stillhouse.tasks.classification.students.rules import rules_of
        from stillhouse.tasks.classification.students.sites import sites

        shipped = summary["shipped"]
        model = self.load(context.place(shipped["arm"], shipped["seed"]))
        if not sites(model):
            return
        found = rules_of(model, self.of_seed(context, shipped["seed"]).data)
        write_rules(context.folder.path, found, student=dict(shipped))
        summary["rules"] = {
            "shown": len(found.rules),
            "accuracy": found.shown,
            "full": found.full,
            "images": found.judged_on,
            "growth": found.ablation_curve,
        }

    def exports(self) -> Mapping[str, Target]:
        """Also rules to read, and machines of logic."""
        machines = {
            "packed": Target(
                "bits and whole numbers in one file", ".packed.safetensors", self._write_machine("packed")
            ),
            "c": Target("C99, no allocation", ".c", self._write_machine("c")),
            "json": Target("literals and votes for other programs", ".json", self._write_machine("json")),
            "numpy": Target("needs numpy alone", "", self._write_machine("numpy")),
        }
        rules = Target("clauses to read", "", self._write_rules_folder)
        return {**machines, "rules": rules, **super().exports()}

    def _write_machine(self, form: str) -> Callable[[Path, Path, ExportChoices], Sequence[str]]:
        """The writer of a form of students that are clauses from the pixels to the class."""

        def write(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
            from stillhouse.tasks.classification import exports

            job = exports.job(self.load(folder), self._data_of(folder, choices.data, choices.data_root))
            writers = {
                "packed": exports.export_packed,
                "c": exports.export_c,
                "json": exports.export_json,
                "numpy": exports.export_numpy,
            }
            return writers[form](job, out)

        return write

    def _write_rules_folder(self, folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
        from stillhouse.tasks.classification.exports import export_rules

        return export_rules(self.load(folder), self._data_of(folder, choices.data, choices.data_root), folder, out)


TASK = ClassesTask()
