"""`stillhouse lm generate|energy`: what only language models have."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from stillhouse.cli.options import Parser
from stillhouse.core.checks import ConfigError

GENERATE = """
  stillhouse lm generate runs/wikitext-2 --prompt "The river"
  stillhouse lm generate runs/wikitext-2/arms/kd/seed-0 --prompt "The river" --tokens 60 --temperature 0.8
  stillhouse lm generate runs/wikitext-2 --prompt "The river" --torch
"""


def main(arguments: Sequence[str]) -> int:
    """Run one of them."""
    return {"generate": _generate, "energy": _energy}[arguments[0]](arguments[1:])


def _parser(verb: str, about: str, examples: str) -> Parser:
    parser = Parser(prog=f"stillhouse lm {verb}", description=about, examples=examples)
    parser.add_argument("folder", type=Path, help="a run, or one student of it (RUN/arms/kd/seed-0)")
    return parser


def _energy(words: Sequence[str]) -> int:
    about = "Counted operations of a token, against the teacher's."
    options = _parser("energy", about, "\n  stillhouse lm energy runs/wikitext-2\n").parse(words)
    from stillhouse.core.folder import student_folder

    folder = student_folder(options.folder)
    from stillhouse.tasks.lm.use import count_energy

    print(json.dumps(count_energy(folder), indent=2))
    return 0


def _generate(words: Sequence[str]) -> int:
    parser = _parser("generate", "Let a student write on, in memory that does not grow.", GENERATE)
    parser.add_argument("--prompt", required=True, help="text of any length")
    parser.add_argument("--tokens", type=int, default=100, help="to write [100]")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token [0]")
    parser.add_argument("--seed", type=int, default=0, help="of the draws [0]")
    parser.add_argument("--torch", action="store_true", help="by the torch network, not by the packed one")
    options = parser.parse(words)
    ranges = {
        "--tokens: expected 1 or more": options.tokens >= 1,
        "--temperature: expected a finite number from 0": 0 <= options.temperature < float("inf"),
        "--seed: expected 0 to 2^64 - 1": 0 <= options.seed < 2**64,
    }
    if wrong := next((text for text, right in ranges.items() if not right), None):
        raise ConfigError(f"{wrong}, got {getattr(options, wrong[2 : wrong.index(':')])}")
    from stillhouse.core.exports import ExportChoices
    from stillhouse.core.folder import student_folder
    from stillhouse.tasks.lm.predict import LinePredictor, PackedPredictor, TextPredictor
    from stillhouse.tasks.lm.use import write_packed

    folder = student_folder(options.folder)
    with TemporaryDirectory() as place:
        if options.torch:
            student: LinePredictor = TextPredictor(folder)
        else:
            write_packed(folder, Path(place) / "packed", ExportChoices())
            student = PackedPredictor(Path(place) / "packed")
    ids = student.transform(options.prompt)
    student.written(ids[:1], 1)  # compiles the kernels
    started = time.perf_counter()
    made = student.written(ids, options.tokens, temperature=options.temperature, seed=options.seed)
    rate = (len(ids) + options.tokens) / (time.perf_counter() - started)
    print(options.prompt + student.tokenizer.decode(made))
    print(f"{rate:,.0f} tokens a second", file=sys.stderr)
    return 0
