"""Predictions of images that are fetched as they are needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from cutout_server import CutoutServer, Sky, serving

from morphoscope.catalogue import CatalogueRequest, predict_catalogue
from morphoscope.catalogue.active_learning import label_next
from morphoscope.catalogue.columns import PlainColumns
from morphoscope.catalogue.formats.convert import convert
from morphoscope.catalogue.inputs import survey_cutouts
from morphoscope.catalogue.predict import Summary
from morphoscope.catalogue.similar import EmbeddedCatalogue
from morphoscope.cutouts import client
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.tables import read_table
from morphoscope.labels.kind import Column

Predict = Callable[..., Summary]


@pytest.fixture
def server() -> Iterator[CutoutServer]:
    with serving(Sky()) as served:
        yield served


@pytest.fixture
def positions(tmp_path: Path) -> Path:
    rows = [f"{100 + row},{150 + row / 100:.2f},2.5,{10 + row}" for row in range(12)]
    (tmp_path / "positions.csv").write_text("objid,ra,dec,size\n" + "\n".join(rows) + "\n")
    return tmp_path / "positions.csv"


@pytest.fixture
def predict(
    server: CutoutServer, make_predictor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Predict:
    """Predicts with images of 32 pixels that show 16 arcsec; the server is waited for a little only."""
    table = server.table(tmp_path / "services.yaml")
    quick = client.Patience(attempts=2, pause=0.01, read=20.0)
    monkeypatch.setattr(survey_cutouts, "Client", lambda service: client.Client(service, quick))

    def predicted(table_of_positions: Path, *, scale: float | None = 0.5, **options: Any) -> Summary:
        predictor = make_predictor(pixel_scale=scale, galaxy_size=0.4)
        options = {"survey": "legacy-dr10", "service": table, "out": tmp_path / "out.parquet", **options}
        columns = options.pop("columns", None)
        request = CatalogueRequest("", positions=table_of_positions, **options)
        return predict_catalogue(columns.predictor if columns else predictor, request, columns=columns)

    return predicted


def test_positions_become_a_catalogue_and_no_image_is_kept(
    server: CutoutServer, predict: Predict, positions: Path, tmp_path: Path
):
    server.sky.outside = lambda place: place[0] == 150.03
    server.sky.fault = lambda place, _: "page" if place[0] == 150.05 else ""
    done = predict(positions)
    assert (done.predicted, done.unreadable) == (10, 2)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["id"] for row in rows] == list(range(100, 112))
    assert (rows[1]["ra"], rows[1]["dec"], rows[1]["cutout"]) == (150.01, 2.5, 16.0)
    assert [row["id"] for row in rows if row["probability"] is None] == [103, 105]
    assert (rows[3]["ra"], rows[3]["predicted"], rows[3]["entropy"]) == (150.03, None, None)
    assert rows[3]["quality"].startswith("outside: the survey has no image here: the cutout is of one colour")
    assert rows[5]["quality"].startswith(
        "failed: the service sent a web page in place of the image ('Maintenance')"
    )
    assert {name.query["size"] for name in server.requests} == {"32"}
    assert float(server.requests[0].query["pixscale"]) == pytest.approx(0.5)
    assert done.unreadable_list is not None
    reasons = done.unreadable_list.read_text()
    assert "the survey has no image here: the cutout is of one colour" in reasons
    assert "sent a web page in place of the image ('Maintenance'), 2 attempts" in reasons
    assert not list(tmp_path.rglob("*.jpg"))
    assert pq.read_schema(tmp_path / "out.parquet").metadata[b"morphoscope.survey"] == b"legacy-dr10"


@pytest.mark.parametrize("ending", ["fits", "vot", "ecsv", "csv", "hats"])
def test_rows_without_an_image_are_in_every_format(
    server: CutoutServer, predict: Predict, tmp_path: Path, ending: str
):
    server.sky.outside = lambda place: place[0] == 150.03
    rows = [f"g{row},{150 + row / 100:.2f},2.5" for row in range(6)]
    table = tmp_path / "positions.csv"
    table.write_text("id,ra,dec\n" + "\n".join([*rows, "nowhere,,"]) + "\n")
    out = tmp_path / f"out.{ending}"
    done = predict(table, out=out, batch=2)
    assert (done.predicted, done.unreadable) == (5, 2)
    path = next(out.rglob("Npix*.parquet")) if ending == "hats" else out
    found = read_table(path, ["id", "quality", "probability"], names=("id", "quality"))
    ids = found["id"].to_pylist()
    if ending == "hats":  # by position, so that what has none is not in the tiles
        assert sorted(ids) == [f"g{row}" for row in range(6)]
        assert (out / "unplaced.parquet").is_file()
    else:
        assert ids == [*(f"g{row}" for row in range(6)), "nowhere"]
        assert "invalid: " in found["quality"].to_pylist()[6]
    probability = np.array(found["probability"].to_pylist(), float)
    assert np.isnan(probability).tolist() == [name in ("g3", "nowhere") for name in ids]


def test_without_any_image_there_is_no_catalogue(
    server: CutoutServer, predict: Predict, positions: Path, tmp_path: Path
):
    server.sky.outside = lambda place: True
    with pytest.raises(MorphoscopeError, match="none of 12 images could be read, so no catalogue"):
        predict(positions)
    assert not list(tmp_path.glob("*out.parquet*"))


class _Features(PlainColumns):
    """A network whose features are four ones for every image."""

    extras = (Column("embedding", pa.list_(pa.float16(), 4), "features"),)

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return self.predictor.probabilities(images), {"embedding": np.ones((len(images), 4), np.float16)}


def test_features_of_what_has_no_image_are_like_nothing_and_nobody_is_asked_to_label_it(
    server: CutoutServer,
    make_predictor: Any,
    positions: Path,
    tmp_path: Path,
    predict: Predict,
):
    server.sky.outside = lambda place: place[0] == 150.03
    out = tmp_path / "out.parquet"
    columns = _Features(make_predictor(pixel_scale=0.5, galaxy_size=0.4))
    done = predict(positions, columns=columns)
    assert done.predicted == 11
    catalogue = EmbeddedCatalogue(out)
    like = catalogue.nearest(np.ones(catalogue.width), 12)
    assert (like[-1].values["id"], like[-1].similarity) == (103, 0.0)
    for by in ("coreset", "entropy", "random"):
        chosen = label_next(out, 12, by=by).table["id"].to_pylist()
        assert sorted(chosen) == [str(100 + row) for row in range(12) if row != 3]
    convert(out, tmp_path / "out.fits")
    features = np.asarray(Table.read(tmp_path / "out.fits")["embedding"])
    assert np.isnan(features).all(axis=1).tolist() == [row == 3 for row in range(12)]


def test_rows_with_one_position_are_one_request(server: CutoutServer, predict: Predict, tmp_path: Path):
    table = tmp_path / "same.csv"
    table.write_text("id,ra,dec\n" + "".join(f"{row},150.1,2.2\n" for row in range(200)))
    assert predict(table).predicted == 200
    assert len(server.requests) == 1


def test_kept_images_are_not_fetched_again(
    server: CutoutServer, predict: Predict, positions: Path, tmp_path: Path
):
    predict(positions, keep_images=tmp_path / "kept")
    first = pq.read_table(tmp_path / "out.parquet")
    asked = len(server.requests)
    assert (asked, len(list((tmp_path / "kept").rglob("*.jpg")))) == (12, 12)
    predict(positions, keep_images=tmp_path / "kept", overwrite=True)
    assert len(server.requests) == asked
    assert pq.read_table(tmp_path / "out.parquet").equals(first)


def test_sizes_come_from_a_column_or_are_measured(
    server: CutoutServer, predict: Predict, positions: Path, tmp_path: Path
):
    predict(positions, size_column="size")
    assert pq.read_table(tmp_path / "out.parquet")["cutout"].to_pylist() == [10.0 + row for row in range(12)]
    server.sky.diameter = 15.0
    predict(positions, scale=None, overwrite=True)  # a run that does not know its pixel scale
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert {row["cutout"] for row in rows} == {np.float32(134.2)}
    shown = np.array([row["shown_side"] * 134.2 / 512 for row in rows])
    measured = np.array([row["galaxy_size"] * 134.2 for row in rows])
    assert np.allclose(shown, measured / 0.4 * 1.2, rtol=0.02)


def test_fits_bands_are_stretched_like_those_of_files(
    server: CutoutServer, predict: Predict, positions: Path, tmp_path: Path
):
    for survey in ("legacy-dr10", "ps1"):
        done = predict(positions, survey=survey, bands="g,r,i", overwrite=True)
        rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
        assert (done.predicted, rows[0]["bands"]) == (12, "i, r, g")


def test_a_service_that_goes_down_stops_the_work_which_is_resumed(
    server: CutoutServer, predict: Predict, tmp_path: Path
):
    table = tmp_path / "many.csv"
    table.write_text("id,ra,dec\n" + "".join(f"g{row},{150 + row / 100:.2f},2.5\n" for row in range(60)))
    server.sky.fault = lambda place, _: "reset" if place[0] >= 150.2 else ""
    with pytest.raises(MorphoscopeError, match="the service broke off its answer, 2 attempts"):
        predict(table, batch=8)
    asked = len(server.requests)
    server.sky.fault = lambda place, attempt: ""
    done = predict(table, batch=8, resume=True)
    assert done.resumed >= 8
    assert done.predicted == 60 - done.unreadable
    assert len(server.requests) - asked < 60 - done.resumed + 1


WRONG = [
    ({"source": "x"}, "leave INPUT (x) out"),
    ({"survey": None}, "--positions needs --survey"),
    ({"positions": None}, "INPUT is missing"),
    (
        {"positions": None, "survey": None, "source": "x", "keep_images": "k"},
        "are about images of a --survey",
    ),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_does_not_go_together_is_one_sentence(options: dict[str, Any], words: str):
    given = {"source": "", "out": "o.parquet", "positions": "p.csv", "survey": "sdss", **options}
    with pytest.raises(UsageError, match=re.escape(words)):
        CatalogueRequest(**given)


def test_a_table_given_as_input_is_the_positions_of_a_survey():
    request = CatalogueRequest("p.csv", "o.parquet", survey="sdss")
    assert (request.source, request.positions) == ("p.csv", "p.csv")
