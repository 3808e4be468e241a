"""Which layer of a network a parameter belongs to, known by its name."""

from __future__ import annotations

import re

from torch import nn

from stillhouse.core.checks import InputError


def layer_numbers(model: nn.Module) -> dict[str, int]:
    """The layer of every parameter by name: 0 before the first block, one a block, the last for what follows.

    Blocks are the entries of lists called blocks, layers, stages or layerN, as nearly all image models name them; what lies
    between two blocks (a merging of patches) belongs to the one before.

    Raises:
        InputError: no such list.

    Example:
        >>> net = nn.Sequential()
        >>> net.stem, net.blocks, net.head = nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), nn.Linear(1, 1)
        >>> {name: layer for name, layer in layer_numbers(net).items() if name.endswith("weight")}
        {'stem.weight': 0, 'blocks.0.weight': 1, 'blocks.1.weight': 2, 'head.weight': 3}
    """
    names = [name for name, _ in model.named_parameters()]
    blocks = [_BLOCK.match(name) for name in names]
    found = list(dict.fromkeys(match.group(1) for match in blocks if match is not None))
    if not found:
        raise InputError(
            f"layer_decay: {type(model).__name__} has no blocks (lists called blocks, layers, stages or layerN); take 1"
        )
    last = max(number for number, match in enumerate(blocks) if match is not None)
    numbers: dict[str, int] = {}
    current = 0
    for number, (name, match) in enumerate(zip(names, blocks)):
        current = current if match is None else 1 + found.index(match.group(1))
        numbers[name] = len(found) + 1 if number > last else current
    return numbers


def in_block(name: str) -> bool:
    """Whether a parameter of this name lies in a block.

    Example:
        >>> in_block("blocks.3.attention.weight"), in_block("head.weight")
        (True, False)
    """
    return _BLOCK.match(name) is not None


_BLOCK = re.compile(r"^((?:.*?\.)?(?:stages\.\d+\.(?:blocks|layers)|blocks|layers|stages|layer\d+)\.\d+)\.")
