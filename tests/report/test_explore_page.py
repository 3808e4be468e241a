"""The explorer: nothing from outside, any text survives, and in a real browser it searches, selects and moves."""

import base64
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from stillhouse.tasks.embed.explore import Rows, write_explorer

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=20000"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0", "--window-size=1300,900"),
]
NASTY = [
    "</script><script>window.broken = 1</script>",
    "<!-- <script>",
    "\"quotes\" and 'quotes' and `ticks` ${1+1} {{ 1 }} {% raw %}",
    "emoji 🦜🏳️‍🌈, 漢字, עברית",
    "line\u2028separator\u2029and\x00nul\ttab\nnewline \\u0041",
    "&amp; <b>bold</b> <img src=x onerror='window.broken = 2'>",
    "half \ud83d of a pair",
]
needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed"),
]


def made(n=60, d=5, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(n, d)).astype(np.float32)
    teacher, student = (rng.permuted(np.tile(np.arange(n), (n, 1)), axis=1)[:, :4] for _ in range(2))
    return codes, {"teacher": teacher, "student": student}


FIGURES = {"knn_overlap@10": 0.35678, "knn_chance@10": 0.1, "trustworthiness": 0.9, "spearman": 0.5}


def explorer(path, codes, axes=(), title="Codes", **given):
    """The page of some codes; what belongs to rows stands among the other settings."""
    near = np.zeros((len(codes), 1), int)
    usual = {"teacher": near, "student": near, "numbers": np.arange(len(codes)), "numbers_of": "x.npy"}
    write_explorer(path, Rows(codes, **{**usual, **given}), axes, title, FIGURES)
    return path


def stored(page):
    """What the page holds, read back as a browser would: the script's text, then JSON, then base64."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def unpacked(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_page_holds_what_it_was_given(tmp_path):
    """A transposed or rounded array would still draw a cloud."""
    codes, sides = made()
    labels = ["b", "a", "b"] * 20
    path = explorer(tmp_path / "x" / "page.html", codes, texts=[f"t{i}" for i in range(60)], labels=labels, **sides)
    held = stored(path.read_text(encoding="utf-8"))
    assert np.array_equal(unpacked(held["codes"], "<f4").reshape(60, 5), codes)
    for side in ("teacher", "student"):
        assert held[side]["k"] == 4
        assert np.array_equal(unpacked(held[side]["rows"], "<i4").reshape(60, 4), sides[side])
    assert held["labels"] == [["b", 40], ["a", 20]]
    assert unpacked(held["label"], "<u4").tolist()[:3] == [0, 1, 0]
    assert held["texts"][59] == "t59"


def test_rows_without_a_label_are_said_to_have_none(tmp_path):
    """They were of a class called ""."""
    path = explorer(tmp_path / "p.html", made()[0], labels=["a", None, "", float("nan"), "null"] + ["a"] * 55)
    assert stored(path.read_text(encoding="utf-8"))["labels"] == [["a", 56], ["no label", 4]]


def test_the_page_asks_for_nothing_from_outside(tmp_path):
    """A page that loads a library from somewhere is blank on the day it matters, and tells somebody who reads what."""
    codes, sides = made()
    page = explorer(tmp_path / "page.html", codes, **sides).read_text()
    assert not re.search(
        r"https?:|//[a-z0-9]+\.|@import|url\(|<link(?![^>]*data:,)|src=|\bfetch\b|XMLHttp|WebSocket", page
    )
    assert "default-src 'none'" in page


def test_any_text_is_data_and_stays_what_it_is(tmp_path):
    """`</script>` in a text ends the script of a page that only quotes it."""
    codes, _ = made(len(NASTY))
    path = tmp_path / "page.html"
    explorer(path, codes, texts=NASTY, labels=NASTY, title=NASTY[0], axes=[(name, "", "") for name in NASTY[:5]])
    page = path.read_text(encoding="utf-8")
    assert page.count("</script>") == 2
    assert stored(page)["texts"] == [text.replace("\ud83d", "?") for text in NASTY]
    assert html.escape(NASTY[0]) in page
    assert "<b>bold" not in page


# ------------------------------------------------------------------------------------------------- in a real browser

# frames of a page that nobody sees come when they like; timers keep to the virtual clock
CLOCK = "<script>window.requestAnimationFrame = done => setTimeout(done, 1);</script>"
HANDS = """<script>
const at = id => document.getElementById(id), map = at("map"), said = {};
const rest = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
const type = (id, value, kind = "input") => { at(id).value = value; at(id).dispatchEvent(new Event(kind)); return rest(); };
const point = (kind, [x, y]) => {
  const box = map.getBoundingClientRect();
  map.dispatchEvent(new PointerEvent(kind, { clientX: box.left + x, clientY: box.top + y, pointerId: 1, bubbles: true }));
};
const marked = id => [...at(id).querySelectorAll("button")].filter(b => b.querySelector(".both")).map(b => +b.dataset.row);
const listed = id => [...at(id).querySelectorAll("button")].map(b => +b.dataset.row);
const picture = () => map.toDataURL();
addEventListener("load", async () => {
  await rest();
  try { %s } catch (error) { said.error = String(error); }
  const out = document.createElement("output");
  out.textContent = JSON.stringify(said);
  document.body.append(out);
});
</script>"""


def visit(page, folder, steps):
    """Open a copy of the page that plays the steps; returns what they wrote down, the console messages and the requests."""
    folder.mkdir()
    played = folder / "played.html"
    text = page.read_text(encoding="utf-8")
    text = text.replace("<body>", "<body>" + CLOCK).replace("</body>", HANDS % steps + "</body>")
    played.write_text(text, encoding="utf-8")
    log = folder / "net.json"
    places = [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom", played.as_uri()]
    done = subprocess.run([CHROMIUM, *FLAGS, *places], capture_output=True, timeout=90, check=True)
    dom, stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    console = [line for line in stderr.splitlines() if ":CONSOLE" in line]
    events = [json.loads(line.rstrip(",")) for line in log.read_text().splitlines() if '"initiator":' in line]
    asked = {e["params"]["url"] for e in events if e["params"]["initiator"] != "not an origin"}
    said = json.loads(html.unescape(re.findall(r"<output>(.*?)</output>", dom, re.S)[-1]))
    return said, console, {address for address in asked if not address.startswith("data:")}


class TestBrowser:
    pytestmark = needs_browser

    def test_search_click_and_axes_do_what_they_say(self, tmp_path):
        """Everything that a reader does with the page, by events as a hand makes them."""
        codes, sides = made()
        texts = [f"sentence number {i}" for i in range(60)]
        texts[17] = "A Plane is taking off"
        page = explorer(tmp_path / "p.html", codes, texts=texts, labels=["u", "v"] * 30, **sides)
        said, console, asked = visit(
            page,
            tmp_path / "v",
            """
            await type("search", "plane IS"); said.found = listed("results"); said.count = at("count").textContent;
            at("results").querySelector("button").click(); await rest();
            said.which = at("which").textContent; said.text = at("text").textContent;
            said.told = listed("teacher"); said.said = listed("student"); said.shared = at("shared").textContent;
            said.marked = marked("teacher");
            await type("search", "42"); said.number = listed("results")[0];
            await type("search", "no such thing"); said.nothing = at("count").textContent;
            await type("search", "");
            said.place = explorer.place(23); const clear = picture();
            point("pointermove", said.place); await rest(); said.tip = at("tip").hidden ? null : at("tip").textContent;
            point("pointerdown", said.place); point("pointerup", said.place); await rest();
            said.clicked = at("which").textContent; said.ringed = picture() !== clear;
            const before = picture();
            await type("x", "3", "change"); said.moved = [explorer.place(23), picture() !== before];
            at("teacher").querySelector("button").click(); await rest(); said.stepped = at("which").textContent;
            """,
        )
        assert console == []
        assert asked == set()
        assert said["found"] == [17]
        assert said["count"].startswith("1 found")
        assert (said["which"], said["text"]) == ("Row 17: v", "A Plane is taking off")
        told, student = sides["teacher"], sides["student"]
        assert (said["told"], said["said"]) == (told[17].tolist(), student[17].tolist())
        shared = sorted(set(told[17]) & set(student[17]))
        assert sorted(said["marked"]) == shared
        assert said["shared"] == f"{len(shared)} of the teacher's 4 are among the student's 4."
        assert said["number"] == 42
        assert said["nothing"] == "Nothing found."
        assert said["tip"] == "sentence number 23 · row 23 · v"
        assert said["clicked"] == "Row 23: v"
        assert said["ringed"] is True
        assert said["moved"][0] != said["place"]
        assert said["moved"][1] is True
        assert said["stepped"].startswith(f"Row {told[23][0]}:")
