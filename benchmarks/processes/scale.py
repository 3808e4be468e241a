"""What a 7 B teacher on 64 GPUs, a cache of 10^10 tokens and 10^9 vectors would take, computed from measured parts.

    python -m benchmarks.processes.scale              measures the parts (a minute), prints the tables; docs/scale.md has a part

Measured here, on a small model and small files, whatever the machine: the bytes of a weight and its optimizer state, of the
activations that a backward pass keeps, the floating point operations of a pass, bytes of a vector, bytes and seconds of a row's
place in the order of an epoch; a cached token is counted by the layout of a cache. Assumed, and printed as such: what a GPU, its
memory, its disk and its network do (`MACHINE`).
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

GIB, HOUR = 2**30, 3600.0


@dataclass(frozen=True)
class PackedModel:
    """What is assumed of the hardware: published figures of an H100 node, and how much of its peak a training reaches."""

    flops: float = 989e12  # bf16, dense
    reached: float = 0.4
    memory: float = 80 * GIB
    host: float = 1024 * GIB  # a node of 8 GPUs
    per_node: int = 8
    network: float = 50e9  # bytes a second and GPU between nodes
    disk: float = 2e9  # bytes a second and node, of a shared file system
    store: float = 100e12  # bytes that one has


MACHINE = PackedModel()


@dataclass(frozen=True)
class Parts:
    """What was measured."""

    weight: float  # bytes of a student's weight, fp32
    gradient: float
    moments: float
    activation: float  # bytes a token, layer and channel keeps for the backward pass, bf16
    forward: float  # floating point operations a weight and token of a forward pass
    backward: float
    token: float  # bytes of a cached token, 64 scores kept
    vector: float  # bytes of a stored number
    row: float  # bytes of a row's place in an epoch's order
    row_seconds: float


@dataclass(frozen=True)
class Case:
    """A job on paper."""

    name: str
    figures: dict[str, str]
    loads: dict[str, float]  # resource -> share of what there is; above 1 it breaks

    @property
    def first(self) -> str:
        name, load = max(self.loads.items(), key=lambda item: item[1])
        return (
            f"{name} ({load:.1f} x what there is)" if load > 1 else f"nothing; {name} is nearest ({100 * load:.0f} %)"
        )


def measure() -> Parts:
    """The parts, from a transformer of 4 layers and files of a few MB."""
    width, layers, length, rows, vocabulary = 256, 4, 128, 4, 4096
    torch.manual_seed(0)
    from stillhouse.tasks.lm.teachers import SmallTransformerConfig

    model = SmallTransformerConfig(width=width, layers=layers, heads=4, context=length).build(vocabulary)
    tokens = torch.randint(0, vocabulary, (rows, length))
    kept = 0

    def keep(x: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        if not isinstance(x, nn.Parameter):
            kept += x.numel() * 2  # as bf16 would keep it
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        hidden = model.hidden(tokens)[0]
    body = [p for name, p in model.named_parameters() if "embed" not in name and "lm_head" not in name]
    weights = sum(p.numel() for p in body)
    with FlopCounterMode(display=False) as forward:
        model.hidden(tokens)
    with FlopCounterMode(display=False) as backward:
        hidden.square().mean().backward()
    optimizer = torch.optim.AdamW(body)
    optimizer.step()
    moments = sum(x.numel() * x.element_size() for s in optimizer.state.values() for x in s.values() if x.ndim)
    N = rows * length
    return Parts(
        weight=sum(p.numel() * p.element_size() for p in body) / weights,
        gradient=sum(p.grad.numel() * p.grad.element_size() for p in body if p.grad is not None) / weights,
        moments=moments / weights,
        activation=kept / (N * layers * width),
        forward=forward.get_total_flops() / (N * weights),
        backward=backward.get_total_flops() / (N * weights),
        token=_cached_token(),
        vector=_vector(),
        **_order(),
    )


def _cached_token(k: int = 64) -> float:
    """Bytes of a cached token by the layout of a cache: ids and scores of 16 bits, log-sums of 32 at one temperature and three."""
    row = np.dtype(
        [("ids", np.uint16, k), ("logits", np.float16, k), ("logsumexp", np.float32, 1), ("rest", np.float32, 3)]
    )
    return float(row.itemsize)


def _vector() -> float:
    x = np.zeros((1000, 64), np.float16)
    with tempfile.TemporaryFile() as file:
        np.save(file, x)
        return file.tell() / x.size


def _order() -> dict[str, float]:
    from stillhouse.training.job import epoch_order

    rows = 5_000_000
    started = time.perf_counter()
    order = epoch_order(rows, 0, 0)
    return {"row": order.element_size(), "row_seconds": (time.perf_counter() - started) / rows}


def teacher_on_gpus(
    parts: Parts, teacher: float = 7e9, student: float = 1e9, gpus: int = 64, tokens: float = 1e10
) -> list[Case]:
    """A live teacher of 7 B (bf16) beside a student of 1 B (fp32 weights, AdamW), 4 windows of 2048 tokens a GPU and step."""
    m, batch, layers, width = MACHINE, 4 * 2048, 24, 2048
    activations = parts.activation * batch * layers * width
    flops = tokens * (teacher * parts.forward + student * (parts.forward + parts.backward))
    hours = flops / (gpus * m.flops * m.reached) / HOUR
    step = batch * gpus * hours * HOUR / tokens
    own = parts.weight + parts.gradient + parts.moments
    found = []
    for name, of_teacher, of_student in (
        ("ddp, teacher whole on every GPU", 2 * teacher, own * student),
        ("ddp, shard_teacher", 2 * teacher / gpus, own * student),
        (
            "fsdp (teacher split too)",
            2 * teacher / gpus,
            own * student / gpus + parts.weight * student + parts.gradient * student,
        ),
    ):
        sent = 2 * parts.gradient * student + (0 if "whole" in name else 2 * teacher)
        sent += parts.weight * student if "fsdp" in name else 0
        memory = of_teacher + of_student + activations
        talk = sent / m.network / step
        loading = 2 * 2 * teacher * m.per_node  # each process reads the whole teacher and keeps it where it is split
        checkpoint = (parts.weight * 2 + parts.moments) * student
        found.append(
            Case(
                f"teacher {teacher / 1e9:.0f} B, student {student / 1e9:.0f} B, {gpus} GPUs: {name}",
                {
                    "bytes": f"{memory / GIB:.1f} GiB a GPU ({of_teacher / GIB:.1f} teacher, {of_student / GIB:.1f} student, "
                    f"{activations / GIB:.1f} activations), checkpoint {checkpoint / GIB:.0f} GiB",
                    "hours": f"{hours:.1f} for {tokens:.0e} tokens ({1000 * step:.0f} ms a step; {1000 * sent / m.network:.0f} ms "
                    "of messages, not hidden behind it under ddp)",
                },
                {
                    "memory of a GPU": memory / m.memory,
                    "messages beside a step": talk,
                    "host memory while the teacher is loaded by 8 processes": loading / m.host,
                },
            )
        )
    return found


def cache(parts: Parts, tokens: float = 1e10, teacher: float = 7e9, student: float = 1e9, gpus: int = 64) -> Case:
    """Its 64 largest scores of every token, asked once on 64 GPUs and read by the student's training on 8."""
    m, size = MACHINE, parts.token * tokens
    asking = tokens * teacher * parts.forward / (gpus * m.flops * m.reached)
    writing = size / (gpus / m.per_node) / m.disk
    training = tokens * student * (parts.forward + parts.backward) / (m.per_node * m.flops * m.reached)
    reading = size / m.disk
    return Case(
        f"a cache of {tokens:.0e} tokens, 64 scores of each",
        {
            "bytes": f"{size / 1e12:.2f} TB ({parts.token:.0f} bytes a token)",
            "hours": f"{asking / HOUR:.1f} to ask on {gpus} GPUs ({writing / HOUR:.1f} of writing beside it); training from it on "
            f"8 GPUs {training / HOUR:.1f} an epoch ({reading / HOUR:.1f} of reading beside it)",
        },
        {
            "the store": size / m.store,
            "writing beside asking": writing / asking,
            "reading beside training": reading / training,
        },
    )


def vectors(parts: Parts, rows: float = 1e9, width: int = 1024) -> Case:
    """Vectors of 1024 half-precision numbers: stored, put in order, and their nearest neighbours found exactly."""
    m, size = MACHINE, parts.vector * rows * width
    order, shuffle = parts.row * rows, parts.row_seconds * rows
    graph = 2 * rows * rows * width / (64 * m.flops * m.reached)
    return Case(
        f"{rows:.0e} vectors of {width} numbers",
        {
            "bytes": f"{size / 1e12:.2f} TB; an epoch's order {order / GIB:.1f} GiB in every process; neighbours (k 15) "
            f"{rows * 15 * 4 / 1e9:.0f} GB",
            "hours": f"{size / m.disk / HOUR:.2f} to read once on one node; {shuffle / HOUR:.2f} to shuffle; exact neighbours "
            f"{graph / HOUR:.0f} on 64 GPUs",
        },
        {
            "the store": size / m.store,
            "host memory for the order, 8 processes": 8 * order / m.host,
            "a day for exact neighbours": graph / (24 * HOUR),
        },
    )


def page(parts: Parts) -> str:
    """The tables, as Markdown; docs/scale.md has the first one in short."""
    cases = [*teacher_on_gpus(parts), cache(parts), vectors(parts)]
    rows = "\n".join(f"| {c.name} | {c.figures['bytes']} | {c.figures['hours']} | {c.first} |" for c in cases)
    m = MACHINE
    numbers = (
        f"| weight, gradient, moments | {parts.weight:.1f} + {parts.gradient:.1f} + {parts.moments:.1f} bytes a weight |\n"
        f"| activations kept, bf16 | {parts.activation:.1f} bytes a token, layer and channel |\n"
        f"| forward, backward | {parts.forward:.2f}, {parts.backward:.2f} operations a weight and token |\n"
        f"| cached token, 64 scores | {parts.token:.0f} bytes |\n"
        f"| stored number of a vector | {parts.vector:.2f} bytes |\n"
        f"| place of a row in an epoch's order | {parts.row:.0f} bytes, {1e9 * parts.row_seconds:.0f} ns |"
    )
    return f"""## On paper

| job | bytes | hours | breaks first |
|---|---|---|---|
{rows}

## Measured parts

| part | figure |
|---|---|
{numbers}

## Assumed

{m.flops / 1e12:.0f} TFLOP/s a GPU (bf16), {100 * m.reached:.0f} % of it reached; {m.memory / GIB:.0f} GiB a GPU;
{m.host / GIB:.0f} GiB a node of {m.per_node}; {m.network / 1e9:.0f} GB/s a GPU between nodes; {m.disk / 1e9:.0f} GB/s a node from a
shared file system; a store of {m.store / 1e12:.0f} TB. A step has 4 windows of 2048 tokens a GPU; the student has 24 layers of
2048 channels, float32 weights and AdamW; the teacher has two bytes a weight.
"""


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    parts = measure()
    assert all(math.isfinite(x) and x > 0 for x in vars(parts).values()), parts
    print(page(parts))


if __name__ == "__main__":
    main()
