"""The job that every script here has: a network of one's own teaches a smaller one on digits; is the small one better for it?

What a user has before any tool: pictures, labels, a trained network. Not counted in the lines of a tool.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

EPOCHS, BATCH, SEEDS = 5, 64, 3


def data():
    """Training and test images (N, 1, 8, 8) in [0, 1], with labels."""
    pixels, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(labels)
    return (images[:1200], labels[:1200]), (images[1200:], labels[1200:])


def network(width):
    return nn.Sequential(
        *(nn.Conv2d(1, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(8 * width, 10)),
    )


def teacher():
    torch.manual_seed(0)
    made, (images, labels) = network(64), data()[0]
    optimizer = torch.optim.AdamW(made.parameters(), 3e-3)
    for _ in range(200):
        rows = torch.randint(len(images), (BATCH,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(images[rows]), labels[rows]).backward()
        optimizer.step()
    return made.eval()


def loader(seed):
    order = torch.Generator().manual_seed(seed)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()[0]), BATCH, shuffle=True, generator=order)


@torch.no_grad()
def right(model):
    """(N) whether each test image is right."""
    images, labels = data()[1]
    return (model.eval()(images).argmax(1) == labels).float()
