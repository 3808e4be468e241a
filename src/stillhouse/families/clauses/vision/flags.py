"""The table of flags, and the setting that each one is. No torch.

Types, choices, ranges and help come from the setting; a row adds a name, nothing more. `tests/vision/test_flag_table.py` shows
for every row what it changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from stillhouse.core.flags import Flag, flags
from stillhouse.families.clauses.vision.config import VisionConfig
from stillhouse.teachers import TeacherConfig


@dataclass(frozen=True)
class VisionFlag:
    """One flag.

    Attributes:
        name: as documented.
        path: dotted path of the setting in `VisionConfig`.
        group: heading in `--help`.
        starred: named in the published documents.
        also: further settings that it sets, of other models.
    """

    name: str
    path: str
    group: str
    starred: bool = True
    also: tuple[str, ...] = ()


def _rows(group: str, starred: bool, *pairs: tuple[str, str]) -> tuple[VisionFlag, ...]:
    return tuple(VisionFlag(name, path, group, starred) for name, path in pairs)


HELP = {  # where a flag takes more than its setting
    "--tm-tau": "include threshold on the sigmoid of the include logits; of tm and hybrid too",
    "--distill-teacher-timm": "name of a timm network; with a kind (ckpt:FILE, torchvision:NAME, builtin:digits) that one",
    "--distill-teacher-checkpoint": "alone: a FILE of train-teacher; beside the name of a network: its state dict",
}
T = "model.transformer"
TABLE: tuple[VisionFlag, ...] = (
    *_rows(
        "run",
        True,
        ("--models", "models"),
        ("--epochs", "training.epochs"),
        ("--batch-size", "training.batch_size"),
        ("--test-batch-size", "training.evaluation_batch_size"),
        ("--device", "training.device"),
        ("--report-epoch-acc", "training.report_train"),
        ("--report-epoch-test", "training.report_test"),
    ),
    *_rows(
        "run",
        False,
        ("--seeds", "seeds"),
        ("--arms", "arms"),
        ("--threads", "training.threads"),
        ("--log-interval", "training.log_every"),
        ("--precision", "training.precision"),
        ("--devices", "training.devices"),
        ("--num-nodes", "training.num_nodes"),
        ("--strategy", "training.strategy"),
        ("--shard-teacher", "training.shard_teacher"),
        ("--accumulate", "training.accumulate"),
        ("--patience", "training.patience"),
        ("--keep", "training.keep"),
    ),
    *_rows(
        "data",
        True,
        ("--dataset", "data.name"),
        ("--num-classes", "data.num_classes"),
        ("--tm-target-size", "data.image_size"),
        ("--tm-feature-mode", "features.mode"),
        ("--tm-feature-config", "features.preset"),
        ("--tm-feature-size", "features.size"),
        ("--tm-feature-grayscale", "features.grayscale"),
    ),
    *_rows(
        "data",
        False,
        ("--dataset-root", "data.root"),
        ("--download", "data.download"),
        ("--tm-target-channels", "data.channels"),
        ("--train-limit", "data.train_limit"),
        ("--test-limit", "data.test_limit"),
        ("--validation-fraction", "data.validation_fraction"),
        ("--split-seed", "data.split_seed"),
        ("--augment", "data.augment"),
        ("--tm-feature-cache", "features.cache"),
        ("--tm-feature-batch", "features.batch_size"),
        ("--tm-feature-force", "features.force"),
    ),
    *_rows(
        "augmentation",
        True,
        ("--randaugment", "data.randaugment"),
        ("--randaugment-n", "data.randaugment_operations"),
        ("--randaugment-m", "data.randaugment_magnitude"),
        ("--mixup-alpha", "training.mixing.mixup_alpha"),
        ("--cutmix-alpha", "training.mixing.cutmix_alpha"),
        ("--mixup-schedule", "training.mixing.mixup_schedule"),
        ("--cutmix-schedule", "training.mixing.cutmix_schedule"),
        ("--label-smoothing", "training.label_smoothing"),
    ),
    *_rows(
        "optimizer",
        True,
        ("--lr", "learning_rate"),
        ("--min-lr", "training.final_learning_rate"),
        ("--warmup-epochs", "training.warmup_epochs"),
        ("--lr-cycle-steps", "training.cycle_steps"),
        ("--lr-layer-decay", "training.layer_decay"),
        ("--gradient-centralize", "training.centralize_gradients"),
        ("--transformer-ema-decay", "training.ema_decay"),
    ),
    *_rows(
        "optimizer",
        False,
        ("--weight-decay", "training.weight_decay"),
        ("--clip-grad", "training.clip_norm"),
        ("--optimizer", "training.optimizer"),
    ),
    *_rows(
        "transformer",
        True,
        ("--transformer-arch", f"{T}.architecture"),
        ("--transformer-backend", f"{T}.backend"),
        ("--transformer-patch", f"{T}.patch_size"),
        ("--transformer-d-model", f"{T}.embed_dim"),
        ("--transformer-embed-dims", f"{T}.embed_dim"),
        ("--transformer-layers", f"{T}.depths"),
        ("--transformer-depths", f"{T}.depths"),
        ("--transformer-heads", f"{T}.num_heads"),
        ("--transformer-stage-heads", f"{T}.num_heads"),
        ("--transformer-mlp-ratio", f"{T}.mlp_ratio"),
        ("--transformer-window", f"{T}.window_size"),
        ("--transformer-use-cls", f"{T}.use_cls_token"),
        ("--transformer-pool", f"{T}.pool"),
        ("--transformer-dropout", f"{T}.drop_rate"),
        ("--transformer-drop-path", f"{T}.drop_path_rate"),
        ("--transformer-drop-path-schedule", f"{T}.drop_path_schedule"),
        ("--transformer-norm", f"{T}.norm_type"),
        ("--transformer-residual-attn", f"{T}.use_residual_attention"),
        ("--transformer-use-flash-attn", f"{T}.use_flash_attention"),
        ("--transformer-grad-checkpoint", f"{T}.grad_checkpoint"),
    ),
    *_rows(
        "transformer",
        False,
        ("--transformer-attention-dropout", f"{T}.attn_drop_rate"),
        ("--transformer-relative-pos", f"{T}.relative_position_type"),
        ("--transformer-absolute-pos", f"{T}.use_absolute_positions"),
        ("--transformer-swin-version", f"{T}.swin_version"),
        ("--transformer-layerscale-init", f"{T}.layerscale_init"),
        ("--transformer-use-layerscale", f"{T}.use_layerscale"),
    ),
    *_rows(
        "clauses of the transformer",
        True,
        ("--transformer-clauses", f"{T}.tm_clauses"),
        ("--transformer-learnable-tau", f"{T}.learnable_tau"),
        ("--transformer-tau-ema", f"{T}.tau_ema_beta"),
        ("--transformer-ff-gate", f"{T}.ff_gate"),
        ("--transformer-ff-mix", f"{T}.ff_mix_type"),
        ("--transformer-bitwise-mix", f"{T}.ff_bitwise_mix"),
        ("--transformer-clause-attention", f"{T}.clause_attention"),
        ("--transformer-clause-routing", f"{T}.clause_routing"),
        ("--transformer-bypass", f"{T}.continuous_bypass"),
        ("--transformer-bypass-scale", f"{T}.bypass_scale"),
        ("--transformer-clause-drop", f"{T}.clause_dropout"),
        ("--transformer-literal-drop", f"{T}.literal_dropout"),
        ("--transformer-sparsity-weight", f"{T}.ff_sparsity_weight"),
        ("--transformer-clause-bias", f"{T}.clause_bias_init"),
        ("--tm-prior-template", "prior"),
        ("--transformer-auto-clause", "clauses.auto"),
        ("--transformer-clause-target", "clauses.target"),
        ("--transformer-auto-clause-batches", "clauses.auto_batches"),
        ("--transformer-clause-specialize", "clauses.specialize"),
        ("--transformer-clause-specialize-strength", "clauses.specialize_strength"),
    ),
    VisionFlag(
        "--tm-tau",
        f"{T}.tm_tau",
        "clauses of the transformer",
        also=("model.tm.rule.tau", "model.hybrid.rule.tau"),
    ),
    *_rows(
        "clauses of the transformer",
        False,
        ("--transformer-auto-clause-steps", "clauses.auto_steps"),
        ("--transformer-tau-min", f"{T}.tau_min"),
        ("--transformer-tau-max", f"{T}.tau_max"),
        ("--transformer-ff-gate-activation", f"{T}.ff_gate_activation"),
        ("--transformer-failures", f"{T}.tm_failures"),
        ("--transformer-literals", f"{T}.tm_literals"),
        ("--transformer-literal-budget", f"{T}.tm_literal_budget"),
        ("--transformer-literal-weight", f"{T}.ff_literal_weight"),
        ("--transformer-feed-forward", f"{T}.feed_forward"),
    ),
    *_rows(
        "other models",
        False,
        ("--tm-n-clauses", "model.tm.clauses"),
        ("--tm-lf", "model.tm.rule.failures"),
        ("--tm-literals", "model.tm.rule.literals"),
        ("--tm-literal-budget", "model.tm.rule.literal_budget"),
        ("--tm-clause-dropout", "model.tm.rule.clause_dropout"),
        ("--tm-literal-dropout", "model.tm.rule.literal_dropout"),
        ("--tm-levels", "model.tm.levels"),
        ("--tm-voting", "model.tm.voting"),
        ("--deeptm-hidden-dims", "model.deep_tm.hidden_dims"),
        ("--deeptm-n-clauses", "model.deep_tm.clauses"),
        ("--deeptm-dropout", "model.deep_tm.dropout"),
        ("--deeptm-tau", "model.deep_tm.rule.tau"),
        ("--hybrid-thresholds", "model.hybrid.thresholds"),
        ("--hybrid-clauses", "model.hybrid.clauses"),
        ("--resnet-layers", "model.resnet_tm.layers"),
        ("--resnet-stem", "model.resnet_tm.stem"),
        ("--swin-size", "model.swin_tm.size"),
        ("--swin-window", "model.swin_tm.window_size"),
        ("--pyramid-pools", "model.pyramid_tm.pools"),
        ("--pyramid-clauses", "model.pyramid_tm.clauses"),
        ("--pyramid-fusion", "model.pyramid_tm.fusion"),
    ),
    *_rows(
        "teacher and further losses",
        True,
        ("--distill-teacher-timm", "teacher.source"),
        ("--distill-teacher-checkpoint", "teacher.checkpoint"),
        ("--distill-teacher-weight", "lesson.teacher_weight"),
        ("--distill-teacher-temp", "lesson.teacher_temperature"),
        ("--transformer-self-distill-weight", "lesson.self_weight"),
        ("--transformer-self-distill-temp", "lesson.self_temperature"),
        ("--transformer-aux-weight", "lesson.aux_weight"),
        ("--transformer-contrastive-weight", "lesson.contrastive_weight"),
        ("--transformer-contrastive-temp", "lesson.contrastive_temperature"),
    ),
    *_rows(
        "teacher and further losses",
        False,
        ("--distill-teacher-source", "teacher.source"),
        ("--distill-teacher-pretrained", "teacher.pretrained"),
        ("--distill-teacher-image-size", "teacher.image_size"),
        ("--distill-teacher-data-size", "teacher.data_size"),
        ("--distill-teacher-head", "teacher.head"),
        ("--distill-more-teachers", "lesson.more_teachers"),
        ("--distill-student-layer", "lesson.student_layer"),
        ("--distill-teacher-layer", "lesson.teacher_layer"),
        ("--distill-feature-weight", "lesson.feature_weight"),
        ("--distill-attention-weight", "lesson.attention_weight"),
        ("--distill-relation-weight", "lesson.relation_weight"),
        ("--distill-clause-weight", "lesson.clause_weight"),
        ("--probes", "lesson.probes"),
        ("--head-probes", "lesson.head_probes"),
    ),
    *_rows(
        "files",
        True,
        ("--transformer-save-path", "output.save_path"),
        ("--transformer-log-dir", "output.log_dir"),
        ("--visualize-overlays", "output.overlays"),
        ("--visualize-samples", "output.overlay_samples"),
        ("--visualize-topk", "output.overlay_topk"),
    ),
    VisionFlag("--bitpack", "output.bitpack", "files", starred=False),
)


def schema() -> dict[str, Flag]:
    """Every setting of `VisionConfig` by dotted path, with its type, choices, default and help."""
    known = {".".join(flag.path): flag for flag in flags(VisionConfig())}
    known |= {f"teacher.{'.'.join(flag.path)}": flag for flag in flags(TeacherConfig())}
    return known


def described() -> Iterator[tuple[VisionFlag, Flag]]:
    """The rows, each with its setting; there is no teacher unless one is named."""
    known = schema()
    for row in TABLE:
        flag = known[row.path]
        if row.path == "teacher.source":
            flag = replace(flag, default=None)
        if row.name in HELP:
            flag = replace(flag, help=HELP[row.name])
        yield row, flag


def starred() -> tuple[str, ...]:
    """Names that the published documents use."""
    return tuple(row.name for row in TABLE if row.starred)
