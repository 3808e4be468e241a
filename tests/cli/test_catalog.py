"""Stored pages of `--help`: at once, without torch, and of the commands as they are."""

import re
import subprocess
import sys

import pytest

from stillhouse.cli.catalog import WIDTH, WORDS, page_of, written
from stillhouse.cli.main import main


def offered(text):
    """What a page is about: its flags, and the words that begin its lines."""
    return set(re.findall(r"--[a-z][\w-]*", text)), re.findall(r"^  (\w[\w:.-]*)", text, re.MULTILINE)


@pytest.mark.parametrize("words", WORDS, ids="-".join)
def test_a_page_offers_what_the_command_takes(words, monkeypatch):
    """A flag that was added or taken away since the pages were written; write them with `python -m stillhouse.cli.catalog`."""
    monkeypatch.setenv("COLUMNS", WIDTH)
    assert offered(page_of(words).read_text())[0] == offered(written(words))[0]


def test_list_names_what_there_is(monkeypatch):
    """A recipe or signal that was added since."""
    monkeypatch.setenv("COLUMNS", WIDTH)
    assert offered(page_of(("list",)).read_text()) == offered(written(("list",)))


@pytest.mark.parametrize("words", [w for w in WORDS if w[0] in {"distill", "vision", "list"} or w[1:2] == ("distill",)])
def test_a_command_that_explains_itself_does_not_wait_for_torch(words):
    """Torch takes seconds; a page takes none."""
    code = f"from stillhouse.cli.main import main\nmain({list(words)!r})\nimport sys\nsys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 4


def test_a_recipe_has_a_page_of_its_own(capsys):
    """Its flags follow its configuration, so no stored page can know them."""
    with pytest.raises(SystemExit):
        main(["distill", "mnist", "--help"])
    assert "--student" in capsys.readouterr().out
