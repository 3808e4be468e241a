"""timm's `LogitDistillationTask`: a loss of labels and teacher; loop, control, seeds and interval are the user's."""

import torch
from benchmarks.beside.task import EPOCHS, SEEDS, loader, network, right, teacher
from timm.task import LogitDistillationTask

own = teacher()
for weight in (1.0, 0.0):
    found = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        student = network(4)
        for one in (student, own):
            # what it reads of timm's own models
            one.pretrained_cfg, one.num_classes, one.in_chans = {"mean": (0.0,), "std": (1.0,)}, 10, 1
        task = LogitDistillationTask(
            student, own, distill_loss_weight=weight, task_loss_weight=1.0, temperature=2.0, verbose=False
        )
        optimizer = torch.optim.AdamW(student.parameters(), 3e-3)
        task.train()
        own.eval()
        for _ in range(EPOCHS):
            for images, labels in loader(seed):
                optimizer.zero_grad()
                task(images, labels)["loss"].backward()
                optimizer.step()
        found.append(right(student).mean().item())
    print("taught" if weight else "labels alone", [f"{100 * share:.1f} %" for share in found])
