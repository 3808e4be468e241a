"""How often the channels of a spiking network fire: measured over a text, not over one batch.

Shapes: D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.layers.spikes import SpikeUnit, spike_counts

DEAD, SATURATED = 0.001, 0.999


@dataclass(frozen=True)
class Activity:
    """What one spike unit did over a text.

    Attributes:
        rate: (D,) share of tokens at which a channel fired.
        spikes: (D,) mean of |count|: spikes a token, above the rate where counts exceed 1.
        tokens: how many were seen.
    """

    rate: Tensor
    spikes: Tensor
    tokens: int

    @property
    def density(self) -> float:
        """Mean rate."""
        return self.rate.mean().item()

    @property
    def dead(self) -> float:
        """Share of channels that fired at fewer than one token in a thousand."""
        return (self.rate < DEAD).to(self.rate.dtype).mean().item()

    @property
    def saturated(self) -> float:
        """Share of channels that were silent at fewer than one token in a thousand."""
        return (self.rate > SATURATED).to(self.rate.dtype).mean().item()


def measure_spikes(
    module: nn.Module, pieces: Iterable[Tensor], call: Callable[[Tensor], Any] | None = None
) -> dict[str, Activity]:
    """Rates and counts of every spike unit of a network over some inputs, in eval mode and without gradients.

    Args:
        module: with `SpikeUnit`s in it; its modes are left as they were.
        pieces: inputs, one call each.
        call: what to call with a piece; None: the module. Give `model.hidden` to save the readout of a language model.

    Returns:
        By the path of the unit; {} for a network without any.

    Raises:
        InputError: no pieces, or units at share 0, where nothing spikes.

    Example:
        >>> unit = SpikeUnit(2, density=0.3173)  # threshold 1
        >>> seen = measure_spikes(nn.Sequential(unit), [torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 0.0], [9.0, 0.0]])])
        >>> seen["0"].rate.tolist(), seen["0"].density, seen["0"].dead
        ([0.75, 0.0], 0.375, 0.5)
    """
    units = {name: part for name, part in module.named_modules() if isinstance(part, SpikeUnit)}
    if any(unit.share.item() == 0 for unit in units.values()):
        raise InputError("measure spikes: expected a network that spikes, got one at share 0; call quantize(1) first")
    fired, spikes = ({name: torch.zeros(u.channels, dtype=torch.float64) for name, u in units.items()} for _ in "ab")
    tokens = dict.fromkeys(units, 0)

    def counter(name: str, unit: SpikeUnit) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            x = args[0].detach().reshape(-1, unit.channels)
            size = spike_counts(x, unit.threshold, unit.levels, signed=unit.signed).abs().double()
            fired[name] += size.clamp(max=1).sum(0).cpu()
            spikes[name] += size.sum(0).cpu()
            tokens[name] += len(x)

        return hook

    handles = [unit.register_forward_pre_hook(counter(name, unit)) for name, unit in units.items()]
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            for piece in pieces:
                (call or module)(piece)
    finally:
        for handle in handles:
            handle.remove()
        for part, mode in modes:
            part.training = mode
    if units and not any(tokens.values()):
        raise InputError("measure spikes: expected at least one piece of text, got none")
    return {name: Activity(fired[name] / n, spikes[name] / n, n) for name, n in tokens.items() if n}


def spike_summary(activities: dict[str, Activity]) -> dict[str, float]:
    """`density`, `dead_channels`, `saturated_channels` over the channels of all units, and `density.<path>` of each; {} for none.

    Example:
        >>> one = Activity(torch.tensor([0.5, 0.0]), torch.tensor([0.5, 0.0]), 100)
        >>> spike_summary({"a": one})
        {'density': 0.25, 'dead_channels': 0.5, 'saturated_channels': 0.0, 'density.a': 0.25}
    """
    if not activities:
        return {}
    rates = torch.cat([a.rate for a in activities.values()])
    whole = Activity(rates, rates, 0)
    return {
        "density": whole.density,
        "dead_channels": whole.dead,
        "saturated_channels": whole.saturated,
        **{f"density.{name}": a.density for name, a in activities.items()},
    }
