"""Other tools for clauses and logic beside ours, each trained to the same accuracy on MNIST and timed from bytes to class.

    python -m benchmarks.logic.opponents --data FOLDER --out FOLDER        every tool that has no figures in --out yet
    python -m benchmarks.logic.opponents --data FOLDER --out FOLDER --only tmu --again
    python -m benchmarks.logic.opponents --out FOLDER --table              only print the table

Every tool trains until it has reached --target on 5 000 training images that it does not learn from, or until --seconds are over;
20 000 images are learned from. Each lives in an environment of its own below --cache, which is made here; one that cannot be
installed, or fails, is reported with its error, and the rest goes on. One thread each. What is timed takes bytes (B, 784) and gives
classes, so thresholds and packing are inside; `ready` leaves them out where a tool has a form of its own for its input.
One JSON file per tool; a file that is there is kept.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = {  # what is installed, beside the tool's own needs
    "torchlogix": ["torchlogix", "numpy", "setuptools"],
    "green-tsetlin": ["green-tsetlin", "numpy<2"],
    "tmu": ["tmu", "numpy<2"],
    "pyTsetlinMachine": ["pyTsetlinMachine", "numpy<2"],
}
NEWER = ("torchlogix",)  # its source does not parse with Python 3.11
TOOLS = ("stillhouse", *PACKAGES)
TRAIN, HELD = 20_000, 5_000
DARK = 75  # Tsetlin tools read a pixel as 1 above this, as their own MNIST examples do
PUBLISHED = (
    "| Tsetlin.jl, fuzzy (published, arXiv 2508.08350) | 98 with 20 clauses a class | - | - | 38 M on 32 threads | - | - | - |",
    "| Tsetlin.jl, crisp (published, until 2025-05) | - | - | - | 208 M on the 16 cores of a 7950X3D | - | - | - |",
)

Classes = Callable[[np.ndarray], np.ndarray]


@dataclass
class Trained:
    """A trained tool.

    Attributes:
        classes: (B, 784) bytes to (B) classes.
        size: bytes of its saved form.
        load: reads that form; timed.
        about: what it consists of.
        ready: prepares an input of its own, and takes it.
    """

    classes: Classes
    size: int
    load: Callable[[], object]
    about: str
    ready: tuple[Callable[[np.ndarray], Any], Callable[[Any], object]] | None = None


@dataclass
class Data:
    """Bytes (B, 784) and classes."""

    images: np.ndarray
    labels: np.ndarray
    held: np.ndarray
    held_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def mnist(folder: Path) -> Data:
    """The four files of MNIST, wherever they lie below a folder."""

    def read(name: str, skip: int) -> np.ndarray:
        found = next(path for path in sorted(folder.rglob(name)) if "Fashion" not in str(path))
        return np.frombuffer(found.read_bytes()[skip:], np.uint8)

    images, labels = read("train-images-idx3-ubyte", 16).reshape(-1, 784), read("train-labels-idx1-ubyte", 8)
    test, test_labels = read("t10k-images-idx3-ubyte", 16).reshape(-1, 784), read("t10k-labels-idx1-ubyte", 8)
    return Data(images[:TRAIN], labels[:TRAIN], images[-HELD:], labels[-HELD:], test, test_labels)


class Training:
    """Epochs until the target is reached or the time is over."""

    def __init__(self, data: Data, target: float, seconds: float) -> None:
        self.data, self.target, self.seconds = data, target, seconds
        self.began, self.epochs, self.reached = time.perf_counter(), 0, 0.0

    def goes_on(self, classes: Classes) -> bool:
        """Asked after every epoch."""
        self.epochs += 1
        self.reached = float((classes(self.data.held) == self.data.held_labels).mean())
        took = time.perf_counter() - self.began
        print(f"epoch {self.epochs}: {self.reached:.4f} after {took:.0f} s", file=sys.stderr, flush=True)
        return self.reached < self.target and took < self.seconds


def stillhouse(training: Training, folder: Path) -> Trained:
    """A flat machine of fuzzy clauses (LF 8, at most 32 literals), labels alone."""
    import torch
    from torch.nn.functional import cross_entropy

    from stillhouse.families.clauses.lower import lower
    from stillhouse.families.clauses.students.flat import FlatTM
    from stillhouse.logic.engine import MachineEvaluator
    from stillhouse.logic.packed import load_packed, save_packed
    from stillhouse.logic.passes import simplify

    torch.manual_seed(0)
    model = FlatTM(
        image_size=28, in_channels=1, num_classes=10, clauses=1000, rule={"failures": 8, "literals": 32}
    )  # fmt: skip
    data = training.data
    images = torch.from_numpy(data.images.copy()).float().div(255).reshape(-1, 1, 28, 28)
    labels = torch.from_numpy(data.labels.astype(np.int64))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def dense(pixels: np.ndarray) -> np.ndarray:
        model.eval()
        with torch.inference_mode():
            found = model(torch.from_numpy(pixels.copy()).float().div(255).reshape(-1, 1, 28, 28)).argmax(1).numpy()
        model.train()
        return np.asarray(found)

    model.train()
    while True:
        for rows in torch.randperm(len(images)).split(128):
            optimizer.zero_grad()
            cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
        if not training.goes_on(dense):
            break
    model.eval()
    machine = lower(model)
    small, _ = simplify(machine.layers[0])
    machine = type(machine)(machine.image_shape, machine.edges, (small,), (), machine.class_names)
    path = save_packed(machine, folder / "packed.safetensors")
    evaluator = MachineEvaluator(load_packed(path))

    def classes(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(evaluator.scores(pixels.reshape(-1, 1, 28, 28)).argmax(1))

    about = f"{small.num_clauses} fuzzy clauses (LF 8), {len(small.literals)} literals; packed"
    return Trained(classes, path.stat().st_size, lambda: load_packed(path), about)


def torchlogix(training: Training, folder: Path) -> Trained:
    """Two layers of 4 000 two-input gates over pixels above 0, compiled by gcc for 64 images a word."""
    import torch
    from torch.nn.functional import cross_entropy
    from torchlogix import Circuit
    from torchlogix.layers import GroupSum, LogicDense

    torch.manual_seed(0)
    width = 4000
    model = torch.nn.Sequential(LogicDense(784, width), LogicDense(width, width), GroupSum(k=10, tau=10))
    data = training.data
    images = torch.from_numpy((data.images > 0).astype(np.float32))
    labels = torch.from_numpy(data.labels.astype(np.int64))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def hard(pixels: np.ndarray) -> np.ndarray:
        model.eval()
        with torch.inference_mode():
            found = model(torch.from_numpy((pixels > 0).astype(np.float32))).argmax(1).numpy()
        model.train()
        return np.asarray(found)

    while True:
        for rows in torch.randperm(len(images)).split(128):
            optimizer.zero_grad()
            cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
        if not training.goes_on(hard):
            break
    circuit = Circuit.from_model(model, input_shape=(784,))
    circuit.simplify()
    circuit.compile(opt_level=1, pack_bits=64)
    library = Path(circuit._lib._name)

    def classes(pixels: np.ndarray) -> np.ndarray:
        short = -len(pixels) % 64  # it takes whole words only
        bits = np.ascontiguousarray(np.pad(pixels > 0, [(0, short), (0, 0)]))
        return np.asarray(circuit(bits, use_compiled=True)[: len(pixels)].argmax(1))

    def load() -> object:
        copy = folder / f"circuit-{time.perf_counter_ns()}.so"  # a library that is open already is not read again
        copy.write_bytes(library.read_bytes())
        return ctypes.CDLL(str(copy))

    ready = (
        lambda pixels: np.ascontiguousarray(np.pad(pixels > 0, [(0, -len(pixels) % 64), (0, 0)])),
        lambda bits: circuit(bits, use_compiled=True).argmax(1),
    )
    about = f"2 x {width} gates, {len(circuit.gates)} after its own simplification; gcc -O1, 64 images a word"
    return Trained(classes, library.stat().st_size, load, about, ready)


def green_tsetlin(training: Training, folder: Path) -> Trained:
    """A coalesced machine of 1 000 clauses, by its predictor: gcc -O2 did not end on the C that it writes in five busy minutes."""
    import green_tsetlin as gt

    data, state = training.data, folder / "state.npz"

    def bits(pixels: np.ndarray) -> np.ndarray:
        return (pixels > DARK).astype(np.uint8)

    labels = data.labels.astype(np.uint32)
    while True:
        machine = gt.TsetlinMachine(
            n_literals=784, n_clauses=1000, n_classes=10, s=10.0, threshold=1500, literal_budget=32
        )  # fmt: skip
        if state.exists():  # a machine trains once: the next one goes on from its state
            machine.load_state(str(state))
        trainer = gt.Trainer(machine, seed=training.epochs + 1, n_jobs=1, n_epochs=1, progress_bar=False)
        trainer.set_train_data(bits(data.images), labels)
        trainer.set_eval_data(bits(data.held[:500]), data.held_labels[:500].astype(np.uint32))
        trainer.train()
        machine.save_state(str(state))
        predictor = machine.get_predictor()
        own = lambda pixels: np.array([predictor.predict(row) for row in bits(pixels)])  # noqa: E731, B023
        if not training.goes_on(own):
            break

    def load() -> object:
        again = gt.TsetlinMachine(n_literals=784, n_clauses=1000, n_classes=10, s=10.0, threshold=1500)
        again.load_state(str(state))
        return again.get_predictor()

    return Trained(
        own, state.stat().st_size, load, "1 000 coalesced clauses, literal budget 32; its Predictor, one image a call"
    )


def tmu(training: Training, folder: Path) -> Trained:
    """A coalesced machine of 1 000 weighted clauses."""
    from tmu.models.classification.coalesced_classifier import TMCoalescedClassifier

    data = training.data  # seed 0 is a random state that its generator never leaves: `fit` does not return

    def bits(pixels: np.ndarray) -> np.ndarray:
        return (pixels > DARK).astype(np.uint32)

    machine = TMCoalescedClassifier(
        number_of_clauses=1000, T=1500, s=10.0, max_included_literals=32, platform="CPU", weighted_clauses=True, seed=42
    )  # fmt: skip
    images, labels = bits(data.images), data.labels.astype(np.uint32)
    step, at = 2_000, 0
    while True:  # a tenth of an epoch at a time: its epochs are long
        machine.fit(images[at : at + step], labels[at : at + step])
        at = (at + step) % len(images)
        if at % 10_000 == 0 and not training.goes_on(lambda pixels: np.asarray(machine.predict(bits(pixels)))):
            break
        if time.perf_counter() - training.began > training.seconds:
            training.goes_on(lambda pixels: np.asarray(machine.predict(bits(pixels))))
            break
    path = folder / "machine.npz"
    banks = {f"weights{k}": machine.weight_banks[k].get_weights() for k in range(10)}
    np.savez(path, states=machine.clause_bank.clause_bank, **banks)  # it has no file of its own

    def load() -> object:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}

    return Trained(
        lambda pixels: np.asarray(machine.predict(bits(pixels))),
        path.stat().st_size,
        load,
        "1 000 coalesced clauses, at most 32 literals; its C back end, automata and weights as .npz",
        (bits, lambda ready: machine.predict(ready)),
    )


def py_tsetlin_machine(training: Training, folder: Path) -> Trained:
    """200 clauses a class (its own MNIST example has 2 000, with the same T and s)."""
    from pyTsetlinMachine.tm import MultiClassTsetlinMachine

    data = training.data

    def bits(pixels: np.ndarray) -> np.ndarray:
        return (pixels > DARK).astype(np.uint32)

    machine = MultiClassTsetlinMachine(200, 50, 10.0)
    images, labels = bits(data.images), data.labels.astype(np.uint32)
    while True:
        machine.fit(images, labels, epochs=1, incremental=True)
        if not training.goes_on(lambda pixels: np.asarray(machine.predict(bits(pixels)))):
            break
    path = folder / "machine.pickle"
    path.write_bytes(pickle.dumps(machine))
    return Trained(
        lambda pixels: np.asarray(machine.predict(bits(pixels))),
        path.stat().st_size,
        lambda: pickle.loads(path.read_bytes()),
        "200 clauses a class, indexed; its C back end, a pickle of automata",
        (bits, lambda ready: machine.predict(ready)),
    )


MAKE: dict[str, Callable[[Training, Path], Trained]] = {
    "stillhouse": stillhouse,
    "torchlogix": torchlogix,
    "green-tsetlin": green_tsetlin,
    "tmu": tmu,
    "pyTsetlinMachine": py_tsetlin_machine,
}


def rate(call: Callable[[], object], rows: int, seconds: float = 2.0) -> float:
    """Rows a second of the fastest call."""
    call()
    best, began = float("inf"), time.perf_counter()
    while best == float("inf") or time.perf_counter() - began < seconds:
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return rows / best


def measured(trained: Trained, data: Data) -> dict[str, Any]:
    """Figures of a trained tool."""
    classes = trained.classes
    found: dict[str, Any] = {"about": trained.about, "bytes": trained.size}
    found["accuracy"] = float((classes(data.test) == data.test_labels).mean())
    rows = {1: data.test[:1], 64: data.test[:64], 10_000: data.test[:10_000]}
    found["images_s"] = {str(n): rate(lambda some=some: classes(some), n) for n, some in rows.items()}  # type: ignore[misc]
    if trained.ready:
        prepare, answer = trained.ready
        prepared = prepare(data.test[:10_000])
        found["ready_images_s"] = rate(lambda: answer(prepared), 10_000)
    took = []
    began = time.perf_counter()
    for number in range(5000):
        image = data.test[number : number + 1]
        started = time.perf_counter()
        classes(image)
        took.append(time.perf_counter() - started)
        if time.perf_counter() - began > 10:
            break
    found["latency_us"] = [float(np.percentile(took[len(took) // 10 :], q)) * 1e6 for q in (50, 99)]
    loads = []
    for _ in range(5):
        started = time.perf_counter()
        trained.load()
        loads.append(time.perf_counter() - started)
    found["load_ms"] = min(loads) * 1e3
    return found


def child(name: str, options: argparse.Namespace) -> None:
    """Train and measure one tool, inside its own environment; prints JSON."""
    data = mnist(options.data)
    training = Training(data, options.target, options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        trained = MAKE[name](training, Path(folder))
        print("trained", file=sys.stderr, flush=True)
        took = time.perf_counter() - training.began
        found = {"tool": name, "epochs": training.epochs, "held_out": training.reached, "training_s": took}
        print(json.dumps(found | measured(trained, data)), flush=True)


def environment(name: str, cache: Path, newer: str) -> str:
    """The Python of a tool's environment, made if it is not there; `newer` for tools that need 3.12."""
    if name not in PACKAGES:
        return sys.executable
    folder = cache / name
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        make = [sys.executable, "-m", "venv", str(folder)]
        command = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]]
        if shutil.which("uv"):
            make = [
                "uv",
                "venv",
                "--quiet",
                "--clear",
                "--python",
                newer if name in NEWER else sys.executable,
                str(folder),
            ]
            command = ["uv", "pip", "install", "--quiet", "--python", str(python), *PACKAGES[name]]
        subprocess.run(make, check=True, timeout=300)
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
        if done.returncode:
            raise RuntimeError(f"not installed: {done.stderr.strip()[-600:]}")
        (folder / "complete").write_text("installed\n")
    return str(python)


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One tool's figures, or what went wrong."""
    try:
        python = environment(name, options.cache, options.python)
        command = [python, __file__, "--child", name, "--data", str(options.data)]
        command += ["--target", str(options.target), "--seconds", str(options.seconds)]
        one = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        kept = {key: value for key, value in os.environ.items() if name not in PACKAGES or key != "PYTHONPATH"}
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, env=kept | one, timeout=options.seconds * 3 + 600
        )
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}; its last words are in the log")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (RuntimeError, subprocess.SubprocessError, OSError, ValueError) as error:
        return {"tool": name, "error": str(error)}
    return found


def table(folder: Path) -> str:
    """Markdown of all files."""
    lines = [
        "| | accuracy % | images/s at 1 | at 64 | at 10 000 (input ready) | one image p50 / p99, us | bytes | load, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in TOOLS:
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        found = json.loads(path.read_text())
        if "error" in found:
            lines.append(f"| {name} | failed: {found['error']} | | | | | | |")
            continue
        rates = {n: f"{r:,.0f}".replace(",", " ") for n, r in found["images_s"].items()}
        ready = f" ({found['ready_images_s']:,.0f})".replace(",", " ") if "ready_images_s" in found else ""
        p50, p99 = found["latency_us"]
        lines.append(
            f"| {name}: {found['about']} | {100 * found['accuracy']:.2f} | {rates['1']} | {rates['64']} | "
            f"{rates['10000']}{ready} | {p50:,.1f} / {p99:,.1f} | {found['bytes']} | {found['load_ms']:.2f} |"
        )
    return "\n".join([*lines, *PUBLISHED])


def main() -> None:
    """Read the flags, train and measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DATA", "data")), help="MNIST lies below it")
    parser.add_argument("--out", type=Path, default=Path("runs/opponents"))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "stillhouse" / "opponents")
    parser.add_argument("--python", default="3.12", help="for torchlogix: a version or a path, as uv takes it")
    parser.add_argument(
        "--target", type=float, default=0.95, help="accuracy on held-out images at which training stops"
    )
    parser.add_argument("--seconds", type=float, default=240.0, help="of training, at most")
    parser.add_argument("--only", nargs="*", choices=TOOLS, default=TOOLS)
    parser.add_argument("--again", action="store_true", help="measure what has figures already")
    parser.add_argument("--table", action="store_true", help="print what is there")
    parser.add_argument("--child", choices=TOOLS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for name in () if options.table else options.only:
        path = options.out / f"{name}.json"
        if options.again or not path.exists():
            found = compare(name, options)
            path.write_text(json.dumps(found, indent=1) + "\n")
            print(name, found.get("error", f"{found.get('accuracy', 0):.4f}"), file=sys.stderr, flush=True)
    print(table(options.out))


if __name__ == "__main__":
    main()
