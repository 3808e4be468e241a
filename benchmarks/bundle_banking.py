"""Make the messages that come with the package: 12 intents of banking77, and each text's vector of a sentence encoder.

    python benchmarks/bundle_banking.py BANKING_DATA ENCODER

BANKING_DATA is the folder with train.csv and test.csv of https://github.com/PolyAI-LDN/task-specific-datasets, ENCODER a folder of
sentence-transformers/all-MiniLM-L6-v2. The intents are drawn from those on which no setting of a student was chosen.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

OUT = Path(__file__).parents[1] / "src/stillhouse/tasks/classification/data/banking"
TUNED_ON = {
    "activate_my_card",
    "balance_not_updated_after_cheque_or_cash_deposit",
    "card_payment_fee_charged",
    "cash_withdrawal_not_recognised",
    "country_support",
    "direct_debit_payment_not_recognised",
    "fiat_currency_support",
    "reverted_card_payment?",
    "top_up_by_bank_transfer_charge",
    "top_up_reverted",
    "verify_source_of_funds",
    "visa_or_mastercard",
}


def rows_of(path: Path) -> list[tuple[str, str]]:
    """(text, intent) of a file; line breaks inside a text become spaces."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(" ".join(row["text"].split()), row["category"]) for row in csv.DictReader(file)]


def main(banking: Path, encoder: str) -> None:
    """Write train.csv, test.csv and vectors.npy (int8; train rows, then test rows)."""
    from sentence_transformers import SentenceTransformer

    splits = {name: rows_of(banking / f"{name}.csv") for name in ("train", "test")}
    others = sorted({intent for _, intent in splits["train"]} - TUNED_ON)
    chosen = {others[i] for i in np.random.default_rng(0).choice(len(others), 12, replace=False)}
    OUT.mkdir(exist_ok=True)
    texts = []
    for name, rows in splits.items():
        kept = [row for row in rows if row[1] in chosen]
        texts += [text for text, _ in kept]
        with (OUT / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("text", "label"), *kept])
    vectors = SentenceTransformer(encoder, device="cpu").encode(texts, batch_size=64, normalize_embeddings=True)
    np.save(OUT / "vectors.npy", np.round(vectors / np.abs(vectors).max() * 127).astype(np.int8))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("banking", type=Path, help="folder with train.csv and test.csv")
    parser.add_argument("encoder", help="a sentence encoder, by name or folder")
    options = parser.parse_args()
    main(options.banking, options.encoder)
