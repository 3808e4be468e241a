"""What every test of a run pays for and few are about: timing a network for seconds, writing figures out as SVG.

Tests begin in an empty folder and leave it empty: what lies in the clone (a demo's run, say) must not decide any of them.
"""

import os
from pathlib import Path

import pytest
from markupsafe import Markup, escape

collect_ignore_glob = ["*/conftest.py"]  # they hold no doctests, and all have one name
SVG = "stillhouse.report.figures._svg"


@pytest.fixture(scope="session", autouse=True)
def working_directory(tmp_path_factory):
    """The working directory of all tests that choose none."""
    before, place = Path.cwd(), tmp_path_factory.mktemp("elsewhere")
    os.chdir(place)
    yield place
    os.chdir(before)


@pytest.fixture(autouse=True)
def nothing_left_there(working_directory):
    """A test that writes into the working directory would decide the next one that reads it."""
    yield
    assert not os.listdir(working_directory), f"left in the working directory: {os.listdir(working_directory)}"


@pytest.fixture(scope="session", autouse=True)
def brief_runs():
    """Networks are timed for a call or two, figures are built and not written out; gives the real writer of figures."""
    from stillhouse.report import figures

    written = figures._svg
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("stillhouse.metrics.cost.BUDGET_SECONDS", 0.01)
        patched.setattr(SVG, lambda figure, name, label: Markup(f'<svg role="img" aria-label="{escape(label)}"></svg>'))
        yield written


@pytest.fixture(scope="module", autouse=True)
def drawn_pages(request, brief_runs):
    """Modules marked `drawn` are about pages and have their figures."""
    with pytest.MonkeyPatch.context() as patched:
        if request.node.get_closest_marker("drawn"):
            patched.setattr(SVG, brief_runs)
        yield
