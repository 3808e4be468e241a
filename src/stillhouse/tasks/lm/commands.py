"""`stillhouse lm generate|energy`: what only language models have."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser
from stillhouse.core.checks import ConfigError

GENERATE = """
  stillhouse lm generate runs/wikitext-2/arms/kd/seed-0 --prompt "The river"
  stillhouse lm generate runs/wikitext-2/arms/kd/seed-0 --prompt "The river" --tokens 60 --temperature 0.8
  stillhouse lm generate runs/wikitext-2/arms/kd/seed-0 --prompt "The river" --torch
"""
FOLDER = "a run, or one student of it (RUN/arms/kd/seed-0)"


def main(arguments: Sequence[str]) -> int:
    """Run one of them."""
    return {"generate": _generate, "energy": _energy}[arguments[0]](arguments[1:])


def _energy(words: Sequence[str]) -> int:
    about = "Counted operations of a token, against the teacher's."
    parser = Parser(
        prog="stillhouse lm energy", description=about, examples="\n  stillhouse lm energy runs/wikitext-2\n"
    )
    parser.add_argument("folder", type=Path, help=FOLDER)
    options = parser.parse(words)
    from stillhouse.core.folder import student_folder

    folder = student_folder(options.folder)
    from stillhouse.tasks.lm.use import count_energy

    print(json.dumps(count_energy(folder), indent=2))
    return 0


def _generate(words: Sequence[str]) -> int:
    about = "Let a student write on."
    parser = Parser(prog="stillhouse lm generate", description=about, examples=GENERATE)
    parser.add_argument("folder", type=Path, help=FOLDER)
    parser.add_argument("--prompt", required=True, help="text of any length")
    parser.add_argument("--tokens", type=int, default=100, help="to write [100]")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token [0]")
    parser.add_argument("--seed", type=int, default=0, help="of the draws [0]")
    parser.add_argument("--torch", action="store_true", help="by the torch network, not by the packed one")
    options = parser.parse(words)
    if options.tokens < 1 or not 0 <= options.temperature < math.inf:
        raise ConfigError(
            f"expected --tokens from 1 and a finite --temperature from 0, got {options.tokens}, {options.temperature}"
        )
    try:
        options.prompt.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"--prompt: expected Unicode text, got {ascii(options.prompt)[:80]}") from None
    if not 0 <= options.seed < 2**64:  # what torch takes
        raise ConfigError(f"--seed: expected 0 to 2^64 - 1, got {options.seed}")
    from stillhouse.tasks.lm.use import generate

    found = generate(
        options.folder,
        options.prompt,
        options.tokens,
        temperature=options.temperature,
        seed=options.seed,
        packed=not options.torch,
    )
    print(options.prompt + found["text"])
    print(f"{found['tokens_per_second']:,.0f} tokens a second", file=sys.stderr)
    if not options.torch:
        print(
            f"in memory: {in_memory(found)}; {found['silent_share']:.1%} of the weight rows skipped\n"
            f"in the packed file (lm export): {in_file(found)}",
            file=sys.stderr,
        )
    return 0


def in_memory(found: Mapping[str, Any]) -> str:
    """What the packed generator holds, part by part.

    Example:
        >>> in_memory({"state_bytes": 9216, "weight_bytes": 5368344, "ngram_bytes": 4900000, "params": 278528})
        'state 9,216 bytes, network 468,344 bytes (278,528 weights, ternary ones a byte each), n-gram inside 4,900,000 bytes'
        >>> in_memory({"state_bytes": 9216, "weight_bytes": 468344, "ngram_bytes": 0, "params": 278528})
        'state 9,216 bytes, network 468,344 bytes (278,528 weights, ternary ones a byte each)'
    """
    network, ngram = found["weight_bytes"] - found["ngram_bytes"], found["ngram_bytes"]
    beside = f", n-gram inside {ngram:,} bytes" if ngram else ""
    weights = f"{found['params']:,} weights, ternary ones a byte each"
    return f"state {found['state_bytes']:,} bytes, network {network:,} bytes ({weights}){beside}"


def in_file(found: Mapping[str, Any]) -> str:
    """What the packed student takes in a file, part by part; a tokenizer lies beside it.

    Example:
        >>> in_file({"packed_bytes": 1020000, "packed_ngram_bytes": 900000})
        'network 120,000 bytes, n-gram inside 900,000 bytes'
        >>> in_file({"packed_bytes": 120000, "packed_ngram_bytes": 0})
        'network 120,000 bytes'
    """
    ngram = found["packed_ngram_bytes"]
    return f"network {found['packed_bytes'] - ngram:,} bytes" + (f", n-gram inside {ngram:,} bytes" if ngram else "")
