"""Every `stillhouse.module.name` that the package writes down is there: in docstrings, in messages, in help."""

import importlib
import re
from pathlib import Path

import stillhouse

PACKAGE = Path(stillhouse.__file__).parent


def resolves(name):
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_modules_that_are_named_exist():
    """Two messages sent their readers to modules of an earlier layout."""
    lost = []
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.txt")]):
        for name in sorted(set(re.findall(r"\bstillhouse(?:\.[A-Za-z_]\w*)+", path.read_text()))):
            if not resolves(name):
                lost.append(f"{path.relative_to(PACKAGE)}: {name}")
    assert not lost
    assert not resolves("stillhouse.classification.data.open_vectors")
    assert not resolves("stillhouse.students.state_space.streaming")
