"""Teach a text student the codes that a vector student gives: (text, f(teacher(text))) pairs, no teacher in the loop.

Shapes: B texts of a batch, d numbers of a code, V vocabulary, h numbers a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn

from stillhouse.core import processes, ranks
from stillhouse.core.checks import InputError
from stillhouse.core.hashes import with_hashes
from stillhouse.core.machine import versions
from stillhouse.core.records import CARD, write_atomically, write_json
from stillhouse.core.types import Progress
from stillhouse.families.embed.metrics.neighbourhood import checked_vectors, knn_overlap
from stillhouse.families.embed.students.text import StaticTextStudent
from stillhouse.families.embed.students.text_config import FORMAT, VOTES, WEIGHTS, TextStudentConfig
from stillhouse.families.embed.students.words import (
    TOKENIZER,
    Bags,
    HashTokenizer,
    PieceTokenizer,
    Tokenizer,
    WordFeatures,
    input_table,
)
from stillhouse.losses.neighbours import neighbor_kl
from stillhouse.training.config import TrainingConfig
from stillhouse.training.job import Job, Terms, Validation
from stillhouse.training.loop import Fit, fit

NEIGHBORS = 10
POOLED = 0.25  # length of the token vectors beside word features of length 1, in the ridge regression of both
LETTERS = 0.35  # weight of a group of letters beside a word: a word has some ten of them
STRENGTHS = (0.03, 0.1, 0.3, 1.0)  # of the ridge regression that a student starts at; held-out texts choose
ROUNDS = 100  # of conjugate gradients, at most
SCORED = 4000  # validation rows whose neighbours are compared
LEVEL_WEIGHTS = 0.5  # of each level against the one before
TRAINING = TrainingConfig(
    epochs=20,
    batch_size=512,
    learning_rate=1e-3,
    final_learning_rate=1e-5,
    weight_decay=0.0,
    warmup_epochs=0.5,
    device="cpu",
)


@dataclass(frozen=True)
class TextLesson:
    """What a text student learns.

    Attributes:
        texts: (n).
        codes: (n, d) what the vector student makes of them.
        config: the student. [pieces of the teacher]
        levels: numbers of each level. [one level of d]
        output: the codes' convention for the first level: `euclidean`, `sphere`, `tanh`.
        scale: of tanh.
        teacher: folder of the teacher (transformers or sentence-transformers): its tokenizer, and its input embeddings as the
            first table. Not needed for hashed words.
        table: (V, any width) first token vectors in the place of the teacher's input embeddings: what the teacher makes of
            every token alone (`PieceTokenizer.pieces`) is a better start.
    """

    texts: Sequence[str]
    codes: np.ndarray
    config: TextStudentConfig = field(default_factory=TextStudentConfig)
    levels: Sequence[int] | None = None
    output: str = "euclidean"
    scale: float | None = None
    teacher: str | Path | None = None
    table: np.ndarray | None = None


@dataclass(frozen=True)
class TextStudent:
    """A trained text student: network, tokenizer, and how its training went."""

    network: StaticTextStudent
    tokenizer: Tokenizer
    fit: Fit
    features: WordFeatures | None = None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) codes of texts, by torch; `NumpyTextEmbedder` needs none."""
        network, bags = self.network, self.tokenizer.bags(texts)
        voted = None
        with torch.no_grad():
            if self.features is not None:
                seen = self.features.bags(texts)
                voted = network.voted(torch.from_numpy(seen.ids), torch.from_numpy(seen.starts[:-1]))
            codes: NDArray[np.float32] = network(
                torch.from_numpy(bags.ids), torch.from_numpy(bags.starts[:-1]), voted
            ).numpy()
        return codes


def distill_text_student(
    lesson: TextLesson,
    *,
    folder: str | Path,
    training: TrainingConfig = TRAINING,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress, Mapping[str, float | None]], None] = lambda progress, news: None,
) -> TextStudent:
    """Train a student that needs no teacher to place a text, and save it where `NumpyTextEmbedder.load` reads it.

    It starts as a ridge regression of the codes on the mean token vector of each text and on its words, pairs of words and groups
    of letters one by one (as one on TF-IDF does). What training adds is measured on texts that were held out (equal ones never on
    both sides), and the best epoch
    is kept, the start among them.

    Args:
        lesson: texts, their codes and the student.
        folder: weights, card, records and checkpoint.
        training: the loop.
        seed: split, order, first weights.
        about: further entries of the card (teacher, data, axes).
        resume: go on from the folder's checkpoint.
        on_progress: called after each step.

    Returns:
        The student with the weights of its best epoch, on the CPU.

    Raises:
        InputError: texts and codes do not go together, too few of them, no teacher where one is needed, NaN.
        ValueError: a setting without effect.
    """
    folder, config, texts = Path(folder), lesson.config, lesson.texts
    codes = checked_vectors("codes", lesson.codes).astype(np.float32)
    levels = tuple(lesson.levels or (codes.shape[1],))
    if len(texts) != len(codes) or sum(levels) != codes.shape[1]:
        raise InputError(
            f"codes: expected a row for each of {len(texts)} texts and {sum(levels)} numbers (levels {list(levels)}), "
            f"got shape {codes.shape}"
        )
    tokenizer = _tokenizer(config, lesson.teacher)
    train, held = split_texts(texts, config.validation_share, seed)
    bags = tokenizer.bags(texts)
    features = WordFeatures(config.vote_buckets) if config.votes else None
    torch.manual_seed(seed)
    network = StaticTextStudent(
        torch.from_numpy(_first_table(lesson, tokenizer, seed)),
        torch.from_numpy(token_weights(bags.take(train).ids, tokenizer.vocabulary, config.rarity)),
        levels=levels,
        hidden=config.hidden,
        output=lesson.output,
        scale=lesson.scale,
        features=0 if features is None else features.buckets,
    )
    seen = None if features is None else features.bags(texts)
    job = TextEmbeddingJob(network, bags, codes, train, held, config, seed=seed, features=seen)
    job.start()
    done = fit(job, training, seed=seed, folder=folder, resume=resume, on_progress=on_progress)
    network.to("cpu").eval()
    if config.votes and done.best_epoch == 0:
        job.refit()  # nothing was trained that held-out texts must judge: they teach too
    metrics = {name: value for name, value in done.best.items() if value is not None}
    facts = {**(about or {}), "metrics": metrics}
    processes.on_first(lambda: save_text_student(folder, network, tokenizer, half=config.half, about=facts))
    return TextStudent(network, tokenizer, done, features)


class TextEmbeddingJob(Job):
    """Squared error to the codes, and the neighbours that the codes give a text inside the batch.

    Args:
        network: the student.
        bags: tokens of all texts.
        codes: (n, d) of all texts.
        train: rows to learn from.
        held: rows to score on.
        config: weights of the terms.
        seed: order and token dropout.
        features: word features of all texts, of a student with votes.
    """

    keeps_start = True  # a training that makes nothing better keeps the ridge regression

    def __init__(
        self,
        network: StaticTextStudent,
        bags: Bags,
        codes: NDArray[np.float32],
        train: NDArray[np.int64],
        held: NDArray[np.int64],
        config: TextStudentConfig,
        *,
        seed: int,
        features: Bags | None = None,
    ) -> None:
        super().__init__(network, rows=len(train), seed=seed)
        self.features = features
        self.voted: Tensor | None = None  # (n, d) of all texts
        self.network, self.bags, self.codes, self.train, self.held, self.config = (
            network,
            bags,
            codes,
            train,
            held,
            config,
        )
        bounds = np.cumsum([0, *network.levels])
        self.parts = [slice(int(a), int(b)) for a, b in pairwise(bounds)]
        # one number a level: dividing each axis by its spread would change who is whose neighbour
        self.spread = [max(float(codes[train][:, part].var(0).mean()), 1e-12) for part in self.parts]

    def start(self) -> None:
        """Ridge regression on the training texts: the map from which training goes on."""
        if self.features is not None:
            self._start_with_votes(self.features)
            return
        with torch.no_grad():
            pooled = self.network.pooled(*self._tokens(self.train, keep=1.0))
        self.network.fit_linear(pooled, torch.from_numpy(self.codes[self.train]))

    @torch.no_grad()
    def _start_with_votes(self, features: Bags) -> None:
        """Votes of word features beside the linear map of token vectors, by one ridge regression.

        A text's direction among token vectors says what it is about, and a vote says what one word means for the codes: a rare
        word that many axes of the table blur counts in full. Training leaves votes as they are.
        """
        assert self.network.rarity is not None
        seen = features.take(self.train).ids
        self.network.rarity.copy_(torch.from_numpy(feature_weights(seen, len(self.train), len(self.network.rarity))))
        found = []
        for strength in STRENGTHS:
            self._solve(features, self.train, strength)
            found.append((self.validate(self.network).rank[0], strength))
        self.strength = max(found)[1]
        self._solve(features, self.train, self.strength)

    @torch.no_grad()
    def refit(self) -> None:
        """The same regression on all texts, those held out too."""
        assert self.features is not None
        self.device = torch.device("cpu")
        self._solve(self.features, np.sort(np.concatenate([self.train, self.held])), self.strength)

    def _solve(self, features: Bags, rows: NDArray[np.int64], strength: float) -> None:
        network = self.network
        assert network.votes is not None
        assert network.rarity is not None
        pooled = POOLED * network.pooled(*self._tokens(rows, keep=1.0)).double().cpu().numpy()
        target = network.before_output(torch.from_numpy(self.codes[rows]).double()).numpy()
        shares = feature_shares(features.take(rows), network.rarity.double().cpu().numpy())
        votes, skip, bias = ridge_of_both(shares, pooled, target, strength)
        for place, found in ((network.votes, votes), (network.skip, POOLED * skip.T), (network.bias, bias)):
            place.copy_(torch.from_numpy(found).to(place.dtype))
        self.voted = network.voted(  # of all texts, once: training leaves them as they are
            torch.from_numpy(features.ids).to(self.device), torch.from_numpy(features.starts[:-1]).to(self.device)
        )

    def _votes(self, rows: NDArray[np.int64]) -> Tensor | None:
        return None if self.voted is None else self.voted[torch.from_numpy(rows).to(self.voted.device)].to(self.device)

    def share(self, rows: Tensor) -> tuple[Tensor, list[int]]:
        """All of a micro-batch for every process: its texts are compared, and a table lookup is not worth a message."""
        return rows, [len(rows)] * ranks.count()

    def terms(self, rows: Tensor, progress: Progress) -> Terms:
        """`error` (mean squared error over the spread of the codes, level by level) and `neighbors`."""
        chosen = self.train[rows.cpu().numpy()]
        student_out = self.network(
            *self._tokens(chosen, keep=1.0 - self.config.token_dropout, step=progress.step), self._votes(chosen)
        )
        target = torch.from_numpy(self.codes[chosen]).to(student_out.device)
        errors = [
            LEVEL_WEIGHTS**number * (student_out[:, part] - target[:, part]).square().mean() / spread
            for number, (part, spread) in enumerate(zip(self.parts, self.spread))
        ]
        terms: Terms = {"error": (1.0, sum(errors[1:], errors[0]))}
        if self.config.neighbor_weight and len(rows) > 2:
            first = self.parts[0]
            perplexity = min(self.config.perplexity, 0.9 * (len(rows) - 1))  # the last batch of an epoch may be small
            loss = neighbor_kl(
                student_out[:, first], target[:, first], perplexity=perplexity, student_bandwidth="teacher"
            )
            terms["neighbors"] = (self.config.neighbor_weight, loss.mean())
        return terms

    def validate(self, model: nn.Module) -> Validation:
        """`r2` of the first level (1: equal, 0: no better than the mean) and `knn_overlap@10` of its neighbours with the codes'."""
        with torch.no_grad():
            parts = [
                model(*self._tokens(rows, keep=1.0), self._votes(rows)).cpu().numpy()
                for rows in np.array_split(self.held, -(-len(self.held) // 4096))
            ]
        student_out, target = np.concatenate(parts), self.codes[self.held]
        first = self.parts[0]
        wrong = np.square(student_out[:, first] - target[:, first]).sum()
        spread = np.square(target[:, first] - target[:, first].mean(0)).sum()
        r2 = float(1.0 - wrong / spread) if spread > 0 else 0.0
        if len(self.held) <= 2 * NEIGHBORS:
            return Validation({"r2": r2}, (r2,))
        some = slice(0, SCORED)
        overlap = knn_overlap(target[some, first], student_out[some, first], k=NEIGHBORS, metric="euclidean")
        return Validation({"r2": r2, f"knn_overlap@{NEIGHBORS}": overlap}, (overlap, r2))

    def _tokens(self, rows: NDArray[np.int64], *, keep: float, step: int = 0) -> tuple[Tensor, Tensor]:
        bags = self.bags.take(rows)
        if keep < 1.0:
            # a function of seed and step, so that a resumed run drops the same tokens
            kept = np.random.default_rng((self.seed, step)).random(len(bags.ids)) < keep
            ends = np.concatenate([[0], np.cumsum(kept)])
            bags = Bags(bags.ids[kept], ends[bags.starts])
        return torch.from_numpy(bags.ids).to(self.device), torch.from_numpy(bags.starts[:-1]).to(self.device)


# ---------------------------------------------------------------------------------------------------------- pieces


def ridge_of_both(
    counts: Any, dense: NDArray[np.float64], target: NDArray[np.float64], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Ridge regression of codes (n, d) on sparse (n, V) and dense (n, h) features together, by conjugate gradients.

    Returns:
        (V, d) and (h, d) coefficients, and (d,) constants, which are not penalized.

    Example:
        >>> from scipy.sparse import csr_array
        >>> x, y = np.eye(3), np.array([[1.0], [2.0], [6.0]])
        >>> votes, rest, constant = ridge_of_both(csr_array(x), np.zeros((3, 1)), y, 1e-9)
        >>> (x @ votes + constant).round(3).ravel().tolist()
        [1.0, 2.0, 6.0]

    Source: Hoerl & Kennard 1970; Hestenes & Stiefel 1952.
    """
    V = counts.shape[1]
    middle = target.mean(0)

    def back(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        centered = rows - rows.mean(0)
        return np.concatenate([counts.T @ centered, dense.T @ centered])

    def forth(w: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(counts @ w[:V] + dense @ w[V:])

    residual = back(target)
    w, step, size = np.zeros_like(residual), residual.copy(), np.square(residual).sum(0)
    enough = 1e-12 * size
    for _ in range(ROUNDS):
        if (size <= enough).all():
            break
        moved = back(forth(step)) + strength * step
        along = size / np.maximum((step * moved).sum(0), 1e-300)
        w += along * step
        residual -= along * moved
        size, before = np.square(residual).sum(0), size
        step = residual + size / np.maximum(before, 1e-300) * step
    return w[:V], w[V:], middle - forth(w).mean(0)


def feature_weights(ids: NDArray[np.int64], texts: int, features: int) -> NDArray[np.float32]:
    """(F,) how rare each word feature is among n texts: log((1 + n) / (1 + df)) + 1, less for letters; 0 for one that was not seen.

    Example:
        >>> feature_weights(np.array([0, 0, 1, 3]), 2, 4).round(3)  # letter groups are 2 and 3
        array([1.   , 1.405, 0.   , 0.492], dtype=float32)

    Source: Spärck Jones 1972 (inverse document frequency), smoothed as scikit-learn does.
    """
    held = np.bincount(ids, minlength=features)
    weights = np.where(held > 0, np.log((1 + texts) / (1 + held)) + 1, 0.0)
    weights[features // 2 :] *= LETTERS
    return weights.astype(np.float32)


def feature_shares(bags: Bags, weights: NDArray[np.float64]) -> Any:
    """(n, F) sparse: the weight of every word feature of a text, of length 1 together."""
    from scipy.sparse import csr_array

    found = weights[bags.ids]
    squares = np.concatenate([[0.0], np.cumsum(np.square(found))])
    length = np.sqrt(np.maximum(squares[bags.starts[1:]] - squares[bags.starts[:-1]], 0.0))
    shares = found / np.repeat(np.maximum(length, 1e-12), np.diff(bags.starts))
    return csr_array((shares, bags.ids, bags.starts), shape=(len(bags), len(weights)))


def split_texts(texts: Sequence[str], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from and rows held out; texts that are equal but for case and space are never on both sides.

    Example:
        >>> train, held = split_texts(["a", "b", "A ", "c"], 0.3, seed=0)
        >>> len(train) + len(held), bool({0, 2} <= {*train.tolist()}) != bool({0, 2} <= {*held.tolist()})
        (4, True)
    """
    _, group = np.unique([" ".join(text.lower().split()) for text in texts], return_inverse=True)
    groups = int(group.max()) + 1 if len(texts) else 0
    count = round(share * groups)
    if count < 1 or groups - count < 2:
        raise InputError(f"texts: expected enough different ones to hold out a share of {share}, got {groups}")
    held = np.isin(group, np.random.default_rng(seed).permutation(groups)[:count])
    return np.flatnonzero(~held), np.flatnonzero(held)


def token_weights(ids: NDArray[np.int64], vocabulary: int, rarity: float) -> NDArray[np.float32]:
    """(V,) a / (a + p) of every token: near 1 for rare ones, near 0 for "the"; a token that was not seen has 1.

    Example:
        >>> token_weights(np.array([0, 0, 0, 1]), 3, rarity=0.25).round(3).tolist()
        [0.25, 0.5, 1.0]

    Source: Arora et al. 2017 (SIF).
    """
    share = np.bincount(ids, minlength=vocabulary) / max(1, len(ids))
    return (rarity / (rarity + share)).astype(np.float32)


def save_text_student(
    folder: Path,
    network: StaticTextStudent,
    tokenizer: Tokenizer,
    *,
    half: bool = True,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write weights (the token weights folded into the table), tokenizer and a card with their hashes, the card last."""
    weights = {name: x.detach().cpu().numpy() for name, x in network.state_dict().items()}
    table = weights.pop("table") * np.exp(weights.pop("log_weight"))[:, None]
    # only directions count, so the largest number can be brought to 1, far from the ends of float16
    table /= max(float(np.abs(table).max()), 1e-30)
    kind = np.float16 if half else np.float32
    arrays = {**weights, "table": table.astype(kind)}
    arrays |= {name: arrays[name].astype(kind) for name in VOTES if name in arrays}
    if isinstance(tokenizer, PieceTokenizer):
        text = tokenizer.text
        write_atomically(folder / TOKENIZER, lambda file: file.write(text.encode()))
    packed = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_atomically(folder / WEIGHTS, lambda file: file.write(packed))
    card = {"levels": list(network.levels), "output": network.output, "scale": network.scale}
    if network.votes is not None:
        card["vote_buckets"] = len(network.votes)
    more = {"tokenizer": tokenizer.to_mapping(), "versions": versions()}
    names = (WEIGHTS, TOKENIZER) if isinstance(tokenizer, PieceTokenizer) else (WEIGHTS,)
    write_json(folder / CARD, with_hashes({**(about or {}), "format": FORMAT, **card, **more}, folder, names))


def _tokenizer(config: TextStudentConfig, teacher: str | Path | None) -> Tokenizer:
    if config.tokens == "hash":
        return HashTokenizer(config.buckets, config.letters)
    if teacher is None:
        raise InputError("teacher: expected the teacher's folder, whose tokenizer is used; or take tokens: hash")
    return PieceTokenizer.from_folder(teacher)


def _first_table(lesson: TextLesson, tokenizer: Tokenizer, seed: int) -> NDArray[np.float32]:
    config, table, vocabulary = lesson.config, lesson.table, tokenizer.vocabulary
    if table is None and config.start == "random":
        scale = 1 / np.sqrt(config.width)
        return (np.random.default_rng(seed).normal(size=(vocabulary, config.width)) * scale).astype(np.float32)
    if table is None:
        assert lesson.teacher is not None  # pieces come from the teacher's folder
        table = input_table(lesson.teacher)
    found = checked_vectors("table", table)
    if len(found) < vocabulary:
        raise InputError(f"table: expected a row for each of {vocabulary} tokens, got {len(found)}")
    return _narrowed(found[:vocabulary], config.width)


def _narrowed(table: NDArray[np.float64], width: int) -> NDArray[np.float32]:
    """Centered rows on the leading principal axes, at most `width`, with the mean length of a row brought to 1."""
    centered = table - table.mean(0)
    if width < table.shape[1]:
        _, axes = np.linalg.eigh(centered.T @ centered)
        centered = centered @ axes[:, ::-1][:, :width]
    length = np.linalg.norm(centered, axis=1).mean()
    return (centered / (length if length > 0 else 1.0)).astype(np.float32)
