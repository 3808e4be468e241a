"""The clause banks of any network: their names, what they put out, their literals, and what those are about.

Shapes: B images, P places that a bank is asked at (tokens, positions, 1 for the whole image), C clauses, F bits, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.tasks.classification.data.boolean_features import BITS, feature_name
from stillhouse.tasks.classification.students.clauses import ClauseBank
from stillhouse.tasks.classification.students.flat import FilterBits, PixelTM, Thermometer
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer

FAR = 30.0  # an include logit that is surely on one side of any threshold
Hear = Callable[[str, Tensor, Tensor], Tensor | None]


def named_banks(model: nn.Module) -> dict[str, ClauseBank]:
    """Every bank of clauses by a name to read, in the order of the network; empty for a network without clauses."""
    blocks = model.feed_forwards() if isinstance(model, UnifiedTMTransformer) else {}
    named = {id(part.bank): name for name, part in blocks.items()}
    banks = [(path, part) for path, part in model.named_modules() if isinstance(part, ClauseBank)]
    return {
        named.get(id(bank)) or ("clauses" if len(banks) == 1 else path.removesuffix(".bank")): bank
        for path, bank in banks
    }


@contextmanager
def hooked(banks: Mapping[str, ClauseBank], hear: Hear) -> Iterator[None]:
    """While open, `hear` gets the name, bits and strengths of each bank that is asked, and may return other strengths."""
    with ExitStack() as stack:
        for name, bank in banks.items():

            def hook(bank: nn.Module, args: tuple[Tensor], strength: Tensor, name: str = name) -> Tensor | None:
                return hear(name, args[0], strength)

            stack.callback(bank.register_forward_hook(hook).remove)
        yield


@torch.no_grad()
def round_weights(model: nn.Module) -> None:
    """Write the hard masks of every bank into its include logits, far from the threshold, so that single literals can be changed.

    Nothing that the network puts out changes; a literal budget has done its work and is lifted.
    """
    for bank in named_banks(model).values():
        masks = torch.stack(bank.masks())
        bank.literal_budget = None
        write_masks(bank, masks)


@torch.no_grad()
def write_masks(bank: ClauseBank, masks: Tensor) -> None:
    """Give a bank these literals (2, C, F): x and not x."""
    bank.include_logits.copy_(FAR * (2 * masks.float() - 1))


def literals_of(bank: ClauseBank, clause: int) -> list[int]:
    """Its literals, ascending: f for bit f, F + f for its negation."""
    masks = torch.cat([mask[clause] for mask in bank.masks()])
    return [int(f) for f in masks.detach().nonzero().flatten()]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Bits that are tests on pixels: bit (level, channel, row, column) asks whether the pixel is above `edges[level, channel]`.

    Attributes:
        edges: (levels, C) rising in the levels.
        height: H of the picture.
        width: W.
        features: whether channels are boolean features, not colours.
        square: side in pixels of the squares whose bits were joined.
    """

    edges: np.ndarray
    height: int
    width: int
    features: bool = False
    square: int = 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Levels, channels, rows and columns of the bits."""
        levels, channels = self.edges.shape
        return levels, channels, -(-self.height // self.square), -(-self.width // self.square)

    def names(self, literals: Sequence[int]) -> list[str]:
        """Each literal in words.

        Example:
            >>> Pixels(np.array([[0.5]]), 2, 2).names([1, 6])
            ['pixel (0, 1) above 0.5', 'pixel (1, 0) not above 0.5']
        """
        _, channels, _, _ = shape = self.shape
        count, found = int(np.prod(shape)), []
        for literal in literals:
            level, channel, row, column = np.unravel_index(literal % count, shape)
            of = "" if channels == 1 else f" of channel {channel}"
            negated = "not " if literal >= count else ""
            if self.features:
                around = "" if self.square == 1 else f" {self.square} x {self.square}"
                where = f"at ({row * self.square}, {column * self.square}){around}"
                found.append(f"{where} {negated}{feature_name(int(channel), channels)}")
            else:
                found.append(f"pixel ({row}, {column}){of} {negated}above {self.edges[level, channel]:.2g}")
        return found

    def pictures(self, literals: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) uint8 each: how bright a pixel must be (255: above the highest level), and how dark (255: not above the lowest).

        0 is ignored. Of several channels the strictest literal counts.

        Example:
            Three levels: above the second of three, and not above the first:

            >>> wanted, unwanted = Pixels(np.array([[0.25], [0.5], [0.75]]), 1, 2).pictures([2, 6 + 1])
            >>> wanted.tolist(), unwanted.tolist()
            ([[170, 0]], [[0, 255]])
        """
        levels, *_ = shape = self.shape
        asked = np.zeros(2 * np.prod(shape))
        asked[list(literals)] = 1
        bright, dark = asked.reshape(2, *shape)
        rank = np.arange(1, levels + 1).reshape(levels, 1, 1, 1) / levels
        whole = np.ones((self.square, self.square))
        wanted, unwanted = (
            np.kron(a.max((0, 1)), whole)[: self.height, : self.width] for a in (bright * rank, dark * rank[::-1])
        )
        return np.rint(255 * wanted).astype(np.uint8), np.rint(255 * unwanted).astype(np.uint8)


def pixels_of(model: nn.Module, bank: ClauseBank) -> Pixels | None:
    """How the bits of a bank are pixels; None where they are none."""
    if not isinstance(model, PixelTM) or bank is not next(model.banks()):
        return None
    channels, height, width = model.image_shape
    if isinstance(model.bits, FilterBits):
        return Pixels(np.zeros((1, BITS * channels)), height, width, features=True, square=model.bits.square)
    assert isinstance(model.bits, Thermometer)
    levels = len(model.bits.edges)
    edges = model.bits.edges.reshape(levels, 1).expand(levels, channels).numpy()
    return Pixels(edges, height, width, features=levels == 1 and channels % BITS == 0)
