"""Answers of a packed clause machine, read by numpy alone: python examples/read_packed.py FILE IMAGES.npy (N, C, H, W)."""

import json
import sys

import numpy as np

KINDS = {"F32": "<f4", "I32": "<i4", "I64": "<i8"}


def classes(file, images):
    raw = open(file, "rb").read()  # noqa: SIM115  (closed with the program)
    begin = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:begin])
    about, parts = json.loads(header.pop("__metadata__")["machine"]), {}
    assert about["version"] == 1, "bits of filters"
    for name, one in header.items():
        start, end = one["data_offsets"]
        parts[name] = np.frombuffer(raw[begin + start : begin + end], KINDS[one["dtype"]]).reshape(one["shape"])
    pixels = images / np.float32(255)
    bits = (pixels.reshape(len(images), 1, -1) > parts["edges"][:, None]).reshape(len(images), -1)
    true = np.concatenate([bits, ~bits], axis=1)
    names = ("starts", "literals", "capacity", "votes", "bias")
    starts, literals, capacity, votes, bias = (parts[f"layers.0.{name}"] for name in names)
    wrong = np.add.reduceat(np.pad(~true[:, literals], ((0, 0), (0, 1))), starts[:-1], axis=1, dtype=int)
    wrong *= np.diff(starts) > 0  # a clause that asks for nothing has nothing wrong
    scores = np.maximum(capacity - wrong, 0) @ votes + bias
    return [about["class_names"][best] for best in scores.argmax(1)]


if __name__ == "__main__":
    print(*classes(sys.argv[1], np.load(sys.argv[2])), sep="\n")
