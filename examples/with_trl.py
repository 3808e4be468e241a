"""Distillation beside supervised fine-tuning in TRL's `SFTTrainer`. `python examples/with_trl.py` (extra: trl)

TRL has losses on a teacher's scores; a hidden layer of another width is what it has not. The networks are small and new, so
that nothing is downloaded; put `AutoModelForCausalLM.from_pretrained(...)` there.
"""

import argparse
import tempfile

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn.functional import pad
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer
from trl import SFTConfig, SFTTrainer

from stillhouse import attach

WORDS = ["<pad>", "<eos>", *["the", "a", "cat", "dog", "ape", "sees", "likes", "eats", "and", "then", "fish", "bread"]]


class DistillationTrainer(SFTTrainer):
    distillation = None

    def compute_loss(self, model, inputs, return_outputs=False, **settings):
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs=return_outputs, **settings)
        # that of transformers: SFTTrainer's own fuses the last layer with the loss, and there are no scores to compare
        loss, outputs = Trainer.compute_loss(self, model, inputs, return_outputs=True, **settings)
        coming = pad(inputs["labels"][:, 1:], (0, 1), value=-100)  # the score at a position is of the token after it
        seen = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
        loss = loss + self.distillation(seen, coming)
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, *arguments):
        optimizer = super().create_optimizer(*arguments)
        if len(optimizer.param_groups) < 3:
            optimizer.add_param_group({"params": list(self.distillation.parameters())})
        return optimizer


def network(width, layers):
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=len(WORDS), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, eos_token_id=1, bos_token_id=1,
    ))  # fmt: skip


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
    texts = ["the cat sees a dog and then eats fish", "a dog likes the ape and then sees bread", "the ape eats"] * 20

    teacher, student = network(32, 3), network(16, 1)
    signals = [
        {"kind": "logits", "temperature": 1.0},
        {"kind": "features", "student": "model.layers.0", "teacher": "model.layers.2", "pool": "none", "weight": 0.5},
    ]
    distillation = attach(student, teacher, signals, example={"input_ids": torch.tensor([[2, 4, 7], [3, 5, 8]])})
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            folder, max_steps=options.steps, per_device_train_batch_size=4, learning_rate=1e-3, report_to=[], use_cpu=True,
            bf16=False,
            save_strategy="no", disable_tqdm=True, max_length=32, logging_steps=10, activation_checkpointing=False,
        )  # fmt: skip
        data = Dataset.from_dict({"text": texts})
        trainer = DistillationTrainer(student, args=settings, train_dataset=data, processing_class=tokenizer)
        trainer.distillation = distillation
        trainer.train()
    distillation.close()
    print({name: round(float(value), 4) for name, value in distillation.terms.items()})
    return distillation, trainer


if __name__ == "__main__":
    main()
