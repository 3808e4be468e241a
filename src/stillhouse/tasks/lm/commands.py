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
    options = parser.parse(words)
    if options.tokens < 1 or not 0 <= options.temperature < float("inf"):
        raise ConfigError(
            f"expected --tokens from 1 and a finite --temperature, got {options.tokens}, {options.temperature}"
        )
    from stillhouse.core.exports import ExportChoices
    from stillhouse.core.folder import student_folder
    from stillhouse.tasks.lm.predict import PackedPredictor
    from stillhouse.tasks.lm.use import write_packed

    folder = student_folder(options.folder)
    with TemporaryDirectory() as place:
        write_packed(folder, Path(place) / "packed", ExportChoices())
        student = PackedPredictor(Path(place) / "packed")
    ids = student.transform(options.prompt)
    student.written(ids[:1], 1)  # compiles the kernels
    started = time.perf_counter()
    made = student.written(ids, options.tokens, temperature=options.temperature)
    rate = (len(ids) + options.tokens) / (time.perf_counter() - started)
    print(options.prompt + student.tokenizer.decode(made))
    print(f"{rate:,.0f} tokens a second", file=sys.stderr)
    return 0
