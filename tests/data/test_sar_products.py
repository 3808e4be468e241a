"""Zarr products that the tests write: layout, cache, patches, filters, splits, damage."""

import dataclasses
import shutil

import numpy as np
import pytest
import zarr
from sar_echoes import Point, azimuth_compressed, range_compressed

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.data import ProductsConfig, SarConfig
from stillhouse.tasks.sar.data.products import Product, find_products, write_product

ROWS, COLUMNS = 96, 24


def name(beam=3, pol="vv", year=2023, orbit=1, take="05c119", satellite="s1a"):
    return f"{satellite}-s{beam}-raw-s-{pol}-{year}0331t123129-{year}0331t123154-{orbit:06d}-{take}.zarr"


def values(seed=0, rows=ROWS, columns=COLUMNS):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((rows, columns)) + 1j * rng.standard_normal((rows, columns))).astype(np.complex64)


def write(path, seed=0, zarr_format=3, levels=("rcmc", "az"), **changes):
    arrays = {level: values(10 * seed + i) for i, level in enumerate(levels)} | changes
    write_product(path, arrays, attributes={"metadata": [{"line": 0}]}, chunks=(32, 8), zarr_format=zarr_format)
    return arrays


@pytest.fixture
def maya(tmp_path):
    """Three years in two parts, both polarizations of every take."""
    for i, year in enumerate((2023, 2024, 2025)):
        for pol in ("hh", "vv"):
            write(tmp_path / f"PT{1 + i % 2}" / name(year=year, pol=pol, orbit=i), seed=2 * i + (pol == "vv"))
    return tmp_path


def config(root, length=48, **changes):
    products = {"root": str(root), "train_years": (2023,), "validation_years": (2024,), "test_years": (2025,)} | changes
    return SarConfig(source="zarr", length=length, train=10, validation=4, test=4, products=ProductsConfig(**products))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_both_formats_read_what_was_written(tmp_path, zarr_format):
    """Any rectangle, across chunk borders, and the last chunks that stick out."""
    arrays = write(tmp_path / name(), zarr_format=zarr_format)
    product = Product(tmp_path / name())
    assert product.levels == ("rcmc", "az")
    assert product.array("az").shape == (ROWS, COLUMNS)
    assert product.array("az").chunks == (32, 8)
    assert product.attributes["metadata"] == [{"line": 0}]
    for rows, columns in (
        (slice(0, ROWS), slice(0, COLUMNS)),
        (slice(31, 33), slice(7, 17)),
        (slice(95, 96), slice(23, 24)),
    ):
        np.testing.assert_array_equal(product.read("az", rows, columns), arrays["az"][rows, columns])


def test_filters(maya):
    """By year, polarization, beam and part; sorted by time; upper case is the same polarization."""
    assert len(find_products(maya)) == 6
    assert [p.year for p in find_products(maya, polarizations=["VV"])] == [2023, 2024, 2025]
    assert {p.part for p in find_products(maya, parts=["PT1"])} == {"PT1"}
    assert len(find_products(maya, years=[2023, 2025], polarizations=["hh"])) == 2
    assert len(find_products(maya, beams=[3])) == 6


def test_a_wrong_filter_says_what_is_there(maya, tmp_path):
    """ "No products" helps nobody who wrote vv for hh."""
    with pytest.raises(InputError, match=r"polarizations: expected products of vh in .*, got only hh \(3\), vv \(3\)"):
        find_products(maya, polarizations=["vh"])
    with pytest.raises(InputError, match=r"years: expected products of 2022 in .*, got only 2023 \(2\), 2024 \(2\)"):
        find_products(maya, years=[2022])
    with pytest.raises(InputError, match=r"beams: expected products of 1, 2 in .*, got only 3 \(2\)"):
        find_products(maya, years=[2023], beams=[1, 2])
    with pytest.raises(InputError, match=r"parts: expected products of PT4 in .*, got only PT1 \(4\), PT2 \(2\)"):
        find_products(maya, parts=["PT4"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected products \(\*\.zarr\), got none there"):
        find_products(tmp_path / "empty")
    with pytest.raises(InputError, match="expected a folder of products, got nothing there"):
        find_products(tmp_path / "nowhere")


def test_things_that_are_no_products(tmp_path):
    """A file, nothing, a folder without a group, real numbers, three axes, a torn chunk."""
    with pytest.raises(InputError, match="got nothing there"):
        Product(tmp_path / name())
    (tmp_path / name(orbit=2)).write_text("x")
    with pytest.raises(InputError, match="got a file"):
        Product(tmp_path / name(orbit=2))
    (tmp_path / name(orbit=3)).mkdir()
    with pytest.raises(InputError, match="expected a Zarr group of format 2 or 3"):
        Product(tmp_path / name(orbit=3))
    group = zarr.open_group(str(tmp_path / name(orbit=4)), mode="w")
    group.create_array("az", shape=(4, 4), chunks=(4, 4), dtype="float32")
    with pytest.raises(InputError, match=r"az: expected complex numbers .* got float32"):
        Product(tmp_path / name(orbit=4))
    write(tmp_path / name(orbit=5))
    chunk = tmp_path / name(orbit=5) / "az" / "c" / "1" / "0"
    chunk.write_bytes(chunk.read_bytes()[:9])
    product = Product(tmp_path / name(orbit=5))
    with pytest.raises(InputError, match=r"az: chunk \(1, 0\) cannot be read"):
        product.read("az", slice(30, 40), slice(0, 1))


def test_patches_and_levels_that_do_not_fit_are_refused(maya):
    """With the sizes that there are; a focused image that was cropped differently would teach a shift."""
    with pytest.raises(InputError, match=r"patch: expected one that fits \(96, 24\)"):
        config(maya, length=200).build()
    path = find_products(maya, years=[2023])[0].path
    group = zarr.open_group(str(path), mode="w")
    for level, rows in (("rcmc", 64), ("az", 60)):
        group.create_array(level, shape=(rows, 8), chunks=(32, 8), dtype="complex64")[:] = values(0, rows, 8)
    with pytest.raises(InputError, match="expected levels of one shape"):
        config(maya).build()


def test_a_data_set_of_products(maya):
    """Values are those of the product's columns over one number a side; splits by year."""
    data = config(maya).build()
    assert data.sizes == {"train": 10, "validation": 4, "test": 4}
    assert data.valid == slice(0, 48)
    assert data.train.inputs.shape == (10, 48, 1)
    for split, year in (("train", 2023), ("validation", 2024), ("test", 2025)):
        products = [Product(said.path) for said in find_products(maya, years=[year])]
        facts = data.splits[split].facts
        for line in range(data.sizes[split]):
            product = products[facts["product"][line]]
            row, column = int(facts["row"][line]), int(facts["column"][line])
            raw = product.read("rcmc", slice(row, row + 48), slice(column, column + 1))
            got = data.splits[split].inputs[line].numpy() * data.scale.input_rms
            np.testing.assert_allclose(got, raw, rtol=1e-6)
    assert data.train.inputs.abs().square().mean().sqrt().item() == pytest.approx(1, rel=1e-5)
    with pytest.raises(InputError, match="expected a radar"):
        data.kernels(data.train)


def test_both_polarizations_of_a_take_stay_on_one_side(tmp_path):
    """They show the same ground at the same second: a leak that a split by file would make."""
    for orbit in range(6):
        for pol in ("hh", "vv"):
            write(tmp_path / name(pol=pol, orbit=orbit, take=f"{orbit:06x}"), seed=2 * orbit + (pol == "vv"))
    data = config(tmp_path, train_years=(), validation_years=(), test_years=()).build()
    takes = [set(split.facts["acquisition"].tolist()) for split in data.splits.values()]
    assert sum(map(len, takes)) == len(set.union(*takes)) == 6
    assert all(takes)


def test_the_position_code_tells_beam_range_and_azimuth(tmp_path):
    """x runs over six beams side by side, y over the product; both as the patch lies in it."""
    for i, year in enumerate((2023, 2024, 2025)):
        write(tmp_path / name(year=year, beam=1 + 2 * i), seed=i)
    data = dataclasses.replace(config(tmp_path), position_channel=True).build()
    for (split, part), beam in zip(data.splits.items(), (1, 3, 5)):
        code, facts = part.inputs[..., 1].numpy(), part.facts
        x = ((beam - 1) * COLUMNS + facts["column"]) / (6 * COLUMNS)
        np.testing.assert_allclose(code.real, np.broadcast_to(x[:, None], code.shape), rtol=1e-6, err_msg=split)
        np.testing.assert_allclose(code.imag[:, -1], (facts["row"] + 47) / ROWS, rtol=1e-6)


def test_strides_buffers_and_filters_reach_the_patches(maya):
    """Keys that are read and not used are the commonest fault of such pipelines."""
    data = config(maya, row_stride=7, column_stride=5, row_buffer=3, column_buffer=2, polarizations=("vv",)).build()
    facts = data.train.facts
    assert set((facts["row"] - 3) % 7) == {0}
    assert set(facts["column"]) <= {2, 7, 12, 17}
    assert set(facts["product"]) == {0}
    assert set(config(maya, max_products=1).build().train.facts["product"]) == {0}
    assert set(config(maya).build().train.facts["product"]) == {0, 1}
    assert config(maya).build().sha256 != config(maya, polarizations=("hh",)).build().sha256


def damage(root, year=2023, pol="vv"):
    broken = values(5)
    broken[[40, 41, 90], :] = np.nan
    path = next(p.path for p in find_products(root, years=[year], polarizations=[pol]))
    shutil.rmtree(path)
    write(path, seed=9, az=broken)


def test_nan_lines_are_named(maya):
    """By product, level, column and row numbers of the product, not of the patch."""
    damage(maya)
    with pytest.raises(InputError, match=r"2023.*az: column \d+: expected finite .* in rows (40, 41|90)"):
        config(maya).build()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_missing_chunks_are_not_read_as_zeros(tmp_path, zarr_format):
    """Zarr fills them with zeros in silence, so an interrupted download looks like a dark scene."""
    for i, year in enumerate((2023, 2024, 2025)):
        write(tmp_path / name(year=year), seed=i, zarr_format=zarr_format)
    folder = tmp_path / name(year=2023) / "az"
    (folder / ("1.2" if zarr_format == 2 else "c/1/2")).unlink()
    with pytest.raises(InputError, match="az: expected all chunks, got 1 that are missing"):
        config(tmp_path).build()


def test_a_simulated_product_is_focused_like_a_simulated_line(tmp_path):
    """The whole chain on disk: rc with migration, rcmc, az; from rcmc the matched filter gives az, from rc it does not."""
    from stillhouse.tasks.sar.data.matched_filter import filtered
    from stillhouse.tasks.sar.data.parameters import preset
    from stillhouse.tasks.sar.data.range_doppler import migration_corrected
    from stillhouse.tasks.sar.metrics.lines import coherence

    radar = preset("sentinel-1")
    rng = np.random.default_rng(0)
    for year in (2023, 2024, 2025):
        points = [Point(*rng.uniform((700, 8), (1500, 24)), np.exp(2j * np.pi * rng.uniform())) for _ in range(6)]
        rc = range_compressed(radar, points, rows=2200, columns=32)
        rcmc = migration_corrected(radar, rc)
        levels = {"rc": rc, "rcmc": rcmc, "az": azimuth_compressed(radar, rcmc)}
        write_product(tmp_path / name(year=year), levels)
    scores = {}
    for level in ("rc", "rcmc"):
        products = ProductsConfig(
            root=str(tmp_path),
            level_from=level,
            train_years=(2023,),
            validation_years=(2024,),
            test_years=(2025,),
            column_buffer=8,
        )
        how = {"length": 2200, "train": 16, "validation": 16, "test": 16, "preset": "sentinel-1"}
        data = SarConfig(source="zarr", products=products, **how).build()
        assert data.valid == slice(486, 2200 - 486)
        focused = filtered(data.train.inputs[..., 0].numpy(), data.kernels(data.train))
        scores[level] = 1 - coherence(focused[:, data.valid], data.train.targets[:, data.valid, 0].numpy()) ** 2
    assert scores["rcmc"] < 1e-6
    assert scores["rc"] > 0.1
