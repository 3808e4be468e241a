"""Every shell block, inline command and Python snippet of the five documents, run as printed in a folder of `stillhouse documents`.

python -m benchmarks.documents --documents FOLDER --out runs/documents [--only 000:76 001] [--wheel FILE] [--real] [--list]

Only sizes are cut (STILLHOUSE_DOCUMENTS_SIZE=tiny: rows and epochs), unless --real is given. Commands run in the order of the
documents in one folder, by a Python environment made for it, which has this source or a wheel of it. What the documents take from
elsewhere is put where their programs look for it: MNIST from --data; in place of CIFAR-10 coloured squares in CIFAR-10's files, in
place of timm's weights from the hub untrained ones of the same networks (no figure of these runs means anything). The table goes to
OUT/table.md.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import stillhouse  # noqa: F401 - torchvision beside a torch for CPUs

ROOT = Path(__file__).parents[1]
SEEDS = ROOT / ".." / "shared" / "seeds"
COMMANDS = ("python", "python3", "pytest", "source", "export", "pip", "tensorboard")
NAMED_FILE = re.compile(r"[\w./]+\.(?:py|yaml|md|THIS|txt)")


@dataclass(frozen=True)
class Item:
    """Something in a document that a reader can run.

    Attributes:
        document: its number, as 000.
        line: where it begins, from 1.
        kind: shell (a block), inline (a command in the text), python (a block), yaml (a block), file (a program that is named).
        text: as printed.
    """

    document: str
    line: int
    kind: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.document}:{self.line}"


CANNOT = {  # part of an item's text: why nobody can run it as printed
    "# generates overlays without": (
        "a comment after a line's backslash: a shell ends the command there (without the comment it runs)"
    ),
    "wandb login": "wants an account of Weights & Biases; its last line ends in `...`",
}
GIVEN = {  # part of a snippet's text: names that its document leaves to the reader's program
    "class LearnableTemperature": "import torch\nfrom torch import nn",
    "temp_module is not None": (
        "from types import SimpleNamespace\ntemp_module = LearnableTemperature()\nT = temp_module()\n"
        "cfg = SimpleNamespace(temperature=2.0)"
    ),
    "get_model_from_configs(**student_config)": "import torch\ninput_data = torch.randn(1, 128, 2, dtype=torch.complex64)",
    "student_coarse": (
        "from atlas.training import distill_loss\nstudent_coarse, teacher_coarse = torch.randn(16, 5), torch.randn(16, 1536)\n"
        "student_fine, teacher_fine = torch.randn(16, 25), torch.randn(16, 1536)"
    ),
}


def items_of(text: str, document: str) -> Iterator[Item]:
    """What a document prints for running, in its order.

    Example:
        >>> page = "Run `python a.py --x`, of `a.py`:\\n```bash\\npython b.py\\n```\\n"
        >>> [(item.line, item.kind, item.text) for item in items_of(page, "000")]
        [(1, 'inline', 'python a.py --x'), (1, 'file', 'a.py'), (2, 'shell', 'python b.py')]
    """
    kinds = {"bash": "shell", "sh": "shell", "python": "python", "yaml": "yaml"}
    fence: tuple[int, str] | None = None
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if fence is None:
                fence, body = (number, line[3:].strip()), []
                continue
            if fence[1] in kinds:
                yield Item(document, fence[0], kinds[fence[1]], "\n".join(body))
            fence = None
        elif fence is not None:
            body.append(line)
        else:
            for span in re.findall(r"`([^`]+)`", line):
                if span.split()[0] in COMMANDS and len(span.split()) > 1:
                    yield Item(document, number, "inline", span)
                elif NAMED_FILE.fullmatch(span):
                    yield Item(document, number, "file", span)


def all_items(folder: Path) -> list[Item]:
    """Of every document of a folder, whose files begin with their number."""
    return [
        item for path in sorted(folder.glob("00*.txt")) for item in items_of(path.read_text("utf-8"), path.name[:3])
    ]


def reason_against(item: Item) -> str | None:
    return next((why for words, why in CANNOT.items() if words in item.text), None)


def given_to(item: Item) -> str | None:
    return next((code for words, code in GIVEN.items() if words in item.text), None)


# ---------------------------------------------------------------------------------------------- the reader's machine


def make_environment(place: Path, wheel: Path | None = None) -> Path:
    """A Python environment with this source or a wheel, the packages of the running Python, and scripts for them; gives its bin.

    A wheel is installed by pip, without what it needs: these packages are found where the running Python has them.
    """
    folder = place / "environment"
    if not (folder / "bin" / "pytest").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        site = next((folder / "lib").glob("python*")) / "site-packages"
        source = [str(ROOT / "src")] if wheel is None else []
        packages = [path for path in sys.path if path.endswith("site-packages")]
        (site / "here.pth").write_text("\n".join([*source, *packages]) + "\n")
        scripts = {"stillhouse": "stillhouse.cli.main", "pytest": "pytest", "tensorboard": "tensorboard.main"}
        if wheel is not None:
            del scripts["stillhouse"]  # its own
            words = [str(folder / "bin" / "pip"), "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel)]
            subprocess.run(words, check=True, capture_output=True)
        for name, module in scripts.items():
            call = "run_main" if name == "tensorboard" else "main"
            script = folder / "bin" / name
            script.write_text(f"#!{folder}/bin/python\nimport sys\nfrom {module} import {call}\nsys.exit({call}())\n")
            script.chmod(0o755)
    return folder / "bin"


def make_data(place: Path, mnist: Path | None) -> Path:
    """A folder for `STILLHOUSE_DATA`: MNIST's files, and CIFAR-10's with coloured squares in them, a colour a class."""
    folder = place / "data"
    folder.mkdir(parents=True, exist_ok=True)
    if mnist is not None and not (folder / "MNIST").exists():
        (folder / "MNIST").symlink_to((mnist / "MNIST").resolve())
    cifar = folder / "cifar-10-batches-py"
    if not cifar.is_dir():
        cifar.mkdir()
        drawn = np.random.default_rng(0)
        colours = drawn.integers(0, 256, (10, 3))
        for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
            labels = np.arange(2000) % 10
            noise = drawn.integers(-40, 40, (2000, 3, 1024))
            pixels = np.clip(colours[labels][:, :, None] + noise, 0, 255).astype(np.uint8)
            (cifar / name).write_bytes(pickle.dumps({"data": pixels.reshape(2000, 3072), "labels": labels.tolist()}))
        (cifar / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {n}" for n in range(10)]}))
    return folder


def make_weights(place: Path, names: set[str]) -> Path:
    """A folder for `HF_HOME` with untrained weights of timm's networks, where the hub's would lie."""
    import timm
    import torch
    from safetensors.torch import save_file

    home = place / "hub"
    for name in sorted(names):
        hub = str(timm.get_pretrained_cfg(name).hf_hub_id).replace("/", "--")  # type: ignore[union-attr]
        cached = home / "hub" / f"models--{hub}"
        file = cached / "snapshots" / ("0" * 40) / "model.safetensors"
        if not file.is_file():
            torch.manual_seed(0)
            file.parent.mkdir(parents=True)
            (cached / "refs").mkdir()
            (cached / "refs" / "main").write_text("0" * 40)
            save_file({n: x.contiguous() for n, x in timm.create_model(name).state_dict().items()}, str(file))
    return home


# ---------------------------------------------------------------------------------------------- running

SESSION = """
import contextlib, io, json, sys, traceback
scope, found = {"__name__": "__main__"}, []
for given, text in json.load(open(sys.argv[1])):
    out, error = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(out):
            if given:
                exec(given, scope)
            exec(text, scope)
    except BaseException:
        error = traceback.format_exc()
    found.append([error, out.getvalue()])
json.dump(found, open(sys.argv[2], "w"))
"""


def run_snippets(items: list[Item], folder: Path, env: dict[str, str]) -> list[dict[str, object]]:
    """A document's Python snippets one after another in one session, as its reader would have them."""
    asked, answered = folder / ".asked.json", folder / ".answered.json"
    asked.write_text(json.dumps([[given_to(item), item.text] for item in items]))
    started = time.monotonic()
    words = [shutil.which("python", path=env["PATH"]) or "python", "-c", SESSION, str(asked), str(answered)]
    subprocess.run(words, cwd=folder, env=env, check=True, timeout=1800)
    seconds = time.monotonic() - started
    found = json.loads(answered.read_text())
    return [
        {"status": 0 if error is None else 1, "output": (error or "") + out, "seconds": seconds / len(items)}
        for error, out in found
    ]


def run_shell(text: str, folder: Path, env: dict[str, str], limit: float) -> dict[str, object]:
    """A block by bash, which ends at the first command that fails; a server is stopped once it answers."""
    started = time.monotonic()
    serves = "tensorboard" in text
    words = ["timeout", "--signal=INT", str(40 if serves else limit), "bash", "-e", "-c", text]
    done = subprocess.run(
        words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    answered = serves and "http://" in done.stdout
    return {"status": 0 if answered else done.returncode, "output": done.stdout, "seconds": time.monotonic() - started}


def check_yaml(item: Item, folder: Path) -> dict[str, object]:
    """The printed settings are those of the file that they belong to."""
    import yaml

    printed = yaml.safe_load(item.text)
    there = yaml.safe_load((folder / "training" / "s4_ssm_student.yaml").read_text())
    missing = {key for block, settings in printed.items() for key in settings if there[block].get(key) != settings[key]}
    return {"status": len(missing), "output": f"differ: {sorted(missing)}" if missing else "", "seconds": 0.0}


def find_file(item: Item, folder: Path, python: Path) -> dict[str, object]:
    """A file that is named lies in the folder, or in the installed package of the documents."""
    asked = [str(python), "-c", "import fptm_ste; print(*fptm_ste.__path__)"]
    installed = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    homes = (folder, Path(installed))
    there = any((home / item.text).is_file() or list(home.rglob(Path(item.text).name)) for home in homes)
    return {"status": 0 if there else 1, "output": "" if there else f"no {item.text}", "seconds": 0.0}


def verdict(item: Item, found: dict[str, object] | None) -> str:
    why = reason_against(item)
    if why is not None:
        return f"cannot: {why}" + ("" if found is None or found["status"] else " BUT IT RAN")
    if found is None:
        return "not run"
    if found["status"]:
        return f"FAILS ({found['status']}): {str(found['output']).strip().splitlines()[-1:]}"
    if item.kind in {"yaml", "file"}:
        return "is there"
    if given_to(item):
        return "runs, given names that the document leaves to the reader"
    return "runs as printed"


def table(rows: list[tuple[Item, dict[str, object] | None]]) -> str:
    lines = ["| where | what | begins | verdict | s |", "|---|---|---|---|---|"]
    for item, found in rows:
        first = next((line for line in item.text.splitlines() if line.strip() and not line.startswith("#")), "")
        words = first.strip().rstrip("\\").strip().replace("|", "\\|")
        seconds = "" if found is None else f"{float(str(found['seconds'])):.0f}"
        lines.append(f"| {item.name} | {item.kind} | `{words[:70]}` | {verdict(item, found)} | {seconds} |")
    counts: dict[str, int] = {}
    for item, found in rows:
        word = f"{item.kind}: {verdict(item, found).partition(':')[0].partition(',')[0].partition(' (')[0]}"
        counts[word] = counts.get(word, 0) + 1
    return "\n".join([*lines, "", *(f"- {word}: {count}" for word, count in sorted(counts.items()))]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path, default=SEEDS, help="folder of 000_*.txt to 004_*.txt")
    parser.add_argument("--data", type=Path, help="folder that holds MNIST/raw [STILLHOUSE_ASSETS/data]")
    parser.add_argument("--out", type=Path, default=Path("runs/documents"))
    parser.add_argument("--only", nargs="+", default=[], help="documents or items: 001, 000:78")
    parser.add_argument("--wheel", type=Path, help="install this, and use nothing of the checkout but this program")
    parser.add_argument("--real", action="store_true", help="sizes, data and weights as printed")
    parser.add_argument("--limit", type=float, default=900, help="seconds a command may take")
    parser.add_argument("--list", action="store_true", help="print the items and stop")
    options = parser.parse_args()
    items = all_items(options.documents)
    chosen = [item for item in items if not options.only or {item.document, item.name} & set(options.only)]
    if options.list:
        print(table([(item, None) for item in chosen]))
        return 0
    place = options.out.resolve()
    place.mkdir(parents=True, exist_ok=True)
    binaries = make_environment(place, options.wheel)
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    env |= {"PATH": f"{binaries}:{env['PATH']}"}
    if not options.real:
        data = options.data or Path(os.environ.get("STILLHOUSE_ASSETS", ROOT / ".." / "shared" / "assets")) / "data"
        used = set(re.findall(r"--distill-teacher-timm (\w+)", "\n".join(item.text for item in chosen)))
        env |= {
            "STILLHOUSE_DOCUMENTS_SIZE": "tiny",
            "STILLHOUSE_DATA": str(make_data(place, data if (data / "MNIST").is_dir() else None)),
            "HF_HOME": str(make_weights(place, used)),
            "HF_HUB_OFFLINE": "1",
        }
    folder = place / "folder"
    subprocess.run([str(binaries / "stillhouse"), "documents", str(folder)], env=env, check=True)
    kept = place / "found.json"
    found: dict[str, dict[str, object]] = json.loads(kept.read_text()) if kept.is_file() else {}
    for document in dict.fromkeys(item.document for item in chosen):
        mine = [item for item in chosen if item.document == document]
        for item in mine:
            key = f"{item.name} {item.text[:60]}"
            if key in found or item.kind == "python" or "wandb login" in item.text:
                continue
            print(f"{item.name}: {item.text.splitlines()[0][:100]}", flush=True)
            if item.kind in {"shell", "inline"}:
                found[key] = run_shell(item.text, folder, env, options.limit)
            else:
                found[key] = (
                    check_yaml(item, folder) if item.kind == "yaml" else find_file(item, folder, binaries / "python")
                )
            print(f"  {verdict(item, found[key])} ({float(str(found[key]['seconds'])):.0f} s)", flush=True)
            kept.write_text(json.dumps(found, indent=1))
        snippets = [item for item in mine if item.kind == "python"]
        if snippets:
            for item, one in zip(snippets, run_snippets(snippets, folder, env), strict=True):
                found[f"{item.name} {item.text[:60]}"] = one
                print(f"{item.name}: {verdict(item, one)}", flush=True)
        kept.write_text(json.dumps(found, indent=1))
    rows = [(item, found.get(f"{item.name} {item.text[:60]}")) for item in chosen]
    (place / "table.md").write_text(table(rows))
    (place / "items.json").write_text(json.dumps([asdict(item) for item, _ in rows], indent=1))
    print(table(rows))
    return int(any("FAILS" in verdict(item, one) or "BUT" in verdict(item, one) for item, one in rows))


if __name__ == "__main__":
    raise SystemExit(main())
