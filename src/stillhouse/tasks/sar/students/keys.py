"""Which keys a block of a documented file may hold: honoured under our names, of one value, or refused. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stillhouse.core.checks import nearest

Block = dict[str, Any]


@dataclass(frozen=True)
class Keys:
    """What a documented block may hold beside our own settings.

    Attributes:
        names: documented name -> ours.
        fixed: key -> (the one value that it has here, why).
        refused: key -> why it is not honoured.
        extra: keys that whoever reads the block takes himself.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()

    def read(self, where: str, block: Mapping[str, Any], own: Iterable[str]) -> tuple[Block, list[str]]:
        """The block under our names, without what is fixed; and its faults.

        Args:
            where: name of the block, for the faults.
            block: as the file has it.
            own: our settings.
        """
        found: Block = {}
        faults: list[str] = []
        known = [*own, *self.names, *self.extra, *self.fixed]
        at = f"{where}." if where else ""
        for key, value in block.items():
            name = self.names.get(key, key)
            if key in self.refused:
                faults.append(f"{at}{key}: is not honoured: {self.refused[key]}; leave it out")
            elif key in self.fixed:
                only, why = self.fixed[key]
                if value != only or isinstance(value, bool) != isinstance(only, bool):
                    faults.append(f"{at}{key}: expected {str(only).lower()}, got {value!r}: {why}")
            elif key not in known:
                faults.append(f"{at}{key}: unknown key; {nearest(str(key), known)}")
            elif name in found and found[name] != value:
                faults.append(f"{at}{key}: it and {name} are the same and differ; leave one out")
            else:
                found[name] = value
        return found, faults
