"""Settings of a vision run that another one turns off: legal, and listed before training. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from stillhouse.tasks.classification.students.unused import Row, inert_settings
from stillhouse.tasks.classification.vision.config import VisionConfig


def unused_settings(config: VisionConfig) -> Iterator[str]:
    """One line a setting that differs from its default and does nothing.

    Example:
        >>> print(*unused_settings(VisionConfig.read({"output": {"overlay_topk": 5}})))
        output.overlay_topk: 5 does nothing: needs output.overlays
    """
    yield from inert_settings(config, _rows(config))


def unread(config: VisionConfig, model: str, places: tuple[str, ...]) -> Iterator[str]:
    """One line a setting that is given and that this model has no part for.

    Args:
        config: of all models.
        model: the one that is trained next.
        places: where read-outs can stand in it.

    Example:
        >>> print(*unread(VisionConfig.read({"loss": {"aux_weight": 0.1}}), "tm", ()))
        loss.aux_weight: 0.1 does nothing: model tm has no inner places to read out
    """
    loss, what = config.loss, f"model {model} has no inner places to read out"
    rows: list[tuple[str, object, bool, str]] = [
        ("loss.aux_weight", loss.aux_weight, bool(places), what),
        ("loss.contrastive_weight", loss.contrastive_weight, bool(places), what),
        (
            "loss.head_probes",
            loss.head_probes,
            model == "transformer",
            f"model {model} has no attention heads of its own",
        ),
        (
            "clauses.specialize",
            config.clauses.specialize,
            model == "transformer",
            f"model {model} has no heads to weigh",
        ),
        (
            "clauses.auto",
            config.clauses.auto,
            model == "transformer",
            f"model {model} has no blocks to share clauses out over",
        ),
    ]
    yield from (f"{name}: {given} does nothing: {why}" for name, given, works, why in rows if given and not works)


def _rows(config: VisionConfig) -> list[Row]:
    bits = config.features.mode != "raw"
    loss, clauses, mixing = config.loss, config.clauses, config.training.mixing
    groups = [
        ("features", ("preset", "size", "grayscale", "batch_size", "force"), bits, "features.mode conv or fashion_aug"),
        ("output", ("overlay_samples", "overlay_topk"), config.output.overlays is not None, "output.overlays"),
        ("data", ("randaugment_operations", "randaugment_magnitude"), config.data.randaugment, "data.randaugment"),
        ("training.mixing", ("mixup_schedule",), mixing.mixup_alpha > 0, "a mixup_alpha above 0"),
        ("training.mixing", ("cutmix_schedule",), mixing.cutmix_alpha > 0, "a cutmix_alpha above 0"),
        ("loss", ("self_temperature",), loss.self_weight > 0, "a self_weight above 0"),
        ("loss", ("contrastive_temperature",), loss.contrastive_weight > 0, "a contrastive_weight above 0"),
        ("clauses", ("auto_batches", "auto_steps"), clauses.auto, "clauses.auto"),
        ("clauses", ("specialize_strength",), clauses.specialize, "clauses.specialize"),
    ]
    return [(f"{part}.{name}", bool(works), need) for part, names, works, need in groups for name in names]
