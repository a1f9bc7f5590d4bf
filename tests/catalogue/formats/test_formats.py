"""Every format, written block by block and read back by its usual readers."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.io.votable import parse
from astropy.table import Table, meta
from astropy.utils.exceptions import AstropyUserWarning

from morphoscope.catalogue.columns import catalogue_schema, catalogue_table
from morphoscope.catalogue.formats import parquet_csv as formats
from morphoscope.catalogue.formats.fits_table import _Sum
from morphoscope.catalogue.formats.parquet_csv import MARK
from morphoscope.catalogue.formats.table_schema import Extent
from morphoscope.catalogue.formats.write import (
    FORMATS,
    Target,
    read_provenance,
    target_of,
    write_catalogue,
    write_unreadable,
    written,
)
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.stream import Item
from morphoscope.images.table_csv import guarded
from morphoscope.labels.scheme import Classes, Column
from morphoscope.metrics.conformal import Sets

SCHEME = Classes(name="three", classes=("Round Smooth", "Größer", "Edge-on"))
SETS = Sets(0.9, False, np.full(3, 0.3))
EXTRAS = (
    Column("ood_score", pa.float64(), "distance from the training", ucd="stat.value"),
    Column("features", pa.list_(pa.float32(), 4), "of the last layer"),
    Column("side", pa.float32(), "of the cutout", "arcsec", "phys.angSize"),
    Column("members", pa.int32(), "networks asked"),
)
SCHEMA = catalogue_schema(SCHEME, SETS, EXTRAS)
PROVENANCE = {
    "program_version": "0.1",
    "date": "2026-11-21T10:00:00+00:00",
    "run": "größter Lauf \\ 7",
    "weights_sha256": "f" * 64,
    "scheme": SCHEME.model_dump_json() + "x" * 200,
    "weights_of_the_second": "a",
    "weights_of_the_third": "b",
    "crop": "",
}
COUNT = 50
IDS = ['J12 "a", <b> & c', "größe-星", "-7", "587722981742215240", "nan"]


def _block(start: int, count: int) -> pa.Table:
    random = np.random.default_rng(start)
    answers = random.dirichlet(np.ones(3), count).astype(np.float32)
    items = []
    for number in range(start, start + count):
        row = {"id": f"{IDS[number % 5]} {number}", "side": 1.5, "members": number}
        if number % 3:
            row |= {"ra": number / 7, "dec": -number / 11}
        if number % 4 == 0:
            row |= {"side": None, "members": None}
        items.append(Item(f"folder/{number}.jpg", lambda: answers, row))
    values = {"ood_score": random.normal(size=count) * 1e-9, "features": random.normal(size=(count, 4))}
    values["features"][0, 1] = np.nan
    return catalogue_table(SCHEME, items, answers, SETS, EXTRAS, values)


BLOCKS = [_block(0, 7), _block(7, 30), _block(37, 13)]
WHOLE = pa.concat_tables(BLOCKS)


def _write(target: Target) -> Path:
    with written(target, target.path, SCHEMA, PROVENANCE, Extent.of(WHOLE)) as writer:
        for block in BLOCKS:
            writer.write(block)
    return target.path


@pytest.fixture(params=sorted(FORMATS))
def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return _write(target_of(tmp_path / f"catalogue{request.param}"))


def test_provenance_comes_back_whole(catalogue: Path) -> None:
    if catalogue.suffix != ".csv":
        assert read_provenance(catalogue) == PROVENANCE


def test_the_same_rows_in_other_blocks_are_the_same_file(
    catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "ROW_GROUP", 11)
    first, target = catalogue.read_bytes(), target_of(catalogue)
    catalogue.unlink()
    with written(target, catalogue, SCHEMA, PROVENANCE, Extent.of(WHOLE)) as writer:
        for start in range(0, COUNT, 9):
            writer.write(WHOLE.slice(start, 9))
    if catalogue.suffix == ".parquet":
        again = target_of(catalogue.with_stem("again"))
        first = _write(again).read_bytes()
        groups = pq.ParquetFile(catalogue).metadata
        assert [groups.row_group(k).num_rows for k in range(groups.num_row_groups)] == [11, 11, 11, 11, 6]
    assert catalogue.read_bytes() == first


def _check_values(table: Table, *, text: Callable[[str], str] = str) -> None:
    """What astropy reads is what was written, to the last digit; unknown is masked."""
    assert len(table) == COUNT
    assert [str(value) for value in table["id"]] == [text(value) for value in WHOLE["id"].to_pylist()]
    for name in ("ra", "dec", "side"):
        truth = WHOLE[name].to_pylist()
        mask = np.ma.getmaskarray(np.ma.asarray(table[name])) | ~np.isfinite(np.ma.getdata(table[name]))
        np.testing.assert_array_equal(mask, [value is None for value in truth])
        known = [value for value in truth if value is not None]
        np.testing.assert_array_equal(np.ma.getdata(table[name])[~mask], known)
    np.testing.assert_array_equal(np.ma.filled(table["members"], -1), WHOLE["members"].fill_null(-1))
    np.testing.assert_array_equal(np.ma.getdata(table["ood_score"]), WHOLE["ood_score"])
    features = np.stack(WHOLE["features"].to_pylist()).astype(np.float32)
    found = np.ma.filled(np.ma.asarray(table["features"]), np.nan)
    np.testing.assert_array_equal(found, features)
    for name in ("p_Round_Smooth", "entropy"):
        np.testing.assert_array_equal(np.ma.getdata(table[name]), WHOLE[name])
    for name in ("predicted", "set"):
        assert [str(value) for value in table[name]] == [text(value) for value in WHOLE[name].to_pylist()]


def _check_columns(table: Table) -> None:
    assert table["ra"].unit == "deg"
    assert table["side"].unit == "arcsec"
    assert table["entropy"].unit is None
    assert table["ra"].description == "right ascension"
    assert table["ood_score"].description == "distance from the training"
    kinds = {"ra": "f8", "p_Round_Smooth": "f4", "side": "f4", "members": "i4", "features": "f4"}
    assert {name: table[name].dtype.newbyteorder("=").str[1:] for name in kinds} == kinds


def test_fits_through_astropy(tmp_path: Path) -> None:
    place = _write(target_of(tmp_path / "c.fits"))
    with fits.open(place) as file:
        file.verify("exception")
        header = file[1].header
        assert header["EXTNAME"] == "CATALOGUE"
        assert header["RUN"] == r"gr\xf6\xdfter Lauf \\ 7"  # FITS headers are ASCII
        assert header["WEIGHTS"] == "f" * 64
        assert header["TUCD3"] == "pos.eq.ra;meta.main"
        assert header["TCOMM3"] == "right ascension"
    assert place.stat().st_size % 2880 == 0
    table = Table.read(place)
    _check_values(table, text=_escaped)
    _check_columns(table)
    assert table["ra"].meta["ucd"] == "pos.eq.ra;meta.main"


def _escaped(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def test_fits_is_ascii_says_so_and_signs_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FITS Standard 4.0: text is printable ASCII; the sums of appendix J are those that astropy finds."""
    place = _write(target_of(tmp_path / "c.fits"))
    cells = [
        text
        for name in ("id", "source", "predicted", "set")
        for text in WHOLE[name].to_pylist()
        if not text.isascii()
    ]
    assert f"{len(cells)} cells hold characters beyond printable ASCII" in capsys.readouterr().err
    with fits.open(place, checksum=True) as file:  # a wrong sum is a warning, and warnings are errors here
        assert [hdu.verify_checksum() for hdu in file] == [hdu.verify_datasum() for hdu in file] == [1, 1]
        assert file[1].header["LONGSTRN"] == "OGIP 1.0"
        assert all(max(file[1].data.field(k).tobytes()) < 127 for k in range(2))
    damaged = bytearray(place.read_bytes())
    damaged[-2880] ^= 1
    place.write_bytes(damaged)
    with (
        pytest.warns(AstropyUserWarning, match="Datasum verification failed"),
        pytest.warns(AstropyUserWarning, match="Checksum verification failed"),
        fits.open(place, checksum=True) as file,
    ):
        assert file[1].header["TFIELDS"] == len(SCHEMA)


@pytest.mark.parametrize("sizes", [[1, 2, 3, 5, 8, 13], [2880], [0, 4, 1]])
def test_a_sum_of_pieces_is_the_sum_of_the_whole(sizes: list[int]) -> None:
    content = np.random.default_rng(0).integers(0, 256, 4 * (sum(sizes) // 4 + 1), np.uint8).tobytes()
    pieces, start = _Sum(), 0
    for size in [*sizes, len(content)]:
        pieces.add(content[start : start + size])
        start += size
    words = [int.from_bytes(content[k : k + 4], "big") for k in range(0, len(content), 4)]
    assert pieces.value == sum(words) % 0xFFFFFFFF


def test_columns_that_a_format_cannot_hold_are_refused_before_the_work(tmp_path: Path) -> None:
    def check(name: str, *columns: str) -> None:
        schema = pa.schema([pa.field(column, pa.float32()) for column in ("id", "ra", "dec", *columns)])
        target_of(tmp_path / name).check(schema)

    check("c.fits", *(f"c{k}" for k in range(996)))
    with pytest.raises(UsageError, match=r"c\.fits: FITS tables have at most 999 columns.*has 1000"):
        check("c.fits", *(f"c{k}" for k in range(997)))
    check("c.fits", "p_" + "L" * 66)
    with pytest.raises(UsageError, match=r"column 'p_LLL.*…' has 252 characters; FITS holds 68"):
        check("c.fits", "p_" + "L" * 250)
    with pytest.raises(UsageError, match="has 40 characters"):
        check("c.fits", "é" * 40)
    with pytest.raises(UsageError, match="'p_Sa' and 'p_SA' apart, which differ only in case"):
        check("c.fits", "p_Sa", "p_SA")
    with pytest.raises(UsageError, match="': ' is empty or ends with a blank"):
        check("c.fits", ": ")
    with pytest.raises(UsageError, match=r"c\.ecsv: the name of column 'a\\nb' has control characters"):
        check("c.ecsv", "a\nb")
    with pytest.raises(UsageError, match=r"c\.hats: a HATS catalogue adds a column 'Npix' of its own"):
        check("c.hats", "Npix")
    for name in ("c.parquet", "c", "c.csv", "c.vot"):
        check(name, "p_" + "L" * 250, "p_Sa", "p_SA", ": ", "a\nb", "Npix", *(f"c{k}" for k in range(997)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["fits", "vot", "ecsv", "parquet"])
def test_names_and_provenance_of_any_letters(tmp_path: Path, ending: str) -> None:
    names = [
        "a: b",
        "# c",
        "{d}",
        "'e'",
        '"f',
        "<g>&amp;",
        "=h",
        "null",
        "1",
        "\\q",
        "p_In-between",
        "|i "[:2],
    ]
    said = {"run": "two\nlines\tand more \\ ", "other": 'it\'s <b> & "c" é 星 '}
    rows = pa.table({name: pa.array([0.5], pa.float32()) for name in names})
    target = target_of(tmp_path / f"c.{ending}")
    write_catalogue(target, rows, said)
    assert read_provenance(target.path) == said
    if ending != "parquet":
        with warnings.catch_warnings(action="ignore", category=VerifyWarning):
            table = (
                parse(target.path, verify="exception").get_first_table().to_table(use_names_over_ids=True)
                if ending == "vot"
                else Table.read(target.path)
            )
        assert table.colnames == names


def test_descriptions_in_votables_have_no_line_breaks(tmp_path: Path) -> None:
    """STILTS keeps them, and writes question marks for them into FITS."""
    text = _write(target_of(tmp_path / "c.vot")).read_text()
    assert "<DESCRIPTION>right ascension</DESCRIPTION>" in text


@pytest.mark.parametrize("kind", ["info", "fits", "ecsv"])
def test_provenance_survives_topcat(tmp_path: Path, kind: str) -> None:
    """As STILTS 3.4.7 saves our catalogues: parameters of the table, and COMMENT cards as an array."""
    said = {"program": "morphoscope", "run": "größe \\ 7", "adapted": "no", "date": "2026-11-21"}
    names = {"RUN": "run", "PROGRAM": "program", "ADAPTED": "adapted", "CREATED": "date"}
    params = {
        "info": {f"morphoscope.{name}": text for name, text in said.items()},
        "fits": {key: said[name].encode("unicode_escape").decode() for key, name in names.items()}
        | {"PROVNAME": json.dumps(names)},
        "ecsv": said,
    }[kind]
    lines = "".join(
        f"<PARAM arraysize='{len(text)}' datatype='char' name='{name}' value={quoteattr(text)}/>\n"
        for name, text in params.items()
    )
    if kind == "fits":
        lines += f"<PARAM arraysize='71x2' datatype='char' name='COMMENT' value='{'x' * 142}'/>\n"
    content = (
        "<?xml version='1.0'?>\n<VOTABLE version='1.4' xmlns='http://www.ivoa.net/xml/VOTable/v1.3'>\n"
        f"<RESOURCE><TABLE name='CATALOGUE' nrows='40'>\n{lines}<FIELD datatype='long' name='id'/>\n"
    )
    vot = tmp_path / "saved.vot"
    vot.write_text(
        content + "<DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    assert read_provenance(vot) == said
    bare = ("no", "2026-11-21")  # YAML takes these for a logical value and a date
    lines = [f"#   {n}: {text if text in bare else repr(text)}" for n, text in params.items()]
    lines = [line.replace("\\\\", "\\") for line in lines]  # in YAML's single quotes it stands for itself
    head = [
        "# %ECSV 1.0",
        "# ---",
        "# delimiter: ','",
        "# datatype:",
        "# -",
        "#   name: id",
        "#   datatype: int64",
    ]
    (tmp_path / "saved.ecsv").write_text(
        "\n".join([*head, "# meta:", *lines, "id", "1", ""]), encoding="utf-8"
    )
    assert read_provenance(tmp_path / "saved.ecsv") == said
    # "FITS-plus": the VOTable without its rows is the primary array.
    text = np.frombuffer((content + "</TABLE></RESOURCE></VOTABLE>").encode(), np.uint8)
    primary = fits.PrimaryHDU(text)
    primary.header["VOTMETA"] = True
    rows = fits.BinTableHDU.from_columns([fits.Column("id", "K", array=[1])])
    fits.HDUList([primary, rows]).writeto(tmp_path / "saved.fits")
    assert read_provenance(tmp_path / "saved.fits") == said


@pytest.mark.parametrize("ending", sorted(FORMATS))
def test_ids_that_are_integers_stay_so(tmp_path: Path, ending: str) -> None:
    ids = [587722981742215240, 7, -(2**60)]
    rows = pa.table({"id": pa.array(ids, pa.int64()), "p": pa.array([0.1, 0.2, 0.3], pa.float32())})
    target = target_of(tmp_path / f"c{ending}")
    write_catalogue(target, rows, {})
    if ending == ".parquet":
        assert pq.read_table(target.path)["id"].to_pylist() == ids
    elif ending == ".csv":
        assert pyarrow.csv.read_csv(target.path)["id"].to_pylist() == ids
    else:
        found = Table.read(target.path, **({"format": "votable"} if ending in (".vot", ".xml") else {}))["id"]
        assert found.dtype.newbyteorder("=") == np.int64
        assert found.tolist() == ids


def test_votable_through_astropy(tmp_path: Path) -> None:
    place = _write(target_of(tmp_path / "c.vot"))
    found = parse(place, verify="exception").get_first_table()
    by_name = {field.name: field for field in found.fields}
    assert list(by_name) == SCHEMA.names  # "p_Größer" too
    assert by_name["ra"].ucd == "pos.eq.ra;meta.main"
    table = found.to_table(use_names_over_ids=True)
    _check_values(table)
    _check_columns(table)


def test_ecsv_through_astropy(tmp_path: Path) -> None:
    table = Table.read(_write(target_of(tmp_path / "c.ecsv")))
    _check_values(table)
    _check_columns(table)
    assert table.meta == PROVENANCE
    assert table["ra"].meta == {"ucd": "pos.eq.ra;meta.main"}


def test_csv_through_pyarrow_and_python(tmp_path: Path) -> None:
    place = _write(target_of(tmp_path / "c.csv"))
    with open(place, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == SCHEMA.names
    expected = WHOLE.to_pylist()
    assert [row["id"] for row in rows] == [guarded(row["id"]) for row in expected]
    assert [row["ra"] and float(row["ra"]) for row in rows] == [
        "" if row["ra"] is None else row["ra"] for row in expected
    ]
    assert [np.float32(row["p_Größer"]) for row in rows] == [np.float32(row["p_Größer"]) for row in expected]
    assert rows[0]["features"].count(",") == 3
    assert pyarrow.csv.read_csv(place)["dec"].to_pylist() == WHOLE["dec"].to_pylist()


def test_a_csv_runs_nothing_in_a_spreadsheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OWASP's characters, numbers excepted: an id -7 is an id."""
    ids = ["=1+1", "@SUM(A1)", "+cmd", "-J12", "\tx", "-7", "+1.5e3", "J-12", None, "a=b"]
    rows = pa.table({"=id": ids, "p": pa.array([-0.5] * len(ids), pa.float32())})
    target = target_of(tmp_path / "c.csv")
    write_catalogue(target, rows, {})
    with open(target.path, newline="", encoding="utf-8") as file:
        found = list(csv.reader(file))
    assert found[0] == ["'=id", "p"]
    assert [row[0] for row in found[1:]] == [
        *("'=1+1", "'@SUM(A1)", "'+cmd", "'-J12", "'\tx", "-7", "+1.5e3", "J-12", "", "a=b")
    ]
    assert {row[1] for row in found[1:]} == {"-0.5"}
    assert "5 cells begin as a spreadsheet's formula does" in capsys.readouterr().err
    write_unreadable(target.path, [("=1", "a.jpg", "is cut off")])
    assert "'=1,a.jpg" in (tmp_path / "c.unreadable.csv").read_text()


def test_a_line_break_in_ecsv_swallows_no_rows(tmp_path: Path) -> None:
    """astropy 8 drops lines that begin with '#', also within a quoted cell."""
    rows = pa.table({"id": ["first\n# second", "b\r", "c"], "p": pa.array([0.1, 0.2, 0.3])})
    target = target_of(tmp_path / "c.ecsv")
    write_catalogue(target, rows, {})
    assert Table.read(target.path)["id"].tolist() == [r"first\n# second", r"b\r", "c"]


def test_a_string_longer_than_counted_is_no_shorter_string(tmp_path: Path) -> None:
    rows = pa.table({"id": ["abc"]})
    target = target_of(tmp_path / "c.fits")
    with (
        pytest.raises(MorphoscopeError, match="'id' has a string of 3 characters where 2 were counted"),
        written(target, target.path, rows.schema, {}, Extent(1, {"id": 2})) as writer,
    ):
        writer.write(rows)
    assert not target.path.exists()


def test_parquet_through_pyarrow(tmp_path: Path) -> None:
    place = _write(target_of(tmp_path / "c.parquet"))
    found = pq.read_table(place)
    assert found.schema.remove_metadata() == SCHEMA.remove_metadata()
    assert found.drop_columns(["features"]).to_pylist() == WHOLE.drop_columns(["features"]).to_pylist()
    np.testing.assert_array_equal(
        np.stack(found["features"].to_numpy()), np.stack(WHOLE["features"].to_numpy())
    )
    said = found.schema.field("ra").metadata
    assert (said[b"unit"], said[b"description"], said[b"ucd"]) == (
        b"deg",
        b"right ascension",
        b"pos.eq.ra;meta.main",
    )


def test_parquet_says_what_astropy_asks(tmp_path: Path) -> None:
    """``Table.read`` of Parquet needs pandas, which Morphoscope does not; its own parts read the header."""
    metadata = pq.read_schema(_write(target_of(tmp_path / "c.parquet"))).metadata
    header = meta.get_header_from_yaml(metadata[b"table_meta_yaml"].decode().split("\n"))
    columns = {column["name"]: column for column in header["datatype"]}
    assert columns["ra"]["unit"] == "deg"
    assert columns["entropy"]["description"] == "entropy of the class probabilities, in nats"
    assert dict(header["meta"]) == PROVENANCE
    longest = max(len(_escaped(identity)) for identity in WHOLE["id"].to_pylist())  # enough for UTF-8
    assert metadata[b"table::len::id"].decode() == str(longest)


def test_shards_are_one_table(tmp_path: Path) -> None:
    folder = _write(target_of(tmp_path / "catalogue", 12))
    assert sorted(place.name for place in folder.iterdir()) == [
        MARK,
        *(f"part-0000{number}.parquet" for number in range(5)),
    ]
    rows = [pq.read_metadata(folder / f"part-0000{number}.parquet").num_rows for number in range(5)]
    assert rows == [12, 12, 12, 12, 2]
    found = pyarrow.dataset.dataset(folder).to_table()
    assert found["id"].to_pylist() == WHOLE["id"].to_pylist()
    assert read_provenance(folder) == PROVENANCE == read_provenance(folder / "part-00004.parquet")
    assert pq.read_schema(folder / MARK).field("ra").metadata[b"unit"] == b"deg"


@pytest.mark.parametrize("ending", ["fits", "vot", "ecsv"])
def test_numbers_that_are_none_and_texts_that_xml_forbids(tmp_path: Path, ending: str) -> None:
    rows = pa.table(
        {
            "id": ["a\x01b", "c"],
            "x": pa.array([np.inf, -np.inf], pa.float32()),
            "y": pa.array([np.nan, 1e-300], pa.float64()),
        }
    )
    target = target_of(tmp_path / f"c.{ending}")
    with written(target, target.path, rows.schema, {}, Extent.of(rows)) as writer:
        writer.write(rows)
    table = Table.read(target.path)
    assert np.ma.getdata(table["x"]).tolist() == [np.inf, -np.inf]
    assert np.ma.getdata(table["y"])[1] == 1e-300
    assert np.ma.is_masked(table["y"][0]) or np.isnan(table["y"][0])
    assert str(table["id"][0]) == {"fits": r"a\x01b", "vot": "a\ufffdb", "ecsv": "a\x01b"}[ending]
