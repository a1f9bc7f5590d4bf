"""Ids are names: what a table says is what comes out, in every format and by every command."""

from __future__ import annotations

import gzip
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from morphoscope.catalogue.inputs.open import open_input
from morphoscope.data.sources.table import ingest_table
from morphoscope.data.store import open_store
from morphoscope.images.image_table import open_table
from morphoscope.images.positions import SourceColumns, SourceTable

LONG = 8647474690312307154
TEXTS = ["csv", "tsv", "semicolons.csv", "csv.gz", "latin.csv", "utf16.csv", "utf16be.csv"]
TYPED = ["parquet", "fits", "fits.gz", "vot", "ecsv", "ecsv.csv"]
# A column's cells, their type where the format has types, the names, and whether they came as whole numbers.
CASES: dict[str, tuple[list, str, list[str], bool]] = {
    "zeros": (["007", "7"], "U3", ["007", "7"], False),
    "long": ([LONG, LONG + 1], "i8", [str(LONG), str(LONG + 1)], True),
    "twenty digits": (["12345678901234567890", "12345678901234567891"], "U20", [], False),
    "small": ([3, -4], "i4", ["3", "-4"], True),
    "whole floats": ([3.0, 4.0], "f8", ["3", "4"], False),
    "exponents": (["12e3", "1E5"], "U4", ["12e3", "1E5"], False),
    "letters": (["é 1", "b'2'"], "U6", ["é 1", "b'2'"], False),
}


def write(path: Path, cells: list, kind: str) -> None:
    files = ["a.png", "b.png"]
    if path.name.split(".", 1)[1] in TEXTS:
        delimiter = {"tsv": "\t", "semicolons.csv": ";"}.get(path.name.split(".", 1)[1], ", ")
        rows = [["file", "objid", "ra", "dec"], *([f, c, 1, 2] for f, c in zip(files, cells, strict=True))]
        text = "".join(delimiter.join(map(str, row)) + "\n" for row in rows)
        code = {"latin.csv": "latin-1", "utf16.csv": "utf-16", "utf16be.csv": "utf-16-be"}.get(
            path.name.split(".", 1)[1], "utf-8"
        )
        packed = gzip.compress(text.encode(code)) if path.suffix == ".gz" else text.encode(code)
        path.write_bytes(packed)
        return
    values = np.array(cells, kind)
    if path.suffix in (".fits", ".gz") and kind.startswith("U"):
        values = np.array([cell.encode() for cell in cells])
    table = Table({"file": files, "objid": values, "ra": [1.0, 1.0], "dec": [2.0, 2.0]})
    formats = {"parquet": "parquet", "vot": "votable", "ecsv": "ascii.ecsv", "csv": "ascii.ecsv"}
    table.write(path, format=formats.get(path.suffix[1:], "fits"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ending", [*TEXTS, *TYPED])
def test_every_format_and_every_command_reads_the_same_names(tmp_path: Path, ending: str, case: str) -> None:
    cells, kind, names, whole = CASES[case]
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4, 3), np.uint8))
    path = tmp_path / f"t.{ending}"
    write(path, cells, kind)
    names = names or cells
    if case == "whole floats" and ending in TEXTS:
        names = ["3.0", "4.0"]  # text tables have no types: the name is what is written
    images = open_input(path)
    assert [item.row["id"] for item in images.items] == names
    assert images.integer_ids is whole
    store = ingest_table(path, tmp_path / "s")
    assert store.column("id").tolist() == names
    again = open_input(tmp_path / "s")
    assert [item.row["id"] for item in again.items] == names
    assert again.integer_ids is whole
    (piece,) = SourceColumns.of(SourceTable(path, 10.0)).rows()
    assert piece.ids == names


@pytest.mark.parametrize("ending", ["csv", "parquet", "fits", "vot", "ecsv"])
@pytest.mark.parametrize("word", ["", "NA", "null", "None", "nan", "--"])
def test_a_word_for_nothing_is_no_name_anywhere(tmp_path: Path, ending: str, word: str) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4, 3), np.uint8))
    path = tmp_path / f"t.{ending}"
    columns = {"file": ["a.png", "b.png"], "id": ["x", word], "kind": [word, "ring"], "type": ["E", "S"]}
    formats = {"parquet": "parquet", "vot": "votable", "ecsv": "ascii.ecsv", "csv": "ascii.csv"}
    Table(columns).write(path, format=formats.get(ending, "fits"))
    assert [item.row["id"] for item in open_input(path).items] == ["x", "b"]  # as its image is called
    store = ingest_table(
        path, tmp_path / "s", id_column="type", label_column="kind", classes=["ring", "disc"]
    )
    assert store.targets().tolist() == [-1, 0]


def test_masked_cells_and_columns_of_masks(tmp_path: Path) -> None:
    """astropy writes a filler to Parquet, and which cells are masked beside it."""
    mask = [False, True, False]
    table = Table({"file": ["a.png"] * 3, "id": [1, 2, 3], "ra": MaskedColumn([5.0, 0.0, 7.0], mask=mask)})
    table["dec"] = MaskedColumn([1.0, 0.0, 2.0], mask=mask)
    table["kind"] = MaskedColumn(["E", "N/A", "S"], mask=mask)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    for ending in ("parquet", "fits", "vot", "ecsv"):
        path = tmp_path / f"t.{ending}"
        formats = {"vot": "votable", "ecsv": "ascii.ecsv"}
        table.write(path, format=formats.get(ending, ending))
        store = ingest_table(path, tmp_path / f"{ending}-store", label_column="kind")
        np.testing.assert_array_equal(store.column("ra"), [5, np.nan, 7])
        assert store.need_scheme().output_names == ("E", "S")
        assert store.targets().tolist() == [0, -1, 1]
    assert "ra.mask" not in open_table(tmp_path / "t.parquet").columns


def test_text_as_bytes_in_parquet_and_text_of_variable_length_in_fits(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4, 3), 9, np.uint8))
    names, files = [b"J1", b"J\xe92"], [b"a.png", b"a.png"]
    pq.write_table(pa.table({"objid": names, "image": files, "kind": [b"E ", b"S"]}), tmp_path / "t.parquet")
    columns = [
        fits.Column("objid", "PA()", array=np.array(["J1", "J22"], object)),
        fits.Column("image", "PA()", array=np.array(["a.png", "a.png"], object)),
        fits.Column("kind", "PA()", array=np.array(["Elliptical", "S"], object)),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    for path, ids, classes in (
        (tmp_path / "t.parquet", ["J1", "Jé2"], ("E", "S")),
        (tmp_path / "t.fits", ["J1", "J22"], ("Elliptical", "S")),
    ):
        store = ingest_table(path, tmp_path / f"{path.suffix}-store", label_column="kind")
        assert store.column("id").tolist() == ids
        assert store.need_scheme().output_names == classes
        assert next(iter(open_input(path).items)).load().max() == 9


def test_names_of_objects_come_before_numbers_of_rows(tmp_path: Path) -> None:
    Table({"ID": [1, 2], "OBJID": [LONG, LONG + 1], "image": ["a.png"] * 2}).write(tmp_path / "t.fits")
    assert open_table(tmp_path / "t.fits").id_column == "OBJID"


@pytest.mark.parametrize("name", ["TARGETID", "# object_id", "objid_1", "source_id (int)", "Object Name"])
def test_ids_by_the_names_that_people_have(tmp_path: Path, name: str) -> None:
    (tmp_path / "t.csv").write_text(f"{name},image\n7,a.png\n")
    assert open_table(tmp_path / "t.csv").id_column == name.removeprefix("# ") or name


def test_a_table_without_ids_says_what_was_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("nr,image\n7,a.png\n")
    assert open_table(tmp_path / "t.csv").id_column is None
    said = capsys.readouterr().err
    assert "no id column was found (id_str, objid" in said
    assert "the columns are nr, image" in said


def test_infinite_and_unsigned_ids(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    pq.write_table(pa.table({"id": [np.inf, 5.0], "image": ["a.png"] * 2}), tmp_path / "f.parquet")
    images = open_input(tmp_path / "f.parquet")
    assert [item.row["id"] for item in images.items] == ["a", "5"]
    assert not images.integer_ids
    unsigned = np.array([2**63 + 1, 5], np.uint64)
    Table({"id": unsigned, "image": ["a.png"] * 2}).write(tmp_path / "u.fits")
    images = open_input(tmp_path / "u.fits")
    assert [item.row["id"] for item in images.items] == [str(2**63 + 1), "5"]
    assert not images.integer_ids


def test_an_old_store_has_text_ids(tmp_path: Path) -> None:
    old = Path(__file__).resolve().parents[1] / "compatibility" / "v0_1"
    store = next(iter(old.rglob("store.yaml")), None)
    if store is None:
        pytest.skip("no old store is kept")
    assert not open_store(store.parent).meta.integer_ids


@pytest.mark.parametrize("kind", ["fits", "parquet"])
def test_ids_that_were_floats_are_said(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As pandas leaves integers beside an empty cell; two galaxies of 19 digits become one."""
    large = np.array([float(LONG), float(LONG + 1)])
    for name, values, said in (
        ("large", large, True),
        ("small", np.array([2.0**53, 12.0]), False),
        ("single", np.array([3e7, 12], np.float32), True),
        ("none", np.array([np.nan, np.inf]), False),
    ):
        path = tmp_path / f"{name}.{kind}"
        Table({"objid": values, "ra": [1.0, 1.0], "dec": [2.0, 2.0]}).write(path)
        list(SourceColumns.of(SourceTable(path, 9.0)).rows())
        found = capsys.readouterr().err
        assert (f"{path}: column 'objid' holds ids as floating-point numbers" in found) == said


def test_ids_with_an_exponent_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, identity, said in (
        ("a", "1.237662239078088e+18", True),
        ("b", "12e3", False),
        ("c", "2E5", False),
    ):
        (tmp_path / f"{name}.csv").write_text(f"objid,ra,dec\n{identity},1,2\n")
        (rows,) = SourceColumns.of(SourceTable(tmp_path / f"{name}.csv", 9.0)).rows()
        assert rows.ids == [identity]
        assert ("column 'objid' holds ids written with an exponent" in capsys.readouterr().err) == said
