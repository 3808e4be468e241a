"""Zarr products that the tests write: layout, patches, filters, splits, damage."""

import dataclasses
import shutil

import numpy as np
import pytest
import zarr
from sar_echoes import Point, azimuth_compressed, range_compressed

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.data import ProductsConfig, SarConfig
from stillhouse.tasks.sar.data.products import Product, find_products, migration_corrected, write_product
from stillhouse.tasks.sar.data.radar import convolve_lines, preset

ROWS, COLUMNS = 96, 24
YEARS = {"train": 2023, "validation": 2024, "test": 2025}


def name(beam=3, pol="vv", year=2023):
    return f"s1a-s{beam}-raw-s-{pol}-{year}0331t123129-{year}0331t123154-000001-05c119.zarr"


def values(seed=0, rows=ROWS, columns=COLUMNS):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((rows, columns)) + 1j * rng.standard_normal((rows, columns))).astype(np.complex64)


def write(path, seed=0, zarr_format=3, **changes):
    arrays = {level: values(10 * seed + i) for i, level in enumerate(("rcmc", "az"))} | changes
    write_product(path, arrays, chunks=(32, 8), zarr_format=zarr_format)


@pytest.fixture
def maya(tmp_path):
    """Three years in two parts, both polarizations of every take."""
    for i, year in enumerate(YEARS.values()):
        for pol in ("hh", "vv"):
            write(tmp_path / f"PT{1 + i % 2}" / name(year=year, pol=pol), seed=2 * i + (pol == "vv"))
    return tmp_path


def config(root, length=48, **changes):
    years = {f"{split}_years": (year,) for split, year in YEARS.items()}
    products = ProductsConfig(**{"root": str(root), **years, **changes})
    return SarConfig(source="zarr", length=length, train=10, validation=4, test=4, products=products)


def found_in(root, year, **how):
    return find_products(root, [year], **how)


def test_filters(maya):
    """By year and polarization; what is not there is answered by what is: "no products" helps nobody who wrote vv for hh."""
    assert [p.year for p in find_products(maya, [2023, 2024], ["vv"])] == [2023, 2024]
    assert [p.polarization for p in found_in(maya, 2023)] == ["hh", "vv"]
    for years, polarizations in (([2023], ["vh"]), ([2022], [])):
        with pytest.raises(InputError, match="got 2023 hh, 2023 vv, 2024 hh"):
            find_products(maya, years, polarizations)
    with pytest.raises(InputError, match="got none"):
        find_products(maya / "nowhere", [2023])
    (maya / "mine.zarr").mkdir()
    with pytest.raises(InputError, match="expected a product named"):
        find_products(maya, [2023])


def test_things_that_are_no_products(tmp_path):
    """A folder without a group, real numbers, a missing level."""
    (tmp_path / name()).mkdir()
    with pytest.raises(InputError, match="expected a Zarr group of format 2 or 3"):
        Product.at(tmp_path / name()).level("az")
    group = zarr.open_group(str(tmp_path / name(beam=4)), mode="w")
    group.create_array("az", shape=(4, 4), chunks=(4, 4), dtype="float32")
    with pytest.raises(InputError, match=r"az: expected complex numbers .* got float32"):
        Product.at(tmp_path / name(beam=4)).level("az")
    with pytest.raises(InputError, match="expected level 'rc', got az"):
        Product.at(tmp_path / name(beam=4)).level("rc")


def test_patches_and_levels_that_do_not_fit_are_refused(maya):
    """With the sizes that there are; a focused image that was cropped differently would teach a shift."""
    with pytest.raises(InputError, match=r"patch: expected one that fits \(96, 24\)"):
        config(maya, length=200).build()
    group = zarr.open_group(str(found_in(maya, 2023)[0].path), mode="w")
    for level, rows in (("rcmc", 64), ("az", 60)):
        group.create_array(level, shape=(rows, 8), chunks=(32, 8), dtype="complex64")[:] = values(0, rows, 8)
    with pytest.raises(InputError, match="expected levels of one shape"):
        config(maya).build()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_data_set_of_products(tmp_path, zarr_format):
    """Values are those of the product's columns over one number a side, across chunk borders; splits by year."""
    for i, year in enumerate(YEARS.values()):
        write(tmp_path / name(year=year), seed=i, zarr_format=zarr_format)
    data = config(tmp_path, row_stride=7).build()
    assert data.sizes == {"train": 10, "validation": 4, "test": 4}
    assert data.valid == slice(0, 48)
    for split, year in YEARS.items():
        (product,) = found_in(tmp_path, year)
        facts = data.splits[split].facts
        for level, lines, rms in (
            ("rcmc", data.splits[split].inputs, data.scale.input_rms),
            ("az", data.splits[split].targets, data.scale.target_rms),
        ):
            whole = product.level(level)[:]
            wanted = [whole[row : row + 48, column] for row, column in zip(facts["row"], facts["column"])]
            np.testing.assert_allclose(lines[..., 0].numpy() * rms, wanted, rtol=1e-5)
    assert data.train.inputs.abs().square().mean().sqrt().item() == pytest.approx(1, rel=1e-5)
    with pytest.raises(InputError, match="expected a radar"):
        data.kernels(data.train)


def test_the_position_code_tells_beam_range_and_azimuth(tmp_path):
    """x runs over six beams side by side, y over the product; both as the patch lies in it."""
    for i, year in enumerate(YEARS.values()):
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


def test_damage_is_named(maya):
    """NaN by level and row of the product; a torn chunk."""
    (path,) = (p.path for p in found_in(maya, 2023, polarizations=["vv"]))
    shutil.rmtree(path)
    broken = values(5)
    broken[[40, 41, 90], :] = np.nan
    write(path, seed=9, az=broken)
    with pytest.raises(InputError, match=r"2023.*az: expected finite .* in rows \[(40 41|90)"):
        config(maya, polarizations=("vv",)).build()
    for chunk in (path / "az" / "c").glob("*/0"):
        chunk.write_bytes(chunk.read_bytes()[:9])
    with pytest.raises(InputError, match="az: cannot be read in rows"):
        config(maya, polarizations=("vv",)).build()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_missing_chunks_are_not_read_as_zeros(tmp_path, zarr_format):
    """Zarr fills them with zeros in silence, so an interrupted download looks like a dark scene."""
    write(tmp_path / name(), zarr_format=zarr_format)
    (tmp_path / name() / "az" / ("1.2" if zarr_format == 2 else "c/1/2")).unlink()
    with pytest.raises(InputError, match="az: expected all chunks, got 1 that are missing"):
        Product.at(tmp_path / name()).level("az")


def test_a_simulated_product_is_focused_like_a_simulated_line(tmp_path):
    """The whole chain on disk: rc with migration, rcmc, az; from rcmc the matched filter gives az, from rc it does not."""
    radar = preset("sentinel-1")
    rng = np.random.default_rng(0)
    for year in YEARS.values():
        points = [Point(*rng.uniform((700, 8), (1500, 24)), np.exp(2j * np.pi * rng.uniform())) for _ in range(6)]
        rc = range_compressed(radar, points, rows=2200, columns=32)
        rcmc = migration_corrected(radar, rc)
        write_product(tmp_path / name(year=year), {"rc": rc, "rcmc": rcmc, "az": azimuth_compressed(radar, rcmc)})
    errors = {}
    for level in ("rc", "rcmc"):
        products = config(tmp_path, level_from=level, column_buffer=8).products
        how = {"length": 2200, "train": 16, "validation": 16, "test": 16, "preset": "sentinel-1"}
        data = SarConfig(source="zarr", products=products, **how).build()
        assert data.valid == slice(486, 2200 - 486)
        focused = convolve_lines(data.train.inputs[..., 0].numpy(), data.kernels(data.train))[:, data.valid]
        wanted = data.train.targets[:, data.valid, 0].numpy()
        power = np.sum(np.abs(focused) ** 2) * np.sum(np.abs(wanted) ** 2)
        errors[level] = 1 - np.abs(np.vdot(focused, wanted)) ** 2 / power
    assert errors["rcmc"] < 1e-6
    assert errors["rc"] > 0.1
