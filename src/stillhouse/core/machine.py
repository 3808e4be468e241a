"""What decides a run's numbers and times beside its settings: versions, the processor, the command; costs in words. No torch."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = "stillhouse torch torchvision timm lightning-fabric numpy scikit-learn transformers sentence-transformers umap-learn"
COMMAND: ContextVar[str] = ContextVar("command", default="")
COSTS = {
    "params": "parameters",
    "macs": "multiply-adds",
    "bytes": "bytes on disk",
    "state_bytes": "bytes of state",
    "ms": "ms, batch of 1",
}
"""Kinds of cost in words, the first that differs between students is what a Pareto front is drawn against."""

TIMED = (
    "Time of a batch: processor time by one thread, the smallest of the calls of a second, measured once a machine when the run "
    "ends."
)
"""The rule of this time on reports, comparisons and sweeps: `metrics.cost.fastest_ms`."""


def versions() -> dict[str, str]:
    """Versions of Python, of this library and of what decides its numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES.split():
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Processor, number of usable cores, system and threads, as far as the platform shows them."""
    info, torch = Path("/proc/cpuinfo"), sys.modules.get("torch")
    rows = info.read_text().splitlines() if info.is_file() else []
    names = (row.split(":", 1)[1].strip() for row in rows if row.startswith("model name"))
    return {
        "cpu": next(names, platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        # which number format is fast here; what only reads run folders does not load torch for this
        "capability": None if torch is None else torch.backends.cpu.get_cpu_capability(),
        "threads": os.environ.get("OMP_NUM_THREADS") or (None if torch is None else torch.get_num_threads()),
    }


def command_line() -> str:
    """The command that carries out a run again: the one that is set (`COMMAND`), else the one that started this process."""
    if command := COMMAND.get():
        return command
    own = Path(sys.argv[0]).name in {"stillhouse", "__main__.py"}
    return shlex.join(["stillhouse" if own else sys.argv[0], *sys.argv[1:]])


def weight_bytes(folder: Path) -> dict[str, float]:
    """The size of a student's weights on disk, as an entry of `Task.cost`."""
    files = list(Path(folder).glob("*.safetensors"))
    return {"bytes": float(sum(file.stat().st_size for file in files))} if files else {}
