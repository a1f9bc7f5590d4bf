from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from morphoscope.catalogue import input_shares
from morphoscope.catalogue.formats.write import read_provenance
from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.errors import UsageError
from morphoscope.inference.calibration import Calibration
from morphoscope.labels.calibrators import Unchanged
from morphoscope.labels.mixing import Mixing
from morphoscope.labels.scheme import probability_column
from morphoscope.metrics.class_shares import estimated_shares, with_shares

COLUMNS = [probability_column(name) for name in ("Dark Sky", "Grey", "In-between Bright")]
EVEN = np.full(3, 1 / 3)


@pytest.fixture
def calibrated(predictor):
    mixing = Mixing(half=3, power=3, shares=tuple(EVEN))
    predictor.calibration = Calibration(galaxies=15, correction=Unchanged(), held_out={}, mixing=mixing)
    return predictor


@pytest.fixture
def mostly_grey(save, tmp_path: Path) -> Path:
    """240 images in the order of their names: 40 that are rather dark than grey, then 200 grey ones."""
    for number in range(240):
        save(tmp_path / "images" / f"{number:03}.png", 60 if number < 40 else 128)
    return tmp_path / "images"


def probabilities(path: Path) -> np.ndarray:
    table = pq.read_table(path)
    return np.stack([table[name].to_numpy() for name in COLUMNS], axis=1)


@pytest.mark.parametrize("sample", [2000, 120])
def test_probabilities_are_for_the_inputs_own_class_shares(
    calibrated, mostly_grey, tmp_path, monkeypatch, sample
):
    monkeypatch.setattr(input_shares, "SAMPLE", sample)
    monkeypatch.setattr("morphoscope.inference.class_shares.FEWEST", 100)
    as_trained, own = tmp_path / "c.parquet", tmp_path / "own.parquet"
    predict_catalogue(calibrated, CatalogueRequest(mostly_grey, as_trained))
    predict_catalogue(calibrated, CatalogueRequest(mostly_grey, own, estimate_shares=True))
    before_NK, now_NK = probabilities(as_trained), probabilities(own)
    seen_NK = before_NK[:: 240 // min(240, sample)]  # of a sorted input, from all over it
    expected_NK = with_shares(before_NK, EVEN, estimated_shares(seen_NK, EVEN))
    np.testing.assert_allclose(now_NK, expected_NK, atol=1e-3)
    assert pq.read_table(as_trained)["predicted"].to_pylist()[:40] == ["Dark Sky"] * 40
    assert pq.read_table(own)["predicted"].to_pylist() == ["Grey"] * 240
    assert "class_shares" not in read_provenance(as_trained)
    said = read_provenance(own)["class_shares"]
    assert said.startswith(f"estimated from {len(seen_NK)} galaxies of the input")
    assert "Grey 0." in said


def test_too_few_galaxies_are_refused_before_anything_is_written(calibrated, folder, tmp_path):
    with pytest.raises(UsageError, match="at least 200 galaxies with a class, and 7 are here"):
        predict_catalogue(calibrated, CatalogueRequest(folder, tmp_path / "c.parquet", estimate_shares=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(UsageError, match="leave one of them out"):
        CatalogueRequest(tmp_path, tmp_path / "c.csv", estimate_shares=True, coverage=0.9)
    with pytest.raises(UsageError, match="needs images that are there"):
        CatalogueRequest(tmp_path / "t.csv", tmp_path / "c.csv", estimate_shares=True, survey="sdss")
