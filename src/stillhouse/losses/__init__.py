"""Losses: plain functions of tensors to (B,), student first, teacher second, one paper each."""

from stillhouse.losses.classification import label_cross_entropy
from stillhouse.losses.divergence import forward_kl, generalized_js, reverse_kl
from stillhouse.losses.regression import cosine_distance, mse, mse_logits, smooth_l1

__all__ = [
    "cosine_distance",
    "forward_kl",
    "generalized_js",
    "label_cross_entropy",
    "mse",
    "mse_logits",
    "reverse_kl",
    "smooth_l1",
]
