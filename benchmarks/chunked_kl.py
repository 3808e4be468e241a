"""Memory and time of the KL between two vocabularies' scores: dense against chunk by chunk, forward and backward.

Memory is measured in a fresh process for each form: peak resident memory above that with the inputs in place, so the
gradients (of the weight: classes x width) are part of it. Time is measured in one process, the forms in turn, the
fastest round of each: other work on the machine can only add.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from stillhouse.core.machine import machine, versions
from stillhouse.core.records import write_json
from stillhouse.losses import Projection, forward_kl, fused_linear_divergence
from stillhouse.losses.chunked import CHUNK_ELEMENTS

FORMS = ("dense", "dense torch", "chunked")
MEMORY_TARGET, TIME_TARGET = 1 / 6, 1.2


def main() -> None:
    options = parser().parse_args()
    torch.set_num_threads(options.threads)
    if options.measure:
        print(json.dumps(peak(options)))
        return
    result = {
        "sizes": {"tokens": options.tokens, "classes": options.classes, "width": options.width},
        "chunk": options.chunk or CHUNK_ELEMENTS // options.classes,
        "threads": options.threads,
        "rounds": options.rounds,
        "load_before": os.getloadavg(),
        "memory_mib": {form: memory(form, options) for form in FORMS},
        "seconds": seconds(options),
        "load_after": os.getloadavg(),
        "machine": machine(),
        "versions": versions(),
    }
    show(result)
    if options.out:
        write_json(options.out, result)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--tokens", type=int, default=2048, help="N [2048]")
    found.add_argument("--classes", type=int, default=49_152, help="V, size of the vocabulary [49152]")
    found.add_argument("--width", type=int, default=576, help="D of both sides [576]")
    found.add_argument("--chunk", type=int, default=None, help="tokens at a time [the library's choice]")
    found.add_argument("--threads", type=int, default=2, help="torch threads [2]")
    found.add_argument("--rounds", type=int, default=5, help="timed rounds of each form [5]")
    found.add_argument("--out", type=Path, default=None, help="write the figures as JSON, too")
    found.add_argument("--measure", choices=FORMS, default=None, help=argparse.SUPPRESS)
    return found


def inputs(options: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden states and weights whose logits have a deviation of about 1 (student) and the same of the teacher."""
    torch.manual_seed(0)
    n, v, d = options.tokens, options.classes, options.width
    hidden = [torch.empty(n, d).normal_(0, 1) for _ in range(2)]
    weights = [torch.empty(v, d).normal_(0, d**-0.5) for _ in range(2)]
    return hidden[0].requires_grad_(), weights[0].requires_grad_(), hidden[1], weights[1]


def step(form: str, tensors: tuple[Tensor, ...], chunk: int | None) -> float:
    """One forward and backward; gradients of the student's hidden states and weight are left in place."""
    h_s, w_s, h_t, w_t = tensors
    h_s.grad = w_s.grad = None
    if form == "chunked":
        loss = fused_linear_divergence(Projection(h_s, w_s), Projection(h_t, w_t), chunk=chunk)
    elif form == "dense":
        loss = forward_kl(h_s @ w_s.t(), h_t @ w_t.t()).mean()
    else:
        log_q = torch.log_softmax(h_s @ w_s.t(), 1)
        log_p = torch.log_softmax(h_t @ w_t.t(), 1)
        loss = torch.nn.functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    loss.backward()
    return loss.item()


def peak(options: argparse.Namespace) -> float:
    """MiB of the one step that this process makes, above what was resident before it."""
    tensors = inputs(options)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    step(options.measure, tensors, options.chunk)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 2**20


def memory(form: str, options: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--measure", form]
    for name in ("tokens", "classes", "width", "threads", "chunk"):
        if getattr(options, name) is not None:
            command += [f"--{name}", str(getattr(options, name))]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def seconds(options: argparse.Namespace) -> dict[str, list[float]]:
    """Every round of every form, after one of each that does not count; all must agree on the value."""
    tensors = inputs(options)
    values = [step(form, tensors, options.chunk) for form in FORMS]
    torch.testing.assert_close(torch.tensor(values), torch.tensor(values[:1] * len(FORMS)), rtol=1e-4, atol=1e-6)
    found: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(options.rounds):
        for form in FORMS:
            start = time.perf_counter()
            step(form, tensors, options.chunk)
            found[form].append(time.perf_counter() - start)
    return found


def show(result: dict) -> None:
    sizes, used, fastest = result["sizes"], result["memory_mib"], {k: min(v) for k, v in result["seconds"].items()}
    print(f"{sizes['tokens']} tokens x {sizes['classes']} classes, width {sizes['width']}, forward and backward")
    print(f"chunks of {result['chunk']} tokens, {result['threads']} threads, fastest of {result['rounds']} rounds")
    print(f"{result['machine']}, load {result['load_before'][0]:.2f} before and {result['load_after'][0]:.2f} after")
    print(f"{'form':12} {'peak MiB':>9} {'of dense':>9} {'seconds':>9} {'of dense':>9}")
    for form in FORMS:
        shares = used[form] / used["dense"], fastest[form] / fastest["dense"]
        print(f"{form:12} {used[form]:9.0f} {shares[0]:9.3f} {fastest[form]:9.2f} {shares[1]:9.2f}")
    for other in ("dense", "dense torch"):
        shares = used["chunked"] / used[other], fastest["chunked"] / fastest[other]
        met = shares[0] <= MEMORY_TARGET and shares[1] <= TIME_TARGET
        print(
            f"chunked / {other}: memory {shares[0]:.3f} (target {MEMORY_TARGET:.3f}), "
            f"time {shares[1]:.2f} (target {TIME_TARGET}): {'met' if met else 'NOT met'}"
        )


if __name__ == "__main__":
    main()
