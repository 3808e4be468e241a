"""YAML as our files are read: a key stands once in a mapping, nesting is bounded, and a fault is told in one line. No torch."""

from __future__ import annotations

from typing import Any

import yaml

DEEPEST = 50  # levels of nesting in YAML; ours are about six
MOST = 100_000  # values of a YAML text, aliases written out


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
        if "integer string conversion" in str(error):
            raise yaml.YAMLError("a whole number has more digits than can be read") from None
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

    def get_single_node(self) -> yaml.Node | None:
        """The whole text; an alias counts as what it stands for, since whoever reads the value walks through all of it.

        Raises:
            yaml.YAMLError: more values than `MOST`, or one that holds itself.
        """
        node = super().get_single_node()
        sizes: dict[int, int] = {}

        def size(one: yaml.Node) -> int:
            if id(one) not in sizes:
                sizes[id(one)] = MOST  # until it is known: one that holds itself is endless
                inner = one.value if isinstance(one, yaml.CollectionNode) else []
                sizes[id(one)] = 1 + sum(
                    size(n) for each in inner for n in (each if isinstance(each, tuple) else (each,))
                )
            return sizes[id(one)]

        if node is not None and size(node) > MOST:
            raise yaml.YAMLError(
                f"expected at most {MOST:,} values, got more: an alias (*name) counts as what it stands for"
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node.

        Raises:
            yaml.YAMLError: a key stands twice, or is a list or mapping.
        """
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                what = "list" if isinstance(key, yaml.SequenceNode) else "mapping"
                raise yaml.YAMLError(f"expected a word as a key, got a {what} in line {key.start_mark.line + 1}")
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.YAMLError(
                    f"key {key.value!r} stands twice in one mapping, again in line {key.start_mark.line + 1}"
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)
