"""A seeded part of all attacks on the smallest run, for the test suite; the whole is in the other scripts of this folder.

python -m benchmarks.attacks.sample --families embed
"""

from __future__ import annotations

import random
import shutil
import sys

from benchmarks.attacks import bad_input, damage, full_disk, kills, payloads, two_writers
from benchmarks.attacks.arena import Field, Tally, call, command, fields, options


def attack(field: Field, tally: Tally, draw: random.Random) -> None:
    """A few of each."""
    field.saved()
    expected, out = kills.ends(field.run), field.root / "killed"
    for number in draw.sample(range(1, 13), 2):
        shutil.rmtree(out, ignore_errors=True)
        call(lambda n=number: kills.distill(field, out, n))
        kills.resumed(field, out, expected, "kills", f"before rename {number}", tally)
    shutil.rmtree(out, ignore_errors=True)
    damage.attack(field, damage.resume(), tally, 1, draw, "scores.npz")
    damage.attack(field, damage.evaluate(), tally, 1, draw, "card.json")
    field.restore()
    names = {"run": field.run, "root": field.root}
    known = [
        words for words in bad_input.COMMANDS["embed"] if not any(x in " ".join(words) for x in ("{text}", "{new"))
    ]
    known = [words for words in known if words[1] != "distill"]
    for words in draw.sample(known, 2):
        judged = command(*[str(word).format(**names) for word in words])
        bad_input.judge("bad input", " ".join(words), judged, tally)
    payloads.pages(field, tally, draw.sample(payloads.SCRIPTS, 2))
    two_writers.attack(field, tally, 1, draw)
    full_disk.attack(field, tally, 25, ())


def main() -> int:
    """Try them."""
    chosen, work = options(__doc__)
    tally, draw = Tally("a sample of all attacks"), random.Random(chosen.seed)
    for field in fields(chosen.families, work):
        attack(field, tally, draw)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
