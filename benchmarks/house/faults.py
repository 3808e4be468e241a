"""Plant every known fault, one at a time, and show which test catches it.

    python -m benchmarks.house.faults                 all of them; exit status 1 if one is not caught
    python -m benchmarks.house.faults --only overlay  those whose name holds a word
    python -m benchmarks.house.faults --sample 6      six of them, drawn by --seed
    python -m benchmarks.house.faults --log FILE --minutes 15   a part: FILE gets the lines, and the command goes on from there
    python -m benchmarks.house.faults --list

Each fault is planted in a process of its own (forked after the imports), in which the one test runs that must fail. The same test
runs once without the fault: one that fails anyway proves nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLANTED = ROOT / "tests" / "planted"
sys.path.insert(0, str(PLANTED))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402
import torch  # noqa: E402
from faults import FAULTS  # noqa: E402
from plant import Fault, plant  # noqa: E402

PASSED, FAILED = 0, 1
QUIET = ("-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist")
HEAVY = ("scipy.stats", "sklearn.linear_model", "timm", "transformers", "lightning_fabric", "torch.utils.tensorboard")


def warm_up(faults: Sequence[Fault]) -> None:
    """Import once what every fork would import again: half a minute for each fault otherwise."""
    heavy = HEAVY if len(faults) > 10 else ()
    for name in (*heavy, *dict.fromkeys(fault.target.partition(":")[0] for fault in faults)):
        importlib.import_module(name)
    torch.testing.assert_close(torch.ones(1), torch.ones(1))
    with silent():
        pytest.main([*QUIET, "--collect-only", str(PLANTED / "plant.py")])  # plugins


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing on the terminal."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def _forget_tests() -> None:
    """Test files that this process has imported already hold the functions as they were: the fork reads them anew."""
    tests = str(ROOT / "tests")
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if file.startswith(tests) and not file.startswith(str(PLANTED)):
            del sys.modules[name]


def outcome(fault: Fault | None, node: str) -> int:
    """Pytest's exit status of one test in a forked process."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            torch.set_num_threads(1)
            with silent():
                _forget_tests()
                if fault is not None:
                    plant(fault)
                    os.environ["STILLHOUSE_FAULT"] = fault.name  # for processes that a test starts
                status = int(pytest.main([*QUIET, str(ROOT / node)]))
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def planted_each(chosen: Sequence[Fault], log: Path | None = None, seconds: float = float("inf")) -> dict[str, bool]:
    """Plant each and print a line for it; whether its test caught it (and passes without it), by name.

    Args:
        chosen: what is planted.
        log: gets the lines too.
        seconds: after which no further one is begun.
    """
    started = time.monotonic()
    os.chdir(ROOT)
    warm_up(chosen)
    healthy: dict[str, int] = {}
    found: dict[str, bool] = {}
    for fault in chosen:
        if time.monotonic() - started > seconds:
            break
        if fault.caught_by not in healthy:
            healthy[fault.caught_by] = outcome(None, fault.caught_by)
        broken = outcome(fault, fault.caught_by)
        good = healthy[fault.caught_by] == PASSED and broken == FAILED
        why = "" if good else f" (without the fault: {healthy[fault.caught_by]}, with it: {broken})"
        line = f"{'caught' if good else 'MISSED':<7} {fault.name:<44} {fault.caught_by}{why}"
        print(line, flush=True)
        if log is not None:
            with log.open("a") as file:
                file.write(f"{line}\n")
        found[fault.name] = good
    return found


def main() -> int:
    """Run; one line a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="faults whose name holds this")
    parser.add_argument("--sample", type=int, help="so many of them, drawn at random [all]")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument(
        "--log", type=Path, help="a file for the lines; faults that have one there already are left out"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no further one is begun")
    parser.add_argument("--list", action="store_true", help="names and tests, nothing is run")
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if options.only in fault.name]
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    if options.list:
        for fault in chosen:
            print(f"{fault.name:<44} {fault.target:<70} {fault.caught_by}")
        return 0
    started = time.monotonic()
    if options.log is not None and options.log.is_file():
        done = options.log.read_text().splitlines()
        chosen = [fault for fault in chosen if not any(line[8:].startswith(f"{fault.name} ") for line in done)]
    planted = planted_each(chosen, options.log, 60 * options.minutes)
    caught = sum(planted.values())
    print(f"{caught} of {len(planted)} caught, {len(chosen) - len(planted)} left, {time.monotonic() - started:.0f} s")
    return 0 if caught == len(planted) == len(chosen) else 1


if __name__ == "__main__":
    raise SystemExit(main())
