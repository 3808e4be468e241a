"""Pages of `--help` and `list`, written once and shipped: a command that only explains itself must not wait for torch.

python -m stillhouse.cli.catalog      writes every page anew; a test fails when they no longer fit the commands
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO

PAGES = Path(__file__).parent / "pages"
WIDTH = "110"
HELP = {"-h", "--help", "help"}
WORDS = (
    ("list",),
    *(
        (command, "--help")
        for command in (
            "demo",
            "distill",
            "check",
            "cache",
            "train-teacher",
            "evaluate",
            "export",
            "predict",
            "compare",
            "sweep",
            "verify",
            "report",
            "vision",
            "list",
            "documents",
        )
    ),
    *(("sar", command, "--help") for command in ("simulate", "train", "distill", "compare", "stream", "evaluate")),
    *(("lm", command, "--help") for command in ("train-teacher", "cache", "distill", "evaluate", "generate", "export")),
    *(("embed", command, "--help") for command in ("capture", "distill", "evaluate", "encode", "explore", "export")),
)


def page_of(words: Sequence[str]) -> Path | None:
    """The stored page of a command line that asks for nothing but an explanation.

    Example:
        >>> page_of(["distill", "--help"]).name, page_of(["distill", "digits"]) is None
        ('distill.txt', True)
    """
    plain = tuple(word for word in words if word not in HELP)
    asks = len(plain) < len(words)
    known = tuple(word for word in (*plain, *(["--help"] if asks else [])))
    return PAGES / f"{'-'.join(plain)}{'' if asks else '.all'}.txt" if known in WORDS else None


def written(words: Sequence[str]) -> str:
    """What a command prints when it really runs."""
    from stillhouse.cli.main import run_command

    buffer = io.StringIO()
    with contextlib.redirect_stdout(buffer), contextlib.suppress(SystemExit):
        run_command(list(words))
    return buffer.getvalue()


def _fill(page: bytes, file: IO[bytes]) -> None:
    file.write(page)


def main() -> int:
    """Write every page."""
    from stillhouse.core.records import write_atomically  # not to be waited for where a page is only shown

    os.environ["COLUMNS"] = WIDTH
    for words in WORDS:
        path, text = page_of(words), written(words)
        assert path is not None
        page = text.encode()
        write_atomically(path, partial(_fill, page))
        sys.stderr.write(f"{path.name}: {len(text.splitlines())} lines\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
