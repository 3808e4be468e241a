"""The embedding student: principal axes and a residual network, saved in the form that numpy reads.

Legend: B rows, N rows of the training sample, D teacher's width, d numbers of a code (all levels), h1 and h2 hidden widths.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import with_hashes
from stillhouse.core.machine import versions
from stillhouse.core.records import CARD, STUDENT, write_atomically, write_json
from stillhouse.tasks.embed.config import EmbeddingStudentConfig
from stillhouse.tasks.embed.numpy_embedder import FORMAT, NumpyEmbedder

CODE_SPREAD = 1.25  # standard deviation of the first level's numbers at the start: neighbors then lie within about 1
HIDDEN_SPREAD = 0.5  # of what the first hidden layer sees, so that the optimizer's step size has a unit
BLOCK = 64  # rows of every matrix product in eval mode: BLAS sums in another order for another shape


class EmbeddingStudent(nn.Module):
    """x (B, D) -> code (B, d): z = skip c + w3 gelu(w2 gelu(w1 c + b1) + b2), where c = x (of length 1) - mean.

    `w3` starts at 0 and `skip` at the principal axes, all scaled alike, so that an untrained student is PCA. There are no
    statistics of a batch: in eval mode a row's code is the same to the last bit whatever rows come with it.

    Args:
        config: levels, hidden widths, normalization, output.
        teacher_dim: D.

    Relations:
        `EmbeddingStudent.from_vectors` fits `mean` and `skip`; `load_embedder` reads a trained one; `NumpyEmbedder` is the same
        without torch.

    Source: He et al. 2016, arXiv:1512.03385 (residual); Hendrycks, Gimpel 2016, arXiv:1606.08415 (GELU, its tanh form).
    """

    mean: Tensor
    gain: Tensor

    def __init__(self, config: EmbeddingStudentConfig, teacher_dim: int) -> None:
        super().__init__()
        # undecided is cosine here, where there are no rows to decide by
        self.config, self.teacher_dim = replace(config, normalize=config.normalize is not False), teacher_dim
        d, (h1, h2) = sum(config.levels), config.hidden
        self.register_buffer("mean", torch.zeros(teacher_dim))
        # factor of the first layer's input: a unit vector has tiny coordinates, and AdamW steps by the same length everywhere
        self.register_buffer("gain", torch.ones(()))
        self.skip = nn.Parameter(torch.zeros(d, teacher_dim))
        self.w1 = nn.Parameter(_uniform(h1, teacher_dim))
        self.b1 = nn.Parameter(torch.zeros(h1))
        self.w2 = nn.Parameter(_uniform(h2, h1))
        self.b2 = nn.Parameter(torch.zeros(h2))
        self.w3 = nn.Parameter(torch.zeros(d, h2))
        # without weights: by these names signals find the hidden layers
        self.hidden1, self.hidden2 = nn.Identity(), nn.Identity()

    @classmethod
    def from_vectors(cls, config: EmbeddingStudentConfig, vectors: np.ndarray | Tensor) -> EmbeddingStudent:
        """A student that starts at the principal axes of some vectors (N, D); the weights of the network come from torch's seed.

        Raises:
            InputError: rows that are all equal.
        """
        x = torch.as_tensor(vectors).double()
        student = cls(config, x.shape[1])
        x = _unit(x) if student.config.normalize else x
        mean = x.mean(dim=0)
        centered = x - mean
        spread = float(centered.square().mean().sqrt())
        if spread <= 1e-7 * float(x.abs().max()):
            raise InputError(f"vectors: expected rows that differ, got {len(x)} equal ones")
        axes = _principal_axes(centered, sum(config.levels))
        first = centered @ axes[: config.levels[0]].t()
        with torch.no_grad():
            student.mean.copy_(mean)
            student.skip.copy_(axes * (CODE_SPREAD / float(first.square().mean().sqrt())))
            student.gain.fill_(HIDDEN_SPREAD / spread)
        return student

    def forward(self, x: Tensor) -> Tensor:
        """Codes (B, d) of vectors (B, D)."""
        if self.training or torch.compiler.is_exporting():
            return self._codes(x)
        return torch.cat([self._block(some) for some in x.split(BLOCK)]) if len(x) else self._codes(x)

    def _block(self, x: Tensor) -> Tensor:
        short = BLOCK - len(x)
        return self._codes(nn.functional.pad(x, (0, 0, 0, short)))[: len(x)] if short else self._codes(x)

    def _codes(self, x: Tensor) -> Tensor:
        c = (_unit(x) if self.config.normalize else x) - self.mean
        linear, bend = nn.functional.linear, nn.functional.gelu
        hidden = self.hidden1(bend(linear(c * self.gain, self.w1, self.b1), approximate="tanh"))
        hidden = self.hidden2(bend(linear(hidden, self.w2, self.b2), approximate="tanh"))
        z = linear(c, self.skip) + linear(hidden, self.w3)
        if self.config.output == "euclidean":
            return z
        first = self.config.levels[0]
        return torch.cat([_unit(z[:, :first]), z[:, first:]], dim=1)

    @torch.no_grad()
    def encode(self, vectors: np.ndarray, *, batch_size: int = 4096) -> np.ndarray:
        """Codes (n, d) float32 of teacher vectors (n, D), in eval mode, a batch at a time."""
        device, training = self.mean.device, self.training
        self.eval()
        batches = torch.from_numpy(np.ascontiguousarray(vectors, np.float32)).split(batch_size)
        codes = torch.cat([self(batch.to(device)).cpu() for batch in batches])
        self.train(training)
        return codes.numpy()


def save_embedder(folder: Path, student: EmbeddingStudent, **about: Any) -> None:
    """Write `student.safetensors` (mean, skip, w1, b1, w2, b2, w3) and `card.json` with its hash into a folder.

    Args:
        folder: made if it is not there.
        student: weights are written as they are; `gain` is folded into w1.
        about: entries of the card: teacher, data, metrics.
    """
    weights = {name: getattr(student, name).detach().cpu() for name in ("mean", "skip", "b1", "w2", "b2", "w3")}
    weights["w1"] = (student.w1 * student.gain).detach().cpu()
    raw = save({name: tensor.float().contiguous() for name, tensor in weights.items()})
    write_atomically(folder / STUDENT, lambda file: file.write(raw))
    config = student.config
    card = {
        "format": FORMAT,
        "task": "embed",
        "teacher_dim": student.teacher_dim,
        "levels": list(config.levels),
        "hidden": list(config.hidden),
        "normalize": config.normalize,
        "output": config.output,
        "axes": list(map(list, config.axes)),
        "versions": versions(),
        **about,
    }
    write_json(folder / CARD, with_hashes(card, folder, (STUDENT,)))


def load_embedder(folder: str | Path) -> EmbeddingStudent:
    """A trained student, in eval mode, on the CPU.

    Raises:
        InputError: files missing or changed since they were written, a card of another format, or weights that do not go
            with it.
    """
    found = NumpyEmbedder.load(folder)
    settings = {name: found.card[name] for name in ("levels", "hidden", "normalize", "output", "axes")}
    student = EmbeddingStudent(EmbeddingStudentConfig(**settings), found.card["teacher_dim"])
    with torch.no_grad():
        for name, array in found.weights.items():
            getattr(student, name).copy_(torch.from_numpy(array))
    return student.eval()


def _unit(x: Tensor) -> Tensor:
    # by its largest number first: squares of 1e-30 vanish in float32, those of 1e30 are infinite
    x = x / x.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    return x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(min=1e-12)


def _uniform(rows: int, columns: int) -> Tensor:
    return torch.empty(rows, columns).uniform_(-1 / math.sqrt(columns), 1 / math.sqrt(columns))


def _principal_axes(centered: Tensor, count: int) -> Tensor:
    """(count, D) principal axes, of a fixed sign; beyond the D that there are, small random ones, so that none is dead."""
    if len(centered) < centered.shape[1]:  # of few wide rows, as counts of words, D^3 would be minutes
        axes = torch.linalg.svd(centered, full_matrices=False).Vh[:count]
    else:
        axes = torch.linalg.eigh(centered.t() @ centered).eigenvectors.flip(1).t()[:count]
    # the sign of an eigenvector is an accident of the LAPACK that found it
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    axes = axes * largest.sign()
    extra = torch.randn(count - len(axes), axes.shape[1], dtype=axes.dtype)
    return torch.cat([axes, 0.1 * extra / extra.norm(dim=1, keepdim=True)])
