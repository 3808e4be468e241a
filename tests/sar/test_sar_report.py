"""The page of a focusing run: everything that the issue lists is on it, from the files alone, and a browser is content."""

import json
import shutil

import pytest

from stillhouse.core.checks import InputError
from stillhouse.report.page import write_page
from stillhouse.tasks.sar.task import TASK

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def page(compared_run):
    return (compared_run / "report.html").read_text()


def test_pictures_before_and_after(page):
    """Unfocused, target, matched filter, teacher and both arms."""
    for name in ("before", "target", "matched filter", "teacher", "kd", "no-kd"):
        assert f'alt="Magnitude of the patch: {name}"' in page
    assert page.count("data:image/png;base64,") >= 6


def test_points_and_costs(page, compared_run):
    """Width, sidelobes, phase; parameters, state, operations, time: a number for each focuser."""
    for word in (
        "IRW (half-power width)",
        "PSLR",
        "ISLR",
        "phase",
        "parameters",
        "multiply-adds",
        "ms a line",
        "latency",
    ):
        assert word.lower() in page.lower(), word
    for name in ("teacher truncated to state_dim 16", "matched filter cut to 33 taps", "identity (unfocused)"):
        assert name in page
    rows = json.loads((compared_run / "comparison.json").read_text())["rows"]
    assert f"{rows[0]['parameters']:,}" in page


def test_made_from_files_alone(compared_run, tmp_path):
    """Anyone with the folder can make the page again; parts whose files are missing are left out."""
    copy = tmp_path / "copy"
    shutil.copytree(compared_run, copy, ignore=shutil.ignore_patterns("*.pt"))
    before = (copy / "report.html").read_text()
    assert write_page(TASK, copy).read_text() == before
    for name in ("focus.npz", "comparison.json", "summary.json"):
        (copy / name).unlink()
    text = write_page(TASK, copy).read_text()
    assert "This run is not finished" in text
    assert not any(f"<h2>{title}</h2>" in text for title in ("Images", "Comparison", "Point targets"))
    assert all(f"<h2>{title}</h2>" in before for title in ("Images", "Comparison", "Point targets"))
    with pytest.raises(InputError):
        write_page(TASK, tmp_path / "none")
