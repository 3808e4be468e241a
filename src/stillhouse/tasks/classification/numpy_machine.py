"""A clause machine in one file: needs numpy and nothing else. `python predict.py images.npy` prints a class a line.

`clauses.npz` beside it holds `edges` (a bit is a pixel above an edge); a layer i: `layers.i.literals` (N) (f asks for bit f, F + f
for its negation) in the clauses `layers.i.starts` (C + 1), `.capacity` (C), `.votes` (C, K), `.bias` (K); between layers
`joins.i.path`, `.gain`, `.offset`; and `about`, JSON with `image_shape`, `class_names`, `layers`, `joins`.

Shapes: B images, F bits, C clauses, K scores.
"""

import json
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np

FILE = "clauses.npz"


class ClauseMachine:
    """Layers of clauses over the pixels of an image; scores are whole numbers, the same on every machine.

    Args:
        path: of `clauses.npz`, or its folder.

    Raises:
        ValueError: the file was changed after it was written, or is no clause machine.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        path = path / FILE if path.is_dir() else path
        try:  # a zip file has a checksum of every entry
            with np.load(path) as file:
                self.parts = {name: file[name] for name in file.files}
            self.about = json.loads(str(self.parts["about"]))
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
            raise ValueError(f"{path} was changed after it was written: {error}") from None
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path}: expected a clause machine, got another file ({error})") from None
        self.image_shape, self.class_names = tuple(self.about["image_shape"]), list(self.about["class_names"])
        self.scale = float(self.about["layers"][-1]["scale"])

    def bits(self, images: np.ndarray) -> np.ndarray:
        """(B, F) truth values of images (B, channels, height, width), uint8 or float in [0, 1].

        Raises:
            ValueError: another shape or type, NaN, or numbers outside of [0, 1].
        """
        images = np.asarray(images)
        if images.shape[1:] != self.image_shape:
            raise ValueError(f"images: expected (B, {', '.join(map(str, self.image_shape))}), got {images.shape}")
        if images.dtype == np.uint8:
            pixels = images.astype(np.float32) / np.float32(255)
        elif images.dtype.kind == "f" and ((images >= 0) & (images <= 1)).all():
            pixels = images.astype(np.float32)
        else:
            raise ValueError(
                f"images: expected uint8 (0 to 255) or floats in [0, 1], got {images.dtype}, others or NaN"
            )
        bits: np.ndarray = (pixels.reshape(len(images), 1, -1) > self.parts["edges"][:, None]).reshape(len(images), -1)
        return bits

    def scores(self, images: np.ndarray) -> np.ndarray:
        """(B, K) int64; divided by `scale` they are the network's logits."""
        bits = self.bits(images)
        numbers = 2 * bits.astype(np.int64) - 1
        for layer, join in enumerate(self.about["joins"]):
            path, gain, offset = (self.parts[f"joins.{layer}.{name}"] for name in ("path", "gain", "offset"))
            along = (numbers.astype(np.float64) @ path.T.astype(np.float64)).astype(np.int64)
            u = self._votes(layer, bits) + (along >> join["shift"])
            squares = (u * u).sum(1) + join["epsilon"]
            root = np.sqrt(squares.astype(np.float64)).astype(np.int64)
            root -= root * root > squares
            root += (root + 1) * (root + 1) <= squares
            y = gain * u + offset * root[:, None]
            bits, numbers = y > 0, y // root[:, None]
        return self._votes(len(self.about["joins"]), bits)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """(B) number of the class of each image."""
        classes: np.ndarray = self.scores(images).argmax(1)
        return classes

    def _votes(self, layer: int, bits: np.ndarray) -> np.ndarray:
        names = ("starts", "literals", "capacity", "votes", "bias")
        starts, literals, capacity, votes, bias = (self.parts[f"layers.{layer}.{name}"] for name in names)
        on = np.concatenate([bits, ~bits], axis=1).astype(np.float32)
        asked = np.zeros((len(capacity), on.shape[1]), dtype=np.float32)
        asked[np.repeat(np.arange(len(capacity)), np.diff(starts)), literals] = 1
        misses = np.diff(starts) - (on @ asked.T).astype(np.int64)  # counts below 2^24: exact in float32
        worth: np.ndarray = np.maximum(capacity - misses, 0) @ votes.astype(np.int64) + bias
        return worth


if __name__ == "__main__":
    try:
        machine = ClauseMachine(Path(__file__).parent)
        classes = machine.predict(np.load(sys.argv[1]))
    except (OSError, ValueError) as error:
        sys.exit(f"predict.py: {error}")
    for number in classes:
        sys.stdout.write(f"{machine.class_names[number]}\n")
