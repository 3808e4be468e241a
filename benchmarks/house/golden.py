"""Losses of fixed seeds before and after a change, per task: equal to the bit, or where they first differ.

    python benchmarks/house/golden.py write golden.json              at the state before
    python benchmarks/house/golden.py compare golden.json            at the state after, on the same machine
    python benchmarks/house/golden.py compare golden.json --only lm sar/cka --source ../other/src

Every case of `golden_cases.py` is one command of `stillhouse` in a process of its own (a fork that has torch imported already), so
modules may move. Kept are all lines of every `records.jsonl` (times apart), the values of all tensors of every `.safetensors`, and
the headline of `summary.json` and `result.json`. Bits belong to a machine: where processor or torch differ, write the file anew
there, at the state before (`--source` names a checkout's src). A change that renames a setting renames it in `golden_cases.py` too.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import os
import re
import runpy
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SET = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
os.environ.update(SET, HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")  # read when torch is imported

import yaml  # noqa: E402
from golden_cases import TASKS, Case, write_material  # noqa: E402
from safetensors import safe_open  # noqa: E402

WARM = (  # imported once, before the forks: most of what a tiny run would wait for
    "stillhouse torch._dynamo torch.utils.tensorboard timm lightning_fabric torchmetrics transformers scipy.stats matplotlib.pyplot"
    " sklearn.manifold sklearn.datasets sklearn.neural_network pydantic"
)
# what a change renamed on purpose: old name -> new name, as they stand in the tables below ("train/terms/logits")
RENAMED: dict[str, str] = {}
MOVED: dict[str, str] = {}  # old path of a file below the run folder -> new path; unlisted ones are found by content
MAY_DIFFER = {"vision/resnet_tm": "resnet projection: its stride-2 1 x 1 convolution is changed on purpose"}
TIMED = re.compile(r"second|_ms|^ms|/ms|time\b|latency|per_s|memory")
PARTS = ("losses", "weights", "headline")
Found = dict[str, Any]


# ------------------------------------------------------------------------------------------------ running


def run_case(case: Case, out: str, folder: Path) -> str:
    """`python -m stillhouse ...` in a fork of this process, which has imported torch already: what it printed if it failed."""
    for file, content in case.files.items():
        (folder / file).write_text(yaml.safe_dump(content))
    log = folder / f"{out}.log"
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.chdir(folder)
            handle = os.open(log, os.O_WRONLY | os.O_CREAT)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            sys.argv = ["stillhouse", *shlex.split(case.command.format(out=out))]
            runpy.run_module("stillhouse", run_name="__main__", alter_sys=True)
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    failed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"status {failed}: {log.read_text().strip()[-600:]}" if failed else ""


def run_all(only: list[str]) -> dict[str, Found]:
    """Every case asked for, with those it needs; a task in one folder."""
    found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as root:
        for task, cases in TASKS.items():
            folder = Path(root) / task
            write_material(folder)
            os.environ["STILLHOUSE_CACHE"] = str(folder / "cache")
            wanted = {c for c in cases if not only or task in only or f"{task}/{c}" in only}
            wanted |= {needed for case in wanted for needed in cases[case].needs}
            for name in [name for name in cases if name in wanted]:
                started = time.perf_counter()
                error = run_case(cases[name], name, folder)
                seconds = round(time.perf_counter() - started, 1)
                held = {"error": error} if error else collect(folder / name)
                found[f"{task}/{name}"] = {"seconds": seconds, **held}
                print(f"{task}/{name}: {seconds} s {error}", file=sys.stderr, flush=True)
    return found


# ------------------------------------------------------------------------------------------------ collecting


def collect(out: Path) -> Found:
    """What a run left, as plain values."""
    held: Found = {part: {} for part in PARTS}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.name == "records.jsonl":
            held["losses"][name] = columns([json.loads(line) for line in path.read_text().splitlines()])
        elif path.suffix == ".safetensors":
            held["weights"][name] = tensors(path)
        elif path.name == "result.json":
            held["headline"][name] = dict(leaves(json.loads(path.read_text()).get("metrics") or {}))
        elif path.name == "summary.json":
            held["headline"][name] = headline(json.loads(path.read_text()))
    return held


def columns(lines: list[Found]) -> Found:
    """{split/key: the values line by line}; JSON keeps a float to the bit."""
    found: dict[str, list[Any]] = {}
    for line in lines:
        for key, value in leaves({k: v for k, v in line.items() if k not in ("split", "findings")}):
            found.setdefault(f"{line['split']}/{key}", []).append(value)
    return found


def tensors(path: Path) -> Found:
    """Hashes of all values, with names and without, so that renamed tensors are still known."""
    with safe_open(path, "pt") as file:
        held = {name: file.get_tensor(name).contiguous() for name in sorted(file.keys())}
    each = {n: sha(f"{x.dtype}{tuple(x.shape)}".encode() + x.flatten().numpy().tobytes()) for n, x in held.items()}
    return {"values": sha("".join(sorted(each.values())).encode()), "named": sha(json.dumps(each).encode())}


def headline(summary: Found) -> Found:
    """The verdicts, and every arm's means."""
    found = {}
    for entry in summary.get("comparisons") or ():
        name = "/".join(str(entry.get(key)) for key in ("metric", "arm", "control"))
        found.update({f"{name}/{key}": entry.get(key) for key in ("difference", "low", "high", "verdict")})
    found.update({f"arms/{key}": value for key, value in leaves(summary.get("arms") or {}) if key.endswith("/mean")})
    return found


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every leaf that is no time."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from leaves(entry, f"{path}/{key}" if path else str(key))
    elif not TIMED.search(path):
        yield path, value


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]


# ------------------------------------------------------------------------------------------------ comparing


def differences(part: str, old: Found, new: Found) -> tuple[list[str], list[str]]:
    """(what differs, what is only worth a note) of one part of a case."""
    same = compare_tensors if part == "weights" else compare_values
    wrong: list[str] = []
    notes: list[str] = []
    for path, held in old.items():
        place = MOVED.get(path, path)
        if place not in new:  # the same content under another path is a file that moved
            place = next((p for p, h in new.items() if p not in old and not same(held, h)[0]), place)
            notes += [f"{path}: now {place}"] if place in new else []
        worse, aside = same(held, new[place]) if place in new else (["missing"], [])
        wrong += [f"{path}: {text}" for text in worse[:2]]
        notes += [f"{path}: {text}" for text in aside]
    return wrong, notes


def compare_values(old: Found, new: Found) -> tuple[list[str], list[str]]:
    """The first difference of each column, in the order of the lines; what left, and last bits, are notes."""
    found, notes = [], []
    names = {key: RENAMED.get(key, key) for key in old}
    for key, values in old.items():
        if names[key] not in new:
            notes.append(f"{key} left")
        elif values != new[names[key]]:
            a, b = (x if isinstance(x, list) else [x] for x in (values, new[names[key]]))
            at = next((n for n, pair in enumerate(zip(a, b)) if pair[0] != pair[1]), min(len(a), len(b)))
            pair = " -> ".join(str(x[at]) if at < len(x) else "nothing" for x in (a, b))
            if len(a) == len(b) and all(x == y or near(x, y) for x, y in zip(a, b)):
                notes.append(f"{key}, line {at}, last bit: {pair}")
            else:
                found.append((at, f"{key}, line {at}: {pair}"))
    added = sorted(set(new) - set(names.values()))
    return [text for _, text in sorted(found)], [*notes, f"new: {', '.join(added)}"] if added else notes


def near(a: Any, b: Any) -> bool:
    """Whether two numbers are the same float64 but for its last bits."""
    return isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=1e-14)


def compare_tensors(old: Found, new: Found) -> tuple[list[str], list[str]]:
    """Values decide; names are only noted."""
    if old["values"] != new["values"]:
        return ["tensors differ"], []
    return [], [] if old["named"] == new["named"] else ["equal values under other names"]


def compare(before: Found, after: dict[str, Found]) -> int:
    """Print a row a case; 1 where any differs that should not."""
    bad = 0
    print(f"{'case':<30}" + "".join(f"{part:<12}" for part in PARTS) + "seconds")
    for case, found in after.items():
        held = before["cases"].get(case)
        failed = {who: c["error"] for who, c in (("before", held), ("now", found)) if c and "error" in c}
        if held is None or failed:
            bad += bool(failed)
            print(f"{case:<30}" + (f"DID NOT RUN {failed}" if failed else "new: not in the file"))
            continue
        parts = {part: differences(part, held[part], found[part]) for part in PARTS}
        words = ["DIFFER" if parts[part][0] else f"equal ({len(held[part])})" for part in PARTS]
        expected = MAY_DIFFER.get(case)
        bad += "DIFFER" in words and expected is None
        print(f"{case:<30}" + "".join(f"{word:<12}" for word in words) + f"{found['seconds']:.1f}")
        if "DIFFER" in words and expected:
            print(f"    may differ: {expected}")
        for wrong, notes in parts.values():
            print("".join(f"    {text}\n" for text in [*wrong[:3], *notes[:3]]), end="")
    print(f"{len(after)} cases, {bad} differ that should not, {sum(c['seconds'] for c in after.values()):.0f} s")
    return int(bad > 0)


def machine() -> Found:
    """What decides the last bits."""
    import torch

    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.is_file() else []
    return {"cpu": names[:1], "capability": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__}


def main() -> int:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", nargs="+", default=[], metavar="FAMILY[/CASE]")
    parser.add_argument("--source", type=Path, default=ROOT / "src", help="where `stillhouse` is imported from")
    options = parser.parse_args()
    sys.path.insert(0, str(options.source.resolve()))
    for name in WARM.split():
        importlib.import_module(name)
    after = run_all(options.only)
    if options.what == "compare":
        before = json.loads(options.file.read_text())
        if before["machine"] != machine():
            print(f"written on {before['machine']}, this is {machine()}: bits may differ for that alone")
        return compare(before, after)
    options.file.write_text(json.dumps({"machine": machine(), "cases": after}, separators=(",", ":")) + "\n")
    failed = [case for case, found in after.items() if "error" in found]
    print(f"{options.file}: {len(after)} cases, {len(failed)} failed, {options.file.stat().st_size:,} bytes")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
