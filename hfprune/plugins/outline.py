"""The outline of a module, read without importing it or any other package, for commands that start fast."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outline:
    """The docstring of a module, and what its classes set to literals."""

    doc: str
    constants: Mapping[str, Any]
    """Class variables with a literal value."""


def outline(path: Path) -> Outline:
    """Read a module's text.

    Raises:
        OSError: the file cannot be read.
        SyntaxError: the file is not valid Python.
    """
    tree = ast.parse(path.read_bytes(), str(path))
    inside = [node for kind in tree.body if isinstance(kind, ast.ClassDef) for node in kind.body]
    constants = {}
    for node in inside:
        if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Constant):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            constants[ast.unparse(target)] = node.value.value
    return Outline(ast.get_docstring(tree) or "", constants)
