"""Parameters, state, operations and processor time of the document's teacher and students, in one process, beside its claims.

    python -m benchmarks.sar.costs

The networks are those of teacher-64.yaml and student-64.yaml; cost does not depend on weights, so nothing is trained. The teacher
is timed twice: as it is trained (it sees the whole scene, and has a second kernel for that), and made to stream like its students.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from benchmarks.sar.train import STUDENTS

from stillhouse.tasks.sar.compare import CLAIMS, documented_parameters, network_cost
from stillhouse.tasks.sar.documented import read_student

HERE = Path(__file__).parent


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    run = read_student(HERE / "student-64.yaml", HERE / "teacher-64.yaml", "none")
    student = run.student
    networks = {
        "teacher, whole scene": run.teacher,
        "teacher, streaming": replace(run.teacher, look_ahead=student.look_ahead),
    }
    for name in ("standard", "compressed", "tiny", "least"):
        width, state, layers, _ = STUDENTS[name]
        networks[name] = replace(student, model_dim=width, state_dim=state, num_layers=layers)
    print("| | parameters | fewer | public code | fewer | document | state, kB | complex MACs a pixel |", end=" ")
    print("ms a line, step form | less | ms a line, whole scene | less |\n|" + "---|" * 12, flush=True)
    first = None
    for name, config in networks.items():
        cost = network_cost(config.build().eval(), run.data.samples)
        cost["public"] = public = documented_parameters(replace(config, input_dim=2))
        if name == "teacher, streaming":
            first = cost

        def less(key: str, cost: dict = cost, first: dict | None = first) -> str:  # type: ignore[type-arg]
            return "" if first is None or not cost.get(key) else f"{100 * (1 - cost[key] / first[key]):.1f} %"

        step = cost.get("processor_ms_line")
        cells = (
            *(f"{cost['parameters']:,}", less("parameters"), f"{public:,}", less("public")),
            CLAIMS.get(name, ""),
            *(f"{cost['state_bytes'] / 1000:,.1f}", f"{cost['complex_macs']:,}"),
            *("" if step is None else f"{step:.3f}", less("processor_ms_line")),
            *(f"{cost['processor_ms_line_whole']:.4f}", less("processor_ms_line_whole")),
        )
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
