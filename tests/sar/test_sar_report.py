"""The page of a focusing run: pictures before and after, from the files alone."""

import shutil

from stillhouse.report.page import write_page
from stillhouse.tasks.sar.results import RESULTS


def test_pictures_before_and_after_from_files_alone(student_run, tmp_path):
    """Unfocused, target, matched filter, teacher and both arms; anyone with the folder can make the page again."""
    page = (student_run / "report.html").read_text()
    for name in ("before", "target", "matched filter", "teacher", "kd", "no-kd"):
        assert f'alt="Magnitude of the patch: {name}"' in page
    copy = tmp_path / "copy"
    shutil.copytree(student_run, copy, ignore=shutil.ignore_patterns("*.pt"))
    assert write_page(RESULTS, copy).read_text() == page
    (copy / "focus.npz").unlink()
    assert "<h2>Images</h2>" not in write_page(RESULTS, copy).read_text()
