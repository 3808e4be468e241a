"""TRL's `GKDTrainer`: language models with one tokenizer; control, seeds and interval are the user's."""

import tempfile

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl.experimental.gkd import GKDConfig, GKDTrainer

WORDS = [
    "<pad>",
    "<eos>",
    "user",
    "assistant",
    "the",
    "a",
    "cat",
    "dog",
    "ape",
    "sees",
    "likes",
    "eats",
    "fish",
    "bread",
]
CHAT = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}assistant {% endif %}"


def model(width):
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=len(WORDS), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, eos_token_id=1, bos_token_id=1,
    ))  # fmt: skip


words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", chat_template=CHAT)
turns = [{"role": "user", "content": "the cat sees"}, {"role": "assistant", "content": "a dog eats fish"}]
with tempfile.TemporaryDirectory() as folder:
    settings = GKDConfig(
        folder, max_steps=20, per_device_train_batch_size=4, learning_rate=1e-3, lmbda=0.5, max_new_tokens=4, report_to=[],
        use_cpu=True, bf16=False, save_strategy="no", disable_tqdm=True, max_length=32, gradient_checkpointing=False,
    )  # fmt: skip
    rows = Dataset.from_list([{"messages": turns}] * 40)
    trainer = GKDTrainer(model(16), model(32), args=settings, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    print({name: value for name, value in trainer.state.log_history[-1].items() if "loss" in name})
