"""The site is built, strictly, and asks for nothing from outside."""

import re
from pathlib import Path

import pytest

mkdocs = pytest.importorskip("mkdocs.commands.build")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ASKED = re.compile(r"""<(?:script|img|link|iframe)[^>]+(?:src|href)=["']?(https?://[^"'\s>]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    from mkdocs.config import load_config

    out = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(out))
    config.plugins.on_startup(command="build", dirty=False)
    mkdocs.build(config)  # a broken link, anchor or a page that no menu names is an error
    return out


def test_every_page_of_the_repository_is_a_page_of_the_site(site):
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / f"{page.stem}.html").is_file(), page
    for page in (ROOT / "benchmarks/results").glob("*.md"):
        assert (site / "results" / f"{page.stem}.html").is_file(), page
    assert "Distil any pretrained PyTorch network" in (site / "index.html").read_text()


def test_nothing_is_fetched_from_outside(site):
    asked = {address for page in site.rglob("*.html") for address in ASKED.findall(page.read_text())}
    assert asked == set()


def test_the_reference_has_signatures_and_words(site):
    text = (site / "reference.html").read_text()
    assert "total_steps" in text
    assert "Satterthwaite" in text


def test_tutorials_are_the_notebooks(site):
    assert "load_digits" in (site / "tutorials/photos.html").read_text()
