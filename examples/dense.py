"""A class for every pixel: the same signals on the maps (B, K, H, W) of a segmentation network. `python examples/dense.py`

Discs and squares on noise, two networks of unlike kind and output size; labels of 255 count nowhere.
"""

import argparse

import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from stillhouse import attach

IGNORED = 255


class Segmenter(nn.Module):
    """Scores (B, 3, H / stride, W / stride) of background, disc and square; `out`, as torchvision's networks have it."""

    def __init__(self, width, stride):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 5, stride, 2), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 5, 1, 2), nn.ReLU(), nn.Conv2d(width, width, 5, 1, 2), nn.ReLU()
        )
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, images):
        return {"out": self.head(self.body(self.stem(images)))}


def draw(count, size=32):
    labels = torch.zeros(count, size, size, dtype=torch.long)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    for one in labels:
        for kind in (1, 2):
            (y, x), r = torch.randint(6, size - 6, (2,)), 5
            down, across = (rows - y).abs(), (columns - x).abs()
            one[(down**2 + across**2 <= r * r) if kind == 1 else (torch.maximum(down, across) <= r - 1)] = kind
    images = (labels > 0).float()[:, None] + 0.3 * torch.randn(count, 1, size, size)
    labels[:, 0] = IGNORED  # a border that nobody labelled
    return images, labels


def whole(model, images):
    """Scores at the size of the images."""
    return interpolate(model(images)["out"], images.shape[-2:], mode="bilinear")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    teacher, student = Segmenter(16, 1), Segmenter(4, 2)
    optimizer = torch.optim.AdamW(teacher.parameters(), 3e-3)
    for _ in range(options.steps):
        images, labels = draw(8)
        loss = cross_entropy(whole(teacher, images), labels, ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    signals = [
        {"kind": "logits", "loss": "forward-kl"},
        {"kind": "features", "student": "body", "teacher": "body"},
    ]
    distillation = attach(student, teacher, signals, example=draw(2)[0], ignore_index=IGNORED)
    optimizer = torch.optim.AdamW([*student.parameters(), *distillation.parameters()], 3e-3)
    for _ in range(options.steps):
        images, labels = draw(8)
        loss = cross_entropy(whole(student, images), labels, ignore_index=IGNORED)
        loss = loss + distillation(images, labels[:, ::2, ::2])  # labels at the size of the student's scores
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    distillation.close()
    images, labels = draw(32)
    with torch.no_grad():
        guess = whole(student, images).argmax(1)
    counts = labels != IGNORED
    shares = [
        ((guess == k) & (labels == k) & counts).sum() / (((guess == k) | (labels == k)) & counts).sum()
        for k in range(3)
    ]
    print("intersection over union:", " ".join(f"{float(x):.2f}" for x in shares))
    print({name: round(float(value), 4) for name, value in distillation.terms.items()})
    return shares, distillation


if __name__ == "__main__":
    main()
