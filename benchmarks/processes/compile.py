"""`torch.compile` of a step, signal by signal: are the gradients those of eager mode, how often does the graph break, is it faster?

    python -m benchmarks.processes.compile                         backend inductor where there is a C++ compiler, else aot_eager
    python -m benchmarks.processes.compile --only logits --backend aot_eager

What is compiled is the student's forward pass, the label loss and the signal; the teacher's outputs are given. The gradients
compared are those of student, projectors and learned temperatures, each relative to its own largest entry; once more in float64,
where what is rounding in float32 (the slope of T squared times KL along T cancels nearly to nothing) is gone.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stillhouse import signals as kinds
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.signals import build_signals
from stillhouse.signals.logits import AnyLogitLoss, LogitsConfig
from stillhouse.signals.relations import AnyRelation, RelationsConfig

B, N, S, D, K = 32, 16, 24, 40, 10
BODY = {"student": "body", "teacher": "body"}


def cases() -> dict[str, Any]:
    """Every loss of scores, every relation, every other signal that a plain network can have."""
    found: dict[str, Any] = {}
    for loss in get_args(AnyLogitLoss):
        kind = loss.__dataclass_fields__["kind"].default
        found[f"logits {kind}"] = LogitsConfig(loss=kind)
    learned = {"kind": "learned", "strength": {"kind": "constant", "value": 1.0}}
    found["logits, learned temperature"] = LogitsConfig(temperature=learned)  # type: ignore[call-arg]
    found["logits, temperature by entropy"] = LogitsConfig(temperature={"kind": "entropy"})  # type: ignore[call-arg]
    for relation in get_args(AnyRelation):
        kind = relation.__dataclass_fields__["kind"].default
        found[f"relations {kind}"] = RelationsConfig(relation=kind, **BODY)
    for projector in ("linear", "mlp", "orthogonal"):
        found[f"features {projector}"] = kinds.FeaturesConfig(projector=projector, **BODY)
    found["hidden"] = kinds.HiddenConfig(student=("inner", "body"), teacher=("inner", "body"))
    found["dynamics"] = kinds.DynamicsConfig(student=("inner", "body"), teacher=("inner", "body"), start=0.0)
    found["exits"] = kinds.ExitsConfig(exits=("body",))
    found["contrastive"] = kinds.ContrastiveConfig(place="body")
    found["probes"] = kinds.ProbesConfig(places=("body",), weight=0.1)
    return found


class Net(nn.Module):
    """Tokens (B, N, width) as its body, class scores as its head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(32, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, K)

    def forward(self, x: Tensor) -> Outputs:
        inner = self.inner(x)
        body = self.norm(F.gelu(inner))
        return Outputs(self.head(body.mean(1)), {"inner": inner, "body": body})


def examine(config: Any, backend: str, repeats: int) -> tuple[float, int, float, float]:
    """Largest relative difference of a gradient, graph breaks, ms in eager mode, ms compiled."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    student, teacher = Net(S), Net(D).requires_grad_(False)
    x, y = torch.randn(B, N, 32), torch.randint(0, K, (B,))
    spec = [OutputSpec(K, {"inner": (N, width), "body": (N, width)}) for width in (S, D)]
    signal = build_signals([config], *spec)[0].train()
    with torch.no_grad():
        target = teacher(x)
    batch, progress = Batch(x, y, torch.arange(B)), Progress(3, 10)
    parameters = [*student.parameters(), *signal.parameters()]

    def step() -> Tensor:
        outputs = student(x)
        value = F.cross_entropy(outputs.logits, y) + signal(outputs, target, batch, progress).mean()
        return value + sum(weight * term for weight, term in signal.regularizers().values())  # type: ignore[operator]

    def gradients(run: Callable[[], Tensor]) -> list[Tensor]:
        for p in parameters:
            p.grad = None
        run().backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]

    def milliseconds(run: Callable[[], Tensor]) -> float:
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            gradients(run)
            times.append(1000 * (time.perf_counter() - started))
        return statistics.median(times)

    step()  # what a first batch sets (least squares, flags) is set
    eager = gradients(step)
    slow = milliseconds(step)
    breaks = torch._dynamo.explain(step)().graph_break_count
    torch._dynamo.reset()
    compiled = torch.compile(step, backend=backend)
    found = gradients(compiled)
    apart = max(
        float((a - b).abs().max() / (a.abs().max() + 1e-12)) for a, b in zip(eager, found) if a.abs().max() > 1e-9
    )
    return apart, breaks, slow, milliseconds(compiled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="inductor" if shutil.which("g++") else "aot_eager")
    parser.add_argument("--only", default="", help="signals whose name holds this word")
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    print(f"backend {options.backend}\n")
    print("| signal | gradients apart by | in float64 | graph breaks | eager ms | compiled ms | eager / compiled |")
    print("|---|---|---|---|---|---|---|")
    worst = 0.0
    for name, config in cases().items():
        if options.only not in name:
            continue
        try:
            apart, breaks, slow, fast = examine(config, options.backend, options.repeats)
            torch.set_default_dtype(torch.float64)
            exact = examine(config, options.backend, 1)[0]
        except Exception as error:  # a signal that cannot be compiled is a finding, not the end of the table
            why = " ".join(str(error).split())[:90]
            print(f"| {name} | {type(error).__name__}: {why} | | | | | |", flush=True)
            continue
        finally:
            torch.set_default_dtype(torch.float32)
        worst = max(worst, exact)
        print(
            f"| {name} | {apart:.1e} | {exact:.1e} | {breaks} | {slow:.2f} | {fast:.2f} | {slow / fast:.2f} |",
            flush=True,
        )
    print(f"\nlargest difference of a gradient in float64: {worst:.1e}")


if __name__ == "__main__":
    main()
