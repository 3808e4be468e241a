"""Whole commands of the tasks on several processes; run as a program, on as many as its second word says.

python two_tasks.py FOLDER 2 KIND...
"""

import os
import signal
import sys
from pathlib import Path

import torch
from two_cases import plant_what_is_asked_for

from stillhouse.cli.main import run_command
from stillhouse.core import ranks
from stillhouse.core.checks import Interrupted
from stillhouse.training import loop

STOP = 2  # steps after which a training of the taught arm is stopped
# plain SGD: the sign of a gradient that is nearly 0 decides nothing, as it would in AdamW
WORDS = ("--quiet", "training.optimizer=sgd", "training.threads=1", "training.device=cpu")


def distill(folder, kind, out, *more):
    """The run of a task's case."""
    return run_command(["distill", str(folder / f"{kind}.yaml"), "--out", str(out), *WORDS, *more])


def stopped(*given):
    """The same, but for a signal to process 0 in the middle of its last training."""
    append = loop.append_record
    arm = "student" if given[1] == "embed" else "kd"

    def instead(path, record):
        append(path, record)
        if ranks.first() and arm in path.parts and record["split"] == "train" and record["step"] == STOP:
            os.kill(os.getpid(), signal.SIGINT)

    loop.append_record = instead
    try:
        return distill(*given)
    except Interrupted as error:
        return f"stopped after step {error.step}"
    finally:
        loop.append_record = append


def main(folder, devices, kinds):
    for kind in kinds:
        many = (f"training.devices={devices}",)
        found = [distill(folder, kind, folder / "two" / kind, *many)]
        found.append(stopped(folder, kind, folder / "split" / kind, *many))
        torch.save(found, folder / f"{kind}-{ranks.rank()}.pt")


if __name__ == "__main__":
    plant_what_is_asked_for()
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
