"""YAML as our files are read: a key stands once in a mapping, nesting is bounded, and a fault is told in one line. No torch."""

from __future__ import annotations

from typing import Any

import yaml

DEEPEST = 50  # levels of nesting; ours are about six


def read_yaml(text: str) -> Any:
    """The value that a YAML text stands for: a key stands once in a mapping, and nesting is bounded.

    Example:
        >>> read_yaml("{epochs: 3, arms: [kd]}")
        {'epochs': 3, 'arms': ['kd']}

    Raises:
        yaml.YAMLError: broken YAML, a key that stands twice, a value that is not one (30 February), too many levels.
    """
    try:
        return yaml.load(text, Loader=_OnceLoader)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        # raised by PyYAML's constructors: a date that is none, a long number, a list as a key, `!!bool x`
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from None


def yaml_fault(error: yaml.YAMLError) -> str:
    """What is wrong with a YAML text, and where, in one line.

    Example:
        >>> try: read_yaml("a: [1, 2")
        ... except yaml.YAMLError as error: yaml_fault(error)
        "line 1, column 9: expected ',' or ']', but got '<stream end>'"
    """
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).replace('in "<unicode string>", ', "").split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {' '.join(str(getattr(error, 'problem', error)).split())}"


class _OnceLoader(yaml.SafeLoader):
    """YAML in which a key stands once in a mapping: PyYAML would silently take the last one."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The node that comes next.

        Raises:
            yaml.YAMLError: it is nested too deeply.
        """
        if self.depth == DEEPEST:
            line = self.peek_event().start_mark.line + 1
            raise yaml.YAMLError(f"expected at most {DEEPEST} levels of nesting, got more in line {line}")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node.

        Raises:
            yaml.YAMLError: a key stands twice.
        """
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.YAMLError(
                    f"key {key.value!r} stands twice in one mapping, again in line {key.start_mark.line + 1}"
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)
