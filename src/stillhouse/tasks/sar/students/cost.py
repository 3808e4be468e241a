"""What a focusing network costs per line in its step form: counted, not measured (`measure_latency` measures)."""

from __future__ import annotations

from dataclasses import dataclass

from stillhouse.layers.state_space import StateSpaceBlock
from stillhouse.tasks.sar.students.network import SarSSM


@dataclass(frozen=True)
class StepCost:
    """Of one range bin.

    Attributes:
        parameters: real numbers that are learned.
        state_bytes: what a line changes and the next one reads, waiting lines included: `Stream.state_bytes` of one bin.
        complex_macs: complex multiply-adds a line.
        real_macs: real ones beside them, of the gates.
    """

    parameters: int
    state_bytes: int
    complex_macs: int
    real_macs: int


def step_cost(model: SarSSM) -> StepCost:
    """Parameters, state and operations of a network; a bidirectional one is counted as if both its filters could step.

    Args:
        model: any.

    Returns:
        Counts of one range bin: B of them cost B times the state and the operations.

    Example:
        One layer, 2 channels, 3 modes: 2 x 2 x 3 for update and readout, 2 feedthrough, 4 mixing, 2 in and 2 out.

        >>> from stillhouse.tasks.sar.students import StateSpaceConfig
        >>> step_cost(StateSpaceConfig(model_dim=2, state_dim=6, num_layers=1, look_ahead=0).build()).complex_macs
        22
    """
    width = model.config.model_dim
    macs = width * (model.input.inputs + model.config.output_dim)
    real = state = 0
    size = 2 * next(model.parameters()).element_size()
    for block in model.blocks:
        if not isinstance(block, StateSpaceBlock):
            continue
        filters = 2 if block.s4d.look_ahead is None else 1
        macs += filters * 2 * width * block.s4d.states + width + width * width
        real += 0 if block.gate is None else block.gate.inner.weight.numel() + block.gate.outer.weight.numel()
        previous = 0 if block.gate is None else width
        state += size * (filters * width * block.s4d.states + block.look_ahead * width + previous)
    return StepCost(sum(p.numel() for p in model.parameters()), state, macs, real)
