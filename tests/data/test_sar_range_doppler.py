"""Two dimensions: exact geometry against the parabola, and the correction of range migration."""

import numpy as np
import pytest
from sar_echoes import Point, azimuth_compressed, migration, range_compressed

from stillhouse.tasks.sar.data.products import migration_corrected, range_spacing
from stillhouse.tasks.sar.data.radar import preset
from stillhouse.tasks.sar.data.simulate import point_lines

S1 = preset("sentinel-1")
ROWS, COLUMNS = 1600, 40


def test_one_and_two_dimensions_agree():
    """The exact distance against the parabolic phase: 2 mrad at most over Sentinel-1's aperture; a wrong Ka would be turns."""
    flat = range_compressed(S1, [Point(800.3, 20.0, 2j)], rows=ROWS, columns=COLUMNS, with_migration=False)
    line = point_lines(S1, [800.3], length=ROWS, amplitudes=2j).raw[0]
    np.testing.assert_allclose(flat[:, 20], line, atol=5e-3)


def test_the_echo_wanders_by_the_migration_and_comes_back():
    """Before the correction the peak moves over the aperture by the migration; after it, it stays."""
    point = Point(800.0, 20.0)
    data = range_compressed(S1, [point], rows=ROWS, columns=COLUMNS)
    wander = float(migration(S1, 480 / S1.prf)) / range_spacing(S1)

    def place(row):  # centroid of the range power
        power = np.abs(row) ** 2
        return np.sum(np.arange(COLUMNS) * power) / power.sum()

    assert place(data[800 + 480]) - place(data[800]) == pytest.approx(wander, abs=0.15)
    fixed = migration_corrected(S1, data)
    flat = range_compressed(S1, [point], rows=ROWS, columns=COLUMNS, with_migration=False)
    assert np.sum(np.abs(fixed - flat) ** 2) / np.sum(np.abs(flat) ** 2) < 0.01
    assert np.sum(np.abs(data - flat) ** 2) / np.sum(np.abs(flat) ** 2) > 0.2


def test_migration_costs_the_focus_what_its_correction_gives_back():
    """From level rc a one-column model has an error that no training removes."""
    data = range_compressed(S1, [Point(800.0, 20.0, 1j)], rows=ROWS, columns=COLUMNS)
    blurred, sharp = azimuth_compressed(S1, data), azimuth_compressed(S1, migration_corrected(S1, data))
    assert np.abs(sharp).max() == pytest.approx(1, abs=0.01)
    assert np.unravel_index(np.abs(sharp).argmax(), sharp.shape) == (800, 20)
    assert np.angle(sharp[800, 20]) == pytest.approx(np.pi / 2, abs=0.01)
    assert np.abs(blurred).max() < 0.8
