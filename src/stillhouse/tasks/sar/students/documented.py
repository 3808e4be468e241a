"""`get_model_from_configs` with the documented keys: every one is honoured, or refused with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import parse, settings
from stillhouse.layers.state_space.activation import canonical
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.students.keys import Keys
from stillhouse.tasks.sar.students.network import SarSSM

NAME = "s4_ssm"
OTHER_NAMES = {
    "cv_transformer": "a transformer cannot stream and is not offered here",
    "rv_transformer": "a transformer cannot stream and is not offered here",
    "simple_ssm": "the public factory raised an error for it too; take 's4_ssm'",
    "mamba_ssm": "the public factory raised an error for it too; take 's4_ssm'",
    "ssm": "it names several networks in the public history; take 's4_ssm'",
    "s4_ssm_final": "it was a real-valued network of split parts, which cannot focus; take 's4_ssm' with a small model_dim",
    "s4_ssm_recurrent_minimal": "every network here has a step form; take 's4_ssm' and "
    "stillhouse.tasks.sar.students.streaming.Stream",
}
MODEL = Keys(
    names={"activation_function": "activation"},
    fixed={
        "dim_head": (1, "the layers have no heads"),
        "mode": (
            "parallel",
            "the step form of the same weights is stillhouse.tasks.sar.students.streaming.Stream(model)",
        ),
        "complex_valued": (
            True,
            "focusing turns phases, which real maps of the parts cannot; real_kernel: true builds the ablation",
        ),
    },
    refused={
        "seq_len": "the network takes scenes of every length",
        "num_heads": "it belongs to the transformers",
        "ff_dim": "it belongs to the transformers",
        "preprocess": "it was stored and never read",
        "use_positional_as_token": "it was stored and never read",
        "use_skip_connection": "the public factory ignored it, and every layer here has a residual",
        "scaling": "the public factory ignored it; doppler_band places the poles",
    },
    extra=("name", "use_pos_encoding", "bidirectional"),
)


def get_model_from_configs(**config: Any) -> SarSSM:
    """The focusing network of a `model:` block of the documented YAML files.

    Beside the documented keys it takes those of `StateSpaceConfig` (`look_ahead`, `norm`, ...). Where the public code and the
    document differ, the document holds: `use_selectivity: true` really builds the gate. Unless `look_ahead` (lines of latency)
    or `bidirectional` is given, the network sees the whole scene: the public one was causal, and half of what a focused line is
    made of comes after it.

    Args:
        **config: name (`s4_ssm`), dim_head (1), input_dim, model_dim, state_dim (real numbers of state a channel), output_dim,
            num_layers, dropout, mode (`parallel`), complex_valued (true), use_pos_encoding (the last of two input channels is the
            position code), use_selectivity, activation_function, bidirectional.

    Returns:
        The network; its configuration is `.config`.

    Raises:
        InputError: an unknown key, with the near one; a key or value that is refused, with the reason.
        ConfigError: a value of the wrong type or range.

    Example:
        >>> model = get_model_from_configs(name="s4_ssm", input_dim=2, model_dim=4, state_dim=8, num_layers=1, output_dim=1)
        >>> model.config.position, model.config.look_ahead
        ('modulate', None)
    """
    own = set(settings(StateSpaceConfig)) - {"kind"}
    given, faults = MODEL.read("model", config, own)
    name = given.pop("name", NAME)
    if name in OTHER_NAMES:
        faults.append(f"model.name: {name!r} is not offered: {OTHER_NAMES[name]}")
    elif name != NAME:
        faults.append(f"model.name: there is no {name!r}; {nearest(str(name), [NAME, *OTHER_NAMES])}")
    if faults:
        raise InputError("\n".join(faults))
    switches = {key: given.pop(key, None) for key in ("use_pos_encoding", "bidirectional")}
    for key, switch in switches.items():
        if switch is not None and not isinstance(switch, bool):
            raise InputError(f"model.{key}: expected true or false, got {switch!r}")
    given["position"] = _position(given, switches["use_pos_encoding"])
    given["look_ahead"] = _look_ahead(given.get("look_ahead"), switches["bidirectional"])
    given["activation"] = canonical(str(given.get("activation", "identity")))
    return parse(StateSpaceConfig, given).build()


def documented_parameters(
    model_dim: int, state_dim: int, num_layers: int, *, selectivity: bool, input_dim: int = 2, output_dim: int = 1
) -> int:
    """Parameters that the public code has at this size, to set beside ours; the document's percentages do not follow from it.

    A layer there: filter (time units, M poles, real C of 2M, feedthrough) and two split linear maps with biases. Ours has one
    true complex map without bias, a complex feedthrough, and a gate a layer.

    Example:
        The teacher, and the document's "40-60 % smaller" student, which is 84 % smaller.

        >>> teacher = documented_parameters(64, 540, 6, selectivity=True)
        >>> small = documented_parameters(32, 256, 4, selectivity=False)
        >>> teacher, small, round(1 - small / teacher, 2)
        (320299, 51330, 0.84)
    """
    width, modes = model_dim, state_dim // 2
    filters = width + 2 * modes + 2 * width * modes + width
    mixing = 2 * 2 * (width * width + width)
    ends = 2 * (input_dim * width + width) + 2 * (width * output_dim + output_dim) + 2 * 2 * width
    gate = 2 * width * width + width + width + 1 if selectivity else 0
    return num_layers * (filters + mixing) + ends + gate


def _position(given: Mapping[str, Any], switch: bool | None) -> str:
    """What the second input channel is: `position` where given, else the documented switch."""
    inputs = given.get("input_dim", 1)
    if "position" in given:
        if switch is not None and switch != (given["position"] != "none"):
            raise InputError(
                f"model.use_pos_encoding: {switch} contradicts position {given['position']!r}; leave one out"
            )
        return str(given["position"])
    if switch and inputs != 2:
        raise InputError(
            f"model.use_pos_encoding: true takes the second of two input channels as the position code, got input_dim {inputs!r}"
        )
    return "modulate" if inputs == 2 and switch is not False else "none"


def _look_ahead(ahead: int | None, bidirectional: bool | None) -> int | None:
    """Lines of latency; None for the whole scene."""
    if bidirectional and ahead is not None:
        raise InputError(f"model.bidirectional: true sees the whole scene, but look_ahead is {ahead!r}; leave one out")
    return ahead if bidirectional is not False else ahead or 0
