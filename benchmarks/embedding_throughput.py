"""How many rows, and how many texts, a second: the students against their teacher, in one run.

    python benchmarks/embedding_throughput.py --width 384                                   vectors -> codes, random weights
    python benchmarks/embedding_throughput.py --student RUN/student                         a trained vector student
    python benchmarks/embedding_throughput.py --text-student RUN/text --teacher all-MiniLM-L6-v2 --texts FILE.txt

Vectors -> codes with numpy, torch and (if there) onnxruntime. Texts -> codes with the text student, against the teacher, and
the teacher with the vector student behind it. Each is timed several times in turn, so that a busy machine hits all alike; printed
are the best and the median. Without --text-student one is trained for a moment on random codes: speed does not depend on
what it learned. Threads: --threads for all of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Task = tuple[str, int, Callable[[], Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path, help="folder of a vector student [random weights]")
    parser.add_argument("--width", type=int, default=384, help="teacher's width for random weights [384]")
    parser.add_argument(
        "--hidden", type=int, nargs=2, default=(512, 256), help="hidden widths for random weights [512 256]"
    )
    parser.add_argument("--rows", type=int, default=20_000, help="vectors to encode [20000]")
    parser.add_argument("--teacher", help="sentence-transformers folder or name; without it no texts are timed")
    parser.add_argument("--text-student", type=Path, help="folder of a text student [one trained for a moment]")
    parser.add_argument("--texts", type=Path, help="a text a line [made up]")
    parser.add_argument("--limit", type=int, default=1000, help="texts that the teacher encodes [1000]")
    parser.add_argument("--student-limit", type=int, default=20_000, help="texts that the student encodes [20000]")
    parser.add_argument("--repeats", type=int, default=3, help="times each is timed [3]")
    parser.add_argument("--threads", type=int, default=1, help="of BLAS, torch, tokenizers and onnxruntime [1]")
    args = parser.parse_args()
    # before numpy's BLAS, torch and the tokenizers start their pools
    wanted = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    wanted |= {
        "RAYON_NUM_THREADS": str(args.threads),
        "TOKENIZERS_PARALLELISM": "true" if args.threads > 1 else "false",
    }
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
    import torch

    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        print(f"{args.threads} thread(s), best and median of {args.repeats}")
        measure("vectors", vector_tasks(args, Path(scratch)), args.repeats)
        if args.teacher:
            measure("texts", text_tasks(args, Path(scratch)), args.repeats)


def vector_tasks(args: argparse.Namespace, scratch: Path) -> list[Task]:
    """Encoding of the same random vectors by every runtime."""
    from stillhouse.tasks.embed.export.embedding import export_embedder
    from stillhouse.tasks.embed.export.numpy_embedder import NumpyEmbedder
    from stillhouse.tasks.embed.students.network import load_embedder

    folder = args.student or random_student(scratch / "vector", args.width, tuple(args.hidden))
    embedder, network = NumpyEmbedder.load(folder), load_embedder(folder)
    width = embedder.card["teacher_dim"]
    x = np.random.default_rng(0).standard_normal((args.rows, width), dtype=np.float32)
    print(f"{args.rows} vectors, {width} -> {embedder.card.get('hidden')} -> {sum(embedder.levels)}")
    tasks: list[Task] = [
        ("numpy", args.rows, lambda: embedder.encode(x)),
        ("torch", args.rows, lambda: network.encode(x)),
        ("numpy, one row at a time", 200, lambda: [embedder.encode(x[i : i + 1]) for i in range(200)]),
    ]
    try:
        import onnxruntime
    except ImportError:
        return tasks
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    model = export_embedder(folder, scratch / "export") / "model.onnx"
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    tasks.append(
        ("onnxruntime", args.rows, lambda: batches(lambda some: session.run(None, {"vectors": some}), x, 4096))
    )
    return tasks


def text_tasks(args: argparse.Namespace, scratch: Path) -> list[Task]:
    """The text student, the teacher, and the teacher with the vector student behind it, on the same texts."""
    from sentence_transformers import SentenceTransformer

    from stillhouse.tasks.embed.export.numpy_embedder import NumpyEmbedder
    from stillhouse.tasks.embed.text import TextEmbedder

    teacher = SentenceTransformer(args.teacher, device="cpu")
    texts = read(args.texts, args.student_limit)
    few = texts[: args.limit]
    student = TextEmbedder.load(args.text_student or brief_student(scratch / "text", texts))
    vectors = NumpyEmbedder.load(
        args.student or random_student(scratch / "behind", teacher.encode("a").shape[0], tuple(args.hidden))
    )
    letters = np.mean([len(text) for text in few])
    print(f"\n{len(few)} texts for the teacher, {len(texts)} for the student; {letters:.0f} characters on average")
    return [
        ("text student", len(texts), lambda: student.encode(texts)),
        ("text student, same texts", len(few), lambda: student.encode(few)),
        ("text student, one at a time", len(few), lambda: [student.encode([text]) for text in few]),
        ("teacher", len(few), lambda: teacher.encode(few, batch_size=64)),
        ("teacher, then vector student", len(few), lambda: vectors.encode(teacher.encode(few, batch_size=64))),
        ("teacher, one at a time", 50, lambda: [teacher.encode(text) for text in few[:50]]),
    ]


def measure(unit: str, tasks: Sequence[Task], repeats: int) -> None:
    """Time the tasks in turn, `repeats` times over, after one round that nobody times."""
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in tasks}
    for turn in range(repeats + 1):
        for name, _, work in tasks:
            start = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    for name, count, _ in tasks:
        best, middle = min(seconds[name]), float(np.median(seconds[name]))
        print(f"  {name:32}{count / best:12,.0f} {unit}/s best{count / middle:12,.0f} median")


def batches(work: Callable[[np.ndarray], Any], x: np.ndarray, size: int) -> None:
    for start in range(0, len(x), size):
        work(x[start : start + size])


def random_student(folder: Path, width: int, hidden: tuple[int, int]) -> Path:
    """A vector student that learned nothing."""
    from stillhouse.tasks.embed.students import EmbeddingStudentConfig
    from stillhouse.tasks.embed.students.network import EmbeddingStudent, save_embedder

    x = np.random.default_rng(1).standard_normal((2 * width, width), dtype=np.float32)
    save_embedder(folder, EmbeddingStudent.from_vectors(EmbeddingStudentConfig(hidden=hidden), x))
    return folder


def brief_student(folder: Path, texts: list[str]) -> Path:
    """A text student of the usual size, fitted to random codes."""
    from stillhouse.tasks.embed.text import fit_text_student

    codes = np.random.default_rng(2).standard_normal((len(texts), 5), dtype=np.float32)
    card = {"levels": [5], "output": "euclidean"}
    held = np.arange(len(texts)) % 10 == 0
    fit_text_student(texts, codes, held, features=1 << 17, strengths=(1.0,), card=card).save(folder)
    return folder


def read(path: Path | None, limit: int) -> list[str]:
    """Texts of a file, over again until there are enough; made-up ones without a file."""
    if path is None:
        rng = np.random.default_rng(3)
        words = ["".join(rng.choice(list("aeioulnrst"), size=rng.integers(2, 9))) for _ in range(5000)]
        return [" ".join(words[i] for i in rng.integers(5000, size=rng.integers(5, 25))) for _ in range(limit)]
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        sys.exit(f"{path}: expected a text a line, got none")
    return (lines * -(-limit // len(lines)))[:limit]


if __name__ == "__main__":
    main()
