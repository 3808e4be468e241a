"""The beginning of a run: its processes are joined, and process 0 opens the folder for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from stillhouse.core import processes, ranks
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.folder import RunFolder
from stillhouse.training.config import TrainingConfig
from stillhouse.training.device import join

OF_PROCESSES = ("training.devices", "training.num_nodes", "training.strategy", "training.shard_teacher")


@contextmanager
def open_run(
    path: Path,
    config: Mapping[str, Any],
    training: TrainingConfig,
    *,
    resume: bool,
    may_change: tuple[str, ...] = (),
    **grown: tuple[str, ...],
) -> Iterator[RunFolder]:
    """`RunFolder.open` for all processes of a run; how many they are may change on resume.

    Raises:
        InputError: what `RunFolder.open` and `join` raise.
    """
    join(training)
    with ExitStack() as stack:

        def opened() -> dict[str, Any]:
            change = (*may_change, *OF_PROCESSES)
            return stack.enter_context(RunFolder.open(path, config, resume=resume, may_change=change, **grown)).before

        before = processes.on_first(opened)
        yield RunFolder(path, before)


def only_first(callback: Callback) -> Callback:
    """Who is kept informed of a run: by process 0 alone."""
    return callback if ranks.first() else NULL_CALLBACK
