"""The files and programs that the five documents call: laid out in a folder, each a few lines that call stillhouse.

`atlas` and `model` are laid out and not installed: modules of such general names would hide others. Runs that name no folder are
numbered, so that a second command never meets the first one's. `STILLHOUSE_DOCUMENTS_SIZE=tiny` cuts sizes and takes one thread,
to see that all is wired; a teacher of an epoch has learned nothing, so there it need not beat chance.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stillhouse.cli.options import Parser
from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError
from stillhouse.core.records import missing_folders, remove_empty, write_atomically

FILES = Path(__file__).parent / "files"  # Python files end in .py-tpl there, so that no tool takes them for ours
VECTORS = "models/teacher_1536d.pt"
RADAR = Path(__file__).parents[1] / "tasks" / "sar" / "recipes"

SIZE = "STILLHOUSE_DOCUMENTS_SIZE"
VISION_TINY = "--epochs 1 data.train_limit=96 data.test_limit=40 --force --threads 1 data.validation_fraction=0.002"
LINES_TINY = "data.train=8 data.validation=4 data.test=8 data.length=512"
RADAR_TINY = f"--num_epochs 1 training.patience=1 training.warmup_epochs=0 --quiet {LINES_TINY}"
ARMS_TINY = "--seeds 1 --force data.preset=toy-64 data.position_channel=true"  # as the teacher's lines
TEACHER, STUDENT = "training/s4_ssm_complex.yaml", "training/s4_ssm_student.yaml"
CHECKPOINT = "results/s4_ssm_results/checkpoints/best_model.pth"  # as document 002 names it
SIZES = {
    "distilled": "",
    "compressed": " --student_model_dim 32 --student_state_dim 256 --student_num_layers 4",
    "tiny": " --student_model_dim 24 --student_state_dim 128 --student_num_layers 3",
}


def main(arguments: Sequence[str]) -> int:
    """`stillhouse documents DIR`: write the files; those that are there are kept."""
    parser = Parser("documents")
    parser.add_argument("folder", type=Path, metavar="DIR", help="is made; files that are there are kept")
    folder = parser.parse(arguments).folder
    for name in write_document_files(folder):
        print(f"kept {folder / name}, which differs from what would be written")
    print(f"next: cd {folder} && source SOURCE.THIS")
    return 0


def write_document_files(folder: Path) -> list[str]:
    """Write the documents' files into a folder; one that is there and differs is kept as it is.

    Args:
        folder: is made.

    Returns:
        Names of the files that were kept because they differ.

    Raises:
        InputError: the folder cannot be written.
    """
    kept: list[str] = []
    try:
        for source in sorted(path for path in FILES.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            name = source.relative_to(FILES).as_posix().removesuffix("-tpl")
            text = source.read_text(encoding="utf-8").replace(
                "PYTHON_FOLDER", shlex.quote(str(Path(sys.executable).parent))
            )
            if name == TEACHER:  # the shipped network and training, on simulated lines
                shipped = (
                    (RADAR / "teachers" / "s4_ssm_complex.yaml").read_text(encoding="utf-8").partition("dataloader:")[0]
                )
                lines = shipped.splitlines(keepends=True)
                text += "".join(line for line in lines if not line.startswith(("#", "data_dir:")))
            _write(folder, name, text.encode(), kept)
        _write(folder, STUDENT, (RADAR / "s4_ssm_student.yaml").read_bytes(), kept)
        if not (folder / VECTORS).is_file():
            _write(folder, VECTORS, _vectors(), kept)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from None
    return kept


def _write(folder: Path, name: str, content: bytes, kept: list[str]) -> None:
    if not (folder / name).is_file():
        write_atomically(folder / name, lambda file: file.write(content))
    elif (folder / name).read_bytes() != content:
        kept.append(name)


def _vectors() -> bytes:
    """Document 004's teacher in its form: 256 rows of 1536 numbers in 8 groups, drawn here. Put your own in its place."""
    import torch

    drawn = np.random.default_rng(0)
    vectors = drawn.standard_normal((8, 1536)).repeat(32, 0) + 0.5 * drawn.standard_normal((256, 1536))
    buffer, about = io.BytesIO(), {"source": "drawn by stillhouse documents"}
    torch.save({"embeddings": torch.from_numpy(vectors.astype(np.float32)), "metadata": about}, buffer)
    return buffer.getvalue()


def tiny() -> bool:
    """Whether sizes are cut.

    Raises:
        ConfigError: the variable holds anything but `tiny`.
    """
    size = os.environ.get(SIZE, "")
    if size not in {"", "tiny"}:
        raise ConfigError(f"{SIZE}: expected tiny, or nothing for the sizes as printed, got {size!r}")
    return size == "tiny"


def claim_next_folder(base: Path, *, resume: bool = False) -> Path:
    """The next folder NAME-1, NAME-2, ..., made here: two programs that begin together get two; the last that is, to resume."""
    count = 1
    while True:
        place = base.with_name(f"{base.name}-{count}")
        if resume and not base.with_name(f"{base.name}-{count + 1}").exists():
            return place
        with contextlib.suppress(FileExistsError):
            if not resume:
                place.mkdir(parents=True)
                return place
        count += 1


def vision(arguments: Sequence[str]) -> int:
    """`run_mnist_equiv.py`: the flags of `stillhouse vision`; into runs/run_mnist_equiv-1, -2, ... unless --out is given."""
    from stillhouse.cli.main import main

    words = list(arguments)
    if tiny():
        words += VISION_TINY.split()
        if "--distill-teacher-timm" in arguments:
            words.append("teacher.image_size=64")
    if any(word.partition("=")[0] == "--out" for word in arguments):
        return main(["vision", *words])
    base = Path("runs/run_mnist_equiv")
    made = missing_folders(base.parent)
    out = claim_next_folder(base, resume="--resume" in arguments)
    try:
        return main(["vision", *words, "--out", str(out)])
    finally:
        remove_empty([out, *made])  # a run that was refused leaves no number behind


def train(arguments: Sequence[str]) -> int:
    """`training_script.py --config FILE`: `stillhouse sar train`."""
    from stillhouse.cli.main import main

    return main(["sar", "train", *arguments, *(RADAR_TINY.split() if tiny() else ())])


def distill(arguments: Sequence[str]) -> int:
    """`distillation_script.py`: `stillhouse sar distill`."""
    from stillhouse.cli.main import main

    return main(["sar", "distill", *arguments, *(f"{RADAR_TINY} {ARMS_TINY}".split() if tiny() else ())])


def example(arguments: Sequence[str]) -> int:
    """`distillation_example.py`: --compare the networks, --commands to print, --run teacher and student."""
    from stillhouse.cli.main import main

    parser = argparse.ArgumentParser(
        prog="distillation_example.py", description="Networks that focus radar, distilled."
    )
    parser.add_argument("--compare", action="store_true", help="the documented networks: parameters, operations, times")
    parser.add_argument("--commands", action="store_true", help="print the commands")
    parser.add_argument(
        "--run", action="store_true", help="train the teacher, distil the student; what is finished is kept"
    )
    options = parser.parse_args(list(arguments))
    if options.compare and (status := main(["sar", "compare", *(("--length", "64") if tiny() else ())])):
        return status
    if options.commands:
        print("\n".join(commands()))
    if not options.run:
        return 0
    teach, taught = (shlex.split(command)[2:] for command in commands()[:2])
    return train([*teach, *_resumed("results/s4_ssm_results")]) or distill(
        [*taught, *_resumed("results/s4_ssm_distilled")]
    )


def commands() -> list[str]:
    """The teacher's and the three students'.

    Example:
        >>> len(commands())
        4
    """
    distilled = (
        f"python training/distillation_script.py --teacher_config {TEACHER} --teacher_checkpoint {CHECKPOINT} "
        f"--student_config {STUDENT}"
    )
    students = [f"{distilled}{sizes} --save_dir results/s4_ssm_{name}" for name, sizes in SIZES.items()]
    return [f"python training_script.py --config {TEACHER}", *students]


def _resumed(folder: str) -> list[str]:
    return ["--resume"] if Path(folder).is_dir() else []
