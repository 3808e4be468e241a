"""A start in closed form: the read-outs of the last layer by least squares against the truth, before any training step.

The output of a linear layer is linear in its read-outs, polynomials of range included, so the best ones for given poles are a
linear system away: seconds, where gradient steps through hundreds of overlapping modes take minutes and stop before.

Shapes: B lines, L azimuth samples, H channels, M complex modes, P polynomials of range, the constant one included.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.families.sar.data.sequences import SarData
from stillhouse.families.sar.students.network import SarSSM
from stillhouse.layers.state_space import StateSpaceBlock
from stillhouse.layers.state_space.condition import polynomials
from stillhouse.layers.state_space.kernel import convolve, one_sided_kernel

PIECE = 16  # lines whose responses are held at once
RIDGE = 1e-6  # of the mean diagonal: overlapping modes would else cancel each other by huge numbers


@torch.no_grad()
def fit_read_outs(model: SarSSM, data: SarData, *, ridge: float = RIDGE) -> float:
    """Set read-outs and feedthrough of the last layer to those that come nearest to the truth of the training lines.

    Args:
        model: linear, with a fixed look-ahead; its last layer is changed.
        data: training lines with their focus.
        ridge: weight of the read-outs' own power, as a share of the mean diagonal of the normal equations.

    Returns:
        What is left on the training lines: the power of the error over that of the truth.

    Raises:
        InputError: a layer that is not linear in its read-outs, or one that sees the whole scene.

    Example:
        >>> from stillhouse.families.sar.data import SarConfig
        >>> from stillhouse.families.sar.students import StateSpaceConfig
        >>> data = SarConfig(train=8, validation=2, test=2, length=160).build()
        >>> model = StateSpaceConfig(model_dim=1, state_dim=128, num_layers=1, look_ahead=33, memory=16.0).build()
        >>> fit_read_outs(model, data) < 0.1
        True
    """
    check_linear(model)
    block = model.blocks[-1]
    assert isinstance(block, StateSpaceBlock)
    layer = block.s4d
    degree = 0 if layer.condition is None else layer.condition.degree
    many, every = layer.channels * layer.modes, degree + 1
    gram = torch.zeros(every * every, many * many, dtype=torch.complex128)  # pairs of polynomials by pairs of modes
    cross = torch.zeros(every, many * layer.channels, dtype=torch.complex128)
    direct = torch.zeros(layer.channels, layer.channels, dtype=torch.complex128)
    right = torch.zeros(every * many + layer.channels, dtype=torch.complex128)
    left = power = 0.0
    for rows in torch.arange(len(data.train)).split(PIECE):
        inputs, wanted = data.train.batch(rows)
        answers, basis, through, rest = _answers(model, inputs, degree)
        both = torch.cat([answers, through], 1)[..., data.valid].to(torch.complex128)
        wanted = wanted[:, data.valid, 0].to(torch.complex128)
        rest = wanted - rest[:, data.valid]
        left, power = left + float(rest.abs().square().sum()), power + float(wanted.abs().square().sum())
        inner, heard = both.conj() @ both.mT, (both.conj() @ rest.unsqueeze(-1))[..., 0]  # (B, n, n), (B, n)
        p = basis.to(torch.complex128)
        gram += (p[:, :, None] * p[:, None]).flatten(1).T @ inner[:, :many, :many].flatten(1)
        cross += p.T @ inner[:, :many, many:].flatten(1)
        direct += inner[:, many:, many:].sum(0)
        right += torch.cat([(p.T @ heard[:, :many]).flatten(), heard[:, many:].sum(0)])
    side = cross.reshape(every * many, layer.channels)
    square = gram.reshape(every, every, many, many).transpose(1, 2).reshape(every * many, every * many)
    gram = torch.cat([torch.cat([square, side], 1), torch.cat([side.mH, direct], 1)])
    ridged = gram + ridge * gram.diagonal().real.mean() * torch.eye(len(gram), dtype=gram.dtype)
    found = torch.linalg.solve(ridged, right)
    modes, through = found[: -layer.channels], found[-layer.channels :]
    read = torch.view_as_real(modes.reshape(degree + 1, layer.channels, layer.modes)).to(layer.output.dtype)
    layer.output.copy_(read[0])
    if layer.condition is not None:
        layer.condition.outputs.copy_(read[1:])
    layer.feedthrough.copy_(torch.view_as_real(through))
    explained = 2 * (found.conj() @ right).real - (found.conj() @ gram @ found).real
    return (left - float(explained)) / power


def check_linear(model: SarSSM) -> None:
    """Raise InputError unless the last layer is linear in its read-outs and looks a fixed number of lines ahead."""
    config = model.config
    faults = {
        "use_selectivity": (config.use_selectivity, "none"),
        "activation": (config.activation, "identity"),
        "real_kernel": (config.real_kernel, False),
    }
    for name, (got, wanted) in faults.items():
        if got != wanted:
            raise InputError(
                f"start: 'least-squares' needs a layer that is linear in its read-outs: expected {name} {str(wanted).lower()},"
                f" got {str(got).lower()}"
            )
    if config.look_ahead is None:
        raise InputError("start: 'least-squares' needs a look_ahead, got a network that sees the whole scene")


def _answers(model: SarSSM, lines: Tensor, degree: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What read-outs of 1 add to the output: modes (B, H M, L), polynomials (B, P), feedthrough (B, H, L); the rest (B, L)."""
    model.eval()
    h, places = model.embed(lines)
    column = model.column(lines)
    *earlier, last = model.blocks
    for block in earlier:
        h = block(h, places, column)
    assert isinstance(last, StateSpaceBlock)
    u, layer = last.enter(h, places).transpose(1, 2), last.s4d  # (B, H, L)
    ahead, length = layer.look_ahead or 0, lines.shape[1]
    weigh = (model.output.matrix() @ last.mix.matrix())[0]  # (H), from a channel to the focused line
    poles, factor = (x.expand(len(lines), -1, -1) for x in layer.units(column))
    kernels = one_sided_kernel(
        (factor * weigh[:, None]).flatten(1)[..., None], poles.flatten(1)[..., None], length + ahead
    )
    answers = convolve(u.repeat_interleave(layer.modes, 1), kernels, ahead=ahead)
    basis = torch.ones(len(lines), 1)
    if column is not None:
        basis = torch.cat([basis, polynomials(column.clamp(0, 1), degree)], -1)
    rest = model.output(h)[..., 0]
    return answers, basis, u * weigh[:, None], rest
