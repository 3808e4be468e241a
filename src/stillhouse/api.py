"""`stillhouse.distill(teacher, student, data)`: a whole run in one call, and what it gives."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.verdict import format_verdict
from stillhouse.given import data_of, inputs_of, teacher_of

Signals = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None


class Student:
    """The trained student of a `distill`.

    Attributes:
        classes: labels as they were given, in the order of `predict_proba`.
        folder: of its weights and card; `stillhouse.load` opens it anywhere.
    """

    def __init__(self, folder: Path, labels: Sequence[Any] | None, reads: str) -> None:
        from stillhouse.tasks import load

        self.folder, self._reads, self._loaded = folder, reads, load(folder)
        names = self._loaded.classes
        self.classes: tuple[Any, ...] = tuple(names if labels is None else labels)
        self._order = [names.index(str(label)) for label in self.classes]

    def predict(self, inputs: Any) -> NDArray[Any]:
        """(N) labels of texts, rows or images, as they were given for training."""
        return np.array(self.classes)[self.predict_proba(inputs).argmax(1)]

    def predict_proba(self, inputs: Any) -> NDArray[np.float64]:
        """(N, K) probabilities, in the order of `classes`."""
        rows = self._loaded.predict(inputs_of(inputs, self._reads))
        probabilities = np.array([list(row["probabilities"].values()) for row in rows], np.float64)
        return probabilities[:, self._order] if rows else np.zeros((0, len(self.classes)))

    def rules(self, lines: int | None = None) -> str:
        """What it decides by, on a screen.

        Args:
            lines: at most so many; None: as the run wrote them.

        Raises:
            InputError: a student that is no rules.
        """
        written = getattr(self._loaded, "rules", None)
        if written is not None:
            return str(written(lines))
        path = self.folder.parent / "rules.txt"
        if not path.is_file():
            raise InputError("student: it has no rules; take student 'rules' or 'scorecard'")
        text = path.read_text(encoding="utf-8")
        return text if lines is None else "\n".join(text.splitlines()[:lines])

    def __repr__(self) -> str:
        return f"Student({len(self.classes)} classes, {self.folder})"


class Table(list[dict[str, Any]]):
    """Rows of arms; prints as a table."""

    def __str__(self) -> str:
        cells = [["", "accuracy", "95 % interval", ""]]
        for row in self:
            ends = "" if row["low"] is None else f"{row['low']:.1f} to {row['high']:.1f}"
            cells.append([row["arm"], f"{row['accuracy']:.1f}", ends, row["about"]])
        widths = [max(len(line[n]) for line in cells) for n in range(3)]
        return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:<{widths[2]}}  {d}".rstrip() for a, b, c, d in cells)

    __repr__ = __str__


@dataclass(frozen=True)
class Result:
    """What a `distill` gives; `print(result)` shows the verdict, the table and where the report is.

    Attributes:
        folder: of the run; where it is temporary, it is there as long as this is.
        summary: `summary.json`.
        labels: classes as they were given, or None.
        data: name of the kind of data: words, table, npz, ...
        unit: what one test row is called.
    """

    folder: Path
    summary: Mapping[str, Any]
    labels: Sequence[Any] | None = None
    data: str = ""
    unit: str = "rows"
    _owned: Any = field(default=None, repr=False)

    @property
    def verdict(self) -> str:
        """Whether the teacher helped: `helps: +12.3 points (9.2 to 14.9), 5 seeds, 480 test texts`."""
        row = next((one for one in self.summary["comparisons"][:1] if one["name"] == "teacher"), None)
        if row is None or row.get("difference") is None:
            return str(self.summary["verdict"]) if row is None else format_verdict(row)
        ends = "" if row["low"] is None else f" ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        seeds = f"{row['seeds']} seed{'s' * (row['seeds'] != 1)}"
        return f"{format_verdict(row)}: {100 * row['difference']:+.1f} points{ends}, {seeds}, {row['items']:,} test {self.unit}"

    @property
    def student(self) -> Student:
        """The student that the run ships."""
        return Student(self.folder / "student", self.labels, self.data)

    @property
    def table(self) -> Table:
        """The teacher and every arm: accuracy in percent, with its 95 % interval over seeds and test rows."""
        table = Table()
        tested = ((self.summary.get("teacher") or {}).get("test") or {}).get("accuracy")
        rows = {"teacher": {"mean": tested, "low": None, "high": None}} if tested is not None else {}
        rows |= {name: figures["accuracy"] for name, figures in self.summary["arms"].items()}
        for name, score in rows.items():
            mean, low, high = (None if score[end] is None else 100 * score[end] for end in ("mean", "low", "high"))
            about = self.summary["about"].get(name, "")
            table.append({"arm": name, "accuracy": mean, "low": low, "high": high, "about": about})
        return table

    @property
    def report(self) -> Path:
        """The page of the run, for a browser."""
        return self.folder / "report.html"

    def __str__(self) -> str:
        return f"{self.verdict}\n\n{self.table}\n\nreport: {self.report}"


def distill(
    teacher: Any,
    student: Any,
    data: Any,
    *,
    test: Any = None,
    signals: Signals = None,
    seeds: int = 3,
    out: str | Path | None = None,
    **settings: Any,
) -> Result:
    """Teach a student, train it again without the teacher, and say whether the teacher helped: a `stillhouse distill` in Python.

    Args:
        teacher: a source as on the command line (`encoder:all-MiniLM-L6-v2`, `builtin:digits`), a path (vectors, predictions,
            weights, a run), an array of probabilities (N, K) or vectors (N, D) for the rows of `data` (those of `test` after
            them), a `torch.nn.Module`, a classifier of scikit-learn (it is fitted to the labelled rows, unless it is fitted
            already), a function of the inputs that gives such an array, or None.
        student: a kind (`rules`, `scorecard`, `tf-idf`, `flat-tm`, ...), or a mapping with `kind` and settings of it.
        data: a path, a data set by name, a pandas frame with a column `label`, or (X, y): images, texts, numbers (N, D) or a
            frame; y is -1 or None where a row has no label.
        test: the same; a share of the labelled rows is held out where it is not given.
        signals: kinds or mappings as in YAML. [the teacher's class scores]
        seeds: trainings of each arm; a verdict needs three.
        out: folder of the run, continued where it is there; what was given as arrays is kept beside it. [a temporary one, which
            is removed with the result]
        **settings: `training__epochs=5`, `training={"epochs": 5}`, `data__label_limit=100`: what `training.epochs=5` is on
            the command line; and `force` (take a teacher at chance), `quiet`.

    Returns:
        Verdict, table, student and report.

    Raises:
        InputError: anything that does not fit; the message names what was expected.
        TeacherAtChance: the teacher is no better than guessing.

    Example:
        result = stillhouse.distill("encoder:all-MiniLM-L6-v2", "scorecard", (texts, labels), test=(test_texts, test_labels))
        print(result.verdict)
    """
    from stillhouse import recipes
    from stillhouse.cli.show import RunDisplay
    from stillhouse.core.config import dump_yaml
    from stillhouse.core.experiment import run
    from stillhouse.core.machine import COMMAND
    from stillhouse.core.records import RUN

    force, quiet = bool(settings.pop("force", False)), bool(settings.pop("quiet", True))
    values = flatten_settings(settings)
    owned = tempfile.TemporaryDirectory(prefix="stillhouse-") if out is None else None
    place = Path(owned.name) / "run" if owned is not None else Path(str(out)).expanduser()
    beside = place.with_name(f"{place.name}-data")
    beside.mkdir(parents=True, exist_ok=True)
    chosen, reads = _student(student)
    columns = {key: str(values[f"data.{key}"]) for key in ("text_column", "label_column") if f"data.{key}" in values}
    given = data_of(data, test, reads, beside, **columns)
    source, living = teacher_of(teacher, given, beside)
    mapping = {
        "name": place.name if out else "distill",
        "student": chosen,
        "data": dict(given.settings),
        "seeds": seeds,
    }
    mapping["teacher"] = source
    if signals is not None:
        several = [signals] if isinstance(signals, (str, Mapping)) else list(signals)
        mapping["signals"] = [{"kind": one} if isinstance(one, str) else dict(one) for one in several]
    if source is None and "arms" not in values:
        mapping["arms"] = ["no-kd"]
    if given.labels:  # what was given has the columns that were written
        values = {key: value for key, value in values.items() if key not in ("data.label_column", "data.text_column")}
    file = beside / "run.yaml"
    file.write_text(dump_yaml(mapping), encoding="utf-8")
    task, config = recipes.load(str(file), (), values)
    file.write_text(dump_yaml(config), encoding="utf-8")
    ready = None if living is None else task.data(config, lambda line: None)
    trainings = sum(arm.seeds for arm in task.arms(config) if arm.trains)
    shown = COMMAND.set(f"stillhouse distill {file} --out {place}")
    try:
        with RunDisplay(trainings, quiet=quiet) as display:
            summary = run(
                task,
                config,
                place,
                resume=(place / RUN).is_file(),
                force=force,
                data=ready,
                teacher=None if living is None else _living(living, ready),
                callback=display,
            )
    finally:
        COMMAND.reset(shown)
    unit = {"table": "rows", "words": "texts", "texts": "texts"}.get(config.data.name, "images")
    return Result(place, summary, given.labels, config.data.name, unit, owned)


def flatten_settings(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings as dotted keys.

    Example:
        >>> flatten_settings({"training__epochs": 5, "data": {"label_limit": 100}, "arms": ("kd", "no-kd")})
        {'training.epochs': 5, 'data.label_limit': 100, 'arms': ['kd', 'no-kd']}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = before + key.replace("__", ".")
        if isinstance(value, Mapping) and value:
            flat |= flatten_settings(value, f"{name}.")
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat


def _student(student: Any) -> tuple[dict[str, Any], str]:
    """The `student` part of a run, and what such a student reads."""
    from stillhouse.core.config import kinds, to_mapping
    from stillhouse.tasks.classification.students import StudentConfig

    known = kinds(StudentConfig)
    settings = {"kind": student} if isinstance(student, str) else student
    settings = settings if isinstance(settings, Mapping) else to_mapping(settings)
    if not isinstance(settings, Mapping) or "kind" not in settings:
        raise InputError(f"student: expected a kind or a mapping with one, got {type(student).__name__}")
    if settings["kind"] not in known:
        raise InputError(f"student: no student is a {settings['kind']!r}; {nearest(str(settings['kind']), known)}")
    return dict(settings), getattr(known[settings["kind"]], "reads", "images")


def _living(teacher: Any, data: Any) -> Any:
    """A ready teacher of a module, an estimator, or a teacher that is one."""
    from torch import nn

    from stillhouse.tasks.classification.row_teachers import fitted_to, on_rows
    from stillhouse.teachers.by_row import FittedTeacher
    from stillhouse.teachers.teacher import Teacher

    if isinstance(teacher, nn.Module):
        teacher = Teacher.from_module(teacher, data.for_teachers.input_spec)
    elif not isinstance(teacher, Teacher):
        teacher = on_rows(type(teacher).__name__, teacher, data)
    return fitted_to(teacher, data) if isinstance(teacher, FittedTeacher) and teacher.head_is_new else teacher
