"""What `mkdocs` needs beside the pages in this folder: README, results and notebooks lie elsewhere
and become pages, links follow them.
"""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
RESULTS = sorted(
    path for path in (ROOT / "benchmarks/results").iterdir() if path.suffix in {".md", ".svg", ".png", ".webp"}
)
PAGES = {  # where a page of the site is in the repository
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "results/index.md": "benchmarks/README.md",
    **{f"results/{path.name}": f"benchmarks/results/{path.name}" for path in RESULTS},
    **{
        f"tutorials/{path.stem}.md": f"examples/notebooks/{path.name}"
        for path in (ROOT / "examples/notebooks").glob("*.ipynb")
    },
}
PLACES = {repository: site for site, repository in PAGES.items()}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)


def on_files(files, config):
    for site, repository in PAGES.items():
        path = ROOT / repository
        content = path.read_bytes() if path.suffix not in {".md", ".ipynb"} else _text(path)
        files.append(File.generated(config, site, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    source = PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    if source.endswith(".ipynb"):  # links of a notebook are those of its page
        return markdown
    parts = CODE.split(markdown)
    return "".join(
        part if n % 2 else LINK.sub(lambda found: _moved(found, source, page), part) for n, part in enumerate(parts)
    )


def _text(path):
    """Markdown of a page, or of a notebook's cells."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    blocks = [
        "".join(cell["source"]) if cell["cell_type"] == "markdown" else f"```python\n{''.join(cell['source'])}\n```"
        for cell in cells
    ]
    return "\n\n".join(
        [*blocks, f"*This page is the notebook `{path.relative_to(ROOT).as_posix()}`, and a test runs it.*"]
    )


def _moved(found, source, page):
    """A link as it is on the site; to a file that is no page of it: its path in the repository, as code."""
    picture, words, target = found.groups()
    if re.match(r"[a-z]+:|#", target):
        return found[0]
    path, mark, anchor = target.partition("#")
    place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    site = PLACES.get(place) or (place.removeprefix("docs/") if place.startswith("docs/") else None)
    if site is None:
        if not (ROOT / place).exists():
            raise FileNotFoundError(f"{source}: link to {target}, which does not exist")
        return words if words.strip("`") == place else f"{words} (`{place}`)"
    here = posixpath.dirname(page.file.src_uri) or "."
    return f"{picture}[{words}]({posixpath.relpath(site, here)}{mark}{anchor})"
