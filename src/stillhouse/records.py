"""The run folder: what is written, what is read, and how nothing is ever half-written. No torch.

    OUT/
      run.json                 config, command, versions, machine, data (name, sizes, sha256, class_names, image_shape)
      teacher.json             name, score, chance, ece (validation split), status, head, params, test_score, test_ece;
                               absent when the run has no teacher
      teacher_predictions.npz  test split: probabilities (N, K) float32
      arms/ARM/seed-K/
        records.jsonl          a line per logged step:  {"split": "train", "step", "epoch", "loss", "terms": {name: value},
                                                         "learning_rate", "gradient_norm"}
                               a line per epoch:        {"split": "validation", "step", "epoch", "accuracy", "nll", "ece",
                                                         "agreement" (None without teacher), "seconds", "threads"}
        checkpoint.pt          all that resume needs
        student.safetensors    the weights whose score is reported; card.json beside it says how to build and load it
        predictions.npz        test split: labels (N,) int64, probabilities (N, K) float32
        result.json            arm, seed, metrics {accuracy, nll, ece, agreement}, best_epoch, epochs, seconds, params
        tensorboard/           the same scalars as events
      clauses.npz, clauses.json  of the reference arm's first seed: the clauses that vote most for each class (see below)
      summary.json             verdict, comparisons, arms, teacher, student, command, versions, data, seeds
      report.html              made from the files above and nothing else

clauses.json: {"classes": [{"class": name, "clauses": [{"block", "clause", "share", "positive_literals",
"negated_literals", "images": [rows of clauses.npz]}]}]}; clauses.npz: images (M, C, H, W) uint8, maps (M, H, W) float32
signed votes spread over the pixels.
"""

from __future__ import annotations

import io
import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import numpy as np

from stillhouse.checks import InputError

RUN, TEACHER, SUMMARY, REPORT = "run.json", "teacher.json", "summary.json", "report.html"
RECORDS, RESULT, PREDICTIONS = "records.jsonl", "result.json", "predictions.npz"
TEACHER_PREDICTIONS, CLAUSES, CLAUSE_IMAGES = "teacher_predictions.npz", "clauses.json", "clauses.npz"
CHECKPOINT, STUDENT, CARD = "checkpoint.pt", "student.safetensors", "card.json"

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


def arm_folder(out: Path, arm: str, seed: int) -> Path:
    """The folder of one arm and seed inside a run folder."""
    return out / "arms" / arm / f"seed-{seed}"


def open_run_folder(
    out: Path,
    config: Mapping[str, Any],
    *,
    resume: bool,
    may_grow: tuple[str, ...] = (),
    may_change: tuple[str, ...] = (),
    may_hold: tuple[str, ...] = (),
) -> None:
    """See that a run may write here: a new or empty folder, or with `resume` a folder of the same configuration.

    Args:
        out: the folder.
        config: the configuration as plain data.
        resume: go on with what is there.
        may_grow: keys that may differ on resume: a number may rise, a list may get more entries.
        may_change: dotted keys of settings that decide no result.
        may_hold: names of entries that a new folder may hold already, made ahead of the run.

    Raises:
        InputError: something else is there, a run that is not to be resumed, or one of another configuration.
    """
    if not (out / RUN).is_file():
        if out.exists() and (not out.is_dir() or any(entry.name not in may_hold for entry in out.iterdir())):
            raise InputError(f"cannot write {out}: it exists and is not a run folder; choose another --out")
        return
    if not resume:
        raise InputError(f"{out} holds a run already; go on with --resume, or choose another --out")
    changed = [
        f"{key}: was {was!r}, is {now!r}" + (" (a run can grow, but not shrink)" if key in may_grow else "")
        for key, was, now in _differences(read_json(out / RUN)["config"], config, whole=may_grow)
        if key not in may_change and not (key in may_grow and _grew(was, now))
    ]
    if changed:
        text = "\n  ".join(changed)
        raise InputError(
            f"{out}: --resume needs the configuration of the run; it differs in\n  {text}\n"
            "take another --out for another run, or delete the folder"
        )


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: a reader sees the old file or the new one.

    Raises:
        InputError: the folder cannot be written or the disk is full; the temporary file is removed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    try:
        with handle:
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(handle.name, 0o644)
        os.replace(handle.name, path)
    except BaseException as error:
        Path(handle.name).unlink(missing_ok=True)
        # torch and numpy wrap a full disk in errors of their own, so ask the disk rather than the exception
        if isinstance(error, OSError) or (isinstance(error, RuntimeError) and "write" in str(error).lower()):
            reason = getattr(error, "strerror", None) or "no space left on device?"
            raise InputError(f"cannot write {path}: {reason}; nothing half-written was left") from None
        raise


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, with NaN and infinities as null so that any reader takes it."""
    text = json.dumps(_finite(data), indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays as one compressed npz file, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def read_json(path: Path) -> Any:
    """Read JSON written by `write_json`.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line to a JSON-lines file and flush it."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(record)) + "\n")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a JSON-lines file; a torn last line (a kill in the middle of a write) is left out."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


def keep_records_until(path: Path, step: int) -> None:
    """Drop the lines written after `step`: on resume they are written again."""
    kept = [record for record in read_records(path) if record["step"] <= step]
    text = "".join(json.dumps(record) + "\n" for record in kept)
    write_atomically(path, lambda file: file.write(text.encode()))


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
    """Processor and what it can, number of usable cores and system, as far as the platform tells."""
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


def _differences(before: Any, now: Any, path: str = "", *, whole: tuple[str, ...] = ()) -> list[tuple[str, Any, Any]]:
    """(path, before, now) of every leaf that differs; lists of one length entry by entry, except those named `whole`."""
    if before == now:
        return []
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now) and path not in whole:
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if isinstance(before, Mapping) and isinstance(now, Mapping) and path not in whole:
        keys = dict.fromkeys([*before, *now])
        return [
            d
            for k in keys
            for d in _differences(before.get(k), now.get(k), f"{path}.{k}" if path else str(k), whole=whole)
        ]
    return [(path, before, now)]


def _grew(before: Any, now: Any) -> bool:
    """Whether `now` holds all that was before: a larger number, a longer list, something in place of nothing."""
    if isinstance(before, list) and isinstance(now, list):
        return all(entry in now for entry in before)
    if isinstance(before, int) and isinstance(now, int):
        return now >= before
    return before is None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value
