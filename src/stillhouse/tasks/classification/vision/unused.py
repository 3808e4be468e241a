"""Settings of a vision run that a model has no part for: legal, and listed before training. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from stillhouse.tasks.classification.vision.config import VisionConfig


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
