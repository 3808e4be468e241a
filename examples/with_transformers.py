"""A distillation in transformers' `Trainer`: one method overridden. `python examples/with_transformers.py`

The networks are small and new, so that nothing is downloaded; put `AutoModelForSequenceClassification.from_pretrained(...)` there.
"""

import argparse
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from stillhouse import attach


class DistillationTrainer(Trainer):
    def __init__(self, *arguments, distillation, **settings):
        super().__init__(*arguments, **settings)
        self.distillation = distillation

    def compute_loss(self, model, inputs, return_outputs=False, **settings):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **settings)
        if model.training:
            loss = loss + self.distillation(inputs, inputs.get("labels"))
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, *arguments):  # what the signals learn goes along
        optimizer = super().create_optimizer(*arguments)
        learned = list(self.distillation.parameters())
        if learned and len(optimizer.param_groups) < 3:
            optimizer.add_param_group({"params": learned})
        return optimizer


def classifier(width, layers):
    config = BertConfig(
        vocab_size=50, hidden_size=width, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=2 * width,
        max_position_embeddings=16, num_labels=3, initializer_range=0.3,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    teacher, student = classifier(32, 3), classifier(16, 1)
    texts = torch.randint(3, 50, (256, 12))
    data = [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[0] % 3} for ids in texts]
    signals = [
        {"kind": "logits", "temperature": 2.0},
        {"kind": "features", "student": "bert.encoder.layer.0", "teacher": "bert.encoder.layer.2"},
    ]
    distillation = attach(student, teacher, signals, example={"input_ids": texts[:2]})
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, max_steps=options.steps, per_device_train_batch_size=16, learning_rate=1e-3, report_to=[], use_cpu=True,
            save_strategy="no", disable_tqdm=True, logging_steps=10,
        )  # fmt: skip
        trainer = DistillationTrainer(
            student, settings, train_dataset=data, eval_dataset=data[:32], distillation=distillation
        )
        trainer.train()
        print(trainer.evaluate())
    distillation.close()
    print({name: round(float(value), 4) for name, value in distillation.terms.items()})
    return distillation, trainer


if __name__ == "__main__":
    main()
