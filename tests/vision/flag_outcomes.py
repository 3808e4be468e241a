"""What a command line of `stillhouse vision` amounts to: for `test_flag_table`, which compares two of them."""

from functools import cache
from pathlib import Path

import torch
import yaml

from stillhouse.compat.vision import read
from stillhouse.core.config import dump_yaml, parse, to_mapping
from stillhouse.core.folder import RunFolder
from stillhouse.core.parts import Arm
from stillhouse.core.pipeline import StageContext
from stillhouse.core.task import RunContext
from stillhouse.core.types import Progress
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.students.core import apply_prior
from stillhouse.tasks.classification.task import TASK
from stillhouse.tasks.classification.teachers import stage_teacher_of
from stillhouse.tasks.classification.vision.run import places_of
from stillhouse.teachers.teacher import Teacher
from stillhouse.training.optimizer import build_optimizer


def words(text):
    return text.split()


BASE = [
    *words(
        "--dataset digits data.train_limit=60 data.test_limit=40 --transformer-patch 4 --transformer-clauses 8 --device cpu"
    ),
    *words("--transformer-mlp-ratio 2 --batch-size 16 --epochs 4 --transformer-drop-path 0 --transformer-dropout 0"),
]
VIT = [*BASE, *words("--transformer-d-model 12 --transformer-heads 3 --transformer-layers 2")]
SWIN = [*BASE, *words("--transformer-arch swin --transformer-patch 1 --transformer-window 4")]
SMALL_SWIN = words("--transformer-embed-dims 8,16 --transformer-depths 2,1 --transformer-stage-heads 2,4")
WIDE = [*SWIN, "--transformer-depths", "1,1", "--transformer-d-model", "8", "--transformer-heads", "2"]


def config(*line):
    """Later words win, as argparse has it."""
    return read(line)[1]


@cache
def data_of(text):

    return parse(DataConfig, yaml.safe_load(text)).build()


def data(chosen):
    return data_of(dump_yaml(chosen.data))


def built(chosen):
    torch.manual_seed(0)
    plan = chosen.run_config("transformer")
    model = plan.student.build(data(chosen).input_spec)
    apply_prior(model, plan.prior)
    return model


def student(*line):
    """Parameters, two training forwards with a step between, penalties: what a setting of the network can change."""
    chosen = config(*line)
    model = built(chosen)
    x = data(chosen).input_spec.example(6)
    found = {"params": sum(p.numel() for p in model.parameters())}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for step in range(2):
        torch.manual_seed(1)
        logits = model.train()(x)
        penalty = sum((w * v for w, v in model.regularizers().values()), torch.zeros(()))
        found[f"forward {step}"] = logits.detach().flatten().tolist()
        found[f"penalty {step}"] = float(penalty)
        optimizer.zero_grad()
        (logits.square().sum() + penalty).backward()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.step()
        found[f"update {step}"] = {
            name: float((p.detach() - before[name]).norm()) for name, p in model.named_parameters()
        }
    return found


def teacher(input_spec):
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, input_spec.num_classes))
    return Teacher.from_module(net, input_spec)


def training(*line, taught=False):
    """Loss terms in the first and last epoch, learning rates of all steps, scores: what a setting of the training can change."""
    chosen = config(*line)
    here = data(chosen)
    plan = chosen.run_config("transformer", places_of(chosen.run_config("transformer").student, here.input_spec)[0])
    stage_teacher = stage_teacher_of(teacher(here.input_spec), here, plan) if taught else None
    context = RunContext(plan, here, RunFolder(Path()), stage_teachers=(stage_teacher,))
    torch.manual_seed(0)
    model = plan.student.build(here.input_spec)
    arm = Arm("kd" if taught else "no-kd", plan.student, taught)
    job = TASK.job(StageContext(model, plan.stages_of(taught)[0], arm, 0, 0, stage_teacher, None, context))
    steps = -(-len(here.train) // plan.training.batch_size)
    optimizer, schedule = build_optimizer(model, job.extras, plan.training, steps)
    total = plan.training.epochs * steps
    found = {"steps": total, "rates": []}
    for step in range(total):
        found["rates"].append([group["lr"] for group in optimizer.param_groups])
        if step in (0, total - 1):
            torch.manual_seed(1)
            model.train()
            optimizer.zero_grad()
            terms = job.terms(job.order(0)[: plan.training.batch_size], Progress(step, total))
            found[f"terms {step}"] = {name: (w, float(v.detach())) for name, (w, v) in terms.items()}
            sum(w * v for w, v in terms.values()).backward()
            found[f"gradient {step}"] = float(model.head.weight.grad.mean(1).abs().sum())
            optimizer.step()
            job.on_train_batch_end(step + 1)
        else:
            optimizer.step()
        schedule.step()
    calls = []
    hook = model.register_forward_hook(lambda *args: calls.append(1))
    found["metrics"] = job.validate(model.eval()).metrics
    hook.remove()
    found["scoring passes"] = len(calls)
    found["ema"] = plan.training.ema_decay
    return found


def taught(*line):
    return training(*line, taught=True)


def splits(*line):
    """Shapes, sizes, pixels and classes of the data, and what augmentation makes of them."""
    chosen = config(*line)
    here = data(chosen)
    x = here.train.batch(torch.arange(8)).inputs
    changed = here.augment(x, seed=1)
    return {
        "sha": here.sha256,
        "sizes": here.sizes,
        "classes": here.input_spec.num_classes,
        "seen": changed.flatten().tolist(),
    }


def reaches(*line):
    """The run's configuration: for settings of the library whose effect its own tests show (tests/training, tests/teachers)."""
    chosen = config(*line)
    return {**to_mapping(chosen.run_config(chosen.models[0])), "features": to_mapping(chosen.features)}
