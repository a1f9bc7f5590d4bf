from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.tables import (
    column_names,
    iterate_table,
    numbers,
    read_csv,
    read_table,
    texts,
)

COUNT = 10


@pytest.fixture(params=["csv", "parquet", "fits", "vot"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same table in every format: text, whole numbers, and numbers of which one is missing."""
    path = tmp_path / f"table.{request.param}"
    names = [f"galaxy {number}" for number in range(COUNT)]
    whole, real = np.arange(COUNT), np.arange(COUNT) / 3
    if request.param in ("fits", "vot"):
        missing = np.arange(COUNT) == 4
        table = Table({"name": names, "whole": whole, "real": MaskedColumn(real, mask=missing)})
        table.write(path, format="fits" if request.param == "fits" else "votable")
        return path
    table = pa.table({"name": names, "whole": whole, "real": pa.array(real, mask=np.arange(COUNT) == 4)})
    if request.param == "csv":
        lines = ["name,whole,real"] + [
            f"{n},{w},{'' if w == 4 else repr(float(r))}" for n, w, r in zip(names, whole, real, strict=True)
        ]
        path.write_text("\n".join(lines))
    else:
        pq.write_table(table, path)
    return path


def check(table: pa.Table, where: str) -> None:
    assert texts(table, "name") == [f"galaxy {number}" for number in range(COUNT)]
    assert texts(table, "whole") == [str(number) for number in range(COUNT)]
    real = numbers(table, "real", where)
    assert np.isnan(real).tolist() == [number == 4 for number in range(COUNT)]
    assert real[5] == pytest.approx(5 / 3)
    assert numbers(table, "whole", where).tolist() == list(range(COUNT))


def test_every_format_gives_the_same_columns(path: Path):
    assert column_names(path) == ["name", "whole", "real"]
    check(read_table(path), str(path))
    assert read_table(path, ["real", "name"]).column_names == ["real", "name"]


def test_pieces_are_the_whole_table(path: Path):
    pieces = list(iterate_table(path, ["name", "whole", "real"], rows=3))
    check(pa.concat_tables(pieces, promote_options="permissive"), str(path))
    if path.suffix != ".csv":  # a CSV comes in pieces of a megabyte
        assert [piece.num_rows for piece in pieces] == [3, 3, 3, 1]


def test_a_missing_column_names_the_nearest(path: Path):
    with pytest.raises(UsageError, match=r"has no column 'nam' \(did you mean 'name'\?\)"):
        read_table(path, ["nam"])
    with pytest.raises(UsageError, match="has no column 'nam'"):
        list(iterate_table(path, ["nam"]))


def test_fits_columns_come_in_this_machines_byte_order(tmp_path: Path):
    path = tmp_path / "t.fits"
    columns = [
        fits.Column("ra", "D", array=[1.5, 2.5]),
        fits.Column("id", "K", array=[587722981742215240, 2]),
        fits.Column("file", "8A", array=["a.jpg", "b.jpg"]),
        fits.Column("flux", "3E", array=np.ones((2, 3))),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(path)
    table = read_table(path)
    assert table.column_names == ["ra", "id", "file"]  # three numbers a row are no column here
    assert numbers(table, "ra", "t").tolist() == [1.5, 2.5]
    assert texts(table, "id") == ["587722981742215240", "2"]
    assert texts(table, "file") == ["a.jpg", "b.jpg"]


def test_text_is_bare_and_blank_is_none():
    table = pa.table({"a": [" x ", "", None], "b": [1.0, 2.5, float("nan")], "c": [True, False, None]})
    assert texts(table, "a") == ["x", None, None]
    assert texts(table, "b") == ["1", "2.5", None]
    assert texts(table, "c") == ["True", "False", None]


def test_dictionary_columns_are_read(tmp_path: Path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": pa.array(["x", "y", "x"]).dictionary_encode()}), path)
    assert texts(read_table(path), "a") == ["x", "y", "x"]


def test_what_is_no_number_is_named():
    table = pa.table({"ra": ["1.5", "12h30m"]})
    with pytest.raises(MorphoscopeError, match=r"t\.csv: row 2 of column 'ra' is '12h30m'; a number"):
        numbers(table, "ra", "t.csv")
    assert numbers(pa.table({"ra": ["1.5", None]}), "ra", "t.csv")[0] == 1.5


def test_a_byte_order_mark_is_no_part_of_the_first_name():
    assert read_csv(b"\xef\xbb\xbfid,b\n1,2\n", "t").column_names == ["id", "b"]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "fits", "vot"])
def test_a_damaged_table_is_named(tmp_path: Path, suffix: str):
    path = tmp_path / f"t.{suffix}"
    path.write_bytes(b"a,b\n1,2,3\n" if suffix == "csv" else b"nonsense")
    with pytest.raises(MorphoscopeError, match=rf"t\.{suffix}: cannot be read as") as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_table_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"t\.csv: no such file"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(UsageError, match=r"t\.xlsx: a table was expected, with the ending \.csv"):
        read_table(tmp_path / "t.xlsx")
    (tmp_path / "t.csv").write_text("a,b\n")
    with pytest.raises(MorphoscopeError, match=r"t\.csv: the table has no rows"):
        read_table(tmp_path / "t.csv")
