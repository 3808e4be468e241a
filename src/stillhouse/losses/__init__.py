"""Losses: plain functions of tensors to (B,), student first, teacher second, one paper each."""

from stillhouse.losses.attention import attention_kl, attention_score_mse, relation_kl
from stillhouse.losses.chunked import Projection, fused_linear_divergence
from stillhouse.losses.cka import cka_loss, kernel_alignment, kernel_alignment_loss, linear_cka
from stillhouse.losses.classification import label_cross_entropy
from stillhouse.losses.contrastive import contrastive_distillation, supervised_contrastive
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
from stillhouse.losses.maps import activation_energy, attention_transfer, mixing_distance
from stillhouse.losses.multi_level import class_relations, multi_level, sample_relations
from stillhouse.losses.regression import (
    cosine_distance,
    cosine_logits,
    mse,
    mse_logits,
    normalized_mse,
    smooth_l1,
)
from stillhouse.losses.relations import gram_mse, pkt, rkd_angle, rkd_distance, similarity_preserving
from stillhouse.losses.standardize import standardize_logits
from stillhouse.losses.target_enhanced import target_enhanced_kl
from stillhouse.losses.top_k import topk_kl
from stillhouse.losses.universal import universal_logit_distance

__all__ = [
    "Projection",
    "activation_energy",
    "attention_kl",
    "attention_score_mse",
    "attention_transfer",
    "cka_loss",
    "class_relations",
    "contrastive_distillation",
    "cosine_distance",
    "cosine_logits",
    "decoupled_kl",
    "dist_inter",
    "dist_intra",
    "dist_relations",
    "forward_kl",
    "fused_linear_divergence",
    "generalized_js",
    "gram_mse",
    "kernel_alignment",
    "kernel_alignment_loss",
    "label_cross_entropy",
    "linear_cka",
    "mixing_distance",
    "mse",
    "mse_logits",
    "multi_level",
    "normalized_mse",
    "pearson_distance",
    "pkt",
    "relation_kl",
    "reverse_kl",
    "rkd_angle",
    "rkd_distance",
    "sample_relations",
    "similarity_preserving",
    "skew_forward_kl",
    "skew_reverse_kl",
    "smooth_l1",
    "standardize_logits",
    "supervised_contrastive",
    "symmetric_kl",
    "target_enhanced_kl",
    "topk_kl",
    "total_variation",
    "universal_logit_distance",
]
