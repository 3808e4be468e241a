"""A finished student in use, without torch: vectors or texts in, codes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.predict import Inputs, Predictor, array_of, check_finite, lines_of, numbers_of
from stillhouse.core.records import CARD, read_object
from stillhouse.tasks.embed.data.vectors import open_vectors
from stillhouse.tasks.embed.export.numpy_embedder import FORMAT, NumpyEmbedder
from stillhouse.tasks.embed.text import FORMAT as TEXT_FORMAT
from stillhouse.tasks.embed.text import TextEmbedder

Student = NumpyEmbedder | TextEmbedder


def student_place(folder: Path) -> Path | None:
    """The folder of a student: this one, or that of a run which lies in it."""
    folder = Path(folder).expanduser()
    places = (folder, folder / "student", folder / "text-student")
    return next((place for place in places if (place / CARD).is_file()), None)


def is_student(folder: Path) -> bool:
    """Whether a folder, or the `student` in it, is one of these."""
    place = student_place(folder)
    return place is not None and read_object(place / CARD, {}).get("format") in (FORMAT, TEXT_FORMAT)


def load_student(folder: Path) -> Student:
    """A student from its folder, or from the run that made it (`RUN/student`).

    Raises:
        InputError: no student there.
    """
    place = student_place(folder)
    if place is None:
        raise InputError(f"{folder}: expected the folder of a student ({CARD} in it) or of a finished run, got neither")
    reads_texts = read_object(place / CARD, {}).get("format") == TEXT_FORMAT
    return TextEmbedder.load(place) if reads_texts else NumpyEmbedder.load(place)


class CodePredictor(Predictor):
    """Vectors of the teacher, or texts where the student reads texts, into codes."""

    takes: ClassVar[str] = (
        "vectors (.npy, a .csv of numbers, a capture), texts for a text student, or - for rows or lines"
    )
    gives_array: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.student = load_student(folder)
        self.columns = tuple(f"z{number}" for number in range(1, sum(self.student.levels) + 1))

    @property
    def reads_texts(self) -> bool:
        """Whether inputs are texts."""
        return isinstance(self.student, TextEmbedder)

    def transform(self, one: Any) -> Any:
        """A vector (D) float32 of the teacher's width, or a text as it is.

        Raises:
            InputError: another width, NaN, or no text.
        """
        if not self.reads_texts:
            return self._vectors(np.asarray(one)[None])[0]
        if not isinstance(one, str) or not one.strip():
            raise InputError(f"text: expected words, got {one!r}")
        return one

    def _vectors(self, vectors: np.ndarray) -> np.ndarray:
        width = int(self.student.card["teacher_dim"])
        if vectors.ndim != 2 or vectors.shape[1] != width or vectors.dtype.kind not in "fiu":
            raise InputError(f"vectors: expected (N, {width}) numbers, as the student was taught, got {vectors.shape}")
        check_finite(vectors, "vectors")
        return vectors.astype(np.float32)

    def predict(self, inputs: Any) -> np.ndarray:
        """Codes (N, d) float32 of vectors (N, D), of one (D), or of a list of texts."""
        if self.reads_texts:
            read: Any = [self.transform(one) for one in ([inputs] if isinstance(inputs, str) else inputs)]
        else:
            read = self._vectors(np.atleast_2d(np.asarray(inputs)))
        return np.asarray(self.student.encode(read), np.float32)

    def read(self, source: str) -> Inputs:
        """Rows, by number; texts, by number of their line."""
        suffix = Path(source).suffix.lower()
        if self.reads_texts:
            texts = lines_of(source) if source == "-" or suffix == ".txt" else texts_of(source)
            return Inputs([str(number) for number in range(1, len(texts) + 1)], texts)
        if source == "-" or suffix == ".csv":
            vectors = numbers_of(source)
        else:
            vectors = array_of(source) if suffix == ".npy" else next(open_vectors(source).chunks(2**62))
        if vectors.ndim != 2 or not vectors.size:
            raise InputError(f"{source}: expected vectors (N, D), got {vectors.shape}")
        check_finite(vectors, "standard input" if source == "-" else source)
        return Inputs([str(number) for number in range(len(vectors))], vectors)


def texts_of(source: str) -> list[str]:
    """The texts of a file, or of a column of one (`FILE:COLUMN`)."""
    from stillhouse.tasks.embed.data.texts import Source, read_texts

    place = Source.parse(source)
    return read_texts(place.path, columns=place.columns, deduplicate=False)
