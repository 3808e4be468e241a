"""Every flag with the words that show it alive: (what is compared, words without it, its value), or the test that does."""

from flag_outcomes import BASE, SMALL_SWIN, SWIN, VIT, WIDE, reaches, splits, student, taught, training

TEACHER = ["teacher.source=builtin:digits"]
AUTO = ["--transformer-auto-clause"]
MIX = ["--mixup-alpha", "0.5"]
CUT = ["--cutmix-alpha", "0.5"]
CASES = {
    "--epochs": (training, VIT, "5"),
    "--batch-size": (training, VIT, "20"),
    "--test-batch-size": (training, VIT, "2"),
    "--report-epoch-acc": (training, [*VIT, "--no-report-epoch-acc"], None),
    "--log-interval": (reaches, VIT, "5"),
    "--report-epoch-test": (training, VIT, None),
    "--num-classes": (splits, VIT, "12"),
    "--tm-target-size": (splits, VIT, "16 16"),
    "--dataset": (reaches, VIT, "mnist"),
    "--randaugment": (splits, VIT, None),
    "--randaugment-n": (splits, [*VIT, "--randaugment"], "4"),
    "--randaugment-m": (splits, [*VIT, "--randaugment"], "25"),
    "--mixup-alpha": (training, VIT, "0.5"),
    "--cutmix-alpha": (training, VIT, "0.5"),
    "--mixup-schedule": (training, [*VIT, *MIX], "constant"),
    "--cutmix-schedule": (training, [*VIT, *CUT], "constant"),
    "--label-smoothing": (training, VIT, "0.1"),
    "--lr": (training, VIT, "0.003"),
    "--min-lr": (training, VIT, "0.001"),
    "--warmup-epochs": (training, VIT, "1"),
    "--lr-cycle-steps": (training, VIT, "3"),
    "--lr-layer-decay": (training, VIT, "0.5"),
    "--gradient-centralize": (training, VIT, None),
    "--transformer-ema-decay": (training, VIT, "0.9"),
    "--transformer-arch": (student, [*BASE, *["--transformer-patch", "1", "--transformer-window", "4"]], "swin"),
    "--transformer-backend": (student, VIT, "deeptm"),
    "--transformer-patch": (student, VIT, "2"),
    "--transformer-d-model": (student, VIT, "24"),
    "--transformer-embed-dims": (student, BASE, "24"),
    "--transformer-layers": (student, VIT, "3"),
    "--transformer-depths": (student, [*SWIN, *SMALL_SWIN], "1,1"),
    "--transformer-heads": (student, VIT, "4"),
    "--transformer-stage-heads": (student, [*SWIN, *SMALL_SWIN], "4,8"),
    "--transformer-clauses": (student, VIT, "8,12"),
    "--transformer-mlp-ratio": (student, VIT, "3"),
    "--transformer-window": (student, WIDE, "2"),
    "--transformer-use-cls": (student, [*VIT, "--transformer-pool", "mean", "--no-transformer-use-cls"], None),
    "--transformer-pool": (student, VIT, "mean"),
    "--transformer-dropout": (student, VIT, "0.5"),
    "--transformer-drop-path": (student, VIT, "0.9"),
    "--transformer-drop-path-schedule": (
        student,
        [*VIT, "--transformer-layers", "4", "--transformer-drop-path", "0.9", "--transformer-clauses", "8"],
        "cosine",
    ),
    "--transformer-norm": (student, VIT, "rmsnorm"),
    "--transformer-residual-attn": (student, VIT, None),
    "--tm-tau": (student, VIT, "0.4"),
    "--transformer-learnable-tau": (student, VIT, None),
    "--transformer-tau-ema": (student, [*VIT, "--transformer-learnable-tau"], "0.9"),
    "--transformer-ff-gate": (student, VIT, "geglu"),
    "--transformer-ff-mix": (student, VIT, "linear_depthwise"),
    "--transformer-bitwise-mix": (student, VIT, None),
    "--transformer-clause-attention": (student, VIT, None),
    "--transformer-clause-routing": (student, VIT, None),
    "--transformer-bypass": (student, VIT, None),
    "--transformer-bypass-scale": (student, [*VIT, "--transformer-bypass"], "0.5"),
    "--transformer-clause-drop": (student, VIT, "0.5"),
    "--transformer-literal-drop": (student, VIT, "0.5"),
    "--transformer-sparsity-weight": (student, VIT, "0.5"),
    "--transformer-clause-bias": (student, VIT, "0.5"),
    "--tm-prior-template": (student, VIT, "symmetric"),
    "--transformer-clause-specialize": (training, VIT, None),
    "--transformer-clause-specialize-strength": (training, [*VIT, "--transformer-clause-specialize"], "1.0"),
    "--transformer-self-distill-weight": (training, [*VIT, "--transformer-ema-decay", "0.9"], "0.5"),
    "--transformer-self-distill-temp": (
        training,
        [*VIT, "--transformer-ema-decay", "0.9", "--transformer-self-distill-weight", "0.5", "--lr", "0.1"],
        "3",
    ),
    "--transformer-aux-weight": (training, VIT, "0.5"),
    "--transformer-contrastive-weight": (training, VIT, "0.5"),
    "--transformer-contrastive-temp": (training, [*VIT, "--transformer-contrastive-weight", "0.5"], "0.5"),
    "--distill-teacher-weight": (taught, [*VIT, *TEACHER], "0.9"),
    "--distill-teacher-temp": (taught, [*VIT, *TEACHER], "5"),
    "--distill-teacher-timm": (reaches, VIT, "resnet18"),
    "--distill-teacher-checkpoint": (reaches, VIT, "teacher.safetensors"),
    "--seeds": (reaches, VIT, "3"),
    "--threads": (reaches, VIT, "1"),
    "--dataset-root": (reaches, VIT, "here"),
}
ELSEWHERE = {  # what a whole run, or a file, shows
    "--models": "test_models_run_one_after_another",
    "--device": "test_the_device_is_used_or_refused",
    "--transformer-use-flash-attn": "test_fused_attention_is_demanded",
    "--transformer-grad-checkpoint": "test_checkpointing_runs_blocks_twice",
    "--transformer-auto-clause": "test_auto_clause_holds_the_sum",
    "--transformer-clause-target": "test_auto_clause_holds_the_sum",
    "--transformer-auto-clause-batches": "test_auto_clause_holds_the_sum",
    "--tm-feature-mode": "test_boolean_features_replace_pixels",
    "--tm-feature-config": "test_boolean_features_replace_pixels",
    "--tm-feature-size": "test_boolean_features_replace_pixels",
    "--tm-feature-grayscale": "test_boolean_features_replace_pixels",
    "--transformer-save-path": "test_a_whole_run_leaves_what_it_promises",
    "--transformer-log-dir": "test_a_whole_run_leaves_what_it_promises",
    "--visualize-overlays": "test_a_whole_run_leaves_what_it_promises",
    "--visualize-samples": "test_a_whole_run_leaves_what_it_promises",
    "--visualize-topk": "test_a_whole_run_leaves_what_it_promises",
    "--learning-rate": "test_documented_names_of_flags_are_taken",
}
DOCUMENTED = """
--models --dataset --epochs --batch-size --test-batch-size --lr --min-lr --warmup-epochs --lr-cycle-steps
--label-smoothing --tm-prior-template --lr-layer-decay --gradient-centralize --num-classes --report-epoch-acc
--report-epoch-test --device --tm-feature-mode --tm-feature-config --tm-feature-size --tm-feature-grayscale --tm-tau
--tm-target-size --transformer-d-model --transformer-heads --transformer-layers --transformer-clauses
--transformer-arch --transformer-patch --transformer-depths --transformer-stage-heads --transformer-embed-dims
--transformer-mlp-ratio --transformer-window --transformer-drop-path --transformer-drop-path-schedule
--transformer-use-cls --transformer-pool --transformer-backend --transformer-ff-gate --transformer-auto-clause
--transformer-clause-target --transformer-auto-clause-batches --transformer-clause-drop --transformer-literal-drop
--transformer-sparsity-weight --transformer-clause-bias --transformer-norm --transformer-ff-mix
--transformer-bitwise-mix --transformer-learnable-tau --transformer-tau-ema --transformer-clause-attention
--transformer-clause-routing --transformer-bypass --transformer-bypass-scale --transformer-dropout
--transformer-aux-weight --transformer-ema-decay --transformer-self-distill-weight --transformer-self-distill-temp
--distill-teacher-timm --distill-teacher-checkpoint --distill-teacher-weight --distill-teacher-temp
--transformer-contrastive-weight --transformer-contrastive-temp --transformer-grad-checkpoint
--transformer-use-flash-attn --transformer-residual-attn --transformer-clause-specialize
--transformer-clause-specialize-strength --transformer-log-dir --transformer-save-path --visualize-overlays
--visualize-samples --visualize-topk --randaugment --randaugment-n --randaugment-m --mixup-alpha --cutmix-alpha
--mixup-schedule --cutmix-schedule
"""
