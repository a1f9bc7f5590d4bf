"""The documentation says what is there: commands parse, files exist, tables are the program's own."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer

from morphoscope.cli import app
from morphoscope.studies.registry import find_recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
]
PLACEHOLDER = re.compile(r"^[A-Z]+$")


def _command_lines() -> list[tuple[str, str]]:
    """Every line of a code block that calls morphoscope, with the page it is on."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", "")
        for kind, block in re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            if kind == "" or block.startswith("%%bash"):  # a block, or a cell of a tutorial
                lines = [line.partition(" || ")[0] for line in block.splitlines()]
                found += [(page.name, line) for line in lines if line.startswith("morphoscope ")]
    from morphoscope import demo

    printed = re.findall(r'print\("  (morphoscope .*)"\)', Path(demo.__file__).read_text(encoding="utf-8"))
    return found + [("demo.py", line) for line in printed]


@pytest.mark.parametrize(("page", "line"), _command_lines())
def test_every_command_in_the_docs_parses(page: str, line: str):
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while (known := getattr(command, "commands", None)) is not None:
        assert words[0] in known, f"{page}: no command '{words[0]}'"
        command = known[words.pop(0)]
    context = command.make_context(command.name, words)  # parses, and runs nothing
    recipe = context.params.get("recipe")
    if recipe and not recipe.endswith(".yaml") and not PLACEHOLDER.match(recipe):
        find_recipe(recipe).with_settings(context.params["settings"] or [])


def test_the_docs_have_commands_to_parse():
    pages = {page for page, _ in _command_lines()}
    assert {"README.md", "data.md", "recipes.md", "own-images.md", "demo.py"} <= pages


@pytest.mark.parametrize("page", ["recipes.md", "studies.md", "vote-counts.md"])
def test_generated_tables_are_the_programs_own(page: str):
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    filled = runpy.run_path(str(ROOT / "scripts" / "write_docs.py"))["filled"]
    assert filled(written, page) == written, "run 'make docs'"


def _tree() -> list[Path]:
    """The paths that the README's annotated tree names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = next(block for block in text.split("```") if block.startswith("\nsrc/morphoscope/"))
    folders: dict[int, Path] = {-1: ROOT}  # by their indentation
    paths = []
    for line in block.strip().splitlines():
        depth = len(line) - len(line.lstrip())
        folders = {at: folder for at, folder in folders.items() if at < depth}
        for name in re.split(r"\s{2,}", line.strip())[0].split(", "):
            paths.append(folders[max(folders)] / name)
        folders[depth] = paths[-1]
    return paths


def test_the_tree_of_the_readme_is_true():
    tree = _tree()
    assert len(tree) > 25
    assert [str(path.relative_to(ROOT)) for path in tree if not path.exists()] == []


def test_the_tree_of_the_readme_has_every_part_of_the_package():
    package = ROOT / "src" / "morphoscope"
    parts = [path for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    missing = {path.name for path in parts} - {path.name for path in _tree()} - {"__init__.py"}
    assert missing == set()


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            elsewhere = target.startswith("https://")
            assert elsewhere or (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.fixture(scope="module")
def source_names() -> dict:
    return runpy.run_path(str(ROOT / "docs" / "_ext" / "source_names.py"))


def test_links_in_docstrings_name_something(source_names: dict):
    links = list(source_names["links"]())
    assert len(links) > 300
    nowhere = [link for link in links if source_names["resolved"](link.target, link.scope) is None]
    assert nowhere == []


@pytest.mark.parametrize(
    ("target", "scope", "whole"),
    [
        ("Store.images", "morphoscope.training.galaxies", "morphoscope.data.store.Store.images"),
        (
            "catalogue_columns",
            "morphoscope.labels.kind.Scheme.check",
            "morphoscope.labels.kind.Scheme.catalogue_columns",
        ),
        (".int8", "morphoscope.inference.engine.export", "morphoscope.inference.engine.int8"),
        ("Store.pixels", "morphoscope.training.galaxies", None),
        ("morphoscope.data.shop", "morphoscope", None),
    ],
)
def test_what_a_docstring_means_by_a_name(source_names: dict, target: str, scope: str, whole: str | None):
    assert source_names["resolved"](target, scope) == whole


def test_every_package_with_public_names_has_a_page():
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md")]
    described = re.findall(r"^```\{public-names\} (\S+)", "\n".join(pages), re.MULTILINE)
    package = ROOT / "src" / "morphoscope"
    exporting = [
        ".".join(("morphoscope", *path.parent.relative_to(package).parts))
        for path in package.rglob("__init__.py")
        if "lazy_exports(__name__" in path.read_text(encoding="utf-8")
    ]
    assert sorted(described) == sorted([*exporting, "morphoscope.recipes"])


def test_lines_that_commands_print_in_tutorials_stay_whole() -> None:
    joined = runpy.run_path(str(ROOT / "docs" / "_ext" / "whole_lines.py"))["joined"]
    pieces = [("stdout", "the reasons are in the colu"), ("stderr", "a note\n"), ("stdout", "mn quality\n")]
    outputs = [{"output_type": "stream", "name": name, "text": text} for name, text in pieces]
    outputs.insert(1, {"output_type": "display_data", "data": {}})
    found = joined(outputs)
    assert [each.get("name") for each in found] == ["stdout", None, "stderr"]
    assert found[0]["text"] == "the reasons are in the column quality\n"
