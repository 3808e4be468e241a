"""Does the temperature matter, are relations blind to rotations, is an exactly embeddable teacher matched to zero? In seconds.

    python benchmarks/embedding_losses.py

Compared with the founding document's own loss of unequal widths (both sides scaled to length 1, the first
coordinates subtracted), which never reads its temperature.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from stillhouse.losses.cka import cka_loss
from stillhouse.losses.neighbours import cosine_neighbor_kl, neighbor_kl
from stillhouse.losses.relations import gram_mse, pearson_of_distances, rkd_angle, rkd_distance
from stillhouse.tasks.embed.documented import create_curriculum_schedule, distill_loss

ROWS, FEW, MANY = 64, 5, 1536
Loss = Callable[[Tensor, Tensor], Tensor]


def truncation(student: Tensor, teacher: Tensor) -> Tensor:
    """The document's own: directions cut to the shorter width."""
    normalize = torch.nn.functional.normalize
    return (normalize(student) - normalize(teacher)[:, : student.shape[1]]).square().mean()


LOSSES: dict[str, Loss] = {
    "neighbors, perplexity": lambda s, t: neighbor_kl(s, t, student_bandwidth="teacher").mean(),
    "neighbors, tau": lambda s, t: cosine_neighbor_kl(s, t).mean(),
    "gram": lambda s, t: gram_mse(s, t, sphere=True),
    "pearson of distances": pearson_of_distances,
    "rkd distance": rkd_distance,
    "rkd angle": lambda s, t: rkd_angle(s, t, triples=20_000, generator=torch.Generator().manual_seed(0)),
    "cka": cka_loss,
    "document's truncation": truncation,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of all draws [0]")
    torch.manual_seed(parser.parse_args().seed)
    warnings.simplefilter("ignore", UserWarning)
    student, teacher = torch.randn(ROWS, FEW).double(), torch.randn(ROWS, MANY).double()
    temperatures(student, teacher)
    print(f"\n{'loss':24}{'value':>10}{'rotated by':>14}{'exact teacher':>16}")
    for name, loss in LOSSES.items():
        value = float(loss(student, teacher))
        turned = max(
            abs(float(loss(student @ rotation(FEW), teacher)) - value),
            abs(float(loss(student, teacher @ rotation(MANY))) - value),
        )
        exact = student @ rotation(MANY)[:FEW]
        print(f"{name:24}{value:10.4f}{turned:14.1e}{float(loss(student, exact)):16.1e}")


def temperatures(student: Tensor, teacher: Tensor) -> None:
    """Loss and direction of its gradient at the ends of the documented curriculum."""
    schedule = create_curriculum_schedule(4.0, 0.5, 5)
    for name, losses_of in {"neighbors": distill_loss, "truncation": lambda s, t, tau: truncation(s, t)}.items():
        losses, gradients = [], []
        for tau in (schedule(0), schedule(4)):
            leaf = student.clone().requires_grad_()
            loss = losses_of(leaf, teacher, tau=tau)
            loss.backward()
            losses.append(float(loss.detach()))
            gradients.append(leaf.grad.flatten())  # type: ignore[union-attr]
        cosine = float(torch.cosine_similarity(*gradients, dim=0))
        print(
            f"{name}: loss {losses[0]:.6f} at tau 4, {losses[1]:.6f} at tau 0.5; cosine of the gradients {cosine:.4f}"
        )


def rotation(width: int) -> Tensor:
    """A random orthogonal matrix."""
    return torch.linalg.qr(torch.randn(width, width).double())[0]


if __name__ == "__main__":
    main()
