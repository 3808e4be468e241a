"""A small decoder of transformers, with the two methods that the language job trains by: `hidden` and `readout`.

Shapes: B batch, L length, D width, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stillhouse.core.types import Outputs
from stillhouse.tasks.lm.teachers import SmallTransformerConfig


class CausalLM(nn.Module):
    """A causal language model of transformers that is called as our students are.

    Args:
        network: a `...ForCausalLM`.

    Example:
        >>> import torch
        >>> model = SmallTransformerConfig(width=16, layers=1, heads=2).build(vocab_size=11)
        >>> tuple(model(torch.zeros(2, 3, dtype=torch.int64)).logits.shape)
        (2, 3, 11)
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    @property
    def readout(self) -> nn.Module:
        """Hidden states to logits; `.weight` (V, D)."""
        head: nn.Module = self.network.get_output_embeddings()
        return head

    def hidden(self, tokens: Tensor, state: None = None) -> tuple[Tensor, None]:
        """What the readout is given (B, L, D), and no state: attention looks back at the tokens themselves."""
        return self.network.base_model(input_ids=tokens, use_cache=False).last_hidden_state, state

    def forward(self, tokens: Tensor) -> Outputs:
        """Logits (B, L, V) of the token after each."""
        return Outputs(self.network(input_ids=tokens, use_cache=False).logits)

    def save(self, folder: Path) -> None:
        """Write it as transformers does: config.json and model.safetensors."""
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.network.save_pretrained(str(folder))


def build_small(config: SmallTransformerConfig, vocab_size: int) -> CausalLM:
    """A decoder with rotary positions, gated feed-forward layers and a tied readout.

    Source: Touvron et al. 2023, arXiv:2302.13971 (LLaMA).
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden = config.hidden or 8 * round(config.width / 3)
    return CausalLM(
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocab_size,
                hidden_size=config.width,
                intermediate_size=hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                max_position_embeddings=config.context,
                tie_word_embeddings=True,
                bos_token_id=None,
                eos_token_id=None,
                pad_token_id=None,
            )
        )
    )
