"""The same loop as beside timm, with `attach`, and the verdict by `verify` on files that it writes."""

import json
from pathlib import Path

import torch
from benchmarks.beside.task import EPOCHS, SEEDS, loader, network, right, teacher
from torch.nn.functional import cross_entropy

from stillhouse import attach
from stillhouse.cli.main import main

own, out = teacher(), Path("build/beside-loop")
for arm in ("taught", "alone"):
    (out / arm).mkdir(parents=True, exist_ok=True)
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        student = network(4)
        example = torch.zeros(2, 1, 8, 8)
        lesson = attach(student, own, [{"kind": "logits", "temperature": 2.0}], example=example)
        optimizer = torch.optim.AdamW(student.parameters(), 3e-3)
        for _ in range(EPOCHS):
            for images, labels in loader(seed):
                loss = cross_entropy(student.train()(images), labels)
                if arm == "taught":
                    loss = loss + lesson(images, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        lesson.close()
        scores = {str(number): one for number, one in enumerate(right(student).tolist())}
        (out / arm / f"{seed}.json").write_text(json.dumps({"seed": seed, "scores": scores}))
main(["verify", str(out / "taught"), str(out / "alone")])
