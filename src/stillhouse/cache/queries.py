"""The rows that a task asks its teacher about, and the writing of the answers: one way for all tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.cache.content import Content
from stillhouse.cache.files import Plan, write_rows
from stillhouse.core import processes
from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs

UNKNOWN = "not stated"


@dataclass(frozen=True)
class Part:
    """Some rows that a teacher is asked about.

    Attributes:
        rows: how many.
        batch: row numbers (B,) int64 -> what the teacher is shown.
        whole: keep all scores of it, whatever is kept of the training rows: few rows, from which figures are made.
    """

    rows: int
    batch: Callable[[Tensor], Batch]
    whole: bool = False


@dataclass(frozen=True)
class TeacherQueries:
    """What a task asks of a teacher, and what decides the answers.

    Attributes:
        teacher: called with a `Batch`, gives `Outputs`.
        name: of the teacher.
        parts: by name; the training rows are "train", or "view-0", "view-1", ... of augmented images.
        classes: K; 0 where there are none.
        teacher_sha256: of its weights.
        preprocessing: how it sees the inputs, in words.
        data_sha256: of the inputs.
        labels_sha256: of what a student learns beside the teacher.
        augmentation: of the views; None: inputs as they are.
        batch: rows at a time; each row is always asked about beside the same others.
        params: of the teacher.
        licence: under which the teacher's outputs may be passed on, as far as it says so itself.
        content: what is kept of the training rows where nothing else is asked for.
        further: entries of the key that a task has alone.
        about: further facts that are kept beside: sources, versions, the teacher's grade.
    """

    teacher: Callable[[Batch], Outputs]
    name: str
    parts: Mapping[str, Part]
    classes: int
    teacher_sha256: str
    preprocessing: str
    data_sha256: str
    labels_sha256: str = ""
    augmentation: Mapping[str, Any] | None = None
    batch: int = 64
    params: int = 0
    licence: str = UNKNOWN
    about: Mapping[str, Any] = field(default_factory=dict)

    content: Content = field(default_factory=Content)
    further: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> dict[str, Any]:
        """What decides the answers, by name; the preprocessing first, since it is a part of a teacher's hash."""
        return {
            "preprocessing": self.preprocessing,
            "teacher": self.teacher_sha256,
            "labels": self.labels_sha256,
            "data": self.data_sha256,
            "augmentation": self.augmentation,
            **self.further,
        }

    def content_of(self, part: str, content: Content) -> Content:
        """What is kept of a part."""
        return content.whole if self.parts[part].whole and content.topk else content

    def answers(self, part: str, start: int, content: Content) -> Iterator[dict[str, NDArray[Any]]]:
        """Arrays of the rows of a part from `start` on, a batch at a time."""
        kept = self.content_of(part, content)
        for rows in torch.arange(start, self.parts[part].rows).split(self.batch):
            batch = self.parts[part].batch(rows)
            with torch.no_grad():
                yield kept.encode(self.teacher(batch), batch, self.name)

    def plan(self, content: Content, *, licence: str | None = None) -> Plan:
        """What a cache of the answers holds; a first batch of every part is asked to know their shapes."""
        if not self.parts or min(part.rows for part in self.parts.values()) < 1:
            raise InputError(f"teacher {self.name}: expected rows to ask about, got none")
        arrays: dict[str, Any] = {}
        of_views: dict[str, Any] = {}
        for name in self.parts:
            stem = name.rpartition("-")[0] or name  # thousands of views have the shapes of the first
            if stem not in of_views:
                found = next(self.answers(name, 0, content))
                of_views[stem] = {what: (values.shape[1:], values.dtype.str) for what, values in found.items()}
            arrays[name] = of_views[stem]
        rows = {name: part.rows for name, part in self.parts.items()}
        key = {**self.key, **content.to_key(), "classes": self.classes}
        about = {"teacher": self.name, "params": self.params, "licence": licence or self.licence, **self.about}
        return Plan(key, rows, arrays, self.batch, about)


def write_cache(
    teacher_queries: TeacherQueries,
    folder: Path,
    content: Content,
    *,
    licence: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Ask a teacher and keep its answers; a folder that was begun is continued. Of the processes of a run the first asks.

    Args:
        teacher_queries: rows and teacher.
        folder: for the files.
        content: what is kept of the training rows.
        licence: under which the teacher's outputs may be passed on [as the teacher says itself].
        on_progress: called with (rows done, rows).

    Raises:
        InputError: the folder holds a cache of something else, a disk that is full, answers that are not numbers.
    """
    plan = teacher_queries.plan(content, licence=licence)

    def fill(part: str, start: int) -> Iterator[dict[str, NDArray[Any]]]:
        return teacher_queries.answers(part, start, content)

    processes.run_on_first(lambda: write_rows(folder, plan, fill, on_progress=on_progress))
