"""An embedding run from configuration to report: open, train every student and seed, fit every control, judge, say what helped.

OUT/
  run.json, graph.npz                 what was run; neighbours of the training rows
  arms/student/seed-K/                a vector student (student.safetensors, card.json), records, checkpoint, codes, figures
  arms/near-W/seed-0/                 one of another neighbor weight W: a point of the frontier
  arms/text/seed-K/                   a text student
  arms/pca/seed-0/, arms/umap/...     controls: codes and figures
  student/, text-student/             the best seed by validation: what is used
  summary.json, report.html
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.config import to_mapping
from stillhouse.core.records import arm_folder, open_run_folder, read_json, write_json
from stillhouse.families.embed.judge import best_seed, summarize, teacher_figures
from stillhouse.families.embed.material import Material, graph_of, open_material, split_digest, teacher_folder
from stillhouse.families.embed.plan import STUDENT, TEXT, EmbedRunConfig
from stillhouse.families.embed.students.network import load_embedder
from stillhouse.families.embed.train import OnProgress, data_facts, fit_control, train_student, train_text, tree_scale
from stillhouse.training.device import check_device
from stillhouse.training.threads import use_threads

KIND = "embed"
SHIPPED, SHIPPED_TEXT = "student", "text-student"
PACKAGES = {"umap": ("umap", "'stillhouse[embeddings]'"), "pacmap": ("pacmap", "pacmap")}
Say = Callable[[str], None]


def distill(
    config: EmbedRunConfig,
    out: Path,
    *,
    resume: bool = False,
    command: str | None = None,
    say: Say = lambda line: None,
    on_progress: OnProgress = lambda arm, seed, progress, news: None,
) -> dict[str, Any]:
    """Train and judge everything that a run asks for, and write its report.

    Args:
        config: the run as one value.
        out: run folder; made, or gone on with if `resume`.
        resume: finished arms are kept, an unfinished training goes on from its checkpoint. Seeds, anchors and points of the
            frontier may be added.
        command: what to print as the command that reproduces the run.
        say: told a line for each stage.
        on_progress: told the progress of each training.

    Returns:
        What `summary.json` holds.

    Raises:
        InputError: data, folder or settings do not fit, a package of an anchor is missing.
        Interrupted: stopped on request, state saved.
    """
    from stillhouse.families.embed.report import write_embedding_report

    open_run_folder(out, to_mapping(config), resume=resume, may_grow=("seeds", "anchors", "frontier", "text"))
    check_device(config.training.device)
    use_threads(config.training.threads)
    _check_packages(config)
    if config.text is not None and config.text.student.tokens == "pieces" and teacher_folder(config) is None:
        raise InputError(
            "text.teacher: expected the teacher's folder, whose word pieces the text student reads; name it, or take "
            "text.student.tokens: hash (with start: random)"
        )
    material = open_material(config)
    about = _about(config, material, command)
    _same_data(out, about)
    write_json(out / records.RUN, about)
    sizes = material.data.sizes
    say(
        f"{material.data.name}: "
        + ", ".join(f"{count:,} {split}" for split, count in sizes.items())
        + f" vectors of {material.data.width}"
    )
    graph = graph_of(config, material, out, say)

    def todo(arm: str, seed: int) -> bool:
        return not (resume and (arm_folder(out, arm, seed) / records.RESULT).is_file())

    for arm, lesson in config.trained.items():
        for seed in range(config.seeds_of(arm)):
            if todo(arm, seed):
                train_student(config, lesson, arm, seed, material, graph, out, resume=resume, on_progress=on_progress)
    for seed in range(config.seeds if config.text else 0):
        if todo(TEXT, seed):
            train_text(config, seed, material, out, resume=resume, on_progress=on_progress)
    for arm in config.anchors:
        for seed in range(config.seeds_of(arm)):
            if todo(arm, seed):
                fit_control(config, arm, seed, material, out, on_progress=on_progress)
    _ship(config, material, out)
    more = {key: about[key] for key in ("command", "versions", "machine", "data")}
    summary = {**summarize(config, out, teacher_figures(material)), **more}
    write_json(out / records.SUMMARY, summary)
    say(f"report: {write_embedding_report(out)}")
    return summary


def _ship(config: EmbedRunConfig, material: Material, out: Path) -> None:
    """Copy the best seed by validation to where it is looked for, with its test figures and the scale of its trees."""
    chosen = best_seed(config, out, STUDENT)
    source = arm_folder(out, STUDENT, chosen)
    scale = tree_scale(config, material, load_embedder(source))
    _copy(
        source, out / SHIPPED, (records.STUDENT,), {"seed": chosen, **({} if scale is None else {"tree_scale": scale})}
    )
    if config.text:
        from stillhouse.families.embed.students.text_config import WEIGHTS
        from stillhouse.families.embed.students.words import TOKENIZER

        chosen = best_seed(config, out, TEXT)
        _copy(arm_folder(out, TEXT, chosen), out / SHIPPED_TEXT, (WEIGHTS, TOKENIZER), {"seed": chosen})


def _copy(source: Path, target: Path, files: tuple[str, ...], more: dict[str, Any]) -> None:
    """Weights, then the card, which says that all is there."""
    target.mkdir(parents=True, exist_ok=True)
    (target / records.CARD).unlink(missing_ok=True)
    for name in files:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    card, result = read_json(source / records.CARD), read_json(source / records.RESULT)
    metrics = {**card.get("metrics", {}), **result["metrics"]}
    write_json(target / records.CARD, {**card, "metrics": metrics, **more})


def _about(config: EmbedRunConfig, material: Material, command: str | None) -> dict[str, Any]:
    return {
        "kind": KIND,
        "config": to_mapping(config),
        "command": command or records.command_line(),
        "versions": records.versions(),
        "machine": records.machine(),
        "data": {**data_facts(material), "splits_sha256": split_digest(material.data)},
    }


def _same_data(out: Path, about: dict[str, Any]) -> None:
    """On resume: other vectors under the same path would be judged beside students that never saw them."""
    if (out / records.RUN).is_file():
        was = read_json(out / records.RUN).get("data", {})
        for key, what in (("sha256", "vectors"), ("splits_sha256", "splits")):
            if was.get(key) not in (None, about["data"][key]):
                raise InputError(f"{out}: --resume needs the data of the run, got other {what}; choose another --out")


def _check_packages(config: EmbedRunConfig) -> None:
    """Before anything is trained: an anchor that cannot be fitted would be found out at the end."""
    from importlib.util import find_spec

    for name in config.anchors:
        module, wanted = PACKAGES.get(name, (None, ""))
        if module is not None and find_spec(module) is None:
            raise InputError(
                f"anchors: {name!r} needs a package that is not installed: pip install {wanted}; or leave it out"
            )
