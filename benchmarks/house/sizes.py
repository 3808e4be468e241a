"""What an installation takes on the disk, by extra and package: `python -m benchmarks.house.sizes`.

Sizes are those of the files that each package installed here; `train` is counted beyond the core, the other extras beyond both.
Packages that are missing here
are named: run it in an environment with all of them.
"""

import argparse
import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

Sizes = dict[str, int | None]
ROOT = Path(__file__).parents[2]


def wanted(lines: Iterable[str], extra: str = "", seen: Sizes | None = None) -> Sizes:
    """Every package that these requirements bring, by name."""
    seen = {} if seen is None else seen
    for line in lines:
        need = Requirement(line)
        if need.marker is not None and not any(need.marker.evaluate({"extra": one}) for one in ("", extra)):
            continue
        name = re.sub(r"[-_.]+", "-", need.name).lower()
        if name == "stillhouse":
            for one in need.extras:
                wanted(project()["optional-dependencies"][one], seen=seen)
            continue
        if name in seen:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            seen[name] = None
            continue
        seen[name] = sum(path.stat().st_size for file in found.files or () if (path := Path(file.locate())).is_file())
        for one in need.extras or {""}:
            wanted(found.requires or (), one, seen)
    return seen


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=12, help="packages shown of each")
    options = parser.parse_args()
    core = wanted(project()["dependencies"])
    show("core", core, options.most)
    known = dict(core)
    for name, lines in project()["optional-dependencies"].items():
        show(name, {package: size for package, size in wanted(lines).items() if package not in known}, options.most)
        known |= wanted(lines) if name == "train" else {}


def show(name: str, found: Sizes, most: int) -> None:
    known = {package: size for package, size in found.items() if size is not None}
    print(f"{name}: {sum(known.values()) / 1e6:,.0f} MB in {len(known)} packages")
    for package, size in sorted(known.items(), key=lambda pair: -pair[1])[:most]:
        if size > 2e5:
            print(f"    {package:28} {size / 1e6:8.1f} MB")
    missing = sorted(set(found) - set(known))
    if missing:
        print(f"    not installed here: {', '.join(missing)}")


if __name__ == "__main__":
    main()
