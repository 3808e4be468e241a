"""Six lines in a loop of your own: one loss on class scores, one signal between hidden layers. `python examples/own_loop.py`

Nothing else of the library is needed. Mixed precision and torch.compile stay as they were; `--compile` shows it.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from stillhouse import attach  # 1


def network(width):
    return nn.Sequential(
        *(nn.Conv2d(1, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(8 * width, 10)),
    )


def train(model, loader, optimizer, epochs, distillation=None):
    for _ in range(epochs):
        for images, labels in loader:
            with torch.autocast(images.device.type, torch.bfloat16):
                loss = cross_entropy(model(images), labels)
                if distillation is not None:
                    loss = loss + distillation(images, labels)  # 5
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--compile", nargs="?", const="inductor", help="backend of torch.compile [inductor]")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(labels)
    split = torch.utils.data.TensorDataset(images[:1400], labels[:1400])
    loader = torch.utils.data.DataLoader(split, batch_size=100, shuffle=True)

    teacher, student = network(64), network(4)
    train(teacher, loader, torch.optim.AdamW(teacher.parameters(), 3e-3), options.epochs)

    signals = [{"kind": "logits", "temperature": 4.0}, {"kind": "features", "student": "3", "teacher": "3"}]  # 2
    distillation = attach(student, teacher, signals, example=images[:2])  # 3
    optimizer = torch.optim.AdamW([*student.parameters(), *distillation.parameters()], 3e-3)  # 4
    model = torch.compile(student, backend=options.compile) if options.compile else student
    train(model, loader, optimizer, options.epochs, distillation)
    distillation.close()  # 6

    student.eval()
    found = {
        name: (net(images[1400:]).argmax(1) == labels[1400:]).float().mean().item()
        for name, net in (("teacher", teacher), ("student", student))
    }
    print(" ".join(f"{name} {100 * value:.1f} %" for name, value in found.items()))
    print({name: round(float(value), 4) for name, value in distillation.terms.items()})
    return found, distillation


if __name__ == "__main__":
    main()
