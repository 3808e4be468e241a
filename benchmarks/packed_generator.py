"""The packed generator against its teacher's `generate`, in one run on one machine: speed, bytes, and time per token to 10 000.

    python -m benchmarks.packed_generator --student runs/lm/student.packed.safetensors --teacher FOLDER_OR_HUB_NAME

Both take a token at a time, batch 1, greedy, in turn (student, teacher, student, teacher, ...), so that a busy machine slows both.
Seconds are processor time of this process: with OMP_NUM_THREADS=1 that is what one core needs, however many others want it.
Without --student a network of random weights of the default size is packed: speed then is that of its firing rates.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.tasks.lm.generator import SpikingGenerator
from stillhouse.tasks.lm.packed import PackedStudent, load_packed, pack_student


def random_student(vocabulary: int) -> PackedStudent:
    """The default network at its start."""
    from stillhouse.tasks.lm.students import SpikingLMConfig

    return pack_student(SpikingLMConfig(vocab_size=vocabulary).build())


def student_seconds(generator: SpikingGenerator, count: int) -> float:
    """Processor seconds a token of a greedy continuation; tokens are made in any case."""
    began = time.process_time()
    generator.generate([1], count)
    return (time.process_time() - began) / count


def state_bytes(generator: SpikingGenerator) -> int:
    """What it keeps of the text."""
    return sum(array.nbytes for layer in generator.state for array in layer)


def flatness(generator: SpikingGenerator, total: int, pieces: int = 10) -> list[dict[str, float]]:
    """Median seconds a token and state bytes in each piece of one long text."""
    token, made = 1, []
    for piece in range(pieces):
        seconds = []
        for _ in range(total // pieces):
            began = time.process_time()
            token = int(generator.step(token).argmax())
            seconds.append(time.process_time() - began)
        made.append(
            {
                "tokens": (piece + 1) * (total // pieces),
                "microseconds": 1e6 * statistics.median(seconds),
                "state_bytes": state_bytes(generator),
            }
        )
    return made


def load_teacher(name: str) -> Any:
    """A causal language model of transformers in eval mode, float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(name).eval().float()


def teacher_seconds(teacher: Any, count: int) -> float:
    """The same of the teacher's own `generate`, with its cache of keys and values."""
    import torch

    prompt = torch.ones(1, 1, dtype=torch.int64)
    began = time.process_time()
    with torch.no_grad():
        teacher.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
    return (time.process_time() - began) / count


def compare(packed: PackedStudent, teacher: Any, *, count: int, rounds: int) -> dict[str, Any]:
    """Medians over rounds that take turns."""
    generator = SpikingGenerator(packed)
    generator.generate([1], 3)  # compiles
    seconds: dict[str, list[float]] = {"student": [], "teacher": []}
    for _ in range(rounds):
        seconds["student"].append(student_seconds(generator, count))
        if teacher is not None:
            seconds["teacher"].append(teacher_seconds(teacher, count))
    layers = generator.linear.values()
    said: dict[str, Any] = {
        "student": {
            "tokens_per_second": 1 / statistics.median(seconds["student"]),
            "weight_bytes": sum(x.rows.nbytes for x in layers) + sum(x.nbytes for x in generator.plain.values()),
            "state_bytes": state_bytes(generator),
            "silent_rows": 1 - sum(x.reads for x in layers) / sum(x.chances for x in layers),
        }
    }
    if teacher is not None:
        own = sum(p.numel() * p.element_size() for p in teacher.parameters())
        said["teacher"] = {"tokens_per_second": 1 / statistics.median(seconds["teacher"]), "weight_bytes": own}
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--student", type=Path, help="packed student; none: random weights")
    parser.add_argument("--teacher", help="folder or hub name of a causal language model of transformers")
    parser.add_argument("--tokens", type=int, default=100, help="tokens of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--total", type=int, default=10_000, help="tokens of the long text; 0: none")
    parser.add_argument("--vocabulary", type=int, default=4096, help="of the random student")
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()
    packed = load_packed(arguments.student) if arguments.student else random_student(arguments.vocabulary)
    teacher = load_teacher(arguments.teacher) if arguments.teacher else None
    said = compare(packed, teacher, count=arguments.tokens, rounds=arguments.rounds)
    if arguments.total:
        said["long_text"] = flatness(SpikingGenerator(packed), arguments.total)
    said["machine"] = {"processor": platform.processor() or platform.machine(), "numpy": np.__version__}
    text = json.dumps(said, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
