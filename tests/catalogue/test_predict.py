from __future__ import annotations

import csv
import json
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from morphoscope import __version__
from morphoscope.catalogue import pipeline
from morphoscope.catalogue.checkpoint import Journal
from morphoscope.catalogue.formats.write import read_provenance
from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.catalogue.rows import BATCH_BYTES, batch_of, frames_by_size
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images import image_table as table
from morphoscope.labels.scheme import VoteFractions, scheme_from
from morphoscope.recipes import Evaluation

Save = Callable[..., Path]
VOTES = VoteFractions(name="two", answers=("Class1.1", "Class1.2"))


@pytest.mark.parametrize("batch", [1, 3, 256])
def test_folder_to_parquet_in_the_input_order(folder: Path, tmp_path: Path, predictor, batch: int) -> None:
    out = tmp_path / "out" / "catalogue.parquet"
    summary = predict_catalogue(predictor, CatalogueRequest(folder, out, batch=batch))
    rows = pq.read_table(out)
    assert rows["id"].to_pylist() == ["7", "0", "2", "4", "1", "3", "5"]
    assert rows["predicted"].to_pylist() == [
        "Grey",
        "Dark Sky",
        "In-between Bright",
        "Grey",
        "Grey",
        "Dark Sky",
        "In-between Bright",
    ]
    probabilities = np.stack(
        [rows[name].to_numpy() for name in ("p_Dark_Sky", "p_Grey", "p_In-between_Bright")]
    )
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-6)
    np.testing.assert_array_equal(rows["probability"].to_numpy(), probabilities.max(axis=0))
    assert (summary.predicted, summary.unreadable, summary.unreadable_list) == (7, 0, None)
    assert summary.out == out
    assert summary.rate > 0
    assert max(predictor.sizes) == min(batch, 7)
    assert [path.name for path in out.parent.iterdir()] == ["catalogue.parquet"]


def test_provenance_says_where_the_numbers_come_from(folder: Path, tmp_path: Path, predictor) -> None:
    out = tmp_path / "catalogue.parquet"
    predict_catalogue(predictor, CatalogueRequest(folder, out, crop=20))
    said = read_provenance(out)
    assert said["run"] == "run-7"
    assert said["recipe"] == "small/brightness"
    assert said["weights_sha256"] == "f" * 64
    assert said["program_version"] == __version__
    assert (said["views"], said["stretch"], said["crop"], said["size"]) == ("1", "lupton", "20", "32")
    assert said["source"] == str(folder)
    assert said["date"].endswith("+00:00")
    assert scheme_from(json.loads(said["scheme"])) == predictor.scheme


def test_votes_to_csv(folder: Path, tmp_path: Path, make_predictor) -> None:
    out = tmp_path / "catalogue.csv"
    predict_catalogue(make_predictor(VOTES), CatalogueRequest(folder, out))
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "source", "ra", "dec", "Class1.1", "Class1.2", "quality"]
    assert [row["id"] for row in rows] == ["7", "0", "2", "4", "1", "3", "5"]
    assert float(rows[2]["Class1.1"]) == pytest.approx(245 / 255)
    assert float(rows[2]["Class1.1"]) + float(rows[2]["Class1.2"]) == pytest.approx(1)
    assert rows[0]["ra"] == ""


def test_unreadable_images_are_listed_and_the_rest_goes_on(folder: Path, tmp_path: Path, predictor) -> None:
    whole = (folder / "7.jpg").read_bytes()
    (folder / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "b" / "empty.png").write_bytes(b"")
    (folder / "b" / "text.png").write_text("no image at all")
    out = tmp_path / "catalogue.csv"
    summary = predict_catalogue(predictor, CatalogueRequest(folder, out, batch=2))
    assert (summary.predicted, summary.unreadable) == (7, 3)
    listed = tmp_path / "catalogue.unreadable.csv"
    assert summary.unreadable_list == listed
    with open(listed, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["source"]) for row in rows] == [
        ("cut", "a/cut.jpg"),
        ("empty", "b/empty.png"),
        ("text", "b/text.png"),
    ]
    assert rows[1]["reason"] == "the file is empty"
    assert all(row["reason"] for row in rows)
    with open(out, newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["7", "0", "2", "4", "1", "3", "5"]
    for name in ("a/cut.jpg", "b/empty.png", "b/text.png"):
        (folder / name).unlink()
    predict_catalogue(predictor, CatalogueRequest(folder, out, overwrite=True))
    assert not listed.exists()


def test_all_unreadable_is_an_error_and_leaves_nothing(tmp_path: Path, predictor) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).write_bytes(b"")
    with pytest.raises(
        MorphoscopeError, match=r"none of 2 images .* \(the first, a\.png: the file is empty\)"
    ):
        predict_catalogue(predictor, CatalogueRequest(tmp_path / "in", tmp_path / "catalogue.parquet"))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_table_without_rows_is_an_error(tmp_path: Path, predictor) -> None:
    (tmp_path / "t.csv").write_text("id,image\n")
    with pytest.raises(MorphoscopeError, match=r"t\.csv"):
        predict_catalogue(predictor, CatalogueRequest(tmp_path / "t.csv", tmp_path / "catalogue.parquet"))
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_table_keeps_ids_and_coordinates(tmp_path: Path, folder: Path, predictor) -> None:
    (tmp_path / "t.csv").write_text(
        "objid,RA,Dec,file\n"
        f"587722981742215240,10.25,-1.5,{folder / '7.jpg'}\n"
        "x,11,,images/a/0.png\n"
        "y,12,0,images/a/missing.png\n"
    )
    summary = predict_catalogue(
        predictor, CatalogueRequest(tmp_path / "t.csv", tmp_path / "catalogue.parquet")
    )
    rows = pq.read_table(tmp_path / "catalogue.parquet")
    assert rows["id"].to_pylist() == ["587722981742215240", "x"]
    assert rows["ra"].to_pylist() == [10.25, None]  # a right ascension alone is no place
    assert rows["dec"].to_pylist() == [-1.5, None]
    assert (summary.predicted, summary.unreadable) == (2, 1)


def test_images_of_other_sizes_are_fitted_and_it_is_said_once(
    tmp_path: Path, save: Save, make_predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        save(tmp_path / "in" / f"large{number}.png", 100, 80, 90)
        save(tmp_path / "in" / f"small{number}.png", 100, 20, 24)
        save(tmp_path / "in" / f"stored{number}.png", 100, 32)
    predictor = make_predictor(crop=64)
    summary = predict_catalogue(predictor, CatalogueRequest(tmp_path / "in", tmp_path / "catalogue.csv"))
    said = capsys.readouterr().err
    assert summary.predicted == 12
    assert said.count("images of 90×80 px: the central 64 px are taken and scaled to 32 px") == 1
    assert said.count("images of 24×20 px: the largest centred square is taken and scaled to 32 px") == 1
    assert len([line for line in said.splitlines() if not line.startswith("calibration:")]) == 2


def test_scale_auto_shows_every_galaxy_at_the_training_s_size(
    tmp_path: Path, make_predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    """A white square on black, framed closely and widely, is as bright to the network."""
    (tmp_path / "in").mkdir()
    for side in (60, 120, 240):
        sky = np.zeros((side, side, 3), np.uint8)
        sky[side // 2 - 12 : side // 2 + 12, side // 2 - 12 : side // 2 + 12] = 250
        cv2.imwrite(str(tmp_path / "in" / f"{side:03d}.png"), sky)
    cv2.imwrite(str(tmp_path / "in" / "empty.png"), np.zeros((90, 90, 3), np.uint8))
    request = CatalogueRequest(tmp_path / "in", tmp_path / "c.parquet", scale="auto")
    summary = predict_catalogue(make_predictor(side=64, galaxy_size=0.5), request)
    rows = pq.read_table(summary.out)
    sizes, shown = (rows[name].to_pylist() for name in ("galaxy_size", "shown_side"))
    assert sizes[:3] == pytest.approx([28 / 60, 28 / 120, 28 / 240], rel=0.15)  # as a circle, and smoothed
    assert shown[0] == 60  # large enough as it is
    assert shown[1:3] == pytest.approx([56 * 1.2, 56 * 1.2], rel=0.15)
    assert np.ptp(rows["p_Dark_Sky"].to_numpy()[:3]) < 0.15
    assert (sizes[3], shown[3]) == (None, 90)
    assert rows["quality"].to_pylist() == ["", "", "", "no source at the centre"]
    assert rows.schema.field("galaxy_size").metadata
    said = read_provenance(summary.out)["scale"]
    assert said == (
        "auto: central sources smaller than 0.333 or larger than 0.750 of the side are brought to 0.417 "
        "and 0.600, as far as their sky reaches (in training 0.500)"
    )
    assert capsys.readouterr().err.count("cropped or padded first to 1.2 times") == 1

    plain = predict_catalogue(make_predictor(), CatalogueRequest(tmp_path / "in", tmp_path / "plain.parquet"))
    assert "galaxy_size" not in pq.read_table(plain.out).schema.names
    assert "scale" not in read_provenance(plain.out)


@pytest.mark.parametrize(
    ("asked", "wanted", "fitted"),
    [
        ({}, "auto", True),
        ({}, "trained", False),
        ({"scale": "auto"}, "trained", True),
        ({"scale": "trained"}, "auto", False),
        ({"crop": 20}, "auto", False),
        ({"scale": "trained", "crop": 20}, "auto", False),
        ({"source": "store"}, "auto", False),
        ({"source": "store", "scale": "auto"}, "auto", True),
        ({"sources": "table.csv"}, "auto", False),
        ({"sources": "table.csv", "scale": "auto"}, "auto", True),
        ({"survey": "legacy-dr10"}, "trained", True),
        ({"survey": "legacy-dr10", "cutout_arcsec": 20.0}, "auto", False),
        ({"survey": "legacy-dr10", "size_column": "size"}, "auto", False),
    ],
)
def test_images_are_framed_by_size_if_nothing_else_says_how_much_to_show(
    tmp_path: Path, make_predictor, asked: dict[str, Any], wanted: str, fitted: bool
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.yaml").write_text("")
    run = make_predictor(galaxy_size=0.5).run
    run.recipe.evaluation = Evaluation(scale=wanted)
    asked = {"source": "images", "out": "c.parquet", **asked}
    request = CatalogueRequest(**{**asked, "source": tmp_path / asked["source"]})
    assert frames_by_size(request, run) == fitted
    run.header.store = run.header.store.model_copy(update={"galaxy_size": None})
    if asked.get("scale") is None and "survey" not in asked:
        assert not frames_by_size(request, run)


def test_the_stretch_of_fits_images_is_said_where_it_is_not_the_training_s(
    shared_data: Path, tmp_path: Path, make_predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    fits = shared_data / "fits_cutouts"
    predict_catalogue(make_predictor(), CatalogueRequest(fits, tmp_path / "a.csv"))
    assert capsys.readouterr().err.count("'lupton' stretch") == 1
    predict_catalogue(make_predictor(stretch="asinh"), CatalogueRequest(fits, tmp_path / "b.parquet"))
    assert "stretch" not in capsys.readouterr().err
    assert read_provenance(tmp_path / "b.parquet")["stretch"] == "asinh"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 96}, "trained on images of 32 px"),
        ({"crop": -3}, "--crop -3"),
        ({"scale": "2"}, "--scale 2: 'auto' or 'trained' was expected"),
        ({"scale": "auto", "crop": 20}, "leave out --crop"),
        ({"batch": 0}, "--batch 0"),
        ({"image_column": "image"}, "a table was expected"),
    ],
)
def test_wrong_requests_are_refused_before_the_work(
    folder: Path, tmp_path: Path, predictor, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        predict_catalogue(predictor, CatalogueRequest(folder, tmp_path / "catalogue.csv", **options))
    assert predictor.sizes == []
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_existing_output_and_the_input_itself_are_kept(folder: Path, tmp_path: Path, predictor) -> None:
    listed = tmp_path / "t.csv"
    listed.write_text(f"id,image\n1,{folder / '7.jpg'}\n")
    with pytest.raises(UsageError, match="exists already"):
        predict_catalogue(predictor, CatalogueRequest(folder, listed))
    with pytest.raises(UsageError, match="is the input"):
        predict_catalogue(predictor, CatalogueRequest(listed, listed, overwrite=True))
    assert listed.read_text().startswith("id,image")
    assert predictor.sizes == []


def test_answers_that_are_not_finite_stop_the_work(
    folder: Path, tmp_path: Path, predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(images: list[np.ndarray]) -> np.ndarray:
        answers = np.full((len(images), 3), 1 / 3, np.float32)
        if len(images) == 1:  # the last batch
            answers[0, 1] = np.nan
        return answers

    monkeypatch.setattr(predictor, "probabilities", broken)
    with pytest.raises(MorphoscopeError, match=r"b/5\.png: the network of run 'run-7' .* not finite"):
        predict_catalogue(predictor, CatalogueRequest(folder, tmp_path / "catalogue.csv", batch=3))
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize("failure", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_a_failing_network_leaves_no_file_and_no_thread(
    folder: Path, tmp_path: Path, predictor, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(images: list[np.ndarray]) -> np.ndarray:
        raise failure

    monkeypatch.setattr(predictor, "probabilities", fail)
    before = threading.active_count()
    with pytest.raises(type(failure)):
        predict_catalogue(predictor, CatalogueRequest(folder, tmp_path / "catalogue.csv", batch=2))
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    assert threading.active_count() == before


def test_reading_and_writing_go_on_while_the_network_works(
    folder: Path, tmp_path: Path, predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network waits in its first call until the next batch is read, in its last until one is written."""
    (tmp_path / "t.csv").write_text("id,image\n" + f"1,{folder / '7.jpg'}\n" * 60)
    read, written = threading.Semaphore(0), threading.Event()
    answer, load, keep = predictor.probabilities, table.read_image, Journal.add
    overlapped: list[bool] = []

    def network(images: list[np.ndarray]) -> np.ndarray:
        if not overlapped:
            overlapped.append(all(read.acquire(timeout=20) for _ in range(40)))
        elif len(predictor.sizes) == 2:
            overlapped.append(written.wait(timeout=20))
        return answer(images)

    def loading(*arguments: Any, **options: Any) -> np.ndarray:
        read.release()
        return load(*arguments, **options)

    def keeping(self: Journal, *arguments: Any) -> None:
        keep(self, *arguments)
        written.set()

    monkeypatch.setattr(predictor, "probabilities", network)
    monkeypatch.setattr(table, "read_image", loading)
    monkeypatch.setattr(Journal, "add", keeping)
    predict_catalogue(
        predictor, CatalogueRequest(tmp_path / "t.csv", tmp_path / "c.csv", batch=20, workers=1)
    )
    assert predictor.sizes == [20, 20, 20]
    assert overlapped == [True, True]


@pytest.mark.parametrize(
    ("side", "expected"), [(32, 256), (200, 256), (256, 128), (424, 64), (1000, 16), (9000, 16)]
)
def test_large_images_come_in_small_batches(side: int, expected: int) -> None:
    batch = batch_of((side, side, 3))
    assert batch == expected
    assert batch == 16 or batch * side**2 * 3 <= BATCH_BYTES


def test_memory_holds_two_batches_however_many_images(
    tmp_path: Path, save: Save, predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images and batches alive at any time stay bounded while a slow network holds up a fast reader."""
    image = save(tmp_path / "1.png", 9)
    (tmp_path / "t.csv").write_text("id,image\n" + "".join(f"{n},{image}\n" for n in range(200)))
    made: dict[str, list[weakref.ref]] = {"images": [], "batches": []}
    most = {"images": 0, "batches": 0}

    def counted(kind: str, thing):
        made[kind].append(weakref.ref(thing))
        most[kind] = max(most[kind], sum(one() is not None for one in list(made[kind])))
        return thing

    monkeypatch.setattr(
        table, "read_image", lambda *_, **__: counted("images", np.full((32, 32, 3), 9, np.uint8))
    )
    batch = pipeline.Batch
    monkeypatch.setattr(pipeline, "Batch", lambda *kept: counted("batches", batch(*kept)))
    whole = predictor.probabilities

    def slow_network(images: list[np.ndarray]) -> np.ndarray:
        time.sleep(0.005)
        return whole([np.asarray(image) for image in images])

    monkeypatch.setattr(predictor, "probabilities", slow_network)
    predict_catalogue(
        predictor, CatalogueRequest(tmp_path / "t.csv", tmp_path / "c.parquet", batch=10, workers=2)
    )
    assert sum(predictor.sizes) == 200
    assert 2 <= most["images"] <= 2 * 4 + 4  # decoded ahead
    assert 2 <= most["batches"] <= 4  # gathered, waiting for the network, in it, being written


@pytest.mark.parametrize("ending", ["parquet", "fits", "vot", "csv"])
def test_a_source_too_small_or_absent_gets_no_class_but_a_reason(
    tmp_path: Path, make_predictor, ending: str
) -> None:
    from astropy.table import Table

    (tmp_path / "in").mkdir()
    for name, half in (("a-large", 12), ("b-small", 2), ("c-empty", 0)):
        sky = np.full((90, 90, 3), 9, np.uint8)
        sky[45 - half : 45 + half, 45 - half : 45 + half] = 250
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), sky)

    def made(**options: str) -> tuple[list, list, list, dict[str, str]]:
        request = CatalogueRequest(tmp_path / "in", tmp_path / f"c.{ending}", overwrite=True, **options)
        out = predict_catalogue(make_predictor(galaxy_size=0.5), request).out
        if ending == "parquet":  # astropy reads a null as the text "None"
            rows = pq.read_table(out).to_pydict()
        else:
            rows = Table.read(out, **({"format": "ascii.csv"} if ending == "csv" else {}))
        text = {
            name: ["" if value is None or value is np.ma.masked else str(value) for value in rows[name]]
            for name in ("predicted", "quality")
        }
        said = {} if ending == "csv" else read_provenance(out)
        return text["predicted"], text["quality"], list(rows["p_Dark_Sky"]), said

    classes, reasons, stated, said = made()
    assert classes[0]
    assert classes[1:] == ["", ""]
    assert reasons == ["", "too small", "no source at the centre"]
    assert np.isfinite(np.asarray(stated, float)).all()
    assert ending == "csv" or "fewer than 5 resolution elements" in said["quality"]

    every, remarks, same, said = made(quality="off")
    assert all(every)
    assert remarks == ["", "", ""]
    np.testing.assert_allclose(np.asarray(same, float), np.asarray(stated, float))
    assert ending == "csv" or said["quality"].startswith("off")


def test_a_run_that_does_not_know_how_large_its_galaxies_are_gives_every_image_a_class(
    tmp_path: Path, make_predictor, save
) -> None:
    save(tmp_path / "in" / "grey.png", 99)
    out = predict_catalogue(make_predictor(), CatalogueRequest(tmp_path / "in", tmp_path / "c.parquet")).out
    assert pq.read_table(out)["predicted"].null_count == 0
    assert read_provenance(out)["quality"].startswith("off")
    with pytest.raises(UsageError, match="'auto' or 'off' was expected"):
        CatalogueRequest("in", "out.parquet", quality="on")
