"""`stillhouse vision`: documents 000 and 001 by their own flags; everything else is KEY=VALUE."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import TEXTS, Parser, add_run_options, print_config
from stillhouse.compat.aliases import add_aliases, dashed, given_settings
from stillhouse.core.checks import ConfigError

DOCUMENTED = {
    "--models": "models+",
    "--epochs": "training.epochs",
    "--batch-size": "training.batch_size",
    "--test-batch-size": "training.evaluation_batch_size",
    "--device": "training.device",
    "--report-epoch-acc": "training.report_train?",
    "--report-epoch-test": "training.report_test?",
    "--dataset": "data.name",
    "--num-classes": "data.num_classes",
    "--tm-target-size": "data.image_size*",
    "--tm-feature-mode": "features.mode",
    "--tm-feature-config": "features.preset",
    "--tm-feature-size": "features.size+",
    "--tm-feature-grayscale": "features.grayscale?",
    "--randaugment": "data.randaugment?",
    "--randaugment-n": "data.randaugment_operations",
    "--randaugment-m": "data.randaugment_magnitude",
    "--mixup-alpha": "training.mixing.mixup_alpha",
    "--cutmix-alpha": "training.mixing.cutmix_alpha",
    "--mixup-schedule": "training.mixing.mixup_schedule",
    "--cutmix-schedule": "training.mixing.cutmix_schedule",
    "--label-smoothing": "training.label_smoothing",
    "--lr": "learning_rate",
    "--min-lr": "training.final_learning_rate",
    "--warmup-epochs": "training.warmup_epochs",
    "--lr-cycle-steps": "training.cycle_steps",
    "--lr-layer-decay": "training.layer_decay",
    "--gradient-centralize": "training.centralize_gradients?",
    "--transformer-ema-decay": "training.ema_decay",
    "--transformer-arch": "model.transformer.architecture",
    "--transformer-backend": "model.transformer.backend",
    "--transformer-patch": "model.transformer.patch_size",
    "--transformer-d-model": "model.transformer.embed_dim*",
    "--transformer-embed-dims": "model.transformer.embed_dim*",
    "--transformer-layers": "model.transformer.depths*",
    "--transformer-depths": "model.transformer.depths*",
    "--transformer-heads": "model.transformer.num_heads*",
    "--transformer-stage-heads": "model.transformer.num_heads*",
    "--transformer-mlp-ratio": "model.transformer.mlp_ratio*",
    "--transformer-window": "model.transformer.window_size",
    "--transformer-use-cls": "model.transformer.use_cls_token?",
    "--transformer-pool": "model.transformer.pool",
    "--transformer-dropout": "model.transformer.drop_rate",
    "--transformer-drop-path": "model.transformer.drop_path_rate",
    "--transformer-drop-path-schedule": "model.transformer.drop_path_schedule",
    "--transformer-norm": "model.transformer.norm_type",
    "--transformer-residual-attn": "model.transformer.use_residual_attention?",
    "--transformer-use-flash-attn": "model.transformer.use_flash_attention?",
    "--transformer-grad-checkpoint": "model.transformer.grad_checkpoint?",
    "--transformer-clauses": "model.transformer.tm_clauses*",
    "--transformer-learnable-tau": "model.transformer.learnable_tau?",
    "--transformer-tau-ema": "model.transformer.tau_ema_beta",
    "--transformer-ff-gate": "model.transformer.ff_gate",
    "--transformer-ff-mix": "model.transformer.ff_mix_type",
    "--transformer-bitwise-mix": "model.transformer.ff_bitwise_mix?",
    "--transformer-clause-attention": "model.transformer.clause_attention?",
    "--transformer-clause-routing": "model.transformer.clause_routing?",
    "--transformer-bypass": "model.transformer.continuous_bypass?",
    "--transformer-bypass-scale": "model.transformer.bypass_scale",
    "--transformer-clause-drop": "model.transformer.clause_dropout",
    "--transformer-literal-drop": "model.transformer.literal_dropout",
    "--transformer-sparsity-weight": "model.transformer.ff_sparsity_weight",
    "--transformer-clause-bias": "model.transformer.clause_bias_init",
    "--tm-prior-template": "prior",
    "--transformer-auto-clause": "clauses.auto?",
    "--transformer-clause-target": "clauses.target",
    "--transformer-auto-clause-batches": "clauses.auto_batches",
    "--transformer-clause-specialize": "clauses.specialize?",
    "--transformer-clause-specialize-strength": "clauses.specialize_strength",
    "--tm-tau": "model.transformer.tm_tau model.tm.rule.tau model.hybrid.rule.tau",
    "--distill-teacher-timm": "teacher.source",
    "--distill-teacher-checkpoint": "teacher.checkpoint",
    "--distill-teacher-weight": "loss.teacher_weight",
    "--distill-teacher-temp": "loss.teacher_temperature",
    "--transformer-self-distill-weight": "loss.self_weight",
    "--transformer-self-distill-temp": "loss.self_temperature",
    "--transformer-aux-weight": "loss.aux_weight",
    "--transformer-contrastive-weight": "loss.contrastive_weight",
    "--transformer-contrastive-temp": "loss.contrastive_temperature",
    "--transformer-save-path": "output.save_path",
    "--transformer-log-dir": "output.log_dir",
    "--visualize-overlays": "output.overlays",
    "--visualize-samples": "output.overlay_samples",
    "--visualize-topk": "output.overlay_topk",
}
FLAGS = {  # beside them those that every training has
    **DOCUMENTED,
    "--seeds": "seeds",
    "--threads": "training.threads",
    "--learning-rate": "learning_rate",
    "--dataset-root": "data.root",
    "--log-interval": "training.log_every",
}
ABOUT = {
    **TEXTS,
    "--models": "transformer, tm, deep_tm, hybrid, resnet_tm, swin_tm, pyramid_tm",
    "--dataset": "digits, mnist, fashion-mnist, cifar10, cifar100, imagenet, folder, npz",
    "--dataset-root": "where it lies",
    "--log-interval": "optimizer steps between two records of the loss terms; of documents 000 and 001",
    "--tm-tau": "include threshold on the sigmoid of the include logits; of tm and hybrid too",
    "--distill-teacher-timm": "a timm network; or ckpt:FILE, torchvision:NAME, builtin:digits",
    "--distill-teacher-checkpoint": "alone: a FILE of train-teacher; beside a network: its state dict",
}
EXAMPLES = """
  stillhouse vision --dataset mnist --models transformer --transformer-arch vit --transformer-patch 4 --epochs 3
  stillhouse vision --models transformer tm data.train_limit=6000 model.tm.clauses=512 --out runs/both --resume
  stillhouse vision --distill-teacher-checkpoint runs/mnist-teacher/teacher.safetensors --visualize-overlays pictures
"""
MORE = "one model by the settings of every other run: stillhouse distill; the documented commands: docs/reproduction.md"
KINDS = ("builtin", "timm", "torchvision", "ckpt", "self")
LESSONS = ("loss.teacher_weight", "loss.teacher_temperature")


def main(arguments: Sequence[str]) -> int:
    """Parse, train every model, print one table."""
    options, config = read(arguments)
    if options.print_config:
        return print_config(config)
    from stillhouse.cli.show import RunDisplay
    from stillhouse.core.records import run_place
    from stillhouse.tasks.classification.vision.run import run_models

    out = run_place(options.out, config.name)
    quiet = options.quiet or not sys.stdout.isatty()
    trainings = len(config.models) * config.seeds * max(1, len(config.arms))
    with RunDisplay(trainings, quiet=quiet, epochs=False) as display:
        for name, models in unused_flags(options, config):
            display.log(f"unused: {name} is a setting of {models}, which --models does not name")
        results = run_models(config, out, resume=options.resume, force=options.force, quiet=quiet, callback=display)
    print_models(results, out)
    return 0


def read(arguments: Sequence[str]) -> tuple[argparse.Namespace, Any]:
    """A command line as the options that are no setting, and the configuration: defaults, file, KEY=VALUE, flags."""
    parser = Parser(
        prog="stillhouse vision",
        description="Train and distil clause networks on images, several kinds in one run.",
        examples=EXAMPLES,
        epilog=MORE,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file to start from; flags change it")
    add_run_options(parser)
    add_aliases(parser, FLAGS, ABOUT)
    parser.add_settings()
    options = parser.parse([dashed(word) for word in arguments])
    from stillhouse.core.config import load_yaml, merge, override, to_mapping
    from stillhouse.tasks.classification.vision.config import VisionConfig

    mapping: dict[str, Any] = to_mapping(VisionConfig())
    if options.config is not None:
        mapping = merge(mapping, load_yaml(options.config))
    given = dict(given_settings(options, FLAGS))
    side = given.get("data.image_size")
    if isinstance(side, list):
        if len(set(side)) > 1:
            raise ConfigError(f"--tm-target-size: expected a square (H = W), got {' x '.join(map(str, side))}")
        given["data.image_size"] = side[0]
    source = given.get("teacher.source")
    if source is not None and str(source).partition(":")[0] not in KINDS:
        given["teacher.source"] = f"timm:{source}"
    override(mapping, options.set, given)
    _name_teacher(mapping, given)
    return options, VisionConfig.read(mapping)


def _name_teacher(mapping: dict[str, Any], given: Mapping[str, Any]) -> None:
    """A checkpoint without an architecture is one of ours, which knows its own."""
    teacher = mapping["teacher"] or {}
    if "teacher.checkpoint" in given and teacher.get("source") is None:
        teacher["source"] = f"ckpt:{teacher.pop('checkpoint')}"
    about = [name for name, path in FLAGS.items() if path in given and (path.startswith("teacher.") or path in LESSONS)]
    if about and teacher.get("source") is None:
        raise ConfigError(
            f"{about[0]}: there is no teacher; name one by --distill-teacher-checkpoint FILE, --distill-teacher-timm NAME "
            "or teacher.source=builtin:digits"
        )


def unused_flags(options: argparse.Namespace, config: Any) -> Iterator[tuple[str, str]]:
    """Flags and settings that were given and are of other models than those trained, each with these models' names."""
    given = [(name, paths) for name, paths in FLAGS.items() if getattr(options, name) is not None]
    given += [(path, path) for path in (assignment.partition("=")[0] for assignment in options.set)]
    for name, paths in given:
        places = [path.split(".") for path in paths.split()]
        models = [place[1] for place in places if place[0] == "model" and len(place) > 1]
        if models and not set(models) & set(config.models):
            yield name, ", ".join(models)


def print_models(results: Mapping[str, Any], out: Path) -> None:
    """One table of all models."""
    from rich.console import Console
    from rich.table import Table

    from stillhouse.cli.show import comparison_words, print_table
    from stillhouse.core.verdict import standing
    from stillhouse.tasks.classification.light import PLAIN

    console = Console(highlight=False, soft_wrap=True, markup=False)
    sizes = results["data"]["sizes"]
    title = f"{results['data']['name']}, {sizes['test']:,} test images"
    table = Table("model", "test", "validation", "parameters", "s an epoch", title=title)
    for name, found in results["models"].items():
        for arm, accuracy in found["arms"].items():
            row = name if len(found["arms"]) == 1 else f"{name} ({arm})"
            seconds = f"{found['seconds_per_epoch']:.1f}" if arm == next(iter(found["arms"])) else ""
            validation = f"{found['validation_accuracies'][arm]:.2%}"
            table.add_row(row, f"{accuracy['mean']:.2%}", validation, f"{found['arm_params'][arm]:,}", seconds)
    for name, accuracy in next(iter(results["models"].values()))["plain"].items():  # of the data, whatever the model
        table.add_row(PLAIN[name], f"{accuracy['mean']:.2%}", "", "", "")
    print_table(table)
    for name, found in results["models"].items():
        for row in found["comparisons"]:
            if row["control"] in PLAIN and standing(row):
                plain = f"{PLAIN[row['control']]} ({found['plain'][row['control']]['mean']:.2%})"
                console.print(f"{name}: {found['test_accuracy']:.2%} is {standing(row)} {plain}")
        for entry in found["comparisons"] if len(found["arms"]) > 1 else ():
            console.print(f"{name}: {comparison_words(entry)}")
    console.print(f"results: {out / 'results.json'}")
