"""What was run, and the few numbers that a reader looks for first."""

from __future__ import annotations

from stillhouse.report import tables
from stillhouse.report.read import RunFolder, mapping, number
from stillhouse.report.words import GAP, percent, plain, size


def tiles(run: RunFolder, order: list[str]) -> list[tuple[str, str, str]]:
    """The few numbers that a reader looks for first: (number, what it is, beside what)."""
    arms = tables.arm_estimates(run)
    compared = [str(row.get("arm")) for row in run.comparisons]
    taught = next((arm for arm in compared if arm in arms), order[0] if order else "")
    estimate, student = mapping(mapping(arms.get(taught)).get("accuracy")), mapping(run.summary.get("student"))
    found = []
    if number(estimate.get("mean")) is not None:
        found.append((percent(estimate["mean"]), f"of test images right: the student ({taught})", ""))
    score = number(run.teacher.get("test_score"))
    if score is not None:
        found.append((percent(score), f"the teacher ({run.teacher.get('name', 'unnamed')})", ""))
    own, teacher = number(student.get("params")), number(run.teacher.get("params"))
    if own:
        beside = f"{plain(teacher / own, 2)} times fewer than the teacher" if teacher and teacher > own else ""
        found.append((tables.large(own), "parameters in the student", beside))
    if number(student.get("bytes_on_disk")):
        found.append((size(student["bytes_on_disk"]), "the student on disk", ""))
    if number(student.get("ms_batch_1")):
        found.append((f"{plain(student['ms_batch_1'])}{GAP}ms", "for one image, measured", ""))
    return found


def facts(run: RunFolder) -> list[tuple[str, list[str]]]:
    """What was run, as (name, lines)."""
    sizes, teacher = mapping(run.data.get("sizes")), run.teacher
    found: list[tuple[str, list[str]]] = []
    if run.data:
        counts = ", ".join(f"{plain(sizes[split])} {split}" for split in sizes)
        lines = [str(run.data.get("name", "unnamed")), f"{counts} images" if counts else ""]
        shape = run.data.get("image_shape")
        if isinstance(shape, list) and len(shape) == 3:
            channels = f"{shape[0]} channel{'s' * (shape[0] != 1)}"
            lines.append(f"{len(run.class_names)} classes, {shape[1]} \u00d7 {shape[2]} pixels, {channels}")
        lines.append(f"sha256 {run.data['sha256']}" if run.data.get("sha256") else "")
        found.append(("Data", lines))
    if teacher:
        scores = [("score", "score"), ("chance", "chance"), ("ece", "ECE")]
        held = ", ".join(
            f"{word} {percent(teacher[key])}" for key, word in scores if number(teacher.get(key)) is not None
        )
        lines = [str(teacher.get("name", "unnamed")), f"validation: {held}" if held else ""]
        if number(teacher.get("test_score")) is not None:
            lines.append(f"test: score {percent(teacher['test_score'])}, ECE {percent(teacher.get('test_ece'))}")
        lines += [f"check: {teacher['status']}" if teacher.get("status") else ""]
        found.append(("Teacher", lines))
    elif run.summary or run.run:
        found.append(("Teacher", ["none"]))
    config = mapping(run.run.get("config"))
    student = mapping(config.get("student"))
    lines = [str(student.get("kind", "")), _params(run)]
    if any(lines):
        found.append(("Student", lines))
    named = run.summary.get("seeds")
    seeds = named if isinstance(named, list) else sorted({seed.seed for runs in run.arms.values() for seed in runs})
    if seeds:
        found.append(("Seeds", [", ".join(str(seed) for seed in seeds)]))
    if machine(run):
        found.append(("Machine", [machine(run)]))
    versions = mapping(run.summary.get("versions")) or mapping(run.run.get("versions"))
    if versions:
        found.append(("Versions", [", ".join(f"{name}{GAP}{version}" for name, version in versions.items())]))
    return [(name, [line for line in lines if line]) for name, lines in found]


def _params(run: RunFolder) -> str:
    params = mapping(run.summary.get("student")).get("params")
    return f"{plain(params, 7)} parameters" if number(params) is not None else ""


def machine(run: RunFolder) -> str:
    """Processor, cores and system that run.json, else summary.json, names; empty where neither names one."""
    found = mapping(run.run.get("machine")) or mapping(run.summary.get("machine"))
    cores = number(found.get("cores"))
    named = [found.get("cpu"), f"{plain(cores)} core{'s' * (cores != 1)}" if cores else "", found.get("system")]
    return ", ".join(str(part) for part in named if part)
