"""What every test of a run pays for and few are about: timing a network for seconds, writing figures out as SVG."""

import pytest
from markupsafe import Markup, escape


@pytest.fixture(scope="session", autouse=True)
def brief_timing():
    """Times of networks from a call or two; what they are is tested in tests/metrics."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("stillhouse.metrics.cost.BUDGET_SECONDS", 0.01)
        yield


@pytest.fixture(scope="module", autouse=True)
def undrawn_pages(request):
    """Figures are built and not written out, which takes most of the time of a page; `drawn` modules want them."""
    if request.node.get_closest_marker("drawn"):
        yield
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "stillhouse.report.figures._svg",
            lambda figure, name, label: Markup(f'<svg role="img" aria-label="{escape(label)}"></svg>'),
        )
        yield
