"""Do spikes carry what a teacher's hidden states carry? Linear probes, each against controls that keep what is trivial.

Shapes: N tokens, C spiking channels, E width of the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from stillhouse.core.checks import InputError
from stillhouse.losses.cka import cka_loss

Floats = NDArray[np.float64]
CONTROLS = ("time-shuffle", "sign-shuffle", "teacher-shuffle")
CKA_ROWS = 1024
RIDGE = 1.0
FREQUENT = 20  # tokens that a probe must distinguish


def probe_spikes(
    spikes: ArrayLike, teacher: ArrayLike, tokens: ArrayLike, *, untrained: ArrayLike | None = None, seed: int = 0
) -> dict[str, dict[str, float]]:
    """What can be read off spikes linearly, and off three controls of them.

    Args:
        spikes: (N, C) signed counts or amplitudes at each token.
        teacher: (N, E) hidden states of the teacher at the same tokens.
        tokens: (N,) ids of the tokens that come next.
        untrained: (N, C') spikes of the same network before training; None: left out.
        seed: of shuffles and of the split.

    Returns:
        For `real` and for each control: `r2` (ridge from spikes to the teacher's states, on the second half of the tokens),
        `token` (accuracy of a linear probe for the next token among the 20 commonest), `cka` (debiased). `chance` of `token` is the
        share of the commonest. Controls: time-shuffle permutes each channel in time (its count stays, its meaning goes),
        sign-shuffle draws signs anew (places stay), teacher-shuffle permutes the teacher's rows.

    Raises:
        InputError: fewer than 40 tokens, or lengths that differ.

    Source: Kornblith et al. 2019, arXiv:1905.00414 (CKA); Song et al. 2012, JMLR 13 (its debiased estimate).
    """
    x, y, t = np.asarray(spikes, np.float64), np.asarray(teacher, np.float64), np.asarray(tokens)
    if x.ndim != 2 or y.ndim != 2 or not len(x) == len(y) == len(t) or len(x) < 40:
        raise InputError(
            f"probe: expected (N, C), (N, E) and (N,) with N from 40, got {x.shape}, {y.shape} and {t.shape}"
        )
    generator = np.random.default_rng(seed)
    shuffled = np.stack([generator.permutation(column) for column in x.T], axis=1)
    signs = generator.choice([-1.0, 1.0], x.shape)
    order = generator.permutation(len(x))
    cases: dict[str, tuple[Floats, Floats, NDArray[np.int64]]] = {
        "real": (x, y, t),
        "time-shuffle": (shuffled, y, t),
        "sign-shuffle": (np.abs(x) * signs, y, t),
        "teacher-shuffle": (x, y[order], t[order]),
    }
    if untrained is not None:
        cases["untrained"] = (np.asarray(untrained, np.float64), y, t)
    rows = generator.permutation(len(x))
    half = len(x) // 2
    return {name: _probed(*case, rows[:half], rows[half:]) for name, case in cases.items()}


def beats_controls(found: Mapping[str, Mapping[str, float]], *, r2: float = 0.01, cka: float = 0.01) -> bool:
    """Whether the real spikes pass every control by a margin in both R^2 and CKA.

    Example:
        >>> beats_controls({"real": {"r2": 0.3, "cka": 0.2}, "time-shuffle": {"r2": 0.0, "cka": 0.195}})
        False
    """
    real = found["real"]
    others = [values for name, values in found.items() if name != "real"]
    return all(real["r2"] - other["r2"] >= r2 and real["cka"] - other["cka"] >= cka for other in others)


def _probed(
    x: Floats, y: Floats, t: NDArray[np.int64], train: NDArray[np.int64], test: NDArray[np.int64]
) -> dict[str, float]:
    from sklearn.linear_model import Ridge, RidgeClassifier

    scale = x.std(0)
    x = x[:, scale > 0] / scale[scale > 0]
    if x.shape[1] == 0:
        return {"r2": 0.0, "token": 0.0, "chance": 0.0, "cka": 0.0}
    model = Ridge(alpha=RIDGE).fit(x[train], y[train])
    rest = ((y[test] - model.predict(x[test])) ** 2).sum()
    r2 = 1 - rest / ((y[test] - y[train].mean(0)) ** 2).sum()
    names, counts = np.unique(t, return_counts=True)
    common = names[np.argsort(-counts, kind="stable")[:FREQUENT]]
    ours, theirs = train[np.isin(t[train], common)], test[np.isin(t[test], common)]
    token = chance = 0.0
    if len(theirs) and len(np.unique(t[ours])) > 1:
        probe = RidgeClassifier(alpha=RIDGE).fit(x[ours], t[ours])
        token = float((probe.predict(x[theirs]) == t[theirs]).mean())
        chance = float(np.unique(t[theirs], return_counts=True)[1].max() / len(theirs))
    some = test[:CKA_ROWS]
    cka = 1 - float(cka_loss(torch.from_numpy(x[some]), torch.from_numpy(y[some])))
    return {"r2": float(r2), "token": token, "chance": chance, "cka": cka}
