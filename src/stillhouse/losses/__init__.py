"""Losses: plain functions of tensors to (B,), student first, teacher second, one paper each."""

from stillhouse.losses.chunked import fused_linear_divergence, fused_linear_divergence_to
from stillhouse.losses.classification import label_cross_entropy
from stillhouse.losses.correlation import dist_inter, dist_intra, dist_relations, pearson_distance
from stillhouse.losses.decoupled import decoupled_kl
from stillhouse.losses.divergence import (
    forward_kl,
    generalized_js,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    symmetric_kl,
    total_variation,
)
from stillhouse.losses.regression import cosine_distance, mse, mse_logits, smooth_l1
from stillhouse.losses.standardize import standardize_logits
from stillhouse.losses.top_k import topk_kl

__all__ = [
    "cosine_distance",
    "decoupled_kl",
    "dist_inter",
    "dist_intra",
    "dist_relations",
    "forward_kl",
    "fused_linear_divergence",
    "fused_linear_divergence_to",
    "generalized_js",
    "label_cross_entropy",
    "mse",
    "mse_logits",
    "pearson_distance",
    "reverse_kl",
    "skew_forward_kl",
    "skew_reverse_kl",
    "smooth_l1",
    "standardize_logits",
    "symmetric_kl",
    "topk_kl",
    "total_variation",
]
