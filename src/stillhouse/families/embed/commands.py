"""`stillhouse embed`: capture, distill, evaluate, encode, explore, export. Flags with dashes or underscores."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from stillhouse.cli.options import CONFIG, RUNS, Parser, print_config, read_config
from stillhouse.cli.stored import recipes
from stillhouse.core.checks import nearest
from stillhouse.core.config import ConfigError
from stillhouse.core.records import run_place
from stillhouse.families.embed.flags import SHORT, dashed, leaves, nearer, take_documented

COMMANDS = {
    "capture": "texts -> a teacher's vectors, encoded once into a folder",
    "distill": "vectors -> a student of 5 numbers, beside PCA, UMAP and others, with a verdict and a report",
    "evaluate": "score a student on its test rows, or on other vectors",
    "encode": "vectors or texts -> codes, as .npy, .csv or .jsonl",
    "explore": "write the page on which the space can be looked at and searched",
    "export": "one folder for those who use it: numpy alone, ONNX",
}
HELP = """usage: stillhouse embed COMMAND [options]

Distil wide embeddings (384, 768, 1536 numbers) into few, and measure what was kept: who is near, and how far the rest is.

commands:
{commands}

start here:
  stillhouse embed capture notes.txt --model all-MiniLM-L6-v2 --out runs/notes
  stillhouse embed distill runs/notes --out runs/five
  stillhouse embed distill ada.npy --recipe embedding-tree      vectors of any teacher; 5, 25 and 125 numbers
  stillhouse embed explore runs/five --out five.html
  stillhouse embed COMMAND --help                               the options of a command
"""
SOURCE = "vectors of a teacher (.npy, .npz, .parquet, ...), a captured folder, or a YAML file"
EXAMPLES = """
  stillhouse embed distill runs/notes                            a captured corpus, results in runs/embedding
  stillhouse embed distill ada.parquet --key vector --seeds 5 --out runs/ada
  stillhouse embed distill runs/notes --student text             also a student that reads texts, without the teacher
"""
DISTILL = """more examples:
  stillhouse embed distill runs/notes --neighbor-weight 2        nearer neighbours, for less of the rest
  stillhouse embed distill runs/notes --frontier 0 0.3 3 10      the curve of local against global quality
  stillhouse embed distill mine.yaml --set lesson.perplexity=20 --resume

a starter file:
  data: {path: runs/notes}
  student: {levels: [5]}
  lesson: {neighbor_weight: 1.0, global_weight: 1.0}
  anchors: [pca, random-projection, umap]
  seeds: 3

short flags: --epochs, --batch-size, --learning-rate, --perplexity, --neighbor-weight, --hidden, and any name below that is
the only one of its kind (--levels, --noise, --global-weight).
documented names are taken too: --teacher_checkpoint, --teacher_dim, --student_dim, --alpha, --tau, --curriculum,
--curriculum_stages, --curriculum_tau_schedule, --loss_type, --max_epochs (passes over the rows), --validation_split,
--early_stopping_patience, --save_dir; its presets are recipes: embedding-documented, -curriculum, -fast
"""
Change = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Run one command of the family."""
    words = [dashed(word) for word in arguments]
    if not words or words[0] in {"-h", "--help", "help"}:
        width = max(map(len, COMMANDS))
        print(HELP.format(commands="\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())))
        if words:
            raise SystemExit(0)
        return 2
    chosen: dict[str, Callable[[Sequence[str]], int]] = {
        "capture": _capture,
        "distill": _distill,
        "evaluate": _evaluate,
        "encode": _encode,
        "explore": _explore,
        "export": _export,
    }
    if words[0] not in chosen:
        raise ConfigError(f"unknown command {words[0]!r}; {nearest(words[0], COMMANDS)}")
    return chosen[words[0]](words[1:])


# ---------------------------------------------------------------------------------------------------- commands


def _capture(words: Sequence[str]) -> int:
    parser = Parser(
        prog="stillhouse embed capture",
        description=COMMANDS["capture"],
        examples="""
  stillhouse embed capture notes.txt --model all-MiniLM-L6-v2 --out runs/notes
  stillhouse embed capture pairs.csv:0,1 --model all-MiniLM-L6-v2 --out runs/pairs
  stillhouse embed capture articles.jsonl:body --model all-MiniLM-L6-v2 --out runs/articles --limit 50000
""",
        epilog="a text file: FILE.txt (a line a text), FILE.csv:0,1 (columns), FILE.jsonl:body (a field).\n"
        "Equal texts are taken once. A capture that was stopped goes on where it stopped; a finished one returns at once.",
    )
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
    from stillhouse.families.embed.capture import Encoding, capture_sources

    about = capture_sources(
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
    for name, count in about["files"].items():
        print(f"{name}: {count:,} texts")
    print(f"{about['rows']:,} vectors of {about['width']} in {options.out}")
    print(f"go on with: stillhouse embed distill {options.out}")
    return 0


def _distill(words: Sequence[str]) -> int:
    words, early, change, unused = take_documented(list(words))
    parser = Parser(
        prog="stillhouse embed distill",
        description=COMMANDS["distill"],
        common={
            "--recipe": "",
            "--student": "",
            **RUNS,
            "--key": "",
            "--levels": "",
            "--perplexity": "",
            "--neighbor-weight": "",
            "--global-weight": "",
            "--force": "",
            **CONFIG,
        },
        examples=EXAMPLES,
        known_as={f"--{short}": f"--{long}" for short, long in SHORT.items()},
        epilog=DISTILL,
    )
    parser.add_argument("--out", type=Path, help="run folder [runs/NAME]")
    parser.add_argument(
        "--recipe", help="what to start from, of `stillhouse list`: embedding, embedding-fast, ... [embedding]"
    )
    parser.add_argument("--student", choices=("vector", "text"), help="text: also a student that reads texts [vector]")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in the folder; finished arms are kept"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--force", action="store_true", help="continue although the vectors look like noise")
    if early.get("student") == "text":
        change["text"] = {}

    def load(source: str, assignments: Sequence[str]) -> Any:
        from stillhouse.families.embed.recipes import load_embedding  # not before the words are looked at

        changes = [f"{path}={yaml.safe_dump(value, default_flow_style=True)}" for path, value in leaves(change)]
        return load_embedding(source, [*changes, *assignments], recipe=early.get("recipe"))

    try:
        options, config = read_config(
            parser, words, load, "runs/corpus", metavar="SOURCE", about=SOURCE, roots=recipes("run", "embed")
        )
    except ConfigError as error:
        raise nearer(error) from None
    if options.print_config:
        print_config(config)
        return 0
    from stillhouse.core.experiment import run
    from stillhouse.families.embed.family import FAMILY
    from stillhouse.families.embed.show import EmbedDisplay, print_embedding

    out = run_place(options.out, config.name)
    for line in unused:
        print(f"unused: {line}", file=sys.stderr)
    display = EmbedDisplay(config.fits, quiet=options.quiet or not sys.stdout.isatty())
    with display:
        summary = run(FAMILY, config, out, resume=options.resume, force=options.force, watch=display)
    print_embedding(summary, out)
    return 0


def _evaluate(words: Sequence[str]) -> int:
    examples = """
  stillhouse embed evaluate runs/five
  stillhouse embed evaluate runs/five --vectors other.npy --limit 2000
  stillhouse embed evaluate runs/five --json
"""
    parser = Parser(prog="stillhouse embed evaluate", description=COMMANDS["evaluate"], examples=examples)
    parser.add_argument("folder", type=Path, help="a run, or the folder of a student")
    parser.add_argument("--vectors", help="vectors of the same teacher [the test rows of its run]")
    parser.add_argument("--key", help="which array or column of them")
    parser.add_argument("--limit", type=int, help="rows that are judged, at most [all of the run; 5000 of --vectors]")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    options = parser.parse(words)
    from stillhouse.families.embed.use import evaluate

    found = evaluate(options.folder, options.vectors, key=options.key, limit=options.limit)
    if options.json:
        import json

        print(json.dumps(found, indent=2))
        return 0
    from stillhouse.families.embed.show import print_evaluation

    print_evaluation(found)
    return 0


def _encode(words: Sequence[str]) -> int:
    examples = """
  stillhouse embed encode runs/five vectors.npy --out codes.npy
  stillhouse embed encode runs/five/text-student notes.txt --out codes.csv
  stillhouse embed encode runs/five notes.txt --teacher all-MiniLM-L6-v2 --out codes.jsonl
"""
    parser = Parser(prog="stillhouse embed encode", description=COMMANDS["encode"], examples=examples)
    parser.add_argument("folder", type=Path, help="a run, or the folder of a student (RUN/text-student reads texts)")
    parser.add_argument("source", help="vectors, a capture, or a text file (as in capture)")
    parser.add_argument("--out", type=Path, required=True, help="FILE.npy, .csv or .jsonl (with texts)")
    parser.add_argument("--key", help="which array or column of the vectors")
    parser.add_argument("--level", type=int, help="how many levels of the code [all]")
    parser.add_argument("--teacher", "--model", help="for texts and a student of vectors: the model between them")
    options = parser.parse(words)
    from stillhouse.families.embed.use import encode

    rows, numbers = encode(
        options.folder, options.source, options.out, key=options.key, level=options.level, teacher=options.teacher
    )
    print(f"{rows:,} codes of {numbers} numbers in {options.out}")
    return 0


def _explore(words: Sequence[str]) -> int:
    examples = """
  stillhouse embed explore runs/five
  stillhouse embed explore runs/five --all --limit 2000 --out five.html
  stillhouse embed explore runs/five --vectors other.npy
"""
    parser = Parser(prog="stillhouse embed explore", description=COMMANDS["explore"], examples=examples)
    parser.add_argument("folder", type=Path, help="a run, or the folder of a student")
    parser.add_argument("--out", type=Path, help="the page [explorer.html in the folder]")
    parser.add_argument("--vectors", help="vectors of the same teacher [the test rows of its run]")
    parser.add_argument("--key", help="which array or column of them")
    parser.add_argument("--all", action="store_true", help="of a run: all rows, not the test split alone")
    parser.add_argument("--limit", type=int, default=5000, help="rows on the page, at most [5000]")
    parser.add_argument("--neighbors", type=int, default=10, help="neighbours of a row on either side [10]")
    options = parser.parse(words)
    from stillhouse.families.embed.use import explore

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


def _export(words: Sequence[str]) -> int:
    examples = """
  stillhouse embed export runs/five --out embedder
  stillhouse embed export runs/five --out embedder --no-onnx
  stillhouse embed export runs/five/student --out embedder
"""
    parser = Parser(prog="stillhouse embed export", description=COMMANDS["export"], examples=examples)
    parser.add_argument("folder", type=Path, help="a run, or the folder of a vector student")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--no-onnx", action="store_true", help="numpy alone")
    options = parser.parse(words)
    from stillhouse.core.checks import InputError
    from stillhouse.families.embed.codes import load_student
    from stillhouse.families.embed.export.embedding import export_embedder
    from stillhouse.families.embed.text import TextEmbedder

    if isinstance(load_student(options.folder), TextEmbedder):
        raise InputError(
            f"{options.folder}: a text student is used as it lies: copy the folder; "
            "stillhouse.families.embed.text.TextEmbedder reads it without torch"
        )
    inside = options.folder / "student"
    out = export_embedder(inside if inside.is_dir() else options.folder, options.out, onnx=not options.no_onnx)
    for file in sorted(out.iterdir()):
        print(f"{file.stat().st_size:>12,}  {file}")
    return 0
