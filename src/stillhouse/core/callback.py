"""Who is kept informed while a run goes on. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stillhouse.core.types import Progress

News = Mapping[str, float | None]


class Callback:
    """Gets a line for each stage of a run and the progress of each training; this one ignores both."""

    def begin(self, done: int, total: int) -> None:
        """How many trainings are left of how many."""

    def log(self, line: str) -> None:
        """A line about what is done now."""

    def on_validation(self, arm: str, seed: int, epoch: int, rank: Sequence[float]) -> None:
        """The rank of a validation of an arm's own student; epochs count on through the stages of a pipeline."""

    def on_progress(self, arm: str, seed: int, progress: Progress, news: News) -> None:
        """The progress of one training and its latest figures.

        The last step of an epoch brings `epoch`, `epochs` and the scores of its validation.
        """


NULL_CALLBACK = Callback()
