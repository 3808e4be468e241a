"""The page in a real browser: no console message, no request to anywhere, no sideways scrolling on a phone."""

import html
import json
import re
import shutil
import subprocess

import pytest

from stillhouse.report import write_page
from stillhouse.tasks.classification.task import TASK

pytestmark = pytest.mark.drawn

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0"),  # nothing leaves this machine
]
WIDTHS = (1280, 390)
MEASURE = """<script>
addEventListener("load", () => {
  const widths = [...document.querySelectorAll("iframe")].map(frame => {
    const inside = frame.contentDocument;
    inside.querySelectorAll("details").forEach(part => { part.open = true; });
    return [inside.documentElement.scrollWidth, inside.documentElement.clientWidth];
  });
  document.querySelector("output").textContent = JSON.stringify(widths);
});
</script>"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed"),
]


def visit(page, folder):
    """Open a page and return its DOM at load, the console messages, and the addresses that were asked for."""
    folder.mkdir()
    log = folder / "net.json"
    places = [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    command = [CHROMIUM, *FLAGS, *places, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    events = [json.loads(line.rstrip(",")) for line in log.read_text().splitlines() if '"initiator":' in line]
    # what the browser asks for on its own account has no origin
    asked = {event["params"]["url"] for event in events if event["params"]["initiator"] != "not an origin"}
    return done.stdout, console, {address for address in asked if not address.startswith("data:")}


def frames(text):
    """A wrapper page that shows `text` at every width and measures it (a headless window cannot be 390 px narrow)."""
    shown = "".join(f'<iframe width="{w}" height="900" srcdoc="{html.escape(text)}"></iframe>' for w in WIDTHS)
    return f"<!DOCTYPE html><title>widths</title><output></output>{shown}{MEASURE}"


def measured(dom):
    found = re.search(r"<output>(.*?)</output>", dom)
    return json.loads(found[1])


def test_the_page_opens_without_a_message_or_a_request(finished, tmp_path):
    dom, console, asked = visit(write_page(TASK, finished), tmp_path / "visit")
    assert "The teacher: helps" in dom
    assert console == []
    assert asked == set()


def test_nothing_scrolls_sideways_at_1280_and_at_390_pixels(finished, tmp_path):
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(frames(write_page(TASK, finished).read_text()))
    dom, console, _ = visit(wrapper, tmp_path / "visit")
    assert console == []
    for width, (needed, shown) in zip(WIDTHS, measured(dom)):
        assert width - 20 <= shown <= width
        assert needed <= shown


LINES = """<script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame =>
    [...frame.contentDocument.querySelectorAll(".facts dd")].map(dd => [dd.innerText, dd.scrollWidth <= dd.clientWidth]));
  document.querySelector("output").textContent = JSON.stringify(found);
});
</script>"""
