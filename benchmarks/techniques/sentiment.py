"""SST-2 as a task for the harness: a sentence encoder fine-tuned on it teaches a small transformer from scratch.

`python -m benchmarks.techniques.sentiment --texts DIR --encoder DIR --out FILE` fine-tunes the teacher (all-MiniLM-L6-v2).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stillhouse.classification.data.labelled_texts import TextData
from stillhouse.classification.job import fit_classifier
from stillhouse.classification.metrics import evaluate
from stillhouse.classification.predict import predict
from stillhouse.classification.training import ClassificationTrainingConfig
from stillhouse.teachers import Teacher

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


def load_data(texts: Path, encoder: Path) -> TextData:
    """SST-2's own three splits, tokenized as the teacher was trained."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LENGTH)
    splits = []
    for name in ("train", "dev", "test"):
        rows = [
            line.rsplit("\t", 1) for line in (texts / f"{name}.tsv").read_text(encoding="utf-8").splitlines() if line
        ]
        splits.append(([text for text, _ in rows], [int(label) for _, label in rows]))
    return TextData.from_texts(
        splits,
        lambda text: tokenizer.encode(text).ids,
        class_names=("negative", "positive"),
        vocabulary=tokenizer.get_vocab_size(),
        length=LENGTH,
        name="sst2",
    )


def load_teacher(data: TextData, encoder: Path, weights: Path, features: tuple[str, ...] = ()) -> Teacher:
    """The fine-tuned teacher, frozen."""
    module = SentenceClassifier(encoder)
    module.load_state_dict(load_file(weights))
    return Teacher.from_module(module, data.task, name="MiniLM fine-tuned on SST-2", features=features)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune the teacher of the sentiment task.")
    parser.add_argument("--texts", type=Path, required=True, help="folder with train.tsv, dev.tsv, test.tsv")
    parser.add_argument("--encoder", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, required=True, help="teacher.safetensors to write")
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    data = load_data(options.texts, options.encoder)
    torch.manual_seed(0)
    model = SentenceClassifier(options.encoder)
    training = ClassificationTrainingConfig(
        epochs=options.epochs, batch_size=32, learning_rate=8e-5, final_learning_rate=0.0, weight_decay=0.01, threads=1
    )
    done = fit_classifier(
        model,
        data,
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
