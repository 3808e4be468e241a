"""Plain models beside every student, fitted on the same labels: a linear classifier of what it reads, and the commonest class.

A student that is not above them has learned nothing that needs a network. And a teacher: a student learns from rows without a
label what the teacher knows of them, so what it can gain is how far the teacher is above logistic regression on the labels.

Legend: B batch, N rows, F numbers of a row, K classes.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from stillhouse.core.labels import MISSING
from stillhouse.core.records import PREDICTIONS, write_json
from stillhouse.core.types import Batch, FeatureSpec, ImageSpec, InputSpec, TextSpec
from stillhouse.core.verdict import verdict_of
from stillhouse.report.read import mapping, number
from stillhouse.tasks.classification.data.split import labelled_rows
from stillhouse.tasks.classification.plan import LINEAR, MOST_NUMBERS, MOST_ROWS
from stillhouse.tasks.classification.predict import predict
from stillhouse.tasks.classification.rules_file import colors, data_address
from stillhouse.tasks.classification.taught import FILE, Predictions, advice, changed, read_predictions, reasons
from stillhouse.teachers.by_row import RowTeacher, out_of_fold

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # scikit-learn's C, from strong to weak regularization
FEW, FEW_STRENGTHS = 500, (1.0, 10.0, 100.0)  # labelled rows, with C for so few
EXAMPLES, TRAINING_ROWS = 6, 500  # that the end of a run looks at
MOST, FEWEST = 300, 20  # labelled rows that a forecast asks about
MOST_STEPS = 100  # of the optimizer, for each of them
BATCH = 500
TINY = np.finfo(np.float64).tiny

Model = Callable[[Batch], Tensor]  # (B, K) log-probabilities


def class_prior(data: Any) -> Model:
    """How often each class is among the training labels, whatever the input: what guessing gets.

    Args:
        data: labelled rows, with its splits and its task.

    Returns:
        A model; a class that no row has is counted as half a row.
    """
    counts = torch.bincount(labelled_rows(data.train).labels, minlength=data.input_spec.num_classes).double()
    shares = (counts.clamp(min=0.5) / counts.clamp(min=0.5).sum()).log()
    return lambda batch: shares.expand(len(batch.labels), -1)


def linear(data: Any) -> Model:
    """Logistic regression on pixels, or on TF-IDF of token counts, that is fitted in seconds whatever the size of the data.

    At most `MOST_ROWS` labelled training rows are read, classes in proportion, and at most `MOST_NUMBERS` numbers of an image
    (averages over neighbouring pixels). The regularization is the one of `STRENGTHS` that is best on as many validation rows; of
    fewer than `FEW` labelled rows, the one whose out-of-fold answers to them are likeliest.

    Args:
        data: labelled rows, with its splits and its task.

    Returns:
        A model.
    """
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    spec = data.input_spec
    (x, y), (x_valid, y_valid) = (numbers_of(split, spec) for split in (labelled_rows(data.train), data.validation))
    first = scaled(reads_texts(spec), centred=not isinstance(spec, FeatureSpec))  # whose counts are sparse
    heads = [LogisticRegression(C=strength, max_iter=MOST_STEPS, tol=1e-3) for strength in STRENGTHS]
    if len(y) < FEW:
        heads = [chosen_by_themselves(first.fit_transform(x), y, spec.num_classes)]
    best, most = None, -1.0
    for head in heads:
        found = make_pipeline(clone(first), head)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it stopped after so many steps
            found.fit(x, y)
        score = float(found.score(x_valid, y_valid))
        if score < most:  # further ones fit the training rows alone
            break
        best, most = (found, score) if score > most else (best, most)
    assert best is not None
    classes = torch.from_numpy(best.classes_.astype(np.int64))

    def model(batch: Batch) -> Tensor:
        scores = torch.from_numpy(np.log(np.maximum(best.predict_proba(linear_features(batch.inputs, spec)), TINY)))
        everything = scores.new_full((len(scores), spec.num_classes), -torch.inf)  # classes without a row
        return everything.index_copy(1, classes, scores)

    return model


def fit_linear(context: Any, seed: int) -> Model:
    """`linear` of a run under one seed, fitted once."""
    made: dict[int, Model] = context.shared.setdefault(LINEAR, {})
    if seed not in made:
        made[seed] = linear(context.data.for_teachers)
    return made[seed]


def log_logistic_regression(context: Any) -> None:
    """A line before training: what logistic regression gets of the validation rows, and where such students were behind it.

    Args:
        context: of the run.
    """
    begun, rows, student = time.monotonic(), context.data.for_teachers.validation, context.config.student
    score = float((predict(fit_linear(context, 0), rows).argmax(1) == rows.labels.numpy()).mean())
    known = f"logistic regression: {score:.1%} of {len(rows):,} validation rows, in {time.monotonic() - begun:.1f} s"
    spec = context.data.input_spec
    what = "pictures" if isinstance(spec, ImageSpec) else "texts" if reads_texts(spec) else "tables"
    if found := getattr(student, "behind", {}).get(what):
        known += f"; on other {what} {student.kind} {found}"
    context.callback.log(known)


def reads_texts(spec: InputSpec) -> bool:
    """Whether rows are texts, whose counts are weighed by TF-IDF."""
    return isinstance(spec, TextSpec) or (isinstance(spec, FeatureSpec) and spec.reading["kind"] == "words")


def scaled(texts: bool, *, centred: bool) -> Any:
    """What comes before logistic regression: TF-IDF of counts, or numbers less their means (of dense ones)."""
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.preprocessing import StandardScaler

    return TfidfTransformer(sublinear_tf=True) if texts else StandardScaler(with_mean=centred, with_std=False)


def chosen_by_themselves(x: Any, labels: np.ndarray, classes: int) -> Any:
    """One classifier a class, of the regularization whose out-of-fold answers to (n) labelled rows are likeliest."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    def likelihood(head: Any) -> float:
        found = out_of_fold(head, x, labels, classes)
        return float(np.log(found[np.arange(len(labels)), labels]).mean())

    heads = [OneVsRestClassifier(LogisticRegression(C=c, solver="liblinear")) for c in FEW_STRENGTHS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fold without one of the classes
        return max(heads, key=likelihood)


def linear_features(inputs: Tensor, input_spec: InputSpec) -> Any:
    """(B, F) what the linear classifier reads of a batch: pixels, or a sparse matrix of token counts.

    Example:
        Token 0 is padding, 2 stands twice in the first row:

        >>> task = TextSpec(("a", "b"), length=3, vocabulary=4)
        >>> linear_features(torch.tensor([[2, 2, 1], [3, 0, 0]]), task).toarray().tolist()
        [[0.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """
    if isinstance(input_spec, TextSpec):
        ids = inputs.numpy()
        rows, places = np.nonzero(ids != input_spec.padding)
        entries = (np.ones(len(rows)), (rows, ids[rows, places]))
        return sparse.csr_matrix(entries, shape=(len(ids), input_spec.vocabulary))
    if isinstance(input_spec, FeatureSpec):
        return sparse.csr_matrix(inputs.numpy())
    channels, height, width = inputs.shape[1:]
    shrink = min(1.0, (MOST_NUMBERS / (channels * height * width)) ** 0.5)
    side = (max(1, int(height * shrink)), max(1, int(width * shrink)))
    return functional.adaptive_avg_pool2d(inputs, side).flatten(1).numpy()


def numbers_of(split: Any, input_spec: InputSpec) -> tuple[Any, np.ndarray]:
    """(n, F) and (n) of at most MOST_ROWS rows of a split, every class in its share."""
    read, labels = [], []
    for batch in split.sample(MOST_ROWS).batches(BATCH):
        read.append(linear_features(batch.inputs, input_spec))
        labels.append(batch.labels.numpy())
    x = sparse.vstack(read).tocsr() if sparse.issparse(read[0]) else np.concatenate(read)
    return x, np.concatenate(labels)


# ------------------------------------------------------------------------------------------------ beside a teacher


def forecast(teacher: Any, data: Any, batch_size: int) -> str:
    """The gain that is to be expected of a teacher, in words; empty where too few rows have a label.

    Args:
        teacher: ready.
        data: of the run, as teachers see it.
        batch_size: rows at once.
    """
    if float((data.train.labels != MISSING).float().mean()) > 0.5:
        return "0 to 2 points: most rows have a label, and the student learns from it"
    rows = labelled_rows(data.train).sample(MOST)
    if len(rows) < FEWEST:
        return ""
    if isinstance(teacher, RowTeacher) and not teacher.covers(rows.batch(torch.arange(len(rows))).rows):
        return ""
    truth = rows.labels.numpy()
    found = predict(lambda batch: teacher(batch).logits, rows, batch_size).argmax(1) == truth
    gain, error = expected(found, alone(rows, data.input_spec) == truth)
    low, high = 100 * (gain - 2 * error), 100 * (gain + 2 * error)
    words = "a gain is likely" if gain > error else "so few labels cannot tell"
    if gain < -error:
        words = "the teacher is below logistic regression on the labelled rows"
    return f"{100 * gain:+.0f} points ({low:.0f} to {high:.0f}): {words}"


def expected(teacher: Any, plain: Any) -> tuple[float, float]:
    """Mean and standard error of the difference between two (n) arrays of right answers to the same rows.

    Example:
        >>> expected(np.array([True, True, True, False]), np.array([True, False, True, False]))
        (0.25, 0.25)
    """
    difference = np.asarray(teacher, np.float64) - np.asarray(plain, np.float64)
    return float(difference.mean()), float(difference.std(ddof=1) / len(difference) ** 0.5)


def alone(rows: Any, input_spec: Any) -> Any:
    """(n) out-of-fold answers of logistic regression on the labels of some rows."""
    x, labels = numbers_of(rows, input_spec)
    x = scaled(reads_texts(input_spec), centred=not isinstance(input_spec, FeatureSpec)).fit_transform(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fold without one of the classes
        head = chosen_by_themselves(x, labels, input_spec.num_classes)
        return out_of_fold(head, x, labels, input_spec.num_classes).argmax(1)


# ------------------------------------------------------------------------------------------------ at the end of a run


def write_taught(context: Any, summary: dict[str, Any]) -> None:
    """Examples, or reasons, into the run folder; the change with the best odds among the hints of the summary."""
    rows = summary["comparisons"]
    row = rows[0] if rows and rows[0]["name"] == "teacher" else {}
    word = verdict_of(row)[0] if row else ""
    if word == "no difference shown":
        found = reasons(row, {**_compared(summary, row), **_on_training_rows(context)})
        kept: dict[str, Any] = {"reasons": [asdict(one) for one in found]}
        summary["hints"] = [*summary["hints"], *filter(None, [advice(found)])]
    elif word in ("helps", "hurts"):
        taught, control = (
            [read_predictions(context.place(arm, seed) / PREDICTIONS) for seed in range(row["seeds"])]
            for arm in (row["arm"], row["control"])
        )
        kept = {"examples": examples(taught, control, context.data.test, context.data.input_spec.class_names)}
    else:
        return
    write_json(context.folder.path / FILE, kept)


def examples(
    taught: Sequence[Predictions], control: Sequence[Predictions], split: Any, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Test rows that the teacher put right under most seeds, with what people see of them.

    Args:
        taught: predictions of the taught arm, one a seed.
        control: of its control.
        split: N test rows.
        names: (K) of classes.
    """
    gained, _ = changed(taught, control)
    found = []
    for place in [int(row) for row in np.argsort(-gained, kind="stable")[:EXAMPLES] if gained[row] > 0]:
        before = np.bincount([one.choices[place] for one in control], minlength=len(names)).argmax()
        known = {"row": place, "class": names[int(taught[0].labels[place])], "without": names[int(before)]}
        found.append({**known, "seeds": round(float(gained[place]) * len(taught)), **_seen(split, place)})
    return found


def _seen(split: Any, row: int) -> dict[str, str]:
    """A text, the cells of a row, or a picture; nothing of other data."""
    if hasattr(split, "raw"):
        raw = split.raw[row]
        text = raw if isinstance(raw, str) else ", ".join(f"{key} {value}" for key, value in dict(raw).items())
        return {"text": text[:200]}
    pixels = (split.batch(split.labels.new_tensor([row])).inputs[0] * 255).round().numpy().astype(np.uint8)
    return {"png": data_address(colors(pixels))} if len(pixels) in (1, 3) else {}


def _compared(summary: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, float | None]:
    """Test figures of teacher, control and taught arm."""

    def mean(arm: str, name: str) -> float | None:
        return number(mapping(mapping(summary["arms"].get(arm)).get(name)).get("mean"))

    return {
        "teacher": number(mapping(summary.get("teacher")).get("test_score")),
        "taught": mean(row["arm"], "accuracy"),
        "control": mean(row["control"], "accuracy"),
        "linear": mean(LINEAR, "accuracy"),
        "agreement": mean(row["arm"], "agreement"),
        "control_agreement": mean(row["control"], "agreement"),
    }


def _on_training_rows(context: Any) -> dict[str, float | None]:
    """How the teacher answers to labelled training rows that it was not fitted to."""
    if context.teacher is None:
        return {}
    train = context.data.for_teachers.train
    rows = labelled_rows(train).sample(TRAINING_ROWS)
    found, labels = predict(lambda batch: context.teacher(batch).logits, rows), rows.labels.numpy()
    right, sure = found.argmax(1) == labels, found.max(1)
    return {
        "known": float(right.mean()),
        "confidence": float(sure.mean()),
        "contradicts": float((~right & (sure >= 0.9)).mean()),
        "labelled": float((train.labels != MISSING).float().mean()),
    }
