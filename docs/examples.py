"""Doctests of our docstrings (`Example:`) as code on the reference page (griffe knows `Examples:`)."""

import re

import griffe


class Examples(griffe.Extension):
    def on_object(self, *, obj, **unused):
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
