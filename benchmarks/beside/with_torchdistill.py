"""torchdistill's `DistillationBox`: everything of the training is a configuration; control, seeds and interval are the user's."""

import torch
from benchmarks.beside.task import EPOCHS, SEEDS, loader, network, right, teacher
from torchdistill.core.distillation import DistillationBox

PATHS = {
    "student_module_path": ".",
    "teacher_module_path": ".",
    "student_module_io": "output",
    "teacher_module_io": "output",
}


def configuration(taught):
    loss = {"key": "KDLoss", "kwargs": {**PATHS, "temperature": 2.0, "alpha": 1.0, "beta": 1.0}}
    kd = {"criterion": loss, "weight": 1.0}
    output = {"is_from_teacher": False, "module_path": ".", "io": "output"}
    wrapper = {"key": "SimpleLossWrapper", "kwargs": {"input": output, "target": {"uses_label": True}}}
    plain = {"criterion": {"key": "CrossEntropyLoss", "kwargs": {}}, "criterion_wrapper": wrapper, "weight": 1.0}
    return {
        "num_epochs": EPOCHS,
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "AdamW", "kwargs": {"lr": 3e-3}},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"loss": kd if taught else plain}}},
    }


own = teacher()
for taught in (True, False):
    found = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        student = network(4)
        box = DistillationBox(own, student, {}, configuration(taught), torch.device("cpu"), None, False, 1)
        for epoch in range(EPOCHS):
            box.pre_epoch_process(epoch=epoch)
            for images, labels in loader(seed):
                box.post_forward_process(box.forward_process(images, labels))
            box.post_epoch_process()
        found.append(right(student).mean().item())
    print("taught" if taught else "labels alone", [f"{100 * share:.1f} %" for share in found])
