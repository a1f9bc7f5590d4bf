"""Predictions of images that are fetched as they are needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from cutout_server import CutoutServer, Sky, serving

from morphoscope.catalogue import CatalogueRequest, predict_catalogue
from morphoscope.catalogue.inputs import survey_cutouts
from morphoscope.catalogue.predict import Summary
from morphoscope.cutouts import client
from morphoscope.errors import MorphoscopeError, UsageError

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
        return predict_catalogue(predictor, CatalogueRequest("", positions=table_of_positions, **options))

    return predicted


def test_positions_become_a_catalogue_and_no_image_is_kept(
    server: CutoutServer, predict: Predict, positions: Path, tmp_path: Path
):
    server.sky.outside = lambda place: place[0] == 150.03
    server.sky.fault = lambda place, _: "page" if place[0] == 150.05 else ""
    done = predict(positions)
    assert (done.predicted, done.unreadable) == (10, 2)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["id"] for row in rows][:4] == [100, 101, 102, 104]
    assert (rows[1]["ra"], rows[1]["dec"], rows[1]["cutout"]) == (150.01, 2.5, 16.0)
    assert {name.query["size"] for name in server.requests} == {"32"}
    assert float(server.requests[0].query["pixscale"]) == pytest.approx(0.5)
    assert done.unreadable_list is not None
    reasons = done.unreadable_list.read_text()
    assert "the survey has no image here: the cutout is of one colour" in reasons
    assert "sent a web page in place of the image ('Maintenance'), 2 attempts" in reasons
    assert not list(tmp_path.rglob("*.jpg"))
    assert pq.read_schema(tmp_path / "out.parquet").metadata[b"morphoscope.survey"] == b"legacy-dr10"


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
    server.sky.diameter = 40.0
    predict(positions, scale=None, overwrite=True)  # a run that does not know its pixel scale
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert {row["cutout"] for row in rows} == {np.float32(134.2)}
    shown = np.array([row["shown_side"] * 134.2 / 512 for row in rows])
    measured = np.array([row["galaxy_size"] * 134.2 for row in rows])
    assert np.allclose(shown, measured / 0.4, rtol=0.02)


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
