"""The reference: public names and commands as pages, and the links of docstrings and annotations."""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cache
from typing import Any

import typer
from docutils import nodes
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from source_names import names, resolved
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from typer.cli import get_docs_for_click

from morphoscope.cli import app as commands

# An attribute that was described as a member as well would be two targets of one name.
DOCSTRINGS = Config(napoleon_use_ivar=True, napoleon_use_rtype=False)


class PublicNames(SphinxDirective):
    """``{public-names} PACKAGE``: what a package exports.

    Each name is described once: on the page of the program's own names if it is one of those, or on its
    package's.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The names' descriptions, by autodoc."""
        package = self.arguments[0]
        module = importlib.import_module(package)
        here, there = [], []
        for name in module.__all__:
            home = _home(getattr(module, name), name)
            (here if home == package else there).append(name)
        lines = [f".. py:module:: {package}", ""]
        if there:
            links = ", ".join(f":py:obj:`~morphoscope.{name}`" for name in there)
            lines += [f"Also here, described with the names of ``morphoscope``: {links}.", ""]
        for name in sorted(
            here, key=lambda name: (not inspect.isroutine(getattr(module, name)), name.lower())
        ):
            lines += _described(package, module, name)
        return self.parse_text_to_nodes("```{eval-rst}\n" + "\n".join(lines) + "\n```")


def _home(value: object, name: str) -> str:
    """The package on whose page a name is described."""
    top = importlib.import_module("morphoscope")
    if name in top.__all__ and getattr(top, name) is value:
        return "morphoscope"
    for package in PACKAGES:
        module = importlib.import_module(package)
        if name in module.__all__ and getattr(module, name) is value:
            return package
    raise AssertionError(name)


PACKAGES = tuple(
    f"morphoscope.{name}"
    for name in [
        "data",
        "images",
        "labels",
        "recipes",
        "runs",
        "inference",
        "evaluation",
        "explanation",
        "catalogue",
        "report",
        "cutouts",
        "measurement",
        "explorer",
        "models",
    ]
)


def _described(package: str, module: Any, name: str) -> list[str]:
    """The directives that describe a public name."""
    value = getattr(module, name)
    if inspect.isclass(value) and issubclass(value, BaseModel):
        return _fields(f"{package}.{name}", value)
    if inspect.isclass(value):
        return [f".. autoclass:: {package}.{name}", "   :members:", ""]
    if inspect.isroutine(value):
        return [f".. autofunction:: {package}.{name}", ""]
    where = str(resolved(name, package)).rpartition(".")[0]
    text = " ".join(ModuleAnalyzer.for_module(where).find_attr_docs().get(("", name), [])).strip()
    return [f".. py:data:: {name}", f"   :type: {type(value).__name__}", "", f"   {text}", ""]


def _fields(name: str, model: type[BaseModel]) -> list[str]:
    """A pydantic model: each field with its default and its description."""
    fields = model.model_fields
    lines = [
        f".. autoclass:: {name}(**fields)",
        "   :members:",
        f"   :exclude-members: {', '.join(fields)}",
        "",
    ]
    for field, about in fields.items():
        lines += [f"   .. py:attribute:: {field}"]
        if about.default is not PydanticUndefined:
            lines += [f"      :value: {about.default!r}"]
        lines += ["", f"      {' '.join((about.description or '').split())}", ""]
    return lines


class Docstring(GoogleDocstring):
    """Types stand in annotations, so that what comes before a colon in 'Returns:' is text."""

    def _consume_returns_section(self, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:
        lines = self._dedent(self._consume_to_next_section())
        return [("", "", lines)] if lines else []


def _docstring(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Google's sections as fields."""
    kind = "method" if what in ("attribute", "property", "data") else what  # no 'type: text' there either
    lines[:] = Docstring(list(lines), DOCSTRINGS, app, kind, name, value, options).lines()


class Commands(SphinxDirective):
    """``{commands}``: every command with its arguments and options, as ``--help`` has them."""

    def run(self) -> list[nodes.Node]:
        """The commands' sections."""
        command = typer.main.get_command(commands)
        context = command.make_context("morphoscope", [], resilient_parsing=True)
        text = get_docs_for_click(obj=command, ctx=context, name="morphoscope")
        text = text.partition("\n## ")[2]
        text = re.sub(r"^\*\*Usage\*\*:\n\n", "", "## " + text, flags=re.MULTILINE)
        text = text.replace("```console\n$ ", "```text\n")
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _missing(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element
) -> nodes.Node | None:
    """A link to a name without a target of just that spelling.

    It leads to the public name that is meant; a private name, and one of another package, is shown as code;
    None is an error. (tests/test_docs.py sees that the links of all docstrings, public or not, are names.)
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    short = target.rpartition(".")[2]
    public = {
        (entry.docname, entry.node_id): name
        for name, entry in env.domains.python_domain.objects.items()
        if name.rpartition(".")[2] == short and entry.objtype in ("class", "function", "exception", "data")
    }
    if node["reftype"] not in ("meth", "attr") and len(public) == 1:
        [((page, anchor), name)] = public.items()
        return make_refnode(app.builder, node["refdoc"], page, anchor, [text], name)
    scope = ".".join(filter(None, (node.get("py:module"), node.get("py:class"))))
    known = resolved(target, scope) or short in _short_names()
    return text if known or (not target.startswith("morphoscope") and "." in target) else None


@cache
def _short_names() -> frozenset[str]:
    """What is defined or imported anywhere: annotations are texts, of the module that they are written in."""
    return frozenset(name.rpartition(".")[2] for name in names()) | {"NoneType"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("commands", Commands)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("missing-reference", _missing)
    return {"parallel_read_safe": True}
