"""The spiking language model: tokens in, logits out, in one pass over a text or a token at a time with an explicit state.

Shapes: B batch, L length, D width, E width of the embedding, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Outputs
from stillhouse.layers.part import Student
from stillhouse.layers.spikes import SHARE_UNIT, Quantization, SpikeLinear, SpikeUnit
from stillhouse.tasks.lm.metrics.spiking import Activity, spike_summary
from stillhouse.tasks.lm.students import SpikingLMConfig
from stillhouse.tasks.lm.students.blocks import Block, Readout
from stillhouse.tasks.lm.students.prior import NGramPrior

State = tuple[Any, ...]
"""A `BlockState` a block, and the nodes of the n-gram (B, n) behind them where there is one."""
UNDECAYED = ("mu", "bias", "bonus", "norm_gain", "removal_gain", "rate_share", "decay")


class SpikingLM(Student):
    """Embedding, blocks of recurrent mixer and feed-forward layer, readout; no positions, so texts may be of any length.

    A new network is quantized as configured; `quantize(0)` makes it dense and a ramp leads back.

    Args:
        config: all of it; kept as `.config`.

    Example:
        >>> model = SpikingLMConfig(vocab_size=11, width=16, layers=2, heads=2).build()
        >>> tuple(model(torch.zeros(3, 5, dtype=torch.int64)).logits.shape)
        (3, 5, 11)

    Source: mixer and feed-forward layer: Peng et al. 2025, arXiv:2503.14456 (RWKV-7); spikes: Xing et al. 2024, arXiv:2406.03287;
    ternary weights: Ma et al. 2024, arXiv:2402.17764.
    """

    def __init__(self, config: SpikingLMConfig) -> None:
        super().__init__()
        self.config = config
        make = quantization(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedded)
        nn.init.normal_(self.embedding.weight, std=0.5 * config.embedded**-0.5)
        self.lift = self.lower = None
        if config.embedding_width is not None:
            self.lift = nn.Linear(config.embedded, config.width, bias=False)
            self.lower = nn.Linear(config.width, config.embedded, bias=False)
            if config.ngram is not None:
                nn.init.zeros_(self.lower.weight)  # it begins as its n-gram, and what it learns is the rest
        self.embedding_norm = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(Block(config, make) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.readout_spike = make.unit("readout", config.embedded)
        self.readout = Readout(config, self.embedding)
        self.prior = None if config.ngram is None else NGramPrior(config.vocab_size, config.ngram)

    def initial_state(self, batch: int) -> State:
        """An empty past for so many texts: a tuple of named tuples of tensors."""
        nodes = () if self.prior is None else (self.prior.initial_state(batch),)
        return (*(block.initial_state(batch) for block in self._blocks()), *nodes)

    def forward(self, tokens: Tensor, state: State | None = None) -> Outputs:
        """Logits (B, L, V) of the next token after each of (B, L).

        Raises:
            InputError: see `hidden`.
        """
        scores, offset = self.readout(self.hidden(tokens, state)[0]), self.offset(tokens, state)
        return Outputs(scores if offset is None else scores + offset)

    def offset(self, tokens: Tensor, state: State | None = None) -> Tensor | None:
        """(B, L, V) log-probabilities of the n-gram, which the readout's scores are added to; None: there is none."""
        if self.prior is None:
            return None
        found: Tensor = self.prior(tokens, self.prior.initial_state(tokens.shape[0]) if state is None else state[-1])[0]
        return found

    def hidden(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """What the readout is given, (B, L, E), and the state after the last token.

        Raises:
            InputError: tokens are not (B, L) int64 of at least one token, or one is not in the vocabulary.
        """
        x = self.embedding(self._checked(tokens))
        x = self.embedding_norm(x if self.lift is None else self.lift(x))
        states: list[Any] = []
        state = self.initial_state(tokens.shape[0]) if state is None else state
        for block, before in zip(self._blocks(), state):
            x, after = block(x, before)
            states.append(after)
        if self.prior is not None:
            states.append(self.prior.nodes(tokens, state[-1])[:, -1])
        x = self.norm(x)
        x = x if self.lower is None else self.lower(x)
        return x if self.readout_spike is None else self.readout_spike(x), tuple(states)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, V) after one more token (B,), and the next state."""
        return self.read(tokens.unsqueeze(-1), state)

    def read(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits (B, V) after the last of some tokens (B, L), and the state there."""
        hidden, after = self.hidden(tokens, state)
        scores, offset = self.readout(hidden[:, -1]), self.offset(tokens, state)
        return scores if offset is None else scores + offset[:, -1], after

    def quantize(self, share: float, *, spikes: float | None = None) -> None:
        """Set how far the network is on its way from dense (0) to quantized (1); kept with the weights.

        Args:
            share: of ternary weights, in [0, 1].
            spikes: of spikes, in [0, 1]; None: the same.

        Raises:
            InputError: a share outside [0, 1].
        """
        spikes = share if spikes is None else spikes
        for name, value in (("share", share), ("spikes", spikes)):
            if not 0 <= value <= 1:
                raise InputError(f"quantize, {name}: expected a number in [0, 1], got {value}")
        for part in self.modules():
            if isinstance(part, SpikeUnit):
                part.share.fill_(round(spikes * SHARE_UNIT))
            elif isinstance(part, (SpikeLinear, Readout)) and part.ternary:
                part.share.fill_(round(share * SHARE_UNIT))

    @torch.no_grad()
    def round_weights(self) -> None:
        """With `floats: compact`, round what is not ternary to what the packed file holds: the end of a training."""
        if self.config.floats != "compact":
            return
        latent = {id(part.weight) for part in self.modules() if isinstance(part, SpikeLinear) and part.ternary}
        tables = [self.embedding.weight] + ([] if self.readout.dense is None else [self.readout.dense])
        latent |= {id(table) for table in tables} if self.readout.ternary else set()
        for table in tables:
            if id(table) not in latent:
                table.copy_(rounded_rows(table))
                latent.add(id(table))
        for parameter in self.parameters():
            if id(parameter) not in latent:
                parameter.copy_(parameter.half().float())

    @torch.no_grad()
    def calibrate(self, tokens: Tensor) -> None:
        """Fit thresholds and amplitudes to what the dense network's layers are given on a text (B, L); shares stay as they are.

        Once before the ramp: a threshold far from its inputs fires always or never, and its window passes no gradient.
        """
        shares = {part: part.share.clone() for part in self.modules() if isinstance(part, SpikeUnit)}
        for unit in shares:
            unit.share.zero_()
            unit.recording = []
        try:
            self.hidden(tokens)
            for unit in shares:
                unit.fit(torch.cat(unit.recording or []))
        finally:
            for unit, share in shares.items():
                unit.share.copy_(share)
                unit.recording = None

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """The distance of the last pass's firing rates from their target, as (weight, 0-d); {} without spikes or at share 0."""
        spikes = self.config.spikes
        if spikes is None or spikes.density_weight == 0:
            return {}
        found = [unit.penalty(spikes.floor) for unit in self.spike_units().values()]
        known = [penalty for penalty in found if penalty is not None]
        return {"spike_density": (spikes.density_weight, torch.stack(known).mean())} if known else {}

    def figures(self) -> dict[str, float]:
        """Of the last pass: `density` and `density.<path>`, `dead_channels`, `saturated_channels` as shares; {} at share 0."""
        rates = {name: unit.rate.detach() for name, unit in self.spike_units().items() if unit.rate is not None}
        return spike_summary({name: Activity(rate, rate, 0) for name, rate in rates.items()})

    def spike_units(self) -> dict[str, SpikeUnit]:
        """Every unit by the path of the layer whose input it makes."""
        units = {name: part for name, part in self.named_modules() if isinstance(part, SpikeUnit)}
        return {name.removesuffix(".spike").replace("readout_spike", "readout"): unit for name, unit in units.items()}

    def parameter_groups(self, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Matrices decay; norms, blends, decays, embeddings, thresholds and amplitudes do not."""
        spikes = [p for unit in self.spike_units().values() for p in unit.parameters()]
        known, decayed, free = set(map(id, spikes)), list[nn.Parameter](), list[nn.Parameter]()
        for name, parameter in self.named_parameters():
            vector = parameter.ndim < 2 or name.rpartition(".")[2] in UNDECAYED
            if id(parameter) not in known:
                (free if vector or name in ("embedding.weight", "readout.dense") else decayed).append(parameter)
        return [{"params": decayed, "weight_decay": weight_decay}, {"params": [*free, *spikes], "weight_decay": 0.0}]

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def _checked(self, tokens: Tensor) -> Tensor:
        if tokens.ndim != 2 or tokens.dtype != torch.int64 or tokens.numel() == 0:
            raise InputError(
                f"tokens: expected (B, L) int64 of at least one token, got {tuple(tokens.shape)} {tokens.dtype}"
            )
        # elsewhere reading them would wait for the device, whose own assertion fires; a traced program reads nothing
        if tokens.device.type == "cpu" and not torch.compiler.is_exporting():
            low, high = int(tokens.min()), int(tokens.max())
            if low < 0 or high >= self.config.vocab_size:
                wrong = low if low < 0 else high
                raise InputError(f"tokens: expected ids of 0 to {self.config.vocab_size - 1}, got {wrong}")
        return tokens


def quantization(config: SpikingLMConfig) -> Quantization:
    """The choice of parts that a configuration makes."""
    spikes = config.spikes
    if spikes is None:
        return Quantization(ternary=config.ternary_weights)
    return Quantization(
        spiking=spikes.parts,
        ternary=config.ternary_weights,
        levels=spikes.levels,
        hidden_levels=spikes.hidden_levels,
        density=spikes.density,
    )


def rounded_rows(table: Tensor) -> Tensor:
    """(V, E) with every row on a grid of 255 steps around 0, whose size is a number of 16 bits; done twice, as done once.

    Example:
        >>> rounded_rows(torch.tensor([[127.0, 1.2, -3.6]])).tolist()
        [[127.0, 1.0, -4.0]]
    """
    scale = (table.abs().amax(1, keepdim=True) / 127).half().float().clamp(min=2**-24)
    return (table / scale).round().clamp(-127, 127) * scale
