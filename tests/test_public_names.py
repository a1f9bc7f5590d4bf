"""What people import: public names of the package and its sub-packages, their types and their paths."""

from __future__ import annotations

import ast
import importlib
import inspect
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import morphoscope

SOURCE = Path(morphoscope.__file__).parent
PACKAGES = sorted(
    ".".join(("morphoscope", *path.parent.relative_to(SOURCE).parts))
    for path in SOURCE.rglob("__init__.py")
    if "lazy_exports(__name__" in path.read_text(encoding="utf-8")
)


def test_what_people_need_is_exported():
    for name in ("labels", "data", "models", "evaluation", "explanation", "catalogue", "report"):
        assert f"morphoscope.{name}" in PACKAGES
    assert (SOURCE / "py.typed").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_and_python_find_the_same_names(package: str):
    module = importlib.import_module(package)
    tree = ast.parse(inspect.getsource(module))
    (block,) = (
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    typed = {
        alias.asname or alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == module._PUBLIC
    assert sorted(module.__all__) == sorted({*module._PUBLIC, *({"__version__"} & set(module.__all__))})
    assert set(dir(module)) >= set(module._PUBLIC)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_hides_no_module(package: str):
    module = importlib.import_module(package)
    for name, where in module._PUBLIC.items():
        assert getattr(module, name) is getattr(importlib.import_module(where), name)
    folder = Path(str(module.__file__)).parent
    modules = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    assert set(module._PUBLIC) & modules == set()
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = module.nothing


def _functions(value: object) -> list:
    if is_dataclass(value) and value is not morphoscope.CatalogueRequest:
        return []  # made by functions, which are looked at themselves
    if inspect.isclass(value):
        members = [
            member for name, member in vars(value).items() if not name.startswith("_") or name == "__init__"
        ]
        found = [getattr(member, "__func__", member) for member in members]
        return [member for member in found if inspect.isfunction(member)]
    return [value] if inspect.isfunction(value) else []


def test_every_public_function_that_takes_a_path_takes_a_text_as_well():
    wrong = []
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module._PUBLIC:
            for function in _functions(getattr(module, name)):
                hints = {k: v for k, v in function.__annotations__.items() if k != "return"}
                wrong += [
                    f"{package}.{name}: {function.__qualname__}({argument}: {kind})"
                    for argument, kind in hints.items()
                    if "Path" in str(kind) and "str" not in str(kind)
                ]
    assert wrong == []
