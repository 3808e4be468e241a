"""Vectors on disk: every format gives the same rows, only these are read, nothing damaged passes, no row on two sides."""

import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from stillhouse.core.checks import InputError
from stillhouse.tasks.embed.data import VectorsConfig, open_vectors

N, D = 50, 6


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


def lists(values, kind):
    flat = pa.array(values.reshape(-1))
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, D)
    return pa.LargeListArray.from_arrays(pa.array(np.arange(N + 1, dtype=np.int64) * D), flat)


WRITERS = {
    "plain.npy": lambda path, x: np.save(path, x),
    "columns.npy": lambda path, x: np.save(path, np.asfortranarray(x)),
    "big-endian.npy": lambda path, x: np.save(path, x.astype(">f4")),
    "stored.npz": lambda path, x: np.savez(path, ids=np.arange(N), embeddings=x, extra=x * 0),
    "packed.npz": lambda path, x: np.savez_compressed(path, vectors=x),
    "some.safetensors": lambda path, x: save_file({"ids": torch.arange(N), "v": torch.from_numpy(x)}, path),
    "fixed.parquet": lambda path, x: pq.write_table(pa.table({"v": lists(x, "fixed")}), path, row_group_size=7),
    "lists.parquet": lambda path, x: pq.write_table(pa.table({"v": x.tolist()}), path, row_group_size=7),
    "large.parquet": lambda path, x: pq.write_table(pa.table({"v": lists(x, "large")}), path),
    "bare.pt": lambda path, x: torch.save(torch.from_numpy(x), path),
    "dict.pth": lambda path, x: torch.save({"embeddings": torch.from_numpy(x), "metadata": {"id": "ada"}}, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path, values, name):
    """A wrong offset, order or byte order gives plausible numbers; rows come in the order asked for, repeats too."""
    WRITERS[name](tmp_path / name, values)
    store = open_vectors(tmp_path / name)
    rows = [49, 3, 4, 3, 0]
    assert (len(store), store.width) == (N, D)
    assert store.read(rows).dtype == np.float32
    np.testing.assert_array_equal(store.read(rows), values[rows])
    np.save(tmp_path / "reference.npy", values)
    assert store.sha256 == open_vectors(tmp_path / "reference.npy").sha256


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(tmp_path, values, dtype):
    """numpy has no bfloat16: its bits read as float16 are other numbers."""
    half = torch.from_numpy(values).to(dtype)
    save_file({"v": half}, tmp_path / "half.safetensors")
    torch.save(half, tmp_path / "half.pt")
    for name in ("half.safetensors", "half.pt"):
        np.testing.assert_array_equal(open_vectors(tmp_path / name).read([5, 2]), half.float().numpy()[[5, 2]])


def test_a_key_chooses_and_a_missing_one_is_told(tmp_path, values):
    """With two arrays that can be vectors nothing is guessed."""
    np.savez(tmp_path / "two.npz", a=values, b=values + 1, names=np.array(["x"] * N))
    np.testing.assert_array_equal(open_vectors(tmp_path / "two.npz", key="b").read([0]), values[:1] + 1)
    with pytest.raises(InputError, match=r"expected a key, since 2 of them.*'a' float32 \(50, 6\).*'names'"):
        open_vectors(tmp_path / "two.npz")
    with pytest.raises(InputError, match="no 'c' in it; known: a, b, names"):
        open_vectors(tmp_path / "two.npz", key="c")
    with pytest.raises(InputError, match=r"expected floats of shape \(rows, width\), got <U1 \(50,\)"):
        open_vectors(tmp_path / "two.npz", key="names")
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(InputError, match="no 'a' in it"):
        open_vectors(tmp_path / "x.npy", key="a")


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 3)])
def test_arrays_that_are_no_vectors_are_refused(tmp_path, shape):
    """Token numbers or a flat array would be distilled without complaint."""
    for array in (np.zeros(shape, np.float32), np.zeros((5, 2), np.int64)):
        np.save(tmp_path / "x.npy", array)
        torch.save(torch.from_numpy(array), tmp_path / "x.pt")
        np.savez(tmp_path / "x.npz", embeddings=array)
        for name in ("x.npy", "x.pt", "x.npz"):
            with pytest.raises(InputError, match=r"expected (floats|one array) of shape \(rows, width\), got"):
                open_vectors(tmp_path / name)


def test_nan_rows_are_named(tmp_path, values):
    """Distance to a NaN is NaN: the run would stop, or not, hours later."""
    values[[4, 9], 2] = np.nan, np.inf
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(InputError, match="NaN or infinite ones in row 4"):
        open_vectors(tmp_path / "x.npy")
    np.save(tmp_path / "big.npy", np.full((9, 2), 1e300))  # finite as float64 only
    with pytest.raises(InputError, match="row 0"):
        open_vectors(tmp_path / "big.npy")


@pytest.mark.parametrize("name", WRITERS)
def test_truncated_and_empty_files_are_refused(tmp_path, values, name):
    """A download that broke off."""
    path = tmp_path / name
    WRITERS[name](path, values)
    whole = path.read_bytes()
    for size in (0, 5, len(whole) - 40, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="expected"):
            open_vectors(path)


def test_pickles_are_refused(tmp_path):
    """Reading one runs what it says."""
    for name in ("x.pt", "x.npy"):
        (tmp_path / name).write_bytes(pickle.dumps(subprocess.Popen))
        with pytest.raises(InputError, match=r"run code|cannot be read"):
            open_vectors(tmp_path / name)
    torch.save({"embeddings": torch.zeros(2, 2), "model": Unsafe()}, tmp_path / "y.pt")
    with pytest.raises(InputError, match="refused"):
        open_vectors(tmp_path / "y.pt")


class Unsafe:
    """Something that only a pickle can hold."""


def test_unknown_places_are_told(tmp_path):
    """What is there, and what could be."""
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(InputError, match=r"expected \.npy, .*got '\.csv'"):
        open_vectors(tmp_path / "x.csv")
    with pytest.raises(InputError, match="got nothing there"):
        open_vectors(tmp_path / "nothing.npy")
    with pytest.raises(InputError, match="expected a finished capture"):
        open_vectors(tmp_path)


def test_ragged_and_missing_parquet_rows_are_refused(tmp_path):
    """Lists are flattened: one short row would shift all that follow."""
    for bad, told in [([1.0], "same shape"), (None, "shape"), ([1.0, None], "NaN or infinite ones in row 2")]:
        table = pa.table({"v": pa.array([[1.0, 2.0], [3.0, 4.0], bad], pa.list_(pa.float32()))})
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(InputError, match=told):
            open_vectors(tmp_path / "x.parquet")


# ---------------------------------------------------------------------------------------------------------- splits


def config(path, **more):
    return VectorsConfig(path=str(path), **more)


def test_splits_are_whole_apart_and_seeded(tmp_path, values):
    """All rows, each once."""
    np.save(tmp_path / "x.npy", values)
    data = config(tmp_path / "x.npy").build()
    assert [len(split) for split in (data.train, data.validation, data.test)] == [40, 5, 5]
    assert sorted(np.concatenate([data.train, data.validation, data.test]).tolist()) == list(range(N))
    again, other = config(tmp_path / "x.npy").build(), config(tmp_path / "x.npy", split_seed=1).build()
    np.testing.assert_array_equal(data.test, again.test)
    assert set(data.test) != set(other.test)
    assert data.sha256 == again.sha256 == other.sha256


def test_equal_vectors_and_equal_texts_are_kept_once(tmp_path, values):
    """A test row whose twin is trained on is no test row; -0.0 and 0.0 are equal. Rows 0 and 1 share a text, 1 and 2 a vector."""
    twins = np.concatenate([values, values[::-1]])
    twins[0, 0], twins[-1, 0] = 0.0, -0.0
    np.save(tmp_path / "x.npy", twins)
    data = config(tmp_path / "x.npy").build()
    assert data.duplicates == N
    values[2] = values[1]
    texts = [f"text {row}" for row in range(N)]
    texts[0] = texts[1] = "same"
    np.savez(tmp_path / "x.npz", vectors=values, words=np.array(texts), kind=np.arange(N) % 3)
    data = config(tmp_path / "x.npz", texts="words", labels="kind").build()
    assert data.duplicates == 2
    kept = np.concatenate([data.train, data.validation, data.test])
    assert len({data.store.texts[row] for row in kept}) == len(np.unique(values[kept], axis=0)) == N - 2
    np.testing.assert_array_equal(data.store.labels[kept], kept % 3)


def test_zero_rows_are_left_out_and_counted(tmp_path, values):
    """They have no direction: cosine to anything is undefined."""
    values[[3, 8]] = 0
    np.save(tmp_path / "x.npy", values)
    data = config(tmp_path / "x.npy").build()
    assert data.store.zero_rows.tolist() == [3, 8]
    assert not {3, 8} & set(np.concatenate([data.train, data.validation, data.test]).tolist())
    np.save(tmp_path / "zero.npy", values * 0)
    with pytest.raises(InputError, match=r"got 0 different ones .50 zero"):
        config(tmp_path / "zero.npy").build()


@pytest.mark.parametrize("suffix", [".parquet", ".pt", ".safetensors", ".npz"])
def test_texts_and_labels_lie_in_the_same_file(tmp_path, values, suffix):
    """Row by row, whatever the format."""
    texts, kinds, path = [f"text {row}" for row in range(N)], [row % 4 for row in range(N)], tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"v": values.tolist(), "t": texts, "k": kinds}), path)
    elif suffix == ".pt":
        torch.save({"embeddings": torch.from_numpy(values), "t": texts, "k": torch.tensor(kinds)}, path)
    elif suffix == ".npz":
        np.savez(path, v=values, t=np.array(texts), k=np.array(kinds))
    else:
        save_file({"v": torch.from_numpy(values), "k": torch.tensor(kinds)}, path)
        (tmp_path / "t.txt").write_text("\n".join(texts) + "\n")
    where = {"texts": str(tmp_path / "t.txt")} if suffix == ".safetensors" else {"texts": "t"}
    data = config(path, labels="k", **where).build()
    assert [data.store.texts[row] for row in (7, 1)] == ["text 7", "text 1"]
    assert data.store.labels[[7, 1]].tolist() == [3, 1]
    with pytest.raises(InputError, match="'nope'"):
        config(path, labels="nope").build()
    with pytest.raises(InputError, match="expected"):
        config(path, labels="v" if suffix != ".pt" else "embeddings").build()


def test_another_number_of_texts_is_an_error(tmp_path, values):
    """Shifted by one, every hover text would be a neighbour's."""
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(InputError, match=r"texts: expected one for each of the 50 vectors .*got 49"):
        open_vectors(tmp_path / "x.npy", texts=["a"] * 49)
    with pytest.raises(InputError, match="labels: expected one for each"):
        open_vectors(tmp_path / "x.npy", labels=[1])
    with pytest.raises(InputError, match="no 't' in it"):
        config(tmp_path / "x.npy", texts="t").build()


def test_reading_a_configuration_needs_no_torch():
    """`stillhouse --help` must not wait for it."""
    code = "import sys, stillhouse.tasks.embed.data as v; v.VectorsConfig(path='x'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
