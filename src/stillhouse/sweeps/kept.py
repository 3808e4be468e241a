"""Data and teacher of the trial before, kept in the memory of a worker for the next one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from stillhouse.core.family import Family

Log = Callable[[str], None]


def keeping(family: Family[Any, Any], kept: dict[str, Any]) -> Family[Any, Any]:
    """The same family, which builds data and teachers only where `Family.made_of` differs from the trial before.

    Teachers are of the data that they were built with: other data take them along. What is no longer needed is let go before
    its successor is built, so that two never lie in memory.

    Args:
        family: of a sweep.
        kept: what a worker holds, the same mapping for all of its trials; empty at first.
    """
    found: Any = copy.copy(family)

    def data(config: Any, log: Log) -> Any:
        key = family.made_of(config)[0]
        if "data" not in kept or kept["data_of"] != key:
            kept.clear()
            kept["data"], kept["data_of"] = family.data(config, log), key
        return kept["data"]

    def teachers(config: Any, data: Any, given: Any, log: Log) -> Any:
        if given is not None or data is not kept.get("data"):
            return family.teachers(config, data, given, log)
        key = family.made_of(config)[1]
        if "teachers" not in kept or kept["teachers_of"] != key:
            kept.pop("teachers", None)
            kept["teachers"], kept["teachers_of"] = family.teachers(config, data, None, log), key
        return kept["teachers"]

    found.data, found.teachers = data, teachers
    whole: Family[Any, Any] = found
    return whole
