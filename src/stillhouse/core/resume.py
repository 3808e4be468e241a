"""Whether a run may write into a folder: a new one, or that of the same run, grown at most. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse.core.checks import InputError
from stillhouse.core.records import CARD, CHECKPOINT, RESULT, RUN, SUMMARY, check_folder, is_leftover, read_object

FREE = ("license",)  # settings of every run that decide no result
KEPT = {CARD, CHECKPOINT, RESULT, SUMMARY}  # what a training leaves as soon as there is something to go on with


def open_run_folder(
    out: Path,
    config: Mapping[str, Any],
    *,
    resume: bool,
    may_grow: tuple[str, ...] = (),
    may_change: tuple[str, ...] = (),
    may_hold: tuple[str, ...] = (),
) -> None:
    """See that a run may write here: a new or empty folder, or with `resume` a folder of the same configuration.

    What a killed first write left (a lock, temporary files) counts as empty, and so does a run that ended before anything was
    trained: whoever begins anew in its folder must believe none of its files.

    Args:
        out: the folder.
        config: the configuration as plain data.
        resume: go on with what is there.
        may_grow: keys that may differ on resume: a number may rise, a list may get more entries.
        may_change: dotted keys of settings that decide no result.
        may_hold: names of entries that a new folder may hold already, made ahead of the run.

    Raises:
        InputError: something else is there, a run that is not to be resumed, or one of another configuration.
    """
    check_folder(out)
    if not (out / RUN).is_file():
        if out.exists() and any(entry.name not in may_hold and not is_leftover(entry.name) for entry in out.iterdir()):
            raise InputError(f"cannot write {out}: it exists and is not a run folder; choose another --out")
        return
    if not resume:
        check_free(out)
        return
    before = read_object(out / RUN, {"config": dict[str, Any]})["config"]
    changed = [
        f"{key}: was {was!r}, is {now!r}" + (" (a run can grow, but not shrink)" if key in may_grow else "")
        for key, was, now in differences(before, config, whole=may_grow)
        if key not in (*FREE, *may_change) and not (key in may_grow and _grew(was, now))
    ]
    if changed:
        raise InputError(
            f"{out}: --resume needs the configuration of the run; it differs in {'; '.join(changed)}; take another --out for "
            "another run, or delete the folder"
        )


def check_free(out: Path) -> None:
    """Refuse a folder in which a run has trained something.

    Raises:
        InputError: it has.
    """
    if (out / RUN).is_file() and holds_training(out):
        raise InputError(f"{out} holds a run already; go on with --resume, or choose another --out")


def holds_training(out: Path) -> bool:
    """Whether anything was trained in a folder, or below it."""
    return any(path.name in KEPT or path.suffix in (".pt", ".safetensors") for path in out.rglob("*"))


def differences(before: Any, now: Any, path: str = "", *, whole: tuple[str, ...] = ()) -> list[tuple[str, Any, Any]]:
    """(path, before, now) of every leaf that differs; lists of one length entry by entry, except those named `whole`."""
    if before == now:
        return []
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now) and path not in whole:
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if isinstance(before, Mapping) and isinstance(now, Mapping) and path not in whole:
        keys = dict.fromkeys([*before, *now])
        return [
            d
            for k in keys
            for d in differences(before.get(k), now.get(k), f"{path}.{k}" if path else str(k), whole=whole)
        ]
    return [(path, before, now)]


def _grew(before: Any, now: Any) -> bool:
    """Whether `now` holds all that was before: a larger number, a longer list, something in place of nothing."""
    if isinstance(before, list) and isinstance(now, list):
        return all(entry in now for entry in before)
    if isinstance(before, int) and isinstance(now, int):
        return now >= before
    return before is None
