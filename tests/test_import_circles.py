"""No module imports one that imports it, however far round: also not for annotations, which import-linter leaves out."""

import ast
from pathlib import Path

import networkx

import stillhouse

ROOT = Path(stillhouse.__file__).parent
LEFT = ("stillhouse.tasks.", "stillhouse.tasks.classification.data.")  # rooms that still have some


def modules():
    """Name -> file."""
    found = {".".join(("stillhouse", *p.relative_to(ROOT).with_suffix("").parts)): p for p in ROOT.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in found.items()}


def imported(body):
    """Names that the statements of a module import when it is loaded, or when its annotations are read."""
    for node in body:
        if isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", str(node.module)) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, (ast.If, ast.Try)):
            yield from imported([*node.body, *node.orelse])


def test_no_shared_module_is_in_a_circle():
    """A circle of annotations is two files that cannot be read one without the other."""
    known, graph = modules(), networkx.DiGraph()
    for name, path in known.items():
        for whole, home in imported(ast.parse(path.read_text(encoding="utf-8")).body):
            target = whole if whole in known else home
            if target in known and target != name:
                graph.add_edge(name, target)
    assert graph.number_of_edges() > 1000
    circles = [sorted(circle) for circle in networkx.strongly_connected_components(graph) if len(circle) > 1]
    assert [circle for circle in circles if not all(f"{name}.".startswith(LEFT) for name in circle)] == []
