"""A convolutional teacher and a vision transformer, by timm's models, optimizers, schedules, mixup and averages.

Any timm training script takes the same two changes: `attach` before the loop, one term in the loss. Here on pictures drawn on
the spot; give `--teacher resnet50 --pretrained` for published weights. `python examples/with_timm.py`
"""

import argparse

import timm
import torch
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn

from stillhouse import attach


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", default="resnet18")
    parser.add_argument("--pretrained", action="store_true")
    parser.add_argument("--student", default="vit_tiny_patch16_224")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    teacher = timm.create_model(options.teacher, pretrained=options.pretrained, num_classes=4)
    student = timm.create_model(options.student, img_size=options.size, num_classes=4)

    def batch(count=16):  # brighter in one quarter: the class
        images, labels = torch.rand(count, 3, options.size, options.size), torch.randint(4, (count,))
        half = options.size // 2
        for image, label in zip(images, labels.tolist()):
            row, column = divmod(label, 2)
            image[:, row * half : (row + 1) * half, column * half : (column + 1) * half] += 1
        return images, labels

    middle = f"blocks.{len(student.blocks) // 2}"
    signals = [
        {"kind": "logits", "loss": "forward-kl", "temperature": 2.0},
        {"kind": "features", "student": middle, "teacher": "layer3", "weight": 0.5},
    ]
    distillation = attach(student, teacher, signals, example=batch(2)[0])
    both = nn.ModuleList(
        [student, distillation]
    )  # timm's factory reads a module; projectors decay as the student's matrices do
    optimizer = create_optimizer_v2(both, opt="adamw", lr=1e-3, weight_decay=0.05)
    schedule, _ = create_scheduler_v2(optimizer, sched="cosine", num_epochs=options.steps)
    mixup, criterion = Mixup(mixup_alpha=0.2, num_classes=4), SoftTargetCrossEntropy()
    average = ModelEmaV3(student, decay=0.99, use_warmup=True)
    for step in range(options.steps):
        images, targets = mixup(*batch())  # the teacher sees the mixed pictures too
        loss = criterion(student(images), targets) + distillation(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(student, step=step)
        schedule.step(step + 1)
    distillation.close()
    images, labels = batch(64)
    right = (average.module.eval()(images).argmax(1) == labels).float().mean().item()
    print(f"student {100 * right:.1f} %", {name: round(float(value), 4) for name, value in distillation.terms.items()})
    return distillation


if __name__ == "__main__":
    main()
