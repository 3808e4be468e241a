"""Settings of clause networks that another setting has turned off: legal, and listed before a run. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from stillhouse.tasks.classification.students.base_config import ClauseOptions
from stillhouse.tasks.classification.students.config import UnifiedTMConfig
from stillhouse.tasks.classification.students.model_configs import FlatTMConfig

Row = tuple[str, bool, str]  # setting, whether it does anything, what it would need


def unused_settings(config: Any) -> Iterator[str]:
    """One line a setting that differs from its default and does nothing.

    Args:
        config: of any student; only clause networks have such settings.

    Example:
        >>> print(*unused_settings(UnifiedTMConfig(window_size=7)))
        window_size: 7 does nothing: needs architecture 'swin'
    """
    if isinstance(config, UnifiedTMConfig):
        yield from inert_settings(config, _of_transformer(config))
    if isinstance(config, FlatTMConfig):
        yield from inert_settings(
            config, [("levels", not config.filters, "filters off"), ("square", config.filters, "filters")]
        )
    rule = getattr(config, "rule", None)
    if isinstance(rule, ClauseOptions):
        yield from (f"rule.{line}" for line in inert_settings(rule, _of_rule(rule)))


def inert_settings(config: Any, rows: list[Row]) -> Iterator[str]:
    """One line a row whose setting differs from its default and does nothing; a setting may be a dotted path."""
    usual = type(config)()
    for path, works, need in rows:
        given = attrgetter(path)(config)
        if not works and given != attrgetter(path)(usual):
            yield f"{path}: {given} does nothing: needs {need}"


def _of_transformer(config: UnifiedTMConfig) -> list[Row]:
    clauses = config.feed_forward == "clauses"
    rows: list[Row] = [
        ("window_size", config.architecture == "swin", "architecture 'swin'"),
        ("tau_ema_beta", config.learnable_tau, "learnable_tau"),
        ("tau_min", config.learnable_tau, "learnable_tau"),
        ("tau_max", config.learnable_tau, "learnable_tau"),
        ("deeptm_last_factor", config.deep, "backend 'deeptm'"),
        ("ff_gate_activation", config.ff_gate in {"linear", "tm", "deeptm"}, "ff_gate 'linear', 'tm' or 'deeptm'"),
        ("bypass_scale", config.continuous_bypass, "continuous_bypass"),
        ("layerscale_init", config.use_layerscale, "use_layerscale"),
        ("drop_path_schedule", config.drop_path_rate > 0, "a drop_path_rate above 0"),
        ("diagnostic_gradient", config.diagnostic_heads, "diagnostic_heads"),
    ]
    of_clauses = ("tm_failures", "tm_literals", "tm_literal_budget", "clause_dropout", "literal_dropout", "ff_gate")
    return rows + [(name, clauses, "feed_forward 'clauses'") for name in of_clauses]


def _of_rule(rule: ClauseOptions) -> list[Row]:
    return [
        ("tau_ema", rule.learnable_tau, "learnable_tau"),
        ("tau_min", rule.learnable_tau, "learnable_tau"),
        ("tau_max", rule.learnable_tau, "learnable_tau"),
    ]
