"""The command that lists, shows and draws decision trees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from morphoscope.cli import app
from morphoscope.errors import UsageError
from morphoscope.labels.tree_files import tree_names


def said(*words: str) -> str:
    done = CliRunner().invoke(app, ["trees", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_trees_are_listed_and_those_with_doubts_marked() -> None:
    lines = said().splitlines()
    assert [line.split()[0] for line in lines] == tree_names()
    assert [line.split()[0] for line in lines if line.endswith("not verified")] == ["gz-hubble"]
    assert set(json.loads(said("--json"))) == set(tree_names())


def test_a_tree_is_shown_and_drawn(tmp_path: Path) -> None:
    text = said("gz-rings", "--out", str(tmp_path / "rings.svg"))
    assert "ring  Is there a ring?" in text
    assert "    no   · end" in text
    assert (tmp_path / "rings.svg").read_text(encoding="utf-8").startswith("<?xml")
    with pytest.raises(UsageError, match="exists already"):
        said("gz-rings", "--out", str(tmp_path / "rings.svg"))
    with pytest.raises(UsageError, match=r"ends in \.png, \.svg or \.pdf"):
        said("gz-rings", "--out", str(tmp_path / "rings.txt"))
    with pytest.raises(UsageError, match="draws one tree"):
        said("--out", str(tmp_path / "all.svg"))


def test_a_tree_as_a_document_has_its_columns() -> None:
    shown = json.loads(said("gz2", "--json"))
    first = shown["questions"][0]["answers"][1]
    assert first == {
        "column": "smooth-or-featured_featured-or-disk",
        "text": "features or disc",
        "next": "disk-edge-on",
    }
    assert shown["verified"] is True
