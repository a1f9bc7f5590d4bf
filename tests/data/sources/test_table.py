from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from morphoscope.catalogue.inputs.open import open_input
from morphoscope.data.sources.table import ingest_table
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.image_table import open_table
from morphoscope.images.tables import is_table
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES, Classes, VoteFractions
from morphoscope.labels.tree import GALAXY_ZOO_2

COUNT = 6
COLUMNS = {
    "objid": [101, 102, 103, 104, 105, 106],
    "file": [f"images/{number}.png" for number in range(COUNT)],
    "RA": [10.0 + number for number in range(COUNT)],
    "Dec": [-1.0] * COUNT,
    "kind": ["spiral", "ring", "spiral", "edge-on", "ring", "spiral"],
    "number": [2, 0, 2, 1, 0, 2],
    "z": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    "smooth": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
    "disc": [1.0, 0.8, 0.6, 0.4, 0.2, 0.0],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(COUNT):
        image = np.full((8, 8, 3), 10 * number, np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image)
    return tmp_path


def write_csv(folder: Path, **changes: list) -> Path:
    columns = {**COLUMNS, **changes}
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join("" if v is None else str(v) for v in row) for row in rows)]
    path = folder / "table.csv"
    path.write_text("\n".join(lines))
    return path


def check(store: Store) -> None:
    assert store.column("id").tolist() == ["101", "102", "103", "104", "105", "106"]
    assert store.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    assert store.column("ra").tolist() == COLUMNS["RA"]
    assert store.column("dec").tolist() == COLUMNS["Dec"]
    assert store.column("source").tolist() == COLUMNS["file"]
    assert isinstance(store.scheme, Classes)
    assert store.scheme.classes == ("edge-on", "ring", "spiral")
    assert store.targets().tolist() == [2, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("kind", ["csv", "parquet", "fits", "vot"])
def test_every_kind_of_table(folder: Path, kind: str):
    path = folder / f"table.{kind}"
    if kind == "csv":
        write_csv(folder)
    elif kind == "parquet":
        pq.write_table(pa.table(COLUMNS), path)
    else:
        Table(COLUMNS).write(path, format="fits" if kind == "fits" else "votable")
    check(ingest_table(path, folder / "s", label_column="kind"))
    assert is_table(path)


def test_columns_by_their_names(folder: Path):
    path = write_csv(folder)
    store = ingest_table(
        path,
        folder / "s",
        image_column="file",
        label_column="kind",
        id_column="z",
        ra_column="Dec",
        dec_column="RA",
        keep_columns=["z", "number"],
        pixel_scale=0.396,
        size=4,
    )
    assert store.column("id").tolist() == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]
    assert store.column("ra").tolist() == [359.0] * COUNT  # what is written lies in [0, 360)
    assert store.column("z").tolist() == COLUMNS["z"]
    assert store.column("number").tolist() == COLUMNS["number"]
    assert store.meta.pixel_scale == pytest.approx(0.792)
    assert store.images.shape == (COUNT, 4, 4, 3)


def test_missing_columns_name_the_nearest(folder: Path):
    path = write_csv(folder)
    for option, message in (
        ({"label_column": "kinds"}, r"no column 'kinds' \(did you mean 'kind'"),
        ({"image_column": "files"}, r"no column 'files' \(did you mean 'file'"),
        ({"id_column": "objids"}, r"no column 'objids' \(did you mean 'objid'"),
        ({"vote_columns": ["smooth", "disk"]}, r"no column 'disk' \(did you mean 'disc'"),
        ({"keep_columns": ["zz"]}, r"no column 'zz'"),
    ):
        with pytest.raises(UsageError, match=rf"table\.csv: has {message}"):
            ingest_table(path, folder / "s", **option)
    write_csv(folder, file=COLUMNS["file"]).write_text("a,b\n1,2\n")
    with pytest.raises(
        UsageError,
        match=r"no column of images was found \(image, .*\); pass --image-column \(columns: a, b\)",
    ):
        ingest_table(path, folder / "s")


def test_numbers_are_classes_as_given(folder: Path):
    store = ingest_table(write_csv(folder), folder / "s", label_column="number")
    assert store.need_scheme().output_names == ("0", "1", "2")
    assert store.targets().tolist() == COLUMNS["number"]
    store = ingest_table(
        write_csv(folder), folder / "t", label_column="number", classes=["ring", "edge-on", "spiral"]
    )
    assert store.need_scheme().output_names == ("ring", "edge-on", "spiral")
    assert store.targets().tolist() == COLUMNS["number"]


def test_own_classes_and_labels_outside_them(folder: Path):
    path = write_csv(folder)
    store = ingest_table(path, folder / "s", label_column="kind", classes=["spiral", "ring", "edge-on"])
    assert store.targets().tolist() == [0, 1, 0, 2, 1, 0]
    with pytest.raises(MorphoscopeError, match=r"galaxy 104 has label 'edge-on', which is not a class"):
        ingest_table(path, folder / "t", label_column="kind", classes=["spiral", "ring"])
    with pytest.raises(UsageError, match="--classes needs --label-column"):
        ingest_table(path, folder / "t", classes=["spiral", "ring"])


def test_empty_labels_are_unlabelled(folder: Path):
    path = write_csv(folder, kind=["spiral", None, "ring", None, "ring", "spiral"])
    store = ingest_table(path, folder / "s", label_column="kind")
    assert store.targets().tolist() == [1, -1, 0, -1, 0, 1]


def test_several_columns_are_votes(folder: Path):
    path = write_csv(folder)
    store = ingest_table(path, folder / "s", vote_columns=["smooth", "disc"])
    assert isinstance(store.scheme, VoteFractions)
    assert store.scheme.answers == ("smooth", "disc")
    assert store.targets()[:, 0] == pytest.approx(COLUMNS["smooth"])
    with pytest.raises(MorphoscopeError, match=r"galaxy 103: 'smooth' is 1\.4; a vote fraction"):
        ingest_table(
            write_csv(folder, smooth=[0, 0, 1.4, 0, 0, 0]), folder / "t", vote_columns=["smooth", "disc"]
        )
    with pytest.raises(UsageError, match="exclude each other"):
        ingest_table(path, folder / "t", label_column="kind", vote_columns=["smooth"])


def test_the_challenges_columns_follow_their_tree(folder: Path):
    zero = dict.fromkeys(GALAXY_ZOO_2.columns, [0.0] * COUNT)
    votes = zero | {name: [1.0] * COUNT for name in ("Class1.1", "Class7.2", "Class6.2")}
    store = ingest_table(write_csv(folder, **votes), folder / "s", vote_columns=GALAXY_ZOO_2.columns)
    assert store.scheme == GALAXY_ZOO_2_VOTES
    votes["Class7.2"] = [1.0, 1.0, 0.5, 1.0, 1.0, 1.0]
    with pytest.raises(MorphoscopeError, match=r"table\.csv: .*103.*Q7"):
        ingest_table(write_csv(folder, **votes), folder / "t", vote_columns=GALAXY_ZOO_2.columns)


def test_a_logical_null_is_no_class(folder: Path, capsys: pytest.CaptureFixture[str]):
    flags = pa.array([True, False, None, True, False, None])
    pq.write_table(pa.table({**COLUMNS, "barred": flags}), folder / "t.parquet")
    store = ingest_table(folder / "t.parquet", folder / "s", label_column="barred")
    assert store.need_scheme().output_names == ("false", "true")
    assert store.targets().tolist() == [1, 0, -1, 1, 0, -1]
    assert "2 of 6 galaxies have no label in 'barred'" in capsys.readouterr().err


def test_no_labels_make_a_store_of_images(folder: Path):
    assert ingest_table(write_csv(folder), folder / "s").scheme is None


def test_ids_come_from_the_images_where_there_are_none(folder: Path):
    bare = folder / "bare.csv"
    bare.write_text("file\nimages/0.png\nimages/1.png\n")
    assert ingest_table(bare, folder / "s").column("id").tolist() == ["0", "1"]
    (folder / "more").mkdir()
    (folder / "more" / "0.png").write_bytes((folder / "images" / "0.png").read_bytes())
    bare.write_text("file\nimages/0.png\nmore/0.png\n")
    assert ingest_table(bare, folder / "t").column("id").tolist() == ["images/0", "more/0"]
    bare.write_text("file\nimages/0.png\nimages/0.png\n")
    assert ingest_table(bare, folder / "u").column("id").tolist() == ["images/0.png#0", "images/0.png#1"]


def test_ids_must_differ(folder: Path):
    path = write_csv(folder, objid=[101, 102, 101, 104, 105, 106])
    with pytest.raises(MorphoscopeError, match="'objid' is 101 in row 1 and in row 3"):
        ingest_table(path, folder / "s")
    path = write_csv(folder, objid=[101, None, 103, 104, 105, 106])
    with pytest.raises(MorphoscopeError, match="row 2 has no 'objid'"):
        ingest_table(path, folder / "s")


def test_rows_without_image_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]):
    path = write_csv(folder, file=["images/0.png", "images/lost.png", None, *COLUMNS["file"][3:]])
    store = ingest_table(path, folder / "s", label_column="kind")
    assert store.column("id").tolist() == ["101", "104", "105", "106"]
    listed = (folder / "s" / "unreadable.csv").read_text().splitlines()
    assert listed[1] == "images/lost.png,no such file"
    assert "names no image" in listed[2]
    assert "2 of 6 images could not be read" in capsys.readouterr().err


def test_a_table_of_whose_images_none_is_there_names_the_nearest(folder: Path):
    for names, near in (
        ([f"images/{number}.jpg" for number in range(COUNT)], r"images/0\.png"),
        ([f"{number}.png" for number in range(COUNT)], r"images/0\.png"),
        ([f"images/{number}" for number in range(COUNT)], r"images/0\.png"),
        (["lost/galaxy-1.fits"] * COUNT, "there is no similar file"),
    ):
        with pytest.raises(UsageError, match=rf"none of its 6 images exists; the first would be .*{near}"):
            ingest_table(write_csv(folder, file=names), folder / "t")
        with pytest.raises(UsageError, match=near):
            open_input(folder / "table.csv")


def test_images_lie_beside_the_table_or_where_asked(folder: Path):
    path = write_csv(folder, file=[f"{number}.png" for number in range(COUNT)])
    store = ingest_table(path, folder / "s", folder=folder / "images", label_column="kind")
    assert store.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    absolute = write_csv(folder, file=[str(folder / name) for name in COLUMNS["file"]])
    assert len(ingest_table(absolute, folder / "t", folder=folder / "nowhere")) == COUNT


def test_three_band_columns_become_colours(folder: Path):
    rng = np.random.default_rng(0)
    for band, flux in (("z", 900.0), ("r", 300.0), ("g", 0.0)):
        image = rng.normal(0, 1, (16, 16))
        image[8, 8] += flux
        fits.writeto(folder / f"{band}.fits", image)
    path = folder / "bands.csv"
    path.write_text("id,file_z,file_r,file_g\n1,z.fits,r.fits,g.fits\n2,z.fits,,g.fits\n")
    store = ingest_table(path, folder / "s", image_column=["file_z", "file_r", "file_g"])
    assert store.column("id").tolist() == ["1"]
    assert store.meta.stretch == "lupton"
    red, green, blue = store.images[0, 16 - 1 - 8, 8].astype(int)
    assert red > green > blue
    with pytest.raises(UsageError, match="4 image columns were given"):
        ingest_table(path, folder / "t", image_column=["file_z", "file_r", "file_g", "id"])


def test_opened_tables_give_items_in_pieces(folder: Path):
    table = open_table(write_csv(folder))
    assert table.id_column == "objid"
    assert table.sky is not None
    assert table.sky.names == ("RA", "Dec")
    items = list(table.items())
    assert [item.row for item in items[:2]] == [
        {"id": "101", "ra": 10.0, "dec": -1.0},
        {"id": "102", "ra": 11.0, "dec": -1.0},
    ]
    assert items[5].load()[0, 0].tolist() == [50, 50, 50]


def test_a_fits_image_is_no_table(folder: Path):
    fits.writeto(folder / "image.fits", np.zeros((4, 4)))
    assert not is_table(folder / "image.fits")
    assert not is_table(folder / "images" / "0.png")
    assert not is_table(folder / "none.fits")


def test_real_labels_in_the_native_order(shared_data: Path, tmp_path: Path):
    from morphoscope.labels.galaxy10 import GALAXY10

    source = shared_data / "galaxy10_decals"
    store = ingest_table(
        source / "labels.csv",
        tmp_path / "s",
        label_column="label",
        classes=GALAXY10.classes,
        folder=source / "images",
    )
    assert store.need_scheme().output_names == GALAXY10.classes
    assert np.bincount(store.targets()).tolist() == [5] * 10
