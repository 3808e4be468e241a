"""Published energies of an operation: what counts of operations are multiplied with. An account, never a measurement. No torch."""

from __future__ import annotations

from dataclasses import dataclass

LABEL = "counted operations x published energies (45 nm, Horowitz 2014); not measured"


@dataclass(frozen=True)
class OperationEnergies:
    """Picojoules of an operation in float32 and in whole numbers, and of a byte from DRAM.

    A logic operation on a word of 64 bits is counted as two additions of 32 bits, which hold more gates than it: an upper bound.

    Source: Horowitz 2014, "Computing's energy problem", ISSCC (45 nm: float32 add 0.9, multiply 3.7; int32 add 0.1, multiply 3.1),
    with 640 for a 32-bit DRAM read as in table 1 of Han et al. 2016, arXiv:1602.01528.
    """

    addition: float = 0.9
    multiplication: float = 3.7
    memory_byte: float = 160.0
    whole_addition: float = 0.1
    whole_multiplication: float = 3.1
    word_operation: float = 0.2
