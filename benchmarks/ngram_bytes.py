"""What an n-gram alone reaches in so many bytes, packed as a student's own is: the rival of a language student of that size.

    python -m benchmarks.ngram_bytes --text data/wikitext-2 --entries 250000 550000 6500000 --order 4

The text, tokenizer, test tokens and windows of `lm_levers`; bits per byte of the first 65,536 test tokens, windows of 128.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from benchmarks.lm_levers import SCORED, WINDOW, config_of

from stillhouse.tasks.lm.corpus import load_corpus
from stillhouse.tasks.lm.score import score_text
from stillhouse.tasks.lm.students import NGramConfig
from stillhouse.tasks.lm.students.prior import NGramPrior
from stillhouse.tasks.lm.students.trie import count_trie, pack_trie


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", default="data/wikitext-2")
    parser.add_argument("--entries", type=int, nargs="+", default=[250_000, 550_000], help="sequences kept")
    parser.add_argument("--order", type=int, default=4, help="longest sequence")
    parser.add_argument(
        "--split", default="test", choices=["valid", "test"], help="that is scored; valid: its 16,384 first"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = load_corpus(config_of("deep", options.text).corpus)
    ids = np.asarray(corpus.test[: 4 * SCORED + 1] if options.split == "test" else corpus.valid[: SCORED + 1])
    size = len(corpus.tokenizer.decode(ids[1:]).encode())
    print(f"| sequences kept | longest | kB packed | bits per byte, {options.split} |\n|---|---|---|---|")
    for entries in options.entries:
        config = NGramConfig(order=options.order, entries=entries)
        trie = count_trie(corpus.train, corpus.tokenizer.vocab_size, config)
        prior = NGramPrior(corpus.tokenizer.vocab_size, config)
        prior.fill(trie)
        found = float(score_text(prior.nll, ids, length=WINDOW).sum()) / np.log(2) / size
        print(f"| {trie.used:,} | {options.order} | {len(pack_trie(trie)) / 1000:,.0f} | {found:.4f} |", flush=True)


if __name__ == "__main__":
    main()
