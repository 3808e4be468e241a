"""A trained network made smaller without training (weights of 8 bits, fewer weights, fewer states), and what a network costs.

Shapes: B range bins, L lines, C input channels, H channels, M modes, R modes kept. Every channel of a layer is a system of its own,
x <- A x + b u with diagonal A; both kernels of a bidirectional layer share it and are its two outputs.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.lapack import zpstrf
from threadpoolctl import threadpool_limits
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.layers.state_space.kernel import discretize
from stillhouse.layers.state_space.s4d import S4D
from stillhouse.tasks.sar.students.network import DYNAMICS, SarSSM, is_matrix

Complex = NDArray[np.complex128]
NEGLIGIBLE = 1e-12  # of the largest singular value: below it a direction is rounding


@dataclass(frozen=True)
class StepCost:
    """Of one range bin in the step form, counted.

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


def step_cost(model: Any) -> StepCost:
    """Parameters, state and operations of a network; a bidirectional one is counted as if both its filters could step.

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
        filters = 2 if block.s4d.look_ahead is None else 1
        macs += filters * 2 * width * block.s4d.modes + width + width * width
        gate = [] if block.gate is None else [block.gate.inner.weight.numel(), block.gate.outer.weight.numel()]
        real += sum(gate)
        state += size * width * (filters * block.s4d.modes + block.look_ahead + bool(gate))
    return StepCost(sum(p.numel() for p in model.parameters()), state, macs, real)


@dataclass(frozen=True)
class QuantizedTensor:
    """One tensor as it is shipped: `values` (int8, -127 to 127) times `scale` is what the quantized network computes with."""

    values: Tensor
    scale: float


def snr_db(reference: Tensor, other: Tensor) -> float:
    """10 log10 of the power of `reference` over that of the difference; infinite where there is none.

    Example:
        >>> round(snr_db(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.9])), 2)
        23.01
    """
    error = float((reference - other).abs().double().square().sum())
    power = float(reference.abs().double().square().sum())
    return math.inf if error == 0 else 10 * math.log10(max(power, 1e-300) / error)


def to_int8(x: Tensor) -> QuantizedTensor:
    """Symmetric rounding with one scale, max |x| / 127: zero stays zero.

    Example:
        >>> q = to_int8(torch.tensor([0.0, 1.0, -2.54])); q.values.tolist(), round(q.scale, 4)
        ([0, 50, -127], 0.02)
    """
    largest = float(x.detach().abs().max())
    scale = largest / 127 if largest > 0 else 1.0
    return QuantizedTensor((x.detach() / scale).round().to(torch.int8), scale)


def quantize(model: SarSSM, lines: Tensor) -> tuple[SarSSM, dict[str, QuantizedTensor], float]:
    """A copy that computes with matrices of 8 bits. Poles and time units stay: one step of a frequency would defocus.

    Args:
        model: trained; left as it is.
        lines: (B, L, C), what the cost is measured on: use held-out lines.

    Returns:
        The network in eval mode, its rounded tensors by name, and its output's SNR in dB against the network before.
    """
    small = copy.deepcopy(model).eval()
    tensors: dict[str, QuantizedTensor] = {}
    for name, parameter in small.named_parameters():
        if parameter.ndim >= 2 and name.rpartition(".")[2] not in DYNAMICS:
            tensors[name] = found = to_int8(parameter)
            parameter.data.copy_(found.values * found.scale)
    return small, tensors, _cost(model, small, lines)


def prune(model: SarSSM, share: float, lines: Tensor) -> tuple[SarSSM, dict[str, int], float]:
    """A copy in which the `share` smallest weights of every matrix are zero, by modulus: both parts of a number at once.

    Args:
        model: trained; left as it is.
        share: of each matrix, from 0 to below 1.
        lines: (B, L, C) complex, what the cost is measured on.

    Returns:
        The network in eval mode; by parameter name how many (complex) weights are zero now; the SNR in dB of its output against the
        network before.

    Raises:
        InputError: share outside [0, 1).

    Example:
        >>> from stillhouse.tasks.sar.students import StateSpaceConfig
        >>> model = StateSpaceConfig(model_dim=4, state_dim=8, num_layers=1).build()
        >>> _, zeroed, _ = prune(model, 0.5, torch.randn(1, 20, 1, dtype=torch.complex64))
        >>> zeroed["blocks.0.mix.weight"]
        8
    """
    if not 0 <= share < 1:
        raise InputError(f"share: expected a number from 0 to below 1, got {share}")
    small, zeroed = copy.deepcopy(model).eval(), {}
    for name, parameter in small.named_parameters():
        if not is_matrix(name, parameter):
            continue
        pairs = parameter.ndim >= 3  # gates are real matrices
        size = parameter.data.norm(dim=-1) if pairs else parameter.data.abs()
        zeroed[name] = count = int(share * size.numel())
        parameter.data.view(size.numel(), -1)[size.flatten().argsort()[:count]] = 0
    return small, zeroed, _cost(model, small, lines)


@torch.no_grad()
def _cost(model: SarSSM, small: SarSSM, lines: Tensor) -> float:
    return snr_db(copy.deepcopy(model).eval()(lines), small(lines))


# ---------------------------------------------------------------------------------------------- fewer states


@dataclass(frozen=True)
class LayerTruncation:
    """What was dropped from one layer.

    Attributes:
        singular_values: (H, M) Hankel singular values, falling.
        bound: (H), no frequency response of a channel's filter moved by more than this.
    """

    singular_values: NDArray[np.float64]
    bound: NDArray[np.float64]


def truncate(model: SarSSM, state_dim: int) -> tuple[SarSSM, tuple[LayerTruncation, ...]]:
    """The same network with every filter balanced and cut to `state_dim` real numbers of state; nothing is trained.

    It is the baseline that a distilled student of that size has to beat. The poles of the result belong to channels
    (`shared_modes=False`), since each channel keeps other directions.

    Args:
        model: trained; left as it is.
        state_dim: even, below the model's.

    Returns:
        The reduced network, of the same class, and a report for each layer.

    Raises:
        InputError: an odd, too small or too large `state_dim`.

    Example:
        >>> from stillhouse.tasks.sar.students import StateSpaceConfig
        >>> small, report = truncate(StateSpaceConfig(model_dim=2, state_dim=16, num_layers=1).build(), 8)
        >>> small.config.state_dim, report[0].singular_values.shape
        (8, (2, 8))

    Source: Moore 1981, IEEE TAC 26(1); Enns 1984 (the bound); Al-Saggaf, Franklin 1987 (discrete time).
    """
    if state_dim % 2 or not 2 <= state_dim < model.config.state_dim:
        raise InputError(
            f"state_dim: expected an even number from 2 to below {model.config.state_dim}, got {state_dim}"
        )
    small = copy.deepcopy(model)
    small.config = replace(model.config, state_dim=state_dim, shared_modes=False)
    reports = []
    for block in small.blocks:
        layer: Any = block
        layer.s4d, report = truncate_layer(layer.s4d, state_dim // 2)
        reports.append(report)
    return small, tuple(reports)


def truncate_layer(s4d: S4D, modes: int) -> tuple[S4D, LayerTruncation]:
    """One filter bank cut to `modes` complex modes a channel, and what that dropped."""
    poles, weights = _system(s4d)
    small = S4D(s4d.channels, modes, look_ahead=s4d.look_ahead, shared_modes=False, memory=2.0).to(s4d.log_decay)
    with threadpool_limits(1):  # matrices of some hundred rows: threads that share their cores take 17 times as long
        kept = [balance(a, c, modes) for a, c in zip(poles, weights)]
    _write(small, np.stack([k[0] for k in kept]), np.stack([k[1] for k in kept]))
    small.feedthrough.data.copy_(s4d.feedthrough.data)
    values = np.stack([k[2] for k in kept])
    bound = (np.sqrt(2.0) if s4d.look_ahead is None else 1.0) * 2 * values[:, modes:].sum(1)
    return small, LayerTruncation(values, bound)


def balance(poles: Complex, weights: Complex, order: int) -> tuple[Complex, Complex, NDArray[np.float64]]:
    """Cut one system to `order` modes and make it diagonal again.

    Args:
        poles: (M), inside the unit circle.
        weights: (outputs, M), what each mode weighs in each kernel; every mode gets the input with weight 1.
        order: R, modes to keep.

    Returns:
        Poles (R), weights (outputs, R), and all Hankel singular values (M), falling.

    Example:
        Two modes of the same pole are one.

        >>> poles, weights, values = balance(np.array([0.5 + 0j, 0.5]), np.array([[1.0 + 0j, 2.0]]), 1)
        >>> poles.real.round(6).tolist(), weights.real.round(6).tolist()
        ([0.5], [[3.0]])

    The bound 2 * (sum of the values dropped) holds for the largest error of a frequency response.
    """
    size = np.sqrt(np.maximum(np.linalg.norm(weights, axis=0), 1e-30))  # the input and the outputs share a mode's scale
    b, c = size.astype(complex), weights / size
    reach = np.outer(b, b.conj()) / (1 - np.outer(poles, poles.conj()))
    seen = (c.conj().T @ c) / (1 - np.outer(poles.conj(), poles))
    root_of_seen, root_of_reach = _root(seen), _root(reach)
    left, found, right = np.linalg.svd(root_of_seen.conj().T @ root_of_reach, full_matrices=False)
    values = np.zeros(len(poles))  # roots have no columns for directions of rounding alone
    values[: len(found)] = found
    rank = min(order, int((values > NEGLIGIBLE * max(values[0], 1e-300)).sum()))
    scale = 1 / np.sqrt(values[:rank])
    into = root_of_reach @ right.conj().T[:, :rank] * scale
    out_of = (root_of_seen @ left[:, :rank] * scale).conj().T
    moved, turn = np.linalg.eig(out_of @ (poles[:, None] * into))
    inputs = np.linalg.solve(turn, out_of @ b) if rank else np.zeros(0, complex)
    kept = np.full(order, 0.5 + 0j)  # what is beyond the rank weighs nothing
    kept[:rank] = moved
    outputs = np.zeros((len(weights), order), complex)
    outputs[:, :rank] = (c @ into @ turn) * inputs
    return kept, outputs, values


def _root(gramian: Complex) -> Complex:
    """(M, r) L with L L^H = gramian, r its rank in double precision.

    By Cholesky with pivots, a tenth of the time of eigenvalues: it stops where the numerically singular Gramian of many close poles
    has no more than rounding left.

    Example:
        >>> root = _root(np.array([[4.0, 2.0], [2.0, 1.0]], complex))
        >>> root.shape, (root @ root.conj().T).real.tolist()
        ((2, 1), [[4.0, 2.0], [2.0, 1.0]])

    Source: LAPACK, zpstrf: Higham 2009, Cholesky factorization.
    """
    factor, pivot, rank, _ = zpstrf(gramian, lower=1)
    root = np.empty((len(gramian), rank), complex)
    root[pivot - 1] = np.tril(factor)[:, :rank]
    return root


def _system(s4d: S4D) -> tuple[Complex, Complex]:
    """Poles (H, M) and weights (H, outputs, M) in double precision."""
    with torch.no_grad():
        poles, factor = discretize(s4d.log_decay.double(), s4d.frequency.double(), s4d.log_dt.double())
        outputs = [s4d.output] if s4d.later_output is None else [s4d.output, s4d.later_output]
        weights = torch.stack([torch.view_as_complex(c.double().contiguous()) * factor for c in outputs], 1)
    return poles.cpu().numpy(), weights.cpu().numpy()


def _write(s4d: S4D, poles: Complex, weights: Complex) -> None:
    """Put poles (H, R) and weights (H, outputs, R) into a layer of its own poles, at unit time steps."""
    radius = np.clip(np.abs(poles), 1e-8, 1 - 1e-9)
    w = np.log(radius) + 1j * np.angle(poles)
    factor = (np.exp(w) - 1) / w
    with torch.no_grad():
        s4d.log_dt.zero_()
        s4d.log_decay.copy_(_tensor(np.log(-w.real), s4d.log_decay))
        s4d.frequency.copy_(_tensor(w.imag, s4d.frequency))
        for place, parameter in enumerate((s4d.output, s4d.later_output)):
            if parameter is not None:
                c = weights[:, place] / factor
                parameter.copy_(_tensor(np.stack([c.real, c.imag], -1), parameter))


def _tensor(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like)
