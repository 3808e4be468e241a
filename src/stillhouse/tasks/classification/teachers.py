"""The teachers of a run with classes: built, graded on the validation split, asked once where that is enough."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from stillhouse.cache.content import Content
from stillhouse.cache.files import sha256_of_arrays
from stillhouse.cache.queries import UNKNOWN, Part, TeacherQueries
from stillhouse.cache.stored import StoredTeacher, spot_check
from stillhouse.core.checks import InputError
from stillhouse.core.folder import student_folder
from stillhouse.core.labels import MISSING
from stillhouse.core.parts import TeacherCheck
from stillhouse.core.types import ImageSpec
from stillhouse.metrics.cost import count_cost
from stillhouse.signals import teacher_features
from stillhouse.tasks.classification.card import load_student
from stillhouse.tasks.classification.data.rows import BANKING
from stillhouse.tasks.classification.data.split import drawn, labelled_rows
from stillhouse.tasks.classification.plain import forecast, numbers_of
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.tasks.classification.predict import predict
from stillhouse.tasks.classification.row_teachers import fitted_to, row_teacher
from stillhouse.tasks.classification.students import StudentConfig
from stillhouse.teachers.by_row import FittedTeacher
from stillhouse.teachers.cached import CachedTeacher
from stillhouse.teachers.check import check_teacher
from stillhouse.teachers.config import BY_ROW, TeacherConfig
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.teachers.probe import HEAD_ROWS, fit_head
from stillhouse.teachers.teacher import NetworkTeacher, StageTeacher, Teacher

SEEN = {  # labels that a source of teachers may have been trained on
    "builtin": "was trained on the labels of this data set",
    "ckpt": "may have been trained on labels of these rows",
    "run": "may have been trained on labels of these rows",
}


def sources_of(config: ClassificationRunConfig, given: Any) -> tuple[TeacherConfig | None, ...]:
    """Whom the stages of a run listen to: one source, or several together; None for a teacher that was given ready-made."""
    if given is None and (config.teacher is None or config.teacher.is_student):
        return ()
    first = config.teacher if given is None else None
    return (first,) if isinstance(given, EnsembleTeacher) else (first, *config.more_teachers)


def build_teachers(
    config: ClassificationRunConfig, data: Any, given: Any, log: Callable[[str], None] = lambda line: None
) -> list[Any]:
    """All teachers of a run; of several together each one, then the group.

    Args:
        config: of the run.
        data: of the run; teachers look at what they are shown of it.
        given: a ready teacher in the place of the first, or an ensemble in the place of all; None for none.
        log: gets a line where a cache was compared with its teacher.
    """
    sources, features = sources_of(config, given), wanted_features(config)
    if config.teacher_cache is not None and len(sources) != 1:
        raise InputError(
            "teacher_cache: expected a run with one teacher, whose answers it holds; name cache:FOLDER as the source of each"
        )
    if config.teacher is None and given is None:
        log("no teacher is named (teacher.source): the student learns from labels alone")
    found = []
    for number, source in enumerate(sources):
        own = tuple(
            path.partition(":")[2] for path in features if path.startswith(f"{number}:")
        )  # 1:layer3: the second's
        wanted = own if len(sources) > 1 else features
        member = given if source is None else _member(source, config, data, wanted)
        found.append(
            member if config.teacher_cache is None else _cache_beside_live_teacher(member, config, data, wanted, log)
        )
    weighs = any(signal.kind == "ensemble" for stage in config.stages_of(True) for signal in stage.signals)
    if weighs and len(found) == 1 and not isinstance(found[0], EnsembleTeacher):
        raise InputError(
            f"signal 'ensemble' weighs several teachers, and there is one ({found[0].name}); name others in more_teachers"
        )
    return [*found, EnsembleTeacher(found)] if len(found) > 1 else found


def teacher_check(teacher: Any, config: ClassificationRunConfig, data: Any) -> TeacherCheck:
    """Accuracy on the validation split against the share of the commonest class."""
    data, batch_size = data.for_teachers, config.training.evaluation_batch_size
    batches = data.validation.batches(batch_size)
    # ten validation rows show nothing: answered out of fold, or no secret to the teacher, labelled rows count as well
    if data.hidden is not None or isinstance(teacher, FittedTeacher) or bool((data.train.labels == MISSING).any()):
        batches = chain(batches, labelled_rows(data.train).batches(batch_size))
    report = check_teacher(teacher, batches)
    facts = {name: getattr(report, name) for name in ("ece", "rows", "head")}
    facts |= {"params": getattr(teacher, "params", None), "flops": flops_of(teacher)}
    if said := forecast(teacher, data, batch_size):
        facts["forecast"] = said
    metric = "balanced accuracy" if getattr(teacher, "balanced", False) else "accuracy"
    detail = f"ECE {report.ece:.3f}"
    plain, name = baseline_score(data), "a linear classifier of pixels"
    scores = report.name, report.score, report.low, report.chance
    return TeacherCheck(*scores, metric, facts, as_percent=True, detail=detail, plain=plain, baseline_name=name)


def flops_of(teacher: Any) -> int | None:
    """Operations that a teacher counts for one input of the data, as those of students are counted; of several their sum.

    Of a cache those of the teacher that was asked; None where it is not known, as of a class of your own without a `module`.
    """
    if isinstance(teacher, EnsembleTeacher):
        each = [flops_of(member) for member in teacher.members]
        return None if None in each else sum(filter(None, each))
    if isinstance(teacher, StoredTeacher):
        return teacher.plan.about.get("flops")
    if not isinstance(teacher, NetworkTeacher):
        return None
    return int(count_cost(teacher.module, lambda count: teacher.prepare(teacher.input_spec.example(count)))["flops"])


def baseline_score(data: Any) -> float | None:
    """Validation accuracy of ridge regression on pixels, which no network taught: a good teacher is above it; None of rows."""
    from sklearn.linear_model import RidgeClassifier

    if not isinstance(data.input_spec, ImageSpec):
        return None
    model = RidgeClassifier(alpha=1.0).fit(*numbers_of(labelled_rows(data.train), data.input_spec))
    return float(model.score(*numbers_of(data.validation, data.input_spec)))


def risks(context: Any) -> list[str]:
    """What a teacher may know of labels that its student lacks, where it can be known: a line each."""
    hidden = context.data.hidden is not None or bool((context.data.train.labels == MISSING).any())
    if not hidden or context.teacher is None or context.config.reference != "kd":
        return []
    found = {}
    for source in (one for one in sources_of(context.config, context.given) if one is not None):
        if (why := SEEN.get(source.source.partition(":")[0])) and source.source != BANKING:
            found[source.source] = why
    for one in getattr(context.teacher, "members", (context.teacher,)):
        if getattr(one, "seen", ""):
            found[one.name] = f"may know more labels: {one.seen}"
    return [
        f"risk: teacher {name} {why}, among them those that the student lacks: a gain may then come from those labels, and not "
        "from what it knows of new rows"
        for name, why in found.items()
    ]


def stage_teacher_of(teacher: Any, data: Any, config: ClassificationRunConfig) -> StageTeacher:
    """Ask a ready teacher what can be asked beforehand: with fixed inputs, everything that fits in memory."""
    size, training, seen = config.training.evaluation_batch_size, config.training, data.for_teachers
    fixed = not training.mixing.on and (not seen.changes or training.teacher_view == "clean")
    fixed = fixed and not isinstance(teacher, StoredTeacher) and CachedTeacher.fits(teacher.spec, len(seen.train))
    answers = predict(lambda b: teacher(b).logits, seen.validation, size)
    return StageTeacher(teacher, teacher.spec, _cached(teacher, seen, size) if fixed else None, answers)


def stage_teachers_of(context: Any, assistants: Sequence[Any] = ()) -> list[StageTeacher | None]:
    """One teacher a stage; None where a stage listens to nobody, or to the student's own average.

    In the teacher's place the newest assistant, or all of them together with the first teacher.
    """
    config, data, found = context.config, context.data, None
    if assistants:
        asked = [as_teacher(one, data, config, f"assistant-{n}") for n, one in enumerate(assistants)]
        if config.assistant_teachers == "last":
            found = stage_teacher_of(asked[-1], data.for_teachers, config)
        else:
            known = [one.teacher for one in context.stage_teachers if one is not None]
            found = stage_teacher_of(EnsembleTeacher([*known[:1], *asked]), data.for_teachers, config)
    elif sources_of(config, context.given):
        found = stage_teacher_of(context.teachers[-1], data, config)
    return [found] * len(config.stages_of(True))


def context_of_seed(context: Any, seed: int) -> Any:
    """A run with the labels that one seed has drawn, and with teachers that have seen no other; each made once."""
    if getattr(context.data, "hidden", None) is None:
        return context
    made = context.shared.setdefault("of seed", {})
    if seed not in made:
        data, teachers, config = drawn(context.data, seed), context.teachers, context.config
        if any(getattr(teacher, "head_was_fitted", False) for teacher in teachers):
            teachers = [_refitted(one, data, config) for one in teachers]
            stage_teachers = stage_teachers_of(replace(context, data=data, teachers=teachers))
        else:
            stage_teachers = [one and _validated(one, data, config) for one in context.stage_teachers]
        made.clear()  # of one seed at a time: a teacher's answers may be large
        made[seed] = replace(context, data=data, teachers=teachers, stage_teachers=stage_teachers)
    return made[seed]


def _validated(stage_teacher: StageTeacher, data: Any, config: ClassificationRunConfig) -> StageTeacher:
    """The same, with its answers to the validation rows of these data."""
    rows, size = data.for_teachers.validation, config.training.evaluation_batch_size
    return replace(stage_teacher, facts=predict(lambda b: stage_teacher.teacher(b).logits, rows, size))


def _refitted(teacher: Any, data: Any, config: ClassificationRunConfig) -> Any:
    """A teacher whose head is fitted to the labels of these data, where it was fitted to others."""
    if isinstance(teacher, EnsembleTeacher):
        return EnsembleTeacher([_refitted(member, data, config) for member in teacher.members], teacher.names)
    if not getattr(teacher, "head_was_fitted", False):
        return teacher
    if isinstance(teacher, FittedTeacher):
        return fitted_to(teacher, data)
    found = copy.deepcopy(teacher)
    rows = labelled_rows(data.for_teachers.train).sample(HEAD_ROWS)
    fit_head(found, rows.batches(config.training.evaluation_batch_size))
    return found


def teacher_queries_of(
    config: ClassificationRunConfig, data: Any, teacher: Any, features: Sequence[str] = ()
) -> TeacherQueries:
    """The rows of a run that a teacher is asked about: training images or their views, validation, test.

    Raises:
        InputError: several teachers; images that are changed anew at every step, or mixed.
    """
    if isinstance(teacher, EnsembleTeacher):
        raise InputError(
            "cache: expected a run with one teacher, got several; keep each one's answers in a folder of its own"
        )
    if set(features) - set(teacher.spec.features):
        if not hasattr(teacher, "with_features"):
            raise InputError(f"cache: expected features {', '.join(teacher.spec.features) or 'none'} of {teacher.name}")
        teacher = teacher.with_features(tuple(dict.fromkeys((*teacher.spec.features, *features))))
    seen = data.for_teachers
    _check_held(config, data)
    augmentation = _views(config, data)
    if augmentation is None:
        parts = {"train": Part(len(seen.train), seen.train.batch)}
    else:
        parts = {f"view-{k}": Part(len(seen.train), partial(seen.view, k)) for k in range(seen.views)}
    for name in ("validation", "test"):
        split = getattr(seen, name)
        parts[name] = Part(len(split), split.batch, whole=True)
    known = getattr(getattr(teacher, "module", None), "pretrained_cfg", None) or {}
    about = {"data": data.name, "sizes": dict(seen.sizes), "class_names": list(seen.input_spec.class_names)}
    return TeacherQueries(
        teacher,
        teacher.name,
        parts,
        teacher.spec.num_classes,
        teacher.identity(),
        str(getattr(teacher, "wants", "")),
        data.sha256,
        _labels(data),
        augmentation,
        config.training.evaluation_batch_size,
        teacher.params,
        str(known.get("license") or UNKNOWN),
        {**about, "flops": flops_of(teacher)},
        Content(features=tuple(teacher.spec.features)),
    )


def _labels(data: Any) -> str:
    return sha256_of_arrays(split.labels.numpy() for split in (data.train, data.validation, data.test))


def _views(config: ClassificationRunConfig, data: Any) -> dict[str, Any] | None:
    """What decides the images that the teacher is asked about; None: they are taken as they are."""
    seen = data.for_teachers
    return seen.views_key if seen.changes and config.training.teacher_view != "clean" else None


def _check_held(config: ClassificationRunConfig, data: Any) -> None:
    """Refuse what no cache can hold, with the way out."""
    training, seen = config.training, data.for_teachers
    anew = training.teacher_view == "independent" or (_views(config, data) is not None and not seen.views)
    if data.hidden is not None:
        raise InputError("cache: each seed has validation rows of its own; leave it out, or data.label_limit")
    if training.mixing.on or anew:
        raise InputError(
            "cache: images are new at every step, and no cache can hold them; expected no training.mixing, and data.views=N (a "
            "number of views that are seen again) or training.teacher_view=clean"
        )


def _check_stored(stored: StoredTeacher, config: ClassificationRunConfig, data: Any) -> None:
    """See that a cache is of these rows, as the student will see them."""
    _check_held(config, data)
    expected = {"labels": _labels(data), "data": data.sha256, "augmentation": _views(config, data)}
    stored.require({**expected, "classes": data.input_spec.num_classes})


def _cache_beside_live_teacher(
    live: Any, config: ClassificationRunConfig, data: Any, features: Sequence[str], log: Any
) -> Any:
    """The cache of a teacher that is here too: compared with it by name, and on rows that are drawn anew."""
    stored = StoredTeacher(Path(str(config.teacher_cache)), features=features, live=live)
    teacher_queries = teacher_queries_of(config, data, live)
    stored.require(teacher_queries.key)
    log(spot_check(stored, teacher_queries))
    return stored


def as_teacher(student: Any, data: Any, config: ClassificationRunConfig, name: str) -> Teacher:
    """A trained assistant, which now teaches; it takes raw inputs as every student does."""
    return Teacher.from_module(student, data.input_spec, name=name, features=wanted_features(config))


def wanted_features(config: ClassificationRunConfig) -> tuple[str, ...]:
    """Paths that signals of any stage tap in whoever teaches."""
    return tuple(dict.fromkeys(path for stage in config.stages_of(True) for path in teacher_features(stage.signals)))


def _member(source: TeacherConfig, config: ClassificationRunConfig, data: Any, features: tuple[str, ...]) -> Teacher:
    """One teacher as it is built; a re-made head is fitted on frozen features of the training split."""
    kind, _, name = source.source.partition(":")
    if kind == "cache":
        stored = StoredTeacher(Path(name), features=features)
        _check_stored(stored, config, data)
        return stored
    if kind in BY_ROW or source.source == BANKING:
        whole = not (config.data.train_limit or config.data.test_limit)
        return row_teacher(source, data, whole=whole)
    data = data.for_teachers
    if kind == "run":
        student = load_student(student_folder(Path(name)), StudentConfig)
        return Teacher.from_module(student, data.input_spec, name=name, features=features)
    if not isinstance(data.input_spec, ImageSpec) and kind not in ("py", "given"):
        raise InputError(
            f"teacher {source.source!r} reads images, and these are texts or a table; take vectors:FILE.npy, run:FOLDER of a run "
            "on such data, py:FILE.py:CLASS, or teacher=null for none"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is drawn (an untrained body, a new head) is the same when the run is resumed
        teacher = source.build(data.input_spec, features=features)
    teacher.built_as = teacher.identity()
    if teacher.head_is_new and source.head != "keep":
        fit_head(teacher, labelled_rows(data.train).sample(HEAD_ROWS).batches(config.training.evaluation_batch_size))
    return teacher


def _cached(teacher: Any, data: Any, batch_size: int) -> Any:
    if isinstance(teacher, EnsembleTeacher):
        members = [_cached(member, data, batch_size) for member in teacher.members]
        return EnsembleTeacher(members, teacher.names)
    return CachedTeacher(teacher, data.train.batches(batch_size), len(data.train))
