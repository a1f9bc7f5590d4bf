"""Labels that cannot be learned, from the command line: one sentence, and nothing heavy imported."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from morphoscope.cli import main

TREE = """kind: morphoscope-tree
format_version: 1
name: rings
title: Rings
questions:
- key: ring
  answers: [{key: yes, next: FIRST}, {key: no}]
- key: kind
  answers: [{key: inner, next: SECOND}, {key: outer}]
"""
VOTES = {
    "ring_yes": [3, 2, 4],
    "ring_no": [1, 1, 0],
    "ring_total-votes": [4, 3, 4],
    "kind_inner": [1, 1, 3],
    "kind_outer": [2, 1, 1],
}
ERRORS = ("--value-column", "z", "--error-column", "z=e")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(3):
        picture = np.full((16, 16, 3), 60 * number, np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"g{number}.png"), picture)
    (tmp_path / "rings.yaml").write_text(TREE.replace("FIRST", "kind").replace("SECOND", "null"))
    return tmp_path


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The sentence with which a command is refused."""
    monkeypatch.setattr(sys, "argv", ["morphoscope", *map(str, words)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    assert ended.value.code in (1, 2), captured
    assert "Traceback" not in captured.err
    sentences = [line for line in captured.err.splitlines() if line.startswith("morphoscope: ")]
    assert len(sentences) == 1, captured.err
    return sentences[0]


def written(place: Path, columns: dict[str, list]) -> Path:
    table = {"id": ["g0", "g1", "g2"], "file": [f"images/g{number}.png" for number in range(3)]} | columns
    with open(place, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(table)
        rows.writerows(zip(*table.values(), strict=True))
    return place


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ring_yes": [0.5, 2, 4]}, "galaxy g0: 'ring_yes' is 0.5; a whole number of votes was expected"),
        ({"ring_yes": [3, -2, 4]}, "galaxy g1: 'ring_yes' is -2"),
        ({"ring_total-votes": [4, 3, 9]}, "galaxy g2: the answers to 'ring' have 4 votes together and"),
        (
            {"kind_inner": [0] * 3, "kind_outer": [0] * 3},
            "the question 'kind' has no votes in the whole table",
        ),
        ({"ring_no": ["", 1, 0]}, "galaxy g0: 'ring_no' is empty (NaN)"),
    ],
)
def test_votes(
    folder: Path,
    change: dict,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = written(folder / "votes.csv", VOTES | change)
    words = ("data", "ingest", "votes", table, folder / "store", "--tree", folder / "rings.yaml")
    assert expected in said(monkeypatch, capsys, *words)
    assert not (folder / "store").exists()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("kind", "ring", "cycle"), ("nowhere", "null", "nowhere"), ("null", "null", "'kind'")],
)
def test_trees(
    folder: Path,
    first: str,
    second: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = folder / "wrong.yaml"
    place.write_text(TREE.replace("FIRST", first).replace("SECOND", second))
    assert expected in said(monkeypatch, capsys, "trees", place)
    table = written(folder / "votes.csv", VOTES)
    words = ("data", "ingest", "votes", table, folder / "store", "--tree", place)
    assert expected in said(monkeypatch, capsys, *words)


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        ({"z": ["", "", ""]}, ("--value-column", "z"), "z"),
        ({"z": [0.1, "inf", 0.2]}, ("--value-column", "z"), "z"),
        ({"z": [0.1, 0.1, 0.1]}, ("--value-column", "z"), "z"),
        (
            {"z": [0.1, 0.2, 0.3], "e": [0.1, 0, 0.1]},
            ("--value-column", "z", "--error-column", "z=e"),
            "'e' is 0",
        ),
        ({"type": ["a", "a", "a"]}, ("--label-column", "type"), "two classes"),
    ],
)
def test_columns(
    folder: Path,
    columns: dict,
    options: tuple[str, ...],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = written(folder / "own.csv", columns)
    words = ("data", "ingest", "table", table, folder / "store", "--image-column", "file", *options)
    assert expected in said(monkeypatch, capsys, *words)
    assert not (folder / "store").exists()


@pytest.mark.parametrize(
    ("labels", "recipe"),
    [
        (["a", "", ""], "small/own-labels"),
        (["a", "b", ""], "small/linear-probe"),
        (["a", "a", "b"], "small/own-labels"),
    ],
)
def test_too_few_labels_are_said_before_anything_is_imported(
    folder: Path, labels: list[str], recipe: str
) -> None:
    from morphoscope.data.sources.table import ingest_table

    table = written(folder / "own.csv", {"type": labels})
    ingest_table(table, folder / "store", image_column="file", label_column="type", classes=["a", "b"])
    train = [sys.executable, "-X", "importtime", "-m", "morphoscope", "train", recipe]
    places = ["--store", str(folder / "store"), "--out", str(folder / "run")]
    ended = subprocess.run([*train, *places], capture_output=True, text=True, check=False)
    assert ended.returncode in (1, 2)
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if "|" in line}
    assert not imported & {"torch", "lightning", "timm", "onnxruntime"}
    sentences = [line for line in ended.stderr.splitlines() if line.startswith("morphoscope: ")]
    assert len(sentences) == 1
    assert "two" in sentences[0] or "labels" in sentences[0]
    assert not (folder / "run").exists()
