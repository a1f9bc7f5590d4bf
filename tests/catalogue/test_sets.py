from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from morphoscope.catalogue.columns import sets_of
from morphoscope.catalogue.formats.write import read_provenance
from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.errors import UsageError
from morphoscope.inference.calibration import Calibration
from morphoscope.labels.calibrators import Unchanged
from morphoscope.labels.scheme import VoteFractions

# Ten known galaxies of the first class and five of the second; none of the third.
SCORES = {
    "Dark Sky": [0.95, 0.95, 0.9, 0.9, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6],
    "Grey": [0.9, 0.8, 0.7, 0.5, 0.04],
    "In-between Bright": [],
}


@pytest.fixture
def calibrated(predictor):
    predictor.calibration = Calibration(galaxies=15, correction=Unchanged(), held_out={}, scores=SCORES)
    return predictor


def test_the_set_column_holds_every_class_above_the_threshold(calibrated, save, tmp_path: Path):
    for level in (0, 64, 128):
        save(tmp_path / "images" / f"{level:03}.png", level)
    # ⌈16 · 0.9⌉ = 15: the smallest of the fifteen, 0.04.
    predict_catalogue(calibrated, CatalogueRequest(tmp_path / "images", tmp_path / "c.parquet", coverage=0.9))
    table = pq.read_table(tmp_path / "c.parquet")
    assert table["set"].to_pylist() == ["Dark Sky", "Grey|Dark Sky", "Grey"]
    least = sets_of(calibrated, 0.9)
    assert least is not None
    assert least.least_K.tolist() == [0.04, 0.04, 0.04]
    note = table.schema.field("set").metadata[b"description"].decode()
    assert "coverage 0.9 over all galaxies" in note
    kept = read_provenance(tmp_path / "c.parquet")
    assert kept["sets"] == "0.9 over all galaxies"
    assert kept["calibration"] == "none; chosen on 15 validation galaxies"


def test_within_every_class_a_class_without_known_galaxies_is_always_in(calibrated, save, tmp_path: Path):
    save(tmp_path / "images" / "0.png", 0)
    predict_catalogue(
        calibrated, CatalogueRequest(tmp_path / "images", tmp_path / "c.csv", coverage=0.8, per_class=True)
    )
    table = arrow_csv.read_csv(tmp_path / "c.csv")
    assert table["set"].to_pylist() == ["Dark Sky|In-between Bright"]
    # ⌈11 · 0.8⌉ = 9th of ten: 0.7; ⌈6 · 0.8⌉ = 5th of five: 0.04.
    sets = sets_of(calibrated, 0.8, per_class=True)
    assert sets is not None
    assert sets.least_K.tolist() == [0.7, 0.04, 0.0]


def test_without_a_coverage_there_is_no_such_column(calibrated, save, tmp_path: Path):
    save(tmp_path / "images" / "0.png", 0)
    predict_catalogue(calibrated, CatalogueRequest(tmp_path / "images", tmp_path / "c.parquet"))
    assert "set" not in pq.read_schema(tmp_path / "c.parquet").names
    assert read_provenance(tmp_path / "c.parquet")["sets"] == "none"


def test_an_uncalibrated_catalogue_says_so(predictor, save, tmp_path: Path, capsys):
    save(tmp_path / "images" / "0.png", 0)
    predict_catalogue(predictor, CatalogueRequest(tmp_path / "images", tmp_path / "c.parquet"))
    assert read_provenance(tmp_path / "c.parquet")["calibration"] == "none: not tried"
    assert "calibration: none: not tried" in capsys.readouterr().err


def test_sets_that_cannot_be_made_are_refused_before_any_image_is_read(
    calibrated, make_predictor, tmp_path: Path
):
    nothing, out = tmp_path / "nothing", tmp_path / "c.parquet"
    with pytest.raises(UsageError, match="between 0 and 1"):
        predict_catalogue(calibrated, CatalogueRequest(nothing, out, coverage=90))
    with pytest.raises(UsageError, match="add --coverage"):
        predict_catalogue(calibrated, CatalogueRequest(nothing, out, per_class=True))
    with pytest.raises(UsageError, match="needs a calibrated run"):
        predict_catalogue(make_predictor(), CatalogueRequest(nothing, out, coverage=0.9))
    votes = make_predictor(VoteFractions(name="v", answers=("bright", "dark")))
    with pytest.raises(UsageError, match="vote fractions"):
        predict_catalogue(votes, CatalogueRequest(nothing, out, coverage=0.9))
    assert np.size(calibrated.sizes) == 0
