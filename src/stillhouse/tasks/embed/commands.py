"""`stillhouse embed capture|explore`: what only embeddings have."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import Parser

CAPTURE = """
  stillhouse embed capture notes.txt --model all-MiniLM-L6-v2 --out runs/notes
  stillhouse embed capture pairs.csv:0,1 articles.jsonl:body --model all-MiniLM-L6-v2 --out runs/both --limit 50000
"""
FILES = """a text file: FILE.txt (a line a text), FILE.csv:0,1 (columns), FILE.jsonl:body (a field).
Equal texts are taken once. A capture that was stopped goes on where it stopped; a finished one returns at once.
"""
EXPLORE = """
  stillhouse embed explore runs/five --limit 2000 --out five.html
  stillhouse embed explore runs/five --vectors other.npy
"""


def main(arguments: Sequence[str]) -> int:
    """Run one of them."""
    return {"capture": _capture, "explore": _explore}[arguments[0]](arguments[1:])


def _capture(words: Sequence[str]) -> int:
    about = "Texts to a teacher's vectors, encoded once into a folder."
    parser = Parser(prog="stillhouse embed capture", description=about, examples=CAPTURE, epilog=FILES)
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


def _explore(words: Sequence[str]) -> int:
    about = "Write the page on which the space can be looked at and searched."
    parser = Parser(prog="stillhouse embed explore", description=about, examples=EXPLORE)
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
