"""The spiking language model: tokens in, logits out, in one pass over a text or a token at a time with an explicit state.

Shapes: B batch, L length, D width, E width of the embedding, F hidden width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stillhouse.core.types import Outputs
from stillhouse.layers.part import Student
from stillhouse.layers.recurrent.mixers import MatrixMixer, MixerState, TokenShift
from stillhouse.layers.spikes.linear import Quantization, SpikeLinear
from stillhouse.layers.spikes.unit import SHARE_UNIT, SpikeUnit
from stillhouse.tasks.lm.students import SpikingLMConfig
from stillhouse.tasks.lm.students.prior import NGramPrior

State = tuple[Any, ...]
"""A `BlockState` a block, and the nodes of the n-gram (B, n) behind them where there is one."""
DEAD = 0.001  # share of tokens below which a channel that fires counts as silent


class BlockState(NamedTuple):
    """What a block keeps of the past: its mixer's state, and the input of its feed-forward layer at the last token (B, D)."""

    mixer: MixerState
    ffn: Tensor


class ChannelMix(nn.Module):
    """W_2 relu(W_1 shift(x))^2, RWKV's feed-forward layer; with spikes, whole counts stand in for relu^2.

    Signed, it is W_2 h|h| of h = W_1 shift(x): both signs pass, and what goes into W_2 never spikes.

    Source: Peng et al. 2025, arXiv:2503.14456, section 4.2.
    """

    def __init__(self, width: int, hidden: int, make: Quantization, *, gain: float, signed: bool = False) -> None:
        super().__init__()
        self.signed = signed
        self.shift = TokenShift(width, 1)
        self.up = make.linear("ffn", width, hidden)
        down = replace(make, spiking=()) if signed else make
        self.down = down.linear("ffn", hidden, width, gain=gain, hidden=True)

    def forward(self, x: Tensor, last: Tensor) -> Tensor:
        """(B, L, D) of (B, L, D) and the token before (B, D)."""
        h = self.up(self.shift(x, last)[0])
        if self.signed:
            return self.down(h * h.abs())
        return self.down(h if self.down.spike is not None else torch.relu(h).square())


class Block(nn.Module):
    """x + mixer(norm(x)), then x + ffn(norm(x)); `block(x, state) -> (x, state)`."""

    def __init__(self, config: SpikingLMConfig, make: Quantization) -> None:
        super().__init__()
        gain = (2 * config.layers) ** -0.5  # the sum over the layers keeps its size
        self.mixer_norm = nn.LayerNorm(config.width)
        self.mixer = MatrixMixer(config.width, config.heads, make, chunk=config.chunk, gain=gain)
        self.ffn_norm = nn.LayerNorm(config.width)
        hidden = max(1, round(config.ffn * config.width))
        self.ffn = ChannelMix(config.width, hidden, make, gain=gain, signed=config.activation == "signed-square")

    def initial_state(self, batch: int) -> BlockState:
        """Zeros."""
        mixer = self.mixer.initial_state(batch)
        return BlockState(mixer, torch.zeros_like(mixer.last))

    def forward(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        """(B, L, D) of (B, L, D), and the state after the last token."""
        mixed, mixer = self.mixer(self.mixer_norm(x), state.mixer)
        x = x + mixed
        z = self.ffn_norm(x)
        return x + self.ffn(z, state.ffn), BlockState(mixer, z[:, -1])


class SpikingLM(Student):
    """Embedding, blocks of recurrent mixer and feed-forward layer, readout; no positions, so texts may be of any length.

    A new network is quantized as configured; `quantize(0)` makes it dense and a ramp leads back.

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
        make, width = _quantization(config), config.embedding_width or config.width
        self.embedding = nn.Embedding(config.vocab_size, width)
        nn.init.normal_(self.embedding.weight, std=0.5 * width**-0.5)
        self.lift = self.lower = None
        if config.embedding_width is not None:
            self.lift = nn.Linear(width, config.width, bias=False)
            self.lower = nn.Linear(config.width, width, bias=False)
            if config.ngram is not None:
                nn.init.zeros_(self.lower.weight)  # it begins as its n-gram, and what it learns is the rest
        self.embedding_norm = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(Block(config, make) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.prior = None if config.ngram is None else NGramPrior(config.vocab_size, config.ngram)

    def initial_state(self, batch: int) -> State:
        """An empty past for so many texts: a tuple of named tuples of tensors."""
        nodes = () if self.prior is None else (self.prior.initial_state(batch),)
        return (*(block.initial_state(batch) for block in self.blocks), *nodes)  # type: ignore[operator]

    def forward(self, tokens: Tensor, state: State | None = None) -> Outputs:
        """Logits (B, L, V) of the next token after each of (B, L)."""
        scores, offset = self.scores(tokens, state), self.offset(tokens, state)
        return Outputs(scores if offset is None else scores + offset)

    def scores(self, tokens: Tensor, state: State | None = None) -> Tensor:
        """(B, L, V) without the n-gram."""
        return self.readout(self.hidden(tokens, state)[0])

    def readout(self, hidden: Tensor) -> Tensor:
        """(..., V) of (..., E)."""
        return F.linear(hidden, self.embedding.weight)

    def offset(self, tokens: Tensor, state: State | None = None) -> Tensor | None:
        """(B, L, V) log-probabilities of the n-gram, which the readout's scores are added to; None: there is none."""
        if self.prior is None:
            return None
        nodes = self.prior.initial_state(tokens.shape[0]) if state is None else state[-1]
        found: Tensor = self.prior(tokens, nodes)[0]
        return found

    def hidden(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """What the readout is given, (B, L, E), and the state after the last token."""
        state = self.initial_state(tokens.shape[0]) if state is None else state
        x = self.embedding(tokens)
        x = self.embedding_norm(x if self.lift is None else self.lift(x))
        states: list[Any] = []
        for block, before in zip(self.blocks, state):
            x, after = block(x, before)
            states.append(after)
        if self.prior is not None:
            states.append(self.prior.nodes(tokens, state[-1])[:, -1])
        x = self.norm(x)
        return x if self.lower is None else self.lower(x), tuple(states)

    def read(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits (B, V) after the last of some tokens (B, L), and the state there."""
        hidden, after = self.hidden(tokens, state)
        scores, offset = self.readout(hidden[:, -1]), self.offset(tokens, state)
        return scores if offset is None else scores + offset[:, -1], after

    @torch.no_grad()
    def generate(self, prompt: Tensor, count: int) -> Tensor:
        """Prompts (B, P) with the likeliest `count` tokens after them; the cost of a token does not grow with the text."""
        training = self.training
        self.eval()
        scores, state = self.read(prompt)
        found = [prompt, scores.argmax(-1, keepdim=True)]
        for _ in range(count - 1):
            scores, state = self.read(found[-1], state)
            found.append(scores.argmax(-1, keepdim=True))
        self.train(training)
        return torch.cat(found, 1)

    def quantize(self, share: float, *, spikes: float | None = None) -> None:
        """Set how far the network is on its way from dense (0) to quantized (1); kept with the weights.

        Args:
            share: of ternary weights, in [0, 1].
            spikes: of spikes, in [0, 1]; None: the same.
        """
        spikes = share if spikes is None else spikes
        for part in self.modules():
            if isinstance(part, SpikeUnit):
                part.share.fill_(round(spikes * SHARE_UNIT))
            elif isinstance(part, SpikeLinear) and part.ternary:
                part.share.fill_(round(share * SHARE_UNIT))

    @torch.no_grad()
    def round_weights(self) -> None:
        """With `floats: compact`, round what is not ternary to what the packed file holds: the end of a training."""
        if self.config.floats != "compact":
            return
        self.embedding.weight.copy_(rounded_rows(self.embedding.weight))
        latent = {id(layer.weight) for layer in self.linear_layers().values() if layer.ternary}
        for parameter in self.parameters():
            if id(parameter) not in latent and parameter is not self.embedding.weight:
                parameter.copy_(parameter.half().float())

    @torch.no_grad()
    def calibrate(self, tokens: Tensor) -> None:
        """Fit thresholds and amplitudes to what the dense network's layers are given on a text (B, L); shares stay as they are.

        Once before the ramp: a threshold far from its inputs fires always or never, and its window passes no gradient.
        """
        shares = {unit: unit.share.clone() for unit in self.spike_units().values()}
        for unit in shares:
            unit.share.zero_()
            unit.recording = []
        self.hidden(tokens)
        for unit, share in shares.items():
            unit.fit(torch.cat(unit.recording or []))
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
        """Of the last pass, as shares of channels: how many fired at a token, and how many hardly ever; {} without spikes."""
        rates = [unit.rate.detach() for unit in self.spike_units().values() if unit.rate is not None]
        if not rates:
            return {}
        rate = torch.cat(rates)
        return {"density": rate.mean().item(), "dead_channels": (rate < DEAD).to(rate.dtype).mean().item()}

    def spike_units(self) -> dict[str, SpikeUnit]:
        """Every unit by the path of the layer whose input it makes."""
        return {name: layer.spike for name, layer in self.linear_layers().items() if layer.spike is not None}

    def linear_layers(self) -> dict[str, SpikeLinear]:
        """The layers that may spike or be ternary, by path."""
        return {name: part for name, part in self.named_modules() if isinstance(part, SpikeLinear)}

    def parameter_groups(self, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Matrices decay; norms, blends, decays, the embedding, thresholds and amplitudes do not."""
        named = sorted(self.named_parameters(), key=lambda one: ".spike." in one[0])
        decayed, free = list[nn.Parameter](), list[nn.Parameter]()
        for name, parameter in named:
            whole = parameter.ndim > 1 and not name.endswith((".mu", "embedding.weight"))
            (decayed if whole else free).append(parameter)
        return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def rounded_rows(table: Tensor) -> Tensor:
    """(V, E) with every row on a grid of 255 steps around 0, whose size is a number of 16 bits; done twice, as done once.

    Example:
        >>> rounded_rows(torch.tensor([[127.0, 1.2, -3.6]])).tolist()
        [[127.0, 1.0, -4.0]]
    """
    scale = (table.abs().amax(1, keepdim=True) / 127).half().float().clamp(min=2**-24)
    return (table / scale).round().clamp(-127, 127) * scale


def _quantization(config: SpikingLMConfig) -> Quantization:
    """The choice of parts that a configuration makes."""
    spikes = config.spikes
    if spikes is None:
        return Quantization(ternary=config.ternary_weights)
    return Quantization(spikes.parts, config.ternary_weights, spikes.levels, spikes.hidden_levels, spikes.density)
