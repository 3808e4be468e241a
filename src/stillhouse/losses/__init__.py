"""Losses: plain functions of tensors to (B,), student first, teacher second, one paper each."""

from stillhouse.losses.attention import (
    activation_energy,
    attention_kl,
    attention_score_mse,
    attention_transfer,
    mixing_distance,
    relation_kl,
)
from stillhouse.losses.cka import cka_loss, kernel_alignment_loss, linear_cka
from stillhouse.losses.contrastive import contrastive_distillation, supervised_contrastive
from stillhouse.losses.correlation import (
    class_relations,
    dist_inter,
    dist_intra,
    dist_relations,
    multi_level,
    pearson_distance,
    sample_relations,
)
from stillhouse.losses.divergence import (
    decoupled_kl,
    forward_kl,
    generalized_js,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    symmetric_kl,
    target_enhanced_kl,
    total_variation,
)
from stillhouse.losses.regression import (
    cosine_distance,
    label_cross_entropy,
    mse,
    mse_logits,
    normalized_mse,
    smooth_l1,
)
from stillhouse.losses.relations import pkt, rkd_angle, rkd_distance, similarity_preserving
from stillhouse.losses.softened import standardize_logits
from stillhouse.losses.top_k import scores_kl
