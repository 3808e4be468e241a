"""Texts a second: a sentence encoder, a student of words, and its Python file, in turns in one process and thread.

python -m benchmarks.text_speed RUN ENCODER messages.csv
"""

from __future__ import annotations

import argparse
import csv
import runpy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import stillhouse
from stillhouse.cli.main import main as command
from stillhouse.teachers.encoder import Encoding, encode, load_encoder

TEXTS, TIMES, TURNS = 1000, 10, 3


def main() -> None:
    """Print each turn and the sizes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="a run whose student reads words")
    parser.add_argument("encoder", help="folder of the encoder")
    parser.add_argument("file", help="a .csv with a column text")
    options = parser.parse_args()
    run, encoder, file = options.run, options.encoder, options.file
    torch.set_num_threads(1)
    with open(file, encoding="utf-8", newline="") as opened:
        texts = [row["text"] for row in csv.DictReader(opened)][:TEXTS]
    network, student = load_encoder(Path(encoder), "cpu"), stillhouse.load(Path(run) / "student")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.py"
        command(["export", run, "--to", "python", "--out", str(path)])
        predict = runpy.run_path(str(path))["predict"]
        sizes = [
            sum(one.stat().st_size for one in Path(place).rglob("*") if one.is_file()) for place in (encoder, folder)
        ]
    several = texts * TIMES
    for _ in range(TURNS):
        first = len(texts) / seconds(lambda: encode(network, texts, 0, Encoding()))
        each = [
            len(several) / seconds(call)
            for call in (lambda: student.predict(several), lambda: [predict(x) for x in several])
        ]
        print(
            f"texts a second: encoder {first:.0f}, student {each[0]:.0f} ({each[0] / first:.0f} times), Python file {each[1]:.0f}"
        )
    print(f"bytes: encoder {sizes[0]:,}, Python file {sizes[1]:,}")


def seconds(call: Callable[[], object]) -> float:
    """What a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
