"""Complex state-space layers: filters with a step form, and maps that commute with a global phase."""

from stillhouse.layers.state_space.activation import ModulusActivation
from stillhouse.layers.state_space.block import StateSpaceBlock
from stillhouse.layers.state_space.complex_linear import ComplexDropout, ComplexLinear, ComplexRMSNorm
from stillhouse.layers.state_space.gate import PhaseGate
from stillhouse.layers.state_space.s4d import S4D

__all__ = [
    "S4D",
    "ComplexDropout",
    "ComplexLinear",
    "ComplexRMSNorm",
    "ModulusActivation",
    "PhaseGate",
    "StateSpaceBlock",
]
