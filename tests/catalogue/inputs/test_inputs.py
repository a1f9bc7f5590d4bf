"""What people have, from the file to the catalogue: each kind of input, good and bad."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from morphoscope.catalogue.formats.write import read_provenance
from morphoscope.catalogue.inputs.open import open_input
from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.preprocess import stretch_like

Save = Callable[..., Path]


def png(level: int, side: int = 32) -> bytes:
    return cv2.imencode(".png", np.full((side, side, 3), level, np.uint8))[1].tobytes()


def write_shard(path: Path, numbers: range) -> None:
    with tarfile.open(path, "w") as archive:
        for number in numbers:
            described = json.dumps({"id": f"g{number}", "ra": number, "dec": -number}).encode()
            for name, content in ((f"{number:04d}.json", described), (f"{number:04d}.png", png(number))):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("source", ["shard-{00..02}.tar", "shard-*.tar", ""])
def test_shards_by_braces_by_a_glob_and_as_a_folder(tmp_path: Path, predictor, source: str) -> None:
    (tmp_path / "in").mkdir()
    for shard in range(3):
        write_shard(tmp_path / "in" / f"shard-{shard:02d}.tar", range(10 * shard, 10 * shard + 10))
    predict_catalogue(predictor, CatalogueRequest(tmp_path / "in" / source, tmp_path / "c.parquet", batch=7))
    rows = pq.read_table(tmp_path / "c.parquet")
    assert rows["id"].to_pylist() == [f"g{number}" for number in range(30)]
    assert rows["ra"].to_pylist() == list(range(30))
    assert rows["source"][11].as_py() == "shard-01.tar/0011.png"


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "s-0.tar", range(2))
    with pytest.raises(UsageError, match=r"1 of 2 files are missing, the first .*s-1\.tar"):
        open_input(f"{tmp_path}/s-{{0..1}}.tar")


def test_archives_beside_images_are_passed_over_with_a_word(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(folder / "more.tar", range(2))
    assert open_input(folder).count == 7
    assert "1 archives are skipped, the first more.tar" in capsys.readouterr().err


def test_images_that_a_parquet_table_holds(tmp_path: Path, predictor) -> None:
    levels = [0, 128, 255]
    files = [png(level) for level in levels]
    held = {
        "image": pa.array(files, pa.binary()),
        "dr8_id": ["a", "b", "c"],
        "id": [7, 8, 9],
    }
    as_struct = pa.array(
        [{"bytes": file, "path": f"{n}.png"} for n, file in enumerate(files)],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    pq.write_table(pa.table(held), tmp_path / "1.parquet")
    pq.write_table(pa.table({"image": as_struct}), tmp_path / "2.parquet")
    predict_catalogue(predictor, CatalogueRequest(tmp_path / "1.parquet", tmp_path / "a.csv"))
    predict_catalogue(predictor, CatalogueRequest(tmp_path / "2.parquet", tmp_path / "b.parquet"))
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["7", "8", "9"]
    assert [row["predicted"] for row in rows] == ["Dark Sky", "Grey", "In-between Bright"]
    assert rows[1]["source"] == "1.parquet row 2"
    rows = pq.read_table(tmp_path / "b.parquet")
    assert rows["id"].to_pylist() == ["0", "1", "2"]
    assert rows["predicted"].to_pylist() == ["Dark Sky", "Grey", "In-between Bright"]
    images = open_input(f"{tmp_path}/[12].parquet")
    assert images.count == 6
    assert [item.row["id"] for item in images.items] == ["7", "8", "9", "0", "1", "2"]


def test_ecsv_tables(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "a.png", 9)
    Table({"file": ["a.png"], "RA_ICRS": [1.5], "DE_ICRS": [-2.5], "objID": [2**60]}).write(
        tmp_path / "t.ecsv", format="ascii.ecsv"
    )
    (item,) = open_input(tmp_path / "t.ecsv").items
    assert item.row == {"id": str(2**60), "ra": 1.5, "dec": -2.5}
    assert item.load().max() == 9


def test_coordinates_that_are_no_angles_are_left_empty_and_said_once(
    tmp_path: Path, save: Save, predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "a.png", 9)
    (tmp_path / "t.csv").write_text(
        "id,image,ra,dec\n1,a.png,10.5,-3\n2,a.png,12:30:15,-1:30\n3,a.png,n/a,\n4,a.png,-15.07,2\n"
        "5,a.png,nowhere,1\n6,a.png,7,95\n"
    )
    summary = predict_catalogue(predictor, CatalogueRequest(tmp_path / "t.csv", tmp_path / "c.parquet"))
    rows = pq.read_table(tmp_path / "c.parquet")
    assert summary.predicted == 6
    assert rows["id"].type == pa.int64()
    assert rows["ra"].to_pylist() == pytest.approx([10.5, 187.5625, None, 344.93, None, None])
    assert rows["dec"].to_pylist() == [-3.0, -1.5, None, 2.0, None, None]
    said = capsys.readouterr().err
    assert said.count("ra is 'nowhere' in row 5, which is not an angle") == 1
    assert "'95'" not in said
    assert "n/a" not in said


def test_ids_that_repeat_are_kept_and_said_once(
    tmp_path: Path, save: Save, predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "a.png", 9)
    rows = "".join(f"{identity},a.png\n" for identity in "abcacda")
    (tmp_path / "t.csv").write_text(f"id,image\n{rows}")
    assert (
        predict_catalogue(predictor, CatalogueRequest(tmp_path / "t.csv", tmp_path / "c.csv")).predicted == 7
    )
    said = capsys.readouterr().err
    assert said.count("2 ids stand for several galaxies (5 of 7 rows)") == 1


def _write_bands(folder: Path, ids: str = "ab", bands: str = "gr") -> None:
    rng = np.random.default_rng(2)
    for number, identity in enumerate(ids):
        for band, name in enumerate(bands):
            sky = rng.normal(100, 3, (32, 32)).astype(np.float32)
            sky[12:20, 12:20] += 900 * (band + 1) * (number + 1)
            fits.writeto(folder / f"{identity}_{name}.fits", sky)


def test_one_file_a_band_by_pattern_by_folder_and_by_table(tmp_path: Path, predictor) -> None:
    _write_bands(tmp_path)
    (tmp_path / "t.csv").write_text("id,g_file,path_r\na,a_g.fits,a_r.fits\nb,b_g.fits,b_r.fits\n")
    (tmp_path / "u.csv").write_text("id,red,blue\na,a_r.fits,a_g.fits\nb,b_r.fits,b_g.fits\n")
    images = [
        open_input(f"{tmp_path}/{{id}}_{{band}}.fits", bands=("g", "r")),
        open_input(tmp_path, bands=("r", "g")),
        open_input(tmp_path / "t.csv", bands=("g", "r")),
        open_input(tmp_path / "u.csv", image_column="red,blue"),
    ]
    pictures = []
    for found in images:
        items = list(found.items)
        assert [item.row["id"] for item in items] == ["a", "b"]
        pictures.append(np.stack([item.load() for item in items]))
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])
    red, green, blue = pictures[0][0, 16, 16].astype(int)
    assert red > green > blue > 50
    with pytest.raises(UsageError, match="--bands is needed with a pattern"):
        open_input(f"{tmp_path}/{{id}}_{{band}}.fits")
    predict_catalogue(predictor, CatalogueRequest(tmp_path, tmp_path / "c.parquet", bands="g,r"))
    assert read_provenance(tmp_path / "c.parquet")["bands"] == "g,r"
    with pytest.raises(UsageError, match="3 image columns were given; one was expected, or 2"):
        open_input(tmp_path / "t.csv", image_column="id,g_file,path_r", bands=("g", "r"))


def test_a_galaxy_without_one_of_its_bands_is_listed(tmp_path: Path, predictor) -> None:
    _write_bands(tmp_path)
    (tmp_path / "b_g.fits").unlink()
    summary = predict_catalogue(predictor, CatalogueRequest(tmp_path, tmp_path / "c.csv", bands="g,r"))
    assert (summary.predicted, summary.unreadable) == (1, 1)
    assert summary.unreadable_list is not None
    with open(summary.unreadable_list, newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["id"], row["reason"]) == ("b", "the file of band g is missing (b_g.fits)")


def test_real_cutouts_in_two_bands(
    shared_data: Path, tmp_path: Path, make_predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "fits_cutouts"
    predictor = make_predictor(side=256, stretch="lupton")
    predict_catalogue(
        predictor, CatalogueRequest(f"{folder}/{{id}}_{{band}}band.fits", tmp_path / "c.parquet", bands="g,r")
    )
    table = pq.read_table(tmp_path / "c.parquet")
    assert table["id"].to_pylist() == ["132", "150", "190"]
    assert read_provenance(tmp_path / "c.parquet")["stretch"] == "lupton"
    err = capsys.readouterr().err.splitlines()
    assert err[0] == "calibration: none: not tried"
    assert "132_rband.fits: its bands lie on different pixels; they are resampled" in err[1]
    assert "132_rband.fits: is mirrored on the sky, so it is flipped" in err[2]
    assert "13% of the pixels hold no data; they are shown as sky" in err[3]
    assert table["no_data"][0].as_py() == pytest.approx(0.128, abs=0.01)
    assert table["bands"].to_pylist() == ["r, g"] * 3
    assert table["orientation"][0].as_py() == "mirrored, turned 90°"
    assert table["ra"][0].as_py() == pytest.approx(358.16679, abs=1e-3)  # RA and DEC in the header
    assert table["dec"][0].as_py() == pytest.approx(-11.20586, abs=1e-3)
    image = next(iter(open_input(folder, bands=("gband", "rband")).items)).load()
    assert np.ptp(image, axis=2).max() > 20  # colours
    mean = image[:, :, ::2].mean(axis=2)
    unclipped = (image > 0).all(axis=2) & (image < 255).all(axis=2)
    np.testing.assert_allclose(image[:, :, 1][unclipped], mean[unclipped], atol=1)


def test_bad_images_are_listed_with_their_reason_and_the_good_ones_kept(
    tmp_path: Path, save: Save, predictor
) -> None:
    place = tmp_path / "in"
    save(place / "good.png", 100)
    save(place / "large.jpg", 100, 90, 70)
    cv2.imwrite(str(place / "grey.png"), np.full((32, 32), 100, np.uint8))
    cv2.imwrite(str(place / "deep.png"), np.full((32, 32, 3), 100 * 257, np.uint16))
    cv2.imwrite(str(place / "deep.tif"), np.full((32, 32), 100 * 257, np.uint16))
    whole = (place / "large.jpg").read_bytes()
    (place / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (place / "zero.jpg").write_bytes(b"")
    fits.writeto(place / "nan.fits", np.full((32, 32), np.nan, np.float32))
    fits.writeto(place / "five.fits", np.zeros((5, 32, 32), np.float32))
    fits.writeto(place / "counts.fits", np.arange(32 * 32, dtype=np.uint16).reshape(32, 32))
    fits.HDUList([fits.PrimaryHDU()]).writeto(place / "empty.fits")
    (place / "cut.fits").write_bytes((place / "five.fits").read_bytes()[:9000])
    summary = predict_catalogue(predictor, CatalogueRequest(place, tmp_path / "c.parquet"))
    rows = pq.read_table(tmp_path / "c.parquet").to_pylist()
    sources = [row["source"] for row in rows]
    assert sources == ["counts.fits", "deep.png", "deep.tif", "good.png", "grey.png", "large.jpg"]
    assert {row["predicted"] for row in rows if not row["source"].endswith(".fits")} == {"Grey"}
    assert summary.unreadable_list is not None
    with open(summary.unreadable_list, newline="") as file:
        reasons = {row["source"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == {"cut.fits", "cut.jpg", "empty.fits", "five.fits", "nan.fits", "zero.jpg"}
    for source, words in {
        "cut.fits": "cut off",
        "cut.jpg": "is damaged",
        "empty.fits": "holds no image",
        "five.fits": "one to three planes were expected, or --bands",
        "nan.fits": "no pixel has a value",
        "zero.jpg": "the file is empty",
    }.items():
        assert words in reasons[source]


def test_requests_that_name_nothing_or_contradict_themselves(tmp_path: Path, folder: Path, predictor) -> None:
    (tmp_path / "t.csv").write_text("id,ra,dec\n1,2,3\n")
    for source, options, words in (
        (f"{tmp_path}/*.jpeg", {}, "no file matches"),
        (folder, {"bands": "g,r,i,z"}, "--bands g,r,i,z"),
        (folder, {"cutout_arcsec": 9.0}, "--sources is missing"),
        (folder / "7.jpg", {"sources": tmp_path / "t.csv", "crop": 9}, "do not go with --sources"),
        (folder / "7.jpg", {"sources": tmp_path / "t.csv"}, "does not know the pixel scale"),
    ):
        with pytest.raises(UsageError, match=words):
            predict_catalogue(predictor, CatalogueRequest(source, tmp_path / "c.csv", **options))
    with pytest.raises(MorphoscopeError, match="FITS mosaic"):
        predict_catalogue(
            predictor,
            CatalogueRequest(
                folder / "7.jpg", tmp_path / "c.csv", sources=tmp_path / "t.csv", cutout_arcsec=9.0
            ),
        )


def test_fits_images_say_how_they_became_pictures(
    tmp_path: Path, make_predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(4)
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": -20.0})
    header.update({"CRPIX1": 16.5, "CRPIX2": 16.5, "CD1_1": 7e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 7e-5})
    header.update({"BANDS": "grz", "BUNIT": "nanomaggy"})
    cube = rng.normal(0, 0.01, (3, 32, 32)).astype(np.float32)
    cube[:, :, :8] = 0
    (tmp_path / "in").mkdir()
    fits.writeto(tmp_path / "in" / "a.fits", cube, header)
    Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(tmp_path / "in" / "b.webp")
    (tmp_path / "in" / "c.npy").touch()
    table = tmp_path / "t.csv"
    table.write_text("id,file,ra,dec\n7,in/a.fits,11.0,-21.0\n8,in/b.webp,,\n")
    for source, places in ((tmp_path / "in", (10.0, -20.0)), (table, (11.0, -21.0))):
        out = tmp_path / f"{source.stem}.parquet"
        predict_catalogue(make_predictor(side=32), CatalogueRequest(source, out, stretch="legacy"))
        row, other = pq.read_table(out).to_pylist()
        assert (row["ra"], row["dec"]) == pytest.approx(places)
        assert row["no_data"] == pytest.approx(0.25)
        assert [row["quality"], other["quality"]] == ["no data 25%", ""]
        assert (row["bands"], row["scaling"], row["orientation"]) == ("z, r, g", "legacy", "mirrored")
        assert [other[name] for name in ("ra", "no_data", "bands", "scaling", "orientation")] == [None] * 5
        assert read_provenance(out)["stretch"] == "legacy"
        err = capsys.readouterr().err
        assert "a.fits: 25% of the pixels hold no data" in err
        assert "a.fits: is mirrored on the sky" in err
    with pytest.raises(UsageError, match=r"no stretch 'legasy' \(did you mean 'legacy'"):
        CatalogueRequest(table, out, stretch="legasy")
    assert [stretch_like(name) for name in ("lupton", "legacy", "sdss", "decals", "as-served")] == [
        *("lupton", "legacy", "lupton", "lupton", "lupton")
    ]


def fits_of(band: np.ndarray) -> bytes:
    file = io.BytesIO()
    fits.PrimaryHDU(band).writeto(file)
    return file.getvalue()


def test_a_fits_image_that_is_not_the_first_has_its_columns(tmp_path: Path) -> None:
    """In tables and archives, whatever comes first."""
    measured = fits_of(np.random.default_rng(0).normal(5, 1, (32, 32)).astype(np.float32))
    members = {"a.png": png(9), "b.fits": measured}
    for name, content in members.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "t.csv").write_text("id,file\n1,a.png\n2,b.fits\n")
    pq.write_table(pa.table({"image": list(members.values())}), tmp_path / "t.parquet")
    with tarfile.open(tmp_path / "t.tar", "w") as tar, tarfile.open(tmp_path / "t.tar.gz", "w:gz") as packed:
        for name in members:
            tar.add(tmp_path / name, name)
            packed.add(tmp_path / name, name)
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    for name in ("t.csv", "t.parquet", "t.tar", "t.tar.gz", "t.zip"):
        assert "no_data" in [column.name for column in open_input(tmp_path / name).extras], name
    (tmp_path / "u.csv").write_text("id,file\n1,a.png\n")
    assert open_input(tmp_path / "u.csv").extras == ()


def test_a_glob_is_judged_by_all_of_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table that comes first, as a catalogue beside its cutouts, does not hide the images."""
    table = Table({"file": ["d/b.fits"], "id": [7]})
    table.write(tmp_path / "a.fits")
    for name in "bc":
        (tmp_path / f"{name}.fits").write_bytes(fits_of(np.ones((8, 8), np.float32) + np.eye(8)))
    (tmp_path / "notes.txt").touch()
    images = open_input(str(tmp_path / "*"))
    assert [item.row["id"] for item in images.items] == ["a", "b", "c"]
    with pytest.raises(MorphoscopeError, match="holds no image"):
        next(iter(open_input(str(tmp_path / "*")).items)).load()
    assert "1 file is not an image and was skipped (1 .txt)" in capsys.readouterr().err
    (tmp_path / "c.fits").unlink()
    (tmp_path / "d").mkdir()
    (tmp_path / "b.fits").rename(tmp_path / "d" / "b.fits")
    (row,) = open_input(str(tmp_path / "*.fits")).items
    assert (row.row["id"], row.load().shape) == ("7", (8, 8, 3))
