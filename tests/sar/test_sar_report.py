"""The page of a focusing run: everything that the issue lists is on it, from the files alone, and a browser is content."""

import json
import re
import shutil
import subprocess

import pytest

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_json, write_json
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
    shutil.copytree(compared_run, copy, ignore=shutil.ignore_patterns("*.pt", "distillation"))
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


def test_a_name_with_markup_is_text(student_run, tmp_path):
    """A run called <script> must not become one."""
    copy = tmp_path / "copy"
    shutil.copytree(student_run, copy, ignore=shutil.ignore_patterns("*.pt", "distillation"))
    run = read_json(copy / "run.json")
    run["config"]["name"] = "<script>alert(1)</script>"
    write_json(copy / "run.json", run)
    assert "<script>alert(1)" not in write_page(TASK, copy).read_text()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed")
def test_the_page_opens_quietly_and_fits_a_phone(page, tmp_path):
    """No console message, no request, no sideways scrolling at 390 pixels."""
    from html import escape

    script = (
        "<script>addEventListener('load',()=>{document.querySelector('output').textContent=JSON.stringify("
        "[...document.querySelectorAll('iframe')].map(f=>[f.contentDocument.documentElement.scrollWidth,"
        "f.contentDocument.documentElement.clientWidth]))})</script>"
    )
    frames = "".join(f'<iframe width="{w}" height="900" srcdoc="{escape(page)}"></iframe>' for w in (1280, 390))
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(f"<!DOCTYPE html><title>widths</title><output></output>{frames}{script}")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"]
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", wrapper.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    assert [line for line in done.stderr.splitlines() if ":CONSOLE" in line] == []
    widths = json.loads(re.search(r"<output>(.*?)</output>", done.stdout)[1])
    assert len(widths) == 2
    assert all(scrolled <= shown for scrolled, shown in widths), widths
