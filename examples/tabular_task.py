"""A whole task in one file: a random forest teaches a model that a person can read to sort the rows of a table.

The teacher is no network. The student adds up one curve a column (a generalized additive model): decisions can be read off.
Run it: `python examples/tabular_task.py runs/tabular`. Shapes: B rows, F columns, P points of a curve, K classes.
"""

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from sklearn import datasets
from sklearn.ensemble import RandomForestClassifier
from torch.nn.functional import cross_entropy

from stillhouse.core import records
from stillhouse.core.config import configclass
from stillhouse.core.experiment import run
from stillhouse.core.hashes import verify_files, with_hashes
from stillhouse.core.parts import Arm, Metric, Scores, TeacherCheck
from stillhouse.core.pipeline import signal_set_of
from stillhouse.core.plan import RunPlan
from stillhouse.core.task import Task
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.core.verdict import mean_interval
from stillhouse.report.blocks import Table
from stillhouse.signals import LogitsConfig, SignalConfig
from stillhouse.teachers.teacher import Teacher
from stillhouse.training.config import TrainingConfig
from stillhouse.training.distillation import DistillJob
from stillhouse.training.job import Validation


@configclass
class TabularRun(RunPlan):  # what the runs of all tasks have, and: data, teacher, student, arms
    data: Literal["breast_cancer", "wine"] = Field(default="breast_cancer", description="a table of scikit-learn")
    points: int = Field(default=8, gt=1, description="points of each curve of the student")
    signals: tuple[SignalConfig, ...] = (LogitsConfig(),)
    training: TrainingConfig = TrainingConfig(epochs=40, batch_size=32, learning_rate=2e-2)
    arms: tuple[Literal["kd", "no-kd"], ...] = ("kd", "no-kd")


class ForestTeacher(Teacher):  # called with a Batch, gives Outputs; `spec` has the shapes that signals are built for
    def __init__(self, x, labels):
        self.forest = RandomForestClassifier(200, min_samples_leaf=3, oob_score=True, random_state=0).fit(x, labels)
        self.p = torch.from_numpy(self.forest.oob_decision_function_).float()  # of the trees that never saw a row
        self.name, self.spec = "random forest", OutputSpec(self.p.shape[1])

    def identity(self):
        return hashlib.sha256(self.p.numpy().tobytes()).hexdigest()

    def __call__(self, batch):
        return Outputs(self.p[batch.index.cpu()].clamp(min=1e-3).log().to(batch.inputs.device))


class Curves(torch.nn.Module):  # scores (B, K): a sum over columns of piecewise linear curves, each through P points
    def __init__(self, x, points, classes):
        super().__init__()
        self.register_buffer("spread", torch.stack([x.mean(0), x.std(0)]))
        self.heights = torch.nn.Parameter(0.01 * torch.randn(x.shape[1], points, classes))

    def forward(self, x):
        grid = torch.linspace(-2.5, 2.5, self.heights.shape[1], device=x.device)
        at = ((x - self.spread[0]) / self.spread[1]).clamp(-2.5, 2.5)[..., None]
        share = (1 - (at - grid).abs() / (grid[1] - grid[0])).relu()  # (B, F, P), adds up to 1
        return torch.einsum("bfp,fpk->bk", share, self.heights)


class TabularJob(DistillJob):  # one stage of one arm: batches, the task's own loss, validation
    def __init__(self, stage):
        self.data = stage.context.data
        x, _ = self.data.train
        super().__init__(stage.student, rows=len(x), seed=stage.job_seed, signal_set=signal_set_of(stage, x[:2]))

    def batch(self, rows, progress):
        return Batch(*(part[rows].to(self.device) for part in self.data.train), index=rows)

    def task_terms(self, student_out, batch, progress, share):
        return {"labels": (share, cross_entropy(student_out.logits, batch.labels))}

    def validate(self, model):
        scores, labels = model(self.data.validation[0].to(self.device)).cpu(), self.data.validation[1]
        accuracy, nll = (scores.argmax(1) == labels).double().mean().item(), cross_entropy(scores, labels).item()
        return Validation({"accuracy": accuracy, "nll": nll}, rank=(accuracy, -nll))


class TabularTask(Task):
    kind, title, Config = "tabular", "tables into classes by curves that can be read", TabularRun
    metrics = (Metric("accuracy", "accuracy", "points", scale=100, digits=2, low=0, high=1),)

    def data(self, config, log):
        table = getattr(datasets, f"load_{config.data}")()
        x, labels = torch.from_numpy(table.data).float(), torch.from_numpy(table.target)
        splits = {k: (x[i::3], labels[i::3]) for i, k in enumerate(("train", "validation", "test"))}
        sizes = {k: len(y) for k, (_, y) in splits.items()}
        sha256 = hashlib.sha256(table.data.tobytes() + table.target.tobytes()).hexdigest()
        return SimpleNamespace(name=config.data, table=table, sizes=sizes, sha256=sha256, **splits)

    def teachers(self, config, data, given, log):
        return [given or ForestTeacher(*data.train)]

    def teacher_check(self, teacher, config, data):
        x, labels = data.validation
        found = mean_interval([teacher.forest.predict(x) == labels.numpy()])
        chance = labels.bincount().max().item() / len(labels)
        return TeacherCheck(teacher.name, found.mean, found.low, chance, "accuracy", as_percent=True)

    def arms(self, config):
        return [Arm(name, config.points, taught=name == "kd", seeds=config.seeds) for name in config.arms]

    def student(self, arm, choice, seed, context):
        return Curves(context.data.train[0], choice, int(context.data.train[1].max()) + 1)

    def job(self, stage):
        return TabularJob(stage)

    def score(self, model, arm, seed, context):
        if arm is None:  # the teacher
            return None
        x, labels = context.data.test
        return Scores({"accuracy": (model.cpu()(x).argmax(1) == labels).numpy()})

    def save(self, folder, model, choice, context):
        save_file(model.cpu().state_dict(), folder / records.STUDENT)
        moves = dict(zip(map(str, context.data.table.feature_names), model.heights.detach().std((1, 2)).tolist()))
        card = {"task": self.kind, "shape": list(model.heights.shape), "moves": moves}
        records.write_json(folder / records.CARD, with_hashes(card, folder, [records.STUDENT]))

    def load(self, folder):
        card = records.read_json(folder / records.CARD)
        verify_files(folder, card, [records.STUDENT])
        network = Curves(torch.zeros(2, card["shape"][0]), *card["shape"][1:])
        network.load_state_dict(load_file(folder / records.STUDENT))
        return network.eval()

    def blocks(self, run):  # of the report, beside what all tasks show
        cards = run.path.glob(f"student/{records.CARD}")  # none before the run is finished
        rows = [[name, f"{x:.2f}"] for card in cards for name, x in records.read_json(card)["moves"].items()]
        return [Table("How far each column moves a score", ["column", "standard deviation"], rows)]


TASK = TabularTask()

if __name__ == "__main__":
    print(run(TASK, TabularRun(), Path(sys.argv[1]), resume="--resume" in sys.argv)["verdict"])
