from __future__ import annotations

import base64
import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.table_astropy import of_table
from morphoscope.images.tables import (
    column_names,
    columns_of,
    is_table,
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


ROWS = [{"objid": "007", "ra": 1.5, "name": "a b"}, {"objid": "12", "ra": 2.5, "name": "é"}]


@pytest.mark.parametrize(
    "content",
    [
        "objid,ra,name\n007,1.5,a b\n12,2.5,é\n",
        "#Table1\n#\n# two galaxies\nobjid, ra, name\n007, 1.5, a b\n12, 2.5, é\n",
        "# made by hand\n# objid,ra,name\n007,1.5,a b\n12,2.5,é\n",
        "objid;ra;name\n007;1,5;a b\n12;2,5;é\n",
        "objid\tra\tname\n007\t1.5\ta b\n12\t2.5\té\n",
        'objid, ra, name\n007, 1.5, "a b"\n# a remark\n12, 2.5, é\n\n',
        "\ufeffobjid,ra,name\r\n007,1.5,a b\r\n12,2.5,é\r\n",
        '"objid"|"ra"|"name"\n007|1.5|a b\n12|2.5|é\n',
    ],
    ids=["plain", "comments", "header in comment", "semicolons", "tabs", "blanks", "mark and CRLF", "bars"],
)
@pytest.mark.parametrize("code", ["utf-8", "latin-1", "utf-16"])
def test_text_tables_as_people_have_them(tmp_path: Path, content: str, code: str) -> None:
    if code != "utf-8":
        content = content.removeprefix("\ufeff")
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode(code))
    assert column_names(path) == ["objid", "ra", "name"]
    table = read_table(path, names=["objid"])
    assert table.to_pylist() == ROWS
    pieces = pa.concat_tables(iterate_table(path, ["ra", "objid"]))
    assert texts(pieces, "objid") == ["007", "12"]
    assert numbers(pieces, "ra", "t").tolist() == [1.5, 2.5]


def test_blanks_alone_between_cells(tmp_path: Path) -> None:
    (tmp_path / "t.tab").write_text("# objid  ra  dec\n007   1.5 -2\n12 2.5   3\n")
    assert read_table(tmp_path / "t.tab", names=["objid"]).to_pylist() == [
        {"objid": "007", "ra": 1.5, "dec": -2},
        {"objid": "12", "ra": 2.5, "dec": 3},
    ]


def test_letters_that_are_not_utf8_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_bytes(b"id,n\ng\xe91,1\n")
    assert texts(read_table(tmp_path / "t.csv"), "id") == ["gé1"]
    assert "is not UTF-8, so its letters are read as Latin-1" in capsys.readouterr().err


def test_numbers_of_text_tables_lose_no_digit() -> None:
    content = (
        b"a,b,c,d,e,f,g\n1,01,1.50,12345678901234567890,99999999999999999999,true,1e3\n,2,nan,5,7,False,-.5\n"
    )
    table = read_csv(content, "t")
    assert [str(kind) for kind in table.schema.types] == [
        *("int64", "string", "double", "uint64", "string", "bool", "double"),
    ]
    assert table["e"].to_pylist() == ["99999999999999999999", "7"]
    assert table["a"].to_pylist() == [1, None]


def test_columns_of_one_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("ra,dec,ra, dec,\n1,2,3,4,5\n")
    assert column_names(tmp_path / "t.csv") == ["ra", "dec", "ra_2", "dec_2", "column5"]
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", ["a_2"]).to_pylist() == [{"a_2": 2}]
    columns = [fits.Column("ra", "D", array=[1.0]), fits.Column("ro", "D", array=[2.0])]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    content = (tmp_path / "t.fits").read_bytes()
    (tmp_path / "t.fits").write_bytes(content.replace(b"TTYPE2  = 'ro", b"TTYPE2  = 'ra"))
    assert read_table(tmp_path / "t.fits").to_pylist() == [{"ra": 1.0, "ra_2": 2.0}]


def votable(fields: str, rows: str, more: str = "") -> str:
    return (
        '<?xml version="1.0"?><VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>'
        f"<TABLE name='one'>{fields}<DATA>{rows}</DATA></TABLE>{more}</RESOURCE></VOTABLE>"
    )


FIELDS = (
    '<FIELD ID="main_col1" name="Object Name" datatype="char" arraysize="*"/>'
    '<FIELD ID="main_col3" name="RA(deg)" datatype="double" unit="degrees"/>'
)
CELLS = "<TABLEDATA><TR><TD>M 31</TD><TD>10.7</TD></TR><TR><TD>M 33</TD><TD/></TR></TABLEDATA>"


def test_columns_of_votables_are_called_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "t.xml").write_text(votable(FIELDS, CELLS))
    table = read_table(tmp_path / "t.xml")
    assert table.to_pylist() == [
        {"Object Name": "M 31", "RA(deg)": 10.7},
        {"Object Name": "M 33", "RA(deg)": None},
    ]


def test_one_of_several_tables_is_chosen_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = FIELDS.replace("Object Name", "remark").replace("RA(deg)", "n")
    more = f"<TABLE name='two'>{other}<DATA>{CELLS}</DATA></TABLE>"
    path = tmp_path / "t.xml"
    path.write_text(votable(FIELDS.replace("RA(deg)", "x"), CELLS, more))
    assert column_names(path) == ["Object Name", "x"]
    said = capsys.readouterr().err
    assert "holds 2 tables; 'one' is read. Another one is named by 't.xml#2' (1 one, 2 two)" in said
    for part in ("2", "two"):
        assert column_names(tmp_path / f"t.xml#{part}") == ["remark", "n"]
        assert texts(read_table(tmp_path / f"t.xml#{part}"), "remark") == ["M 31", "M 33"]
    with pytest.raises(UsageError, match=r"has no table 'three' \(there are: 1 one, 2 two\)"):
        column_names(tmp_path / "t.xml#three")


@pytest.mark.parametrize("code", ["utf-8", "utf-16"])
@pytest.mark.parametrize("wrapped", ["<BINARY>{}</BINARY>", "<FITS extnum='1'>{}</FITS>"])
def test_a_votable_with_its_data_elsewhere_is_refused(tmp_path: Path, code: str, wrapped: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(100))
    stream = wrapped.format(f'<STREAM href="file://{tmp_path}/secret.bin"/>')
    (tmp_path / "t.vot").write_text(
        votable(FIELDS, stream).replace('version="1.0"?', f'version="1.0" encoding="{code}"?'), code
    )
    with pytest.raises(MorphoscopeError, match=r"t\.vot: has its data at 'file://.*secret\.bin'"):
        read_table(tmp_path / "t.vot")


@pytest.mark.parametrize("code", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    ("nrows", "size"),
    [("3000000000", "*"), ("&#51;000000000", "*"), ("1", "4000000000"), ("1", "60000x9000")],
)
def test_a_votable_that_declares_more_than_it_holds_is_refused(
    tmp_path: Path, code: str, nrows: str, size: str
) -> None:
    """astropy would take memory for all of it."""
    text = votable(
        f'<FIELD name="id" datatype="char" arraysize="{size}"/>', "<TABLEDATA><TR><TD>a</TD></TR></TABLEDATA>"
    ).replace("<TABLE ", f'<TABLE nrows="{nrows}" ')
    (tmp_path / "t.vot").write_text(text.replace('version="1.0"?', f'version="1.0" encoding="{code}"?'), code)
    with pytest.raises(MorphoscopeError, match=r"t\.vot: declares [\d,]+ rows of [\d,]+ bytes, in"):
        read_table(tmp_path / "t.vot")


def test_a_votable_says_its_rows_and_is_read_in_utf_16(tmp_path: Path) -> None:
    text = votable(FIELDS, CELLS).replace("<TABLE ", '<TABLE nrows="2" ')
    for code in ("utf-8", "utf-16"):
        said = text.replace('version="1.0"?', f'version="1.0" encoding="{code}"?')
        (tmp_path / "t.vot").write_text(said, code)
        assert read_table(tmp_path / "t.vot").num_rows == 2


@pytest.mark.parametrize("own", ["<!ENTITY f SYSTEM 'secret'>", "<!ATTLIST TABLE nrows CDATA '3000000000'>"])
def test_a_votable_with_declarations_of_its_own_is_refused(tmp_path: Path, own: str) -> None:
    text = votable(FIELDS, "<TABLEDATA><TR><TD>&f;</TD></TR></TABLEDATA>")
    (tmp_path / "t.vot").write_text(text.replace("<VOTABLE", f"<!DOCTYPE VOTABLE [{own}]>\n<VOTABLE", 1))
    with pytest.raises(MorphoscopeError, match="declares elements or entities of its own"):
        read_table(tmp_path / "t.vot")


def test_logical_null_is_neither_true_nor_false(tmp_path: Path) -> None:
    unit = fits.BinTableHDU.from_columns([fits.Column("bar", "L", array=[True, False, False])])
    unit.writeto(tmp_path / "t.fits")
    content = bytearray((tmp_path / "t.fits").read_bytes())
    at = content.index(b"TFF", 2880)
    content[at + 2] = 0
    (tmp_path / "t.fits").write_bytes(content)
    assert read_table(tmp_path / "t.fits")["bar"].to_pylist() == [True, False, None]


def test_nulls_of_fits_and_of_its_text_tables(tmp_path: Path) -> None:
    columns = [fits.Column("n", "J", null=-1, array=[3, -1]), fits.Column("s", "A4", array=["a", ""])]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "b.fits")
    assert read_table(tmp_path / "b.fits").to_pylist() == [{"n": 3, "s": "a"}, {"n": None, "s": None}]
    columns = [
        fits.Column("n", "I6", null="-1", array=[3, -1], ascii=True),
        fits.Column("ra", "D12.4", null="-99.9", array=[1.25, -99.9], ascii=True),
        fits.Column("s", "A4", array=["a", ""], ascii=True),
    ]
    unit = fits.TableHDU.from_columns(columns)
    unit.header["TNULL2"] = "-99.9000"
    unit.writeto(tmp_path / "a.fits")
    assert read_table(tmp_path / "a.fits").to_pylist()[0] == {"n": 3, "ra": 1.25, "s": "a"}
    assert read_table(tmp_path / "a.fits").to_pylist()[1]["n"] is None


def test_a_table_beside_an_image_describes_the_image(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("id", "K", array=[1])], name="HDRTAB")
    image = fits.ImageHDU(np.ones((4, 4), np.float32), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), image, table]).writeto(tmp_path / "drz.fits")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "t.fits.gz")
    assert not is_table(tmp_path / "drz.fits")
    assert is_table(tmp_path / "t.fits.gz")
    assert is_table(tmp_path / "drz.fits#HDRTAB")
    assert column_names(tmp_path / "drz.fits#HDRTAB") == ["id"]
    from morphoscope.catalogue.inputs.open import open_input

    (item,) = open_input(f"{tmp_path}/d*.fits").items
    assert (item.row["id"], item.load().shape) == ("drz", (4, 4, 3))


def test_the_objects_of_ldac_catalogues(tmp_path: Path) -> None:
    header = fits.BinTableHDU.from_columns(
        [fits.Column("Field Header Card", "1680A", array=["SIMPLE"])], name="LDAC_IMHEAD"
    )
    objects = [fits.Column("NUMBER", "J", array=[1, 2]), fits.Column("ALPHA_J2000", "D", array=[1.0, 2.0])]
    fits.HDUList(
        [fits.PrimaryHDU(), header, fits.BinTableHDU.from_columns(objects, name="LDAC_OBJECTS")]
    ).writeto(tmp_path / "t.fits")
    assert column_names(tmp_path / "t.fits") == ["NUMBER", "ALPHA_J2000"]


@pytest.mark.parametrize("data", ["text", "binary", "fits"])
def test_votables_with_arrays_of_strings_and_with_fits_inside(tmp_path: Path, data: str) -> None:
    """As STILTS writes them; astropy refuses such arrays, and does not look for FITS in the XML."""
    fields = (
        '<FIELD name="objid" datatype="long"/>'
        '<FIELD name="words" datatype="char" arraysize="2x3"/>'
        '<FIELD name="RA" datatype="double" unit="rad"/>'
    )
    if data == "text":
        rows = "".join(
            f"<TR><TD>{number}</TD><TD>a bbc </TD><TD>{number / 10}</TD></TR>" for number in (1, 2)
        )
        rows = f"<TABLEDATA>{rows}</TABLEDATA>"
    elif data == "binary":
        packed = b"".join(struct.pack(">q6sd", number, b"a bbc ", number / 10) for number in (1, 2))
        rows = f"<BINARY><STREAM encoding='base64'>{base64.b64encode(packed).decode()}</STREAM></BINARY>"
    else:
        file = io.BytesIO()
        table = fits.BinTableHDU.from_columns(
            [
                fits.Column("objid", "K", array=np.array([1, 2])),
                fits.Column("words", "6A", dim="(2,3)", array=np.array([["a", "bb", "c"]] * 2)),
                fits.Column("RA", "D", array=np.array([0.1, 0.2])),
            ]
        )
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(file)
        text = base64.encodebytes(file.getvalue()).decode()
        rows = f"<FITS extnum='1'><STREAM encoding='base64'>\n{text}</STREAM></FITS>"
    path = tmp_path / "t.vot"
    first = '<TABLE name="empty"><FIELD name="x" datatype="int"/></TABLE>'
    path.write_text(
        f'<VOTABLE version="1.3"><RESOURCE>{first}<TABLE name="t">'
        f'<PARAM name="COMMENT" datatype="char" arraysize="4x2" value="one two "/>{fields}'
        f"<DATA>{rows}</DATA></TABLE></RESOURCE></VOTABLE>"
    )
    assert read_table(path).to_pylist() == [{"objid": 1, "RA": 0.1}, {"objid": 2, "RA": 0.2}]
    assert columns_of(path).units == {"RA": "rad"}


def test_tables_that_unpack_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORPHOSCOPE_MOST_PIXELS", "1000")
    text = tmp_path / "t.csv.gz"
    text.write_bytes(gzip.compress(b"id,a\n" + b"1,2\n" * 100_000))
    whole = tmp_path / "t.fits.gz"
    Table({"a": np.zeros(100_000)}).write(whole)
    rows = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": pa.repeat(True, 5_000_000)}), rows)
    for path in (text, whole, rows):
        with pytest.raises(MorphoscopeError, match="unpacks to more than 100 times its size, as no real"):
            read_table(path)
    monkeypatch.delenv("MORPHOSCOPE_MOST_PIXELS")
    assert read_table(text).num_rows == 100_000


def test_aliases_in_the_header_of_an_ecsv_are_refused(tmp_path: Path) -> None:
    """Nested ones would be followed for ever."""
    Table({"a": [1, 2]}).write(tmp_path / "t.ecsv")
    nested = ", ".join(f"&{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abc", "bcd", strict=True))
    text = (
        (tmp_path / "t.ecsv")
        .read_text()
        .replace("# datatype", f"# meta: {{x: [&a [1], {nested}]}}\n# datatype")
    )
    (tmp_path / "t.ecsv").write_text(text)
    with pytest.raises(MorphoscopeError, match="its header has more than 20 aliases"):
        read_table(tmp_path / "t.ecsv")


def test_a_header_of_an_ecsv_that_takes_minutes_is_refused(tmp_path: Path) -> None:
    Table({"a": [1, 2]}).write(tmp_path / "t.ecsv")
    text = (tmp_path / "t.ecsv").read_text()
    long = text.replace("# datatype", "# meta: {x: [" + "1, " * (200 << 10) + "1]}\n# datatype")
    (tmp_path / "t.ecsv").write_text(long)
    with pytest.raises(MorphoscopeError, match="its header has more than 512 KiB, as no ECSV has"):
        read_table(tmp_path / "t.ecsv")


@pytest.mark.parametrize("ending", ["fits", "fits.gz"])
def test_a_fits_table_with_columns_beyond_the_standard_is_refused(tmp_path: Path, ending: str) -> None:
    """astropy would count up to them."""
    units = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(Table({"a": [1, 2]}))])
    units.append(fits.BinTableHDU(Table({"b": [1, 2]})))
    content = io.BytesIO()
    units.writeto(content)
    at = content.getvalue().rindex(b"TFIELDS =")
    damaged = content.getvalue()[: at + 10] + b"1000000000000".rjust(20) + content.getvalue()[at + 30 :]
    path = tmp_path / f"t.{ending}"
    path.write_bytes(gzip.compress(damaged) if ending.endswith("gz") else damaged)
    with pytest.raises(MorphoscopeError, match=r"is damaged \(TFIELDS = 1000000000000; at most 999"):
        read_table(path)


def test_the_row_that_is_no_number_is_named_by_the_reader_of_numbers():
    table = pa.table({"ra": ["1.5", None, "1_0"], "list": [[1.0], [], [2.0]]})
    with pytest.raises(MorphoscopeError, match="row 3 of column 'ra' is '1_0'"):
        numbers(table, "ra", "t")
    with pytest.raises(MorphoscopeError, match=r"row 1 of column 'list' is '\[1\.0\]'"):
        numbers(table, "list", "t")


def test_texts_of_every_arrow_type(tmp_path: Path):
    column = pa.array([" x ", "", "y"])
    kinds = (pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()))
    for kind in kinds:
        assert texts(pa.table({"a": column.cast(kind)}), "a") == ["x", None, "y"]
    pq.write_table(pa.table({"a": column.cast(pa.large_string())}), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["a"].to_pylist() == ["x", None, "y"]


def test_files_without_a_table_or_a_column_to_use_are_said(tmp_path: Path):
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "image.fits")
    with pytest.raises(MorphoscopeError, match="holds no table"):
        read_table(tmp_path / "image.fits")
    (tmp_path / "t.vot").write_text('<VOTABLE version="1.3"><RESOURCE></RESOURCE></VOTABLE>')
    with pytest.raises(MorphoscopeError, match="holds no table"):
        read_table(tmp_path / "t.vot")
    Table({"spectrum": np.zeros((3, 5))}).write(tmp_path / "wide.fits")
    with pytest.raises(MorphoscopeError, match="no column of the table has one value a row"):
        read_table(tmp_path / "wide.fits")
    with pytest.raises(UsageError, match=r"none\.vot#2"):
        read_table(tmp_path / "none.vot#2")


def test_of_an_astropy_table_columns_with_one_value_a_row_are_read():
    cells = np.array([None, "x", "y"], object)
    arrays = np.empty(3, object)
    arrays[:] = [np.arange(2), np.arange(3), np.arange(1)]
    file = of_table(Table({"a": cells, "spectrum": np.zeros((3, 5)), "arrays": arrays, "z": [1 + 2j] * 3}))
    assert list(file.names) == ["a"]
    assert file.read(["a"])["a"].to_pylist() == [None, "x", "y"]


def test_units_of_parquet_with_nested_aliases_are_not_read(tmp_path: Path):
    """astropy's header beside the columns would be followed for ever."""
    lines = ["datatype:", "- {name: ra, unit: h, datatype: float64}"]
    for said, units in (("", {"ra": "h"}), ("meta: {x: [&a [1], " + "*a, " * 21 + "1]}", {})):
        header = "\n".join([*lines, said]).encode()
        table = pa.table({"ra": [1.0]}).replace_schema_metadata({b"table_meta_yaml": header})
        pq.write_table(table, tmp_path / "t.parquet")
        assert columns_of(tmp_path / "t.parquet").units == units
