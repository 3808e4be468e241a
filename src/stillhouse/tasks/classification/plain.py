"""Plain models beside every student, fitted on the same labels: a linear classifier of what it reads, and the commonest class.

A student that is not above them has learned nothing that needs a network.

Legend: B batch, N rows, F numbers of a row, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from stillhouse.core.types import Batch, FeatureSpec, InputSpec, TextSpec
from stillhouse.tasks.classification.data.split import labelled_rows
from stillhouse.tasks.classification.plan import MOST_NUMBERS, MOST_ROWS
from stillhouse.teachers.by_row import out_of_fold

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # scikit-learn's C, from strong to weak regularization
FEW, FEW_STRENGTHS = 500, (1.0, 10.0, 100.0)  # labelled rows, with C for so few
MOST_STEPS = 100  # of the optimizer, for each of them
BATCH = 500
TINY = np.finfo(np.float64).tiny

Model = Callable[[Batch], Tensor]  # (B, K) log-probabilities


def commonest(data: Any) -> Model:
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
        scores = torch.from_numpy(np.log(np.maximum(best.predict_proba(numbers(batch.inputs, spec)), TINY)))
        everything = scores.new_full((len(scores), spec.num_classes), -torch.inf)  # classes without a row
        return everything.index_copy(1, classes, scores)

    return model


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


def numbers(inputs: Tensor, input_spec: InputSpec) -> Any:
    """(B, F) what the linear classifier reads of a batch: pixels, or a sparse matrix of token counts.

    Example:
        Token 0 is padding, 2 stands twice in the first row:

        >>> task = TextSpec(("a", "b"), length=3, vocabulary=4)
        >>> numbers(torch.tensor([[2, 2, 1], [3, 0, 0]]), task).toarray().tolist()
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
        read.append(numbers(batch.inputs, input_spec))
        labels.append(batch.labels.numpy())
    x = sparse.vstack(read).tocsr() if sparse.issparse(read[0]) else np.concatenate(read)
    return x, np.concatenate(labels)
