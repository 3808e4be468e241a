"""Text files -> one list of different texts and where each came from, captured once with a teacher.

A source is a path, with what to read of it behind a colon:

    notes.txt                     a text a line
    stsb-en-train.csv:0,1         columns of a table, by number from 0 or by name
    reviews.jsonl:body            a field
    wiki.train.txt:tokenized      articles, sentence by sentence (prose, or WikiText's tokenized form)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.core.checks import InputError
from stillhouse.core.records import write_atomically
from stillhouse.families.embed.data.texts import read_texts
from stillhouse.families.embed.data.vector_stores import LABELS, capture_manifest

ARTICLES = ("prose", "tokenized")


@dataclass(frozen=True)
class Source:
    """One file and what to read of it."""

    path: Path
    columns: tuple[int | str, ...] | None = None
    articles: Any = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """`PATH`, `PATH:0,1`, `PATH:name` or `PATH:tokenized`; a path that exists as it stands is taken whole.

        Example:
            >>> Source.parse("pairs.csv:0,1").columns, Source.parse("wiki.txt:tokenized").articles
            ((0, 1), 'tokenized')
        """
        if Path(text).expanduser().exists() or ":" not in text:
            return cls(Path(text).expanduser())
        place, _, rest = text.rpartition(":")
        if rest in ARTICLES:
            return cls(Path(place).expanduser(), articles=rest)
        words = [word.strip() for word in rest.split(",")]
        if not place or not all(words):
            raise InputError(f"{text}: expected PATH:COLUMNS (0,1 or names), PATH:prose or PATH:tokenized")
        return cls(Path(place).expanduser(), tuple(int(word) if word.isdigit() else word for word in words))


def gather(
    sources: Sequence[str], *, min_chars: int = 1, max_chars: int | None = None, limit: int | None = None
) -> tuple[list[str], list[str]]:
    """All texts of some sources, each once, and the name of the file that each came from first.

    Two texts that differ only in case or white space count as one: else a model that reads lower case would see a training
    text again in the test split.

    Args:
        sources: see above.
        min_chars: shorter texts are dropped.
        max_chars: longer texts are dropped.
        limit: take at most so many of each source.

    Returns:
        (n) texts and (n) names: the file's, with its folder's where two files have the same.

    Raises:
        InputError: as `read_texts`, no sources.
    """
    if not sources:
        raise InputError("texts: expected at least one file (FILE, FILE:COLUMNS, FILE:tokenized)")
    kept: dict[str, tuple[str, str]] = {}
    parsed = [Source.parse(text_source) for text_source in sources]
    stems = [source.path.stem for source in parsed]
    for source in parsed:
        stem = source.path.stem
        name = stem if stems.count(stem) == 1 else f"{source.path.resolve().parent.name}/{stem}"
        found = read_texts(
            source.path,
            columns=source.columns,
            articles=source.articles,
            min_chars=min_chars,
            max_chars=max_chars,
            limit=limit,
        )
        for text in found:
            kept.setdefault(text.casefold(), (text, name))
    return [text for text, _ in kept.values()], [name for _, name in kept.values()]


def capture_sources(
    sources: Sequence[str],
    model: str,
    out: Path,
    *,
    min_chars: int = 1,
    max_chars: int | None = None,
    limit: int | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """`gather`, then `capture` with the rest of the settings, with the names of files as labels.

    Returns:
        `folder`, `rows`, `width`, `files` (texts of each).
    """
    from collections import Counter

    from stillhouse.families.embed.capture import capture

    texts, names = gather(sources, min_chars=min_chars, max_chars=max_chars, limit=limit)
    folder = capture(texts, model, out, **settings)
    lines = "".join(f"{name}\n" for name in names)
    write_atomically(folder / LABELS, lambda file: file.write(lines.encode()))
    about = capture_manifest(folder)
    return {"folder": folder, "rows": about["rows"], "width": about["width"], "files": dict(Counter(names))}
