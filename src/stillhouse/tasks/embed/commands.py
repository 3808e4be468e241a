"""`stillhouse embed capture|explore`: what only embeddings have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import Parser

CAPTURE = """
  stillhouse embed capture notes.txt --model all-MiniLM-L6-v2 --out runs/notes
  stillhouse embed capture pairs.csv:0,1 --model all-MiniLM-L6-v2 --out runs/pairs
  stillhouse embed capture articles.jsonl:body --model all-MiniLM-L6-v2 --out runs/articles --limit 50000
"""
FILES = """a text file: FILE.txt (a line a text), FILE.csv:0,1 (columns), FILE.jsonl:body (a field).
Equal texts are taken once. A capture that was stopped goes on where it stopped; a finished one returns at once.
"""
EXPLORE = """
  stillhouse embed explore runs/five
  stillhouse embed explore runs/five --all --limit 2000 --out five.html
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
    parser.add_argument("--no-resume", action="store_true", help="refuse a folder in which a capture is")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse(words)
    from stillhouse.tasks.embed.capture import Encoding, capture_sources

    about_run = capture_sources(
        options.texts,
        options.model,
        options.out,
        min_chars=options.min_chars,
        max_chars=options.max_chars,
        limit=options.limit,
        encoding=Encoding(options.batch_size, normalize=not options.raw_length, device=options.device),
        resume=not options.no_resume,
        progress=not options.quiet,
    )
    for name, count in about_run["files"].items():
        print(f"{name}: {count:,} texts")
    print(f"{about_run['rows']:,} vectors of {about_run['width']} in {options.out}")
    print(f"go on with: stillhouse embed distill {options.out}")
    return 0


def _explore(words: Sequence[str]) -> int:
    about = "Write the page on which the space can be looked at and searched."
    parser = Parser(prog="stillhouse embed explore", description=about, examples=EXPLORE)
    parser.add_argument("folder", type=Path, help="a run, or the folder of a student")
    parser.add_argument("--out", type=Path, help="the page [explorer.html in the folder]")
    parser.add_argument("--vectors", help="vectors of the same teacher [the test rows of its run]")
    parser.add_argument("--key", help="which array or column of them")
    parser.add_argument("--all", action="store_true", help="of a run: all rows, not the test split alone")
    parser.add_argument("--limit", type=int, default=5000, help="rows on the page, at most [5000]")
    parser.add_argument("--neighbors", type=int, default=10, help="neighbours of a row on either side [10]")
    options = parser.parse(words)
    from stillhouse.tasks.embed.evaluate import explore

    page = explore(
        options.folder,
        options.out or options.folder / "explorer.html",
        options.vectors,
        key=options.key,
        limit=options.limit,
        neighbors=options.neighbors,
        every=options.all,
    )
    print(f"open {page} in a browser; it asks for nothing from outside")
    return 0
