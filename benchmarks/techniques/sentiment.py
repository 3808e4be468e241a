"""SST-2 as a task for the harness: a fine-tuned sentence encoder teaches a transformer, a spiking one, or half of itself.

`python -m benchmarks.techniques.sentiment --texts DIR --encoder DIR --out FILE` fine-tunes the teacher (all-MiniLM-L6-v2);
with `--half` it prints sizes and times of the teacher and of its half.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stillhouse.core.config import configclass
from stillhouse.core.types import TextSpec
from stillhouse.tasks.classification.data.rows import RowData
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationRunConfig, ClassificationTrainingConfig
from stillhouse.tasks.classification.predict import evaluate, predict
from stillhouse.tasks.classification.students.networks import TextTransformerConfig
from stillhouse.teachers.teacher import Teacher
from stillhouse.training.loop import fit

LENGTH = 40


class SentenceClassifier(nn.Module):
    """A BERT-like encoder, mean-pooled, with a linear head; token ids (B, L), 0 is padding -> logits (B, 2)."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel

        super().__init__()
        self.encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False)
        self.head = nn.Linear(self.encoder.config.hidden_size, 2)

    def forward(self, ids: Tensor) -> Tensor:
        there = (ids != 0).long()
        hidden = self.encoder(input_ids=ids, attention_mask=there).last_hidden_state
        weight = there.unsqueeze(2).float()
        return self.head((hidden * weight).sum(1) / weight.sum(1))


@configclass
class HalfEncoderConfig(TextTransformerConfig):
    """DistilBERT's student: the teacher with every second block left out, beginning with its weights."""

    kind: Literal["half-encoder"] = "half-encoder"  # type: ignore[assignment]
    encoder: str
    weights: str

    def build(self, task: TextSpec) -> SentenceClassifier:  # type: ignore[override]
        """Embeddings, blocks 0, 2 and 4, and the head of the teacher."""
        network = SentenceClassifier(Path(self.encoder))
        network.load_state_dict(load_file(self.weights))
        network.encoder.encoder.layer = network.encoder.encoder.layer[::2]
        return network


@configclass
class HalfRunConfig(ClassificationRunConfig):
    """A run whose student is half of its teacher."""

    student: HalfEncoderConfig | None = None  # type: ignore[assignment]


def load_data(texts: Path, encoder: Path, rows: int | None = None, length: int = LENGTH) -> RowData:
    """SST-2's own three splits, tokenized as the teacher was trained; with `rows`, so many of the first and 200 of the second."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    splits = []
    for name in ("train", "dev", "test"):
        lines = [
            line.rsplit("\t", 1) for line in (texts / f"{name}.tsv").read_text(encoding="utf-8").splitlines() if line
        ]
        lines = {"train": lines[:rows], "dev": lines[: None if rows is None else 200]}.get(name, lines)
        splits.append(([text for text, _ in lines], [int(label) for _, label in lines]))
    return RowData.from_texts(
        splits,
        lambda text: tokenizer.encode(text).ids,
        class_names=("negative", "positive"),
        vocabulary=tokenizer.get_vocab_size(),
        length=length,
        name="sst2",
    )


def load_teacher(data: RowData, encoder: Path, weights: Path, features: tuple[str, ...] = ()) -> Teacher:
    """The fine-tuned teacher, frozen."""
    module = SentenceClassifier(encoder)
    module.load_state_dict(load_file(weights))
    return Teacher.from_module(module, data.input_spec, name="MiniLM fine-tuned on SST-2", features=features)


def costs(network: SentenceClassifier, ids: torch.Tensor, rounds: int = 15) -> dict[int, float]:
    """Median milliseconds of a forward pass of 1 and of 32 texts."""
    network.eval()
    found = {}
    with torch.inference_mode():
        for size in (1, 32):
            taken = []
            for _ in range(rounds + 2):
                started = time.perf_counter()
                network(ids[:size])
                taken.append(time.perf_counter() - started)
            found[size] = 1000 * float(np.median(taken[2:]))
    return found


def print_costs(data: RowData, encoder: Path, weights: Path) -> None:
    """Teacher and half: weights, and times taken in turn so that both see the same machine."""
    torch.set_num_threads(1)
    whole, half = (
        SentenceClassifier(encoder),
        HalfEncoderConfig(encoder=str(encoder), weights=str(weights)).build(data.input_spec),
    )
    sizes = [sum(p.numel() for p in network.parameters()) for network in (whole, half)]
    print(f"weights: {sizes[0]:,} and {sizes[1]:,}, {100 * (1 - sizes[1] / sizes[0]):.1f} % fewer")
    rounds = [[costs(network, data.test.ids) for network in (whole, half)] for _ in range(3)]
    for size in (1, 32):
        first, second = np.median(np.array([[each[size] for each in turn] for turn in rounds]), axis=0)
        print(
            f"{size} texts of {data.input_spec.length} tokens: {first:.1f} and {second:.1f} ms, {first / second:.2f} times as fast"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune the teacher of the sentiment task.")
    parser.add_argument("--texts", type=Path, required=True, help="folder with train.tsv, dev.tsv, test.tsv")
    parser.add_argument("--encoder", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, required=True, help="teacher.safetensors to write")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rows", type=int, help="training sentences [all]")
    parser.add_argument("--length", type=int, default=LENGTH, help="tokens of a sentence")
    parser.add_argument("--half", action="store_true", help="train nothing; sizes and times of --out and of its half")
    options = parser.parse_args()
    data = load_data(options.texts, options.encoder, options.rows, options.length)
    if options.half:
        print_costs(data, options.encoder, options.out)
        return
    torch.manual_seed(0)
    model = SentenceClassifier(options.encoder)
    training = ClassificationTrainingConfig(
        epochs=options.epochs, batch_size=32, learning_rate=8e-5, final_learning_rate=0.0, weight_decay=0.01, threads=1
    )
    done = fit(
        ClassificationJob(model, data, training, seed=0),
        training,
        seed=0,
        folder=options.out.parent / f"{options.out.stem}-training",
        resume=True,
        on_progress=lambda progress, news: (
            print(progress.step, progress.total_steps, dict(news), flush=True) if news else None
        ),
    )
    probabilities = predict(lambda batch: model(batch.inputs), data.test)
    save_file({name: x.contiguous() for name, x in model.state_dict().items()}, options.out)
    print(
        f"validation {done.best['accuracy']:.4f}, test {evaluate(probabilities, data.test.labels.numpy(), None)['accuracy']:.4f}"
    )


if __name__ == "__main__":
    main()
