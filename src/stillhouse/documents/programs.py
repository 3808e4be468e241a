"""The programs that the documents call, each by its own arguments, as the commands of stillhouse that they are.

Runs that name no folder are numbered, so that a second command never meets the first one's. `STILLHOUSE_DOCUMENTS_SIZE=tiny` cuts
sizes (rows, epochs, warm-up, patience, seeds, lines, the pixels that a teacher sees) and takes one thread, to see that all is
wired; a teacher of an epoch has learned nothing, so there it need not beat chance.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from stillhouse.core.config import ConfigError
from stillhouse.core.lock import missing_folders, remove_empty

SIZE = "STILLHOUSE_DOCUMENTS_SIZE"
VISION_TINY = ("--epochs", "1", "data.train_limit=96", "data.test_limit=40", "--force", "--threads", "1")
LARGE = ("mnist", "fashion-mnist", "cifar10", "cifar100")  # a five-hundredth holds every class
LARGE_TINY = ("data.validation_fraction=0.002",)
TEACHER_TINY = ("teacher.image_size=64",)
RADAR_TINY = (
    "--num_epochs", "1", "--set", "training.patience=1", "--set", "training.warmup_epochs=0", "--quiet",
)  # fmt: skip
LINES_TINY = ("--set", "data.train=8", "--set", "data.validation=4", "--set", "data.test=8", "--set", "data.length=512")
ARMS_TINY = (
    "--seeds",
    "1",
    "--force",
    *LINES_TINY,
    "--set",
    "data.preset=toy-64",
    "--set",
    "data.position_channel=true",
)  # as the teacher's
TEACHER, STUDENT = "training/s4_ssm_complex.yaml", "training/s4_ssm_student.yaml"
TAUGHT_BY = (
    "results/s4_ssm_results/checkpoints/best_model.pth"  # as document 002 names it: its run is the one that --run keeps
)
DISTILL = f"python training/distillation_script.py --teacher_config {TEACHER} --teacher_checkpoint {TAUGHT_BY}"
SIZES = {
    "distilled": (),
    "compressed": ("--student_model_dim", "32", "--student_state_dim", "256", "--student_num_layers", "4"),
    "tiny": ("--student_model_dim", "24", "--student_state_dim", "128", "--student_num_layers", "3"),
}


def tiny() -> bool:
    """Whether sizes are cut.

    Raises:
        ConfigError: the variable holds anything but `tiny`.
    """
    size = os.environ.get(SIZE, "")
    if size not in {"", "tiny"}:
        raise ConfigError(f"{SIZE}: expected tiny, or nothing for the sizes as printed, got {size!r}")
    return size == "tiny"


def numbered(base: Path, *, resume: bool = False) -> Path:
    """The first folder NAME-1, NAME-2, ... that is not there; the last that is, to resume.

    Example:
        >>> numbered(Path("no-such-folder/run")).name
        'run-1'
    """
    count = 1
    while base.with_name(f"{base.name}-{count}").exists():
        count += 1
    return base.with_name(f"{base.name}-{max(1, count - resume)}")


def claimed(base: Path) -> Path:
    """The next of those folders, made here: two programs that begin together get two."""
    while True:
        place = numbered(base)
        with contextlib.suppress(FileExistsError):
            place.mkdir(parents=True)
            return place


def vision(arguments: Sequence[str], *, name: str = "run_mnist_equiv") -> int:
    """`run_mnist_equiv.py`: the flags of `stillhouse vision`; into runs/run_mnist_equiv-1, -2, ... unless --out is given."""
    from stillhouse.cli.main import main

    words = list(arguments)
    if tiny():
        large = _dataset(arguments) in LARGE
        teacher = "--distill-teacher-timm" in arguments
        words += [*VISION_TINY, *(LARGE_TINY if large else ()), *(TEACHER_TINY if teacher else ())]
    if any(word.partition("=")[0] == "--out" for word in arguments):
        return main(["vision", *words])
    base, resume = Path("runs") / name, "--resume" in arguments
    made = missing_folders(base.parent)
    out = numbered(base, resume=True) if resume else claimed(base)
    try:
        return main(["vision", *words, "--out", str(out)])
    finally:
        remove_empty([out, *made])  # a run that was refused leaves no number behind


def _dataset(arguments: Sequence[str]) -> str:
    """Which one a command names, or the default.

    Example:
        >>> _dataset(["--epochs", "3", "--dataset", "fashion_mnist"]), _dataset(["--dataset=digits"]), _dataset([])
        ('fashion-mnist', 'digits', 'mnist')
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dataset", default="mnist")
    return str(parser.parse_known_args(list(arguments))[0].dataset).replace("_", "-")


def train(arguments: Sequence[str]) -> int:
    """`training_script.py --config FILE`: `stillhouse sar train`."""
    return _radar("train", arguments, LINES_TINY)


def distill(arguments: Sequence[str]) -> int:
    """`distillation_script.py`: `stillhouse sar distill`."""
    return _radar("distill", arguments, ARMS_TINY)


def _radar(command: str, arguments: Sequence[str], cut: Sequence[str]) -> int:
    from stillhouse.cli.main import main

    return main(["sar", command, *arguments, *((*cut, *RADAR_TINY) if tiny() else ())])


def example(arguments: Sequence[str]) -> int:
    """`distillation_example.py`: --compare the networks, --commands to print, --run teacher and student."""
    parser = argparse.ArgumentParser(
        prog="distillation_example.py", description="Networks that focus radar, distilled."
    )
    parser.add_argument("--compare", action="store_true", help="the documented networks: parameters, operations, times")
    parser.add_argument("--commands", action="store_true", help="print the commands")
    parser.add_argument(
        "--run", action="store_true", help="train the teacher, distil the student; what is finished is kept"
    )
    options = parser.parse_args(list(arguments))
    if not (options.compare or options.commands or options.run):
        parser.print_help()
    status = 0
    if options.compare:
        from stillhouse.cli.main import main

        status = main(["sar", "compare", *(("--length", "64") if tiny() else ())])
    if options.commands:
        print("\n".join(commands()))
    if options.run:
        teacher, student = Path("results/s4_ssm_results"), Path("results/s4_ssm_distilled")
        status = train(["--config", TEACHER, *_kept(teacher)]) or distill([
            "--teacher_config", TEACHER, "--teacher_checkpoint", TAUGHT_BY, "--student_config", STUDENT,
            "--save_dir", str(student), *_kept(student),
        ])  # fmt: skip
    return status


def commands() -> list[str]:
    """The teacher's and the three students'.

    Example:
        >>> len(commands())
        4
    """
    distilled = [
        " ".join((DISTILL, f"--student_config {STUDENT}", *sizes, f"--save_dir results/s4_ssm_{name}"))
        for name, sizes in SIZES.items()
    ]
    return [f"python training_script.py --config {TEACHER}", *distilled]


def _kept(folder: Path) -> list[str]:
    return ["--resume"] if folder.is_dir() else []
