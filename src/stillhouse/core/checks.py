"""Small guards whose errors print the name, what was expected and what came. Imports no torch."""

from __future__ import annotations

import contextlib
import difflib
import warnings
from collections.abc import Iterable, Iterator


class StillhouseError(Exception):
    """Anything a user can mend: the command line prints its message without a traceback and exits with 2.

    Attributes:
        keeps: whether what a run began stays, though nothing was trained to the end.
    """

    keeps = False


class InputError(StillhouseError, ValueError):
    """Data, a file or a value is not what it must be."""


class ConfigError(StillhouseError, ValueError):
    """A key, flag or value that the schema does not take; the message names the place and the near key."""


class CannotWrite(InputError):
    """A file cannot be written (a full disk, no permission): the same command goes on when it can be."""


class Interrupted(StillhouseError):
    """The run was asked to stop and has saved its state; it can be continued from there.

    Args:
        step: optimizer steps that are done.
        total: of how many.
        saved: the checkpoint.
    """

    def __init__(self, step: int, total: int, saved: object) -> None:
        super().__init__(f"stopped at step {step} of {total}; saved {saved}; go on with the same command and --resume")
        self.step = step


def nearest(word: str, known: Iterable[str]) -> str:
    """A ready-made hint for a misspelt name: the near one, or the list of what there is.

    Example:
        >>> nearest("learning_rat", ["learning_rate", "epochs"])
        "did you mean 'learning_rate'?"
        >>> nearest("zzz", ["learning_rate", "epochs"])
        'known: epochs, learning_rate'
    """
    names = sorted(set(known))
    if not names:
        return "there are none"
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    shown = ", ".join(names[:30]) + (f", ... ({len(names)} in all)" if len(names) > 30 else "")
    return f"known: {shown}"


@contextlib.contextmanager
def quiet_pickle_warnings() -> Iterator[None]:
    """Around `torch.load`: its two lines about the protocol of a pickle that is refused anyway, with one of ours, are left out."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol")
        yield


def same_shape(name: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise `InputError` unless two shapes are equal.

    Example:
        >>> same_shape("logits", (4, 9), (4, 10))
        Traceback (most recent call last):
        ...
        stillhouse.core.checks.InputError: logits: expected shape (4, 10), got (4, 9)
    """
    if tuple(got) != tuple(expected):
        raise InputError(f"{name}: expected shape {tuple(expected)}, got {tuple(got)}")
