"""What decides a run's numbers and times beside its settings: versions, the processor, the command. No torch."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

CPU_FLAGS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
    "bf16",
)
CPU_VARIABLES = (
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "OPENBLAS_CORETYPE",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_WAIT_POLICY",
)


def versions() -> dict[str, str]:
    """Versions of Python, of this library and of what decides its numbers."""
    found = {"python": platform.python_version()}
    for name in (
        "stillhouse",
        "torch",
        "torchvision",
        "timm",
        "lightning-fabric",
        "numpy",
        "scikit-learn",
        "pydantic",
        "transformers",
        "sentence-transformers",
        "umap-learn",
        "onnxruntime",
    ):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Processor and what it can, number of usable cores and system, as far as the platform shows them."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [row.split(":", 1)[1].strip() for row in info.read_text().splitlines() if row.startswith("model name")]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    about = {"cpu": model, "cores": cores, "system": f"{platform.system()} {platform.machine()}"}
    return {**about, "capabilities": cpu_capabilities()}


def cpu_capabilities(info: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """What decides which number format is fast here: what torch uses, the CPU's own flags, and variables that limit either.

    Returns:
        `torch`: such as "AVX2" or "AVX512", None where torch is not loaded; `flags`: those of `CPU_FLAGS` that the CPU has;
        `environment`: those of `CPU_VARIABLES` that are set.
    """
    torch = sys.modules.get("torch")  # what only reads run folders does not load it for this
    rows = info.read_text().splitlines() if info.is_file() else []
    flags = next((set(row.split(":", 1)[1].split()) for row in rows if row.startswith(("flags", "Features"))), set())
    return {
        "torch": None if torch is None else torch.backends.cpu.get_cpu_capability(),
        "flags": [flag for flag in CPU_FLAGS if flag in flags],
        "environment": {name: os.environ[name] for name in CPU_VARIABLES if name in os.environ},
    }


def command_line() -> str:
    """The command that started this process, as a user would type it again."""
    import shlex

    words = ["stillhouse" if Path(sys.argv[0]).name in {"stillhouse", "__main__.py"} else sys.argv[0], *sys.argv[1:]]
    return shlex.join(words)
