"""An embedding student in use, by numpy alone: vectors or texts in, codes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.predict import Inputs, Predictor, array_of, check_finite, lines_of, numbers_of
from stillhouse.core.records import CARD, read_object
from stillhouse.families.embed.data.vectors import open_vectors
from stillhouse.families.embed.export.numpy_embedder import FORMAT, NumpyEmbedder
from stillhouse.families.embed.text import FORMAT as TEXT_FORMAT
from stillhouse.families.embed.text import TextEmbedder

Student = NumpyEmbedder | TextEmbedder


def is_student(folder: Path) -> bool:
    """Whether a folder, or the `student` in it, is one of these."""
    places = [folder, *(folder / name for name in ("student", "text-student"))]
    place = next((place for place in places if (place / CARD).is_file()), None)
    return place is not None and read_object(place / CARD, {}).get("format") in (FORMAT, TEXT_FORMAT)


def load_student(folder: Path) -> Student:
    """A student from its folder, or from the run that made it (`RUN/student`).

    Raises:
        InputError: no student there.
    """
    folder = Path(folder).expanduser()
    if not (folder / CARD).is_file():
        inside = next((folder / name for name in ("student", "text-student") if (folder / name / CARD).is_file()), None)
        if inside is None:
            raise InputError(
                f"{folder}: expected the folder of a student ({CARD} in it) or of a finished run, got neither"
            )
        folder = inside
    card = read_object(folder / CARD, {})
    if card.get("format") == TEXT_FORMAT:
        return TextEmbedder.load(folder)
    return NumpyEmbedder.load(folder)


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
        if self.reads_texts:
            if not isinstance(one, str) or not one.strip():
                raise InputError(f"text: expected words, got {one!r}")
            return one
        vector, width = np.asarray(one), int(self.student.card["teacher_dim"])
        if vector.shape != (width,) or vector.dtype.kind not in "fiu":
            raise InputError(
                f"vector: expected {width} numbers, as the student was taught, got {vector.dtype} {vector.shape}"
            )
        check_finite(vector[None], "vector")
        return vector.astype(np.float32)

    def predict(self, inputs: Any) -> np.ndarray:
        """Codes (N, d) float32 of vectors (N, D), of one (D), or of a list of texts."""
        if isinstance(self.student, TextEmbedder):
            texts = [self.transform(one) for one in ([inputs] if isinstance(inputs, str) else inputs)]
            return np.asarray(self.student.encode(texts), np.float32)
        vectors, width = np.atleast_2d(np.asarray(inputs)), int(self.student.card["teacher_dim"])
        if vectors.ndim != 2 or vectors.shape[1] != width or vectors.dtype.kind not in "fiu":
            raise InputError(f"vectors: expected (N, {width}) numbers, as the student was taught, got {vectors.shape}")
        check_finite(vectors, "vectors")
        return np.asarray(self.student.encode(vectors.astype(np.float32)), np.float32)

    def read(self, source: str) -> Inputs:
        """Rows, by number; texts, by number of their line."""
        path = Path(source).expanduser()
        if self.reads_texts:
            texts = lines_of(source) if source == "-" or path.suffix == ".txt" else texts_of(source)
            return Inputs([str(number) for number in range(1, len(texts) + 1)], texts)
        if source == "-" or path.suffix.lower() == ".csv":
            vectors = numbers_of(source)
        elif path.suffix.lower() == ".npy":
            vectors = array_of(source)
        else:
            store = open_vectors(source)
            vectors = store.read(np.arange(len(store)))
        if vectors.ndim != 2 or not vectors.size:
            raise InputError(f"{source}: expected vectors (N, D), got {vectors.shape}")
        check_finite(vectors, "standard input" if source == "-" else source)
        return Inputs([str(number) for number in range(len(vectors))], vectors)


def texts_of(source: str) -> list[str]:
    """The texts of a file, or of a column of one (`FILE:COLUMN`)."""
    from stillhouse.families.embed.data.texts import Source, read_texts

    place = Source.parse(source)
    return list(read_texts(place.path, columns=place.columns, deduplicate=False))
