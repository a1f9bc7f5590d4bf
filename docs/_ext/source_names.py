"""Every name in the source, found without importing it, to check the links of docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"
ROLE = re.compile(r":(?:py:)?(?:class|func|meth|attr|mod|data|obj|exc):`([^`]+)`")


@dataclass(frozen=True)
class Link:
    """A link in a docstring.

    Attributes:
        target: the name it gives, without '~'.
        scope: the dotted name of what the docstring describes.
        module: the module it is in.
    """

    target: str
    scope: str
    module: str


@cache
def modules() -> dict[str, ast.Module]:
    """The syntax trees of the package by the modules' names."""
    trees = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


@cache
def names() -> dict[str, str]:
    """The dotted names of all modules, classes, functions, methods, attributes and constants.

    With what each is a name of: itself, or what an import took it from.
    """
    found = {}
    for module, tree in modules().items():
        found[module] = module
        found |= dict(_inside(tree, module))
    return found


def resolved(target: str, scope: str) -> str | None:
    """The whole dotted name of what is called ``target`` there; None without such a thing.

    Args:
        target: a name, from the root or from any of the scopes around it.
        scope: a dotted name, such as that of the method whose docstring says it.
    """
    parts = scope.split(".")
    around = [""] + [".".join(parts[:end]) + "." for end in range(len(parts), 0, -1)]
    found = (_defined(prefix + target.lstrip(".")) for prefix in around)
    return next(filter(None, found), None)


def _defined(name: str) -> str | None:
    """Where an import leads to, also for a member of what was imported."""
    for _ in range(5):  # imports of imports
        if names().get(name) == name:
            return name
        owner, _, member = name.rpartition(".")
        name = names().get(name) or f"{names().get(owner, owner)}.{member}"
    return None


def links() -> Iterator[Link]:
    """All links in docstrings."""
    for module, tree in modules().items():
        for scope, text in _docstrings(tree, module):
            for target in ROLE.findall(text):
                yield Link(target.lstrip("~"), scope, module)


def _inside(node: ast.AST, scope: str) -> Iterator[tuple[str, str]]:
    """The names that the body of a module, class or function binds, with what they are names of."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{scope}.{child.name}", f"{scope}.{child.name}"
            if isinstance(child, ast.ClassDef) or child.name == "__init__":
                yield from _inside(child, f"{scope}.{child.name}")
        elif isinstance(child, ast.Import | ast.ImportFrom):
            source = f"{child.module}." if isinstance(child, ast.ImportFrom) else ""
            yield from (
                (f"{scope}.{alias.asname or alias.name}", source + alias.name) for alias in child.names
            )
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from _inside(child, scope)
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            for target in targets:
                if isinstance(target, ast.Name | ast.Attribute):  # an attribute: self.name in __init__
                    name = target.id if isinstance(target, ast.Name) else target.attr
                    yield (f"{scope.removesuffix('.__init__')}.{name}",) * 2


def _docstrings(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    """(dotted name, docstring) of everything in a module; texts after constants as well."""
    stack: list[tuple[ast.AST, str]] = [(tree, module)]
    while stack:
        node, scope = stack.pop()
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            stack.append((child, f"{scope}.{child.name}" if named else scope))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            yield scope, text if isinstance(text, str) else ""
