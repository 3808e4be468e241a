"""`stillhouse embed capture|explore`: what only embeddings have."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import Parser


def capture(words: Sequence[str]) -> int:
    """Texts to a teacher's vectors, encoded once into a folder."""
    parser = Parser("embed capture")
    parser.add_argument("texts", nargs="+", help="text files, see below")
    parser.add_argument("--model", "--teacher", required=True, help="sentence-transformers folder or name")
    parser.add_argument("--out", "--save-dir", type=Path, required=True, help="folder for vectors and texts")
    parser.add_argument("--batch-size", type=int, default=64, help="texts at once in the model [64]")
    parser.add_argument("--min-chars", type=int, default=1, help="drop shorter texts [1]")
    parser.add_argument("--max-chars", type=int, help="drop longer texts")
    parser.add_argument("--limit", type=int, help="at most so many texts of each file")
    parser.add_argument("--device", help="as torch names it [the best there is]")
    parser.add_argument("--raw-length", action="store_true", help="leave vectors at the model's length")
    options = parser.parse(words)
    from stillhouse.tasks.embed.capture import Encoding, capture
    from stillhouse.tasks.embed.texts import gather

    texts, names = gather(options.texts, min_chars=options.min_chars, max_chars=options.max_chars, limit=options.limit)
    encoding = Encoding(options.batch_size, normalize=not options.raw_length, device=options.device)
    capture(texts, options.model, options.out, names=names, encoding=encoding, progress=sys.stderr.isatty())
    print(f"{len(texts):,} different texts; go on with: stillhouse embed distill {options.out}")
    return 0


def explore(words: Sequence[str]) -> int:
    """Write the page on which the space can be looked at and searched."""
    parser = Parser("embed explore")
    parser.add_argument("folder", type=Path, help="a run, or the folder of a student")
    parser.add_argument("--out", type=Path, help="the page [explorer.html in the folder]")
    parser.add_argument("--vectors", help="vectors of the same teacher [the test rows of its run]")
    parser.add_argument("--key", help="which array or column of them")
    parser.add_argument("--limit", type=int, default=5000, help="rows on the page, at most [5000]")
    options = parser.parse(words)
    from stillhouse.tasks.embed.explore import explore

    out = options.out or options.folder / "explorer.html"
    explore(options.folder, out, options.vectors, key=options.key, limit=options.limit)
    print(f"open {out} in a browser; it asks for nothing from outside")
    return 0
