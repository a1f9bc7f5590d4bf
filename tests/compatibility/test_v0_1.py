"""A store, runs and catalogues written by version 0.1.0 (revision aa6cc5f28cb8) load and predict the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import morphoscope as ms
from morphoscope.catalogue.formats.convert import convert

OLD = Path(__file__).parent / "v0_1"
TOLERANCE = 2e-5  # of fp32 arithmetic on other processors


@pytest.mark.parametrize("scheme", ["galaxy10", "votes"])
def test_an_old_run_predicts_what_it_did(scheme: str):
    old = pq.read_table(OLD / f"{scheme}.parquet")
    run = ms.load(OLD / f"run-{scheme}", views=8)
    columns = [name for name in old.schema.names if name.startswith("p_")]
    if scheme == "votes":
        columns = list(run.classes)
    assert len(columns) == len(run.classes)
    expected = np.stack([old[name].to_numpy() for name in columns], axis=1)
    found = run.predict(np.asarray(ms.open_store(OLD / "store").images))
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize("scheme", ["galaxy10", "votes"])
def test_an_old_run_makes_the_same_catalogue(scheme: str, tmp_path: Path):
    old = pq.read_table(OLD / f"{scheme}.parquet")
    options = {"coverage": 0.9} if scheme == "galaxy10" else {}
    run = ms.load(OLD / f"run-{scheme}")
    run.catalogue(OLD / "store", tmp_path / "new.parquet", embeddings=True, **options)
    new = pq.read_table(tmp_path / "new.parquet")
    assert set(old.schema.names) <= set(new.schema.names)
    for name in old.schema.names:
        assert new.schema.field(name).type == old.schema.field(name).type, name
        if old[name].type in ("float", "double") and name != "typicality":
            np.testing.assert_allclose(
                np.array(new[name].to_pylist(), float), np.array(old[name].to_pylist(), float), atol=1e-3
            )
    assert new["predicted" if scheme == "galaxy10" else "id"].equals(
        old["predicted" if scheme == "galaxy10" else "id"]
    )


def test_old_runs_keep_calibration_reference_and_history():
    for scheme in ("galaxy10", "votes"):
        run = ms.load(OLD / f"run-{scheme}").run
        assert run.header.program_version == "0.1.0"
        assert len(run.history()["epoch"]) == 2
        assert run.metrics()
        assert run.predictions().num_rows == 40


@pytest.mark.parametrize("ending", ["parquet", "fits", "vot", "ecsv"])
def test_provenance_of_old_catalogues_is_read(ending: str):
    said = ms.read_provenance(OLD / f"galaxy10.{ending}")
    assert said["run"] == "run-galaxy10"
    assert said["program_version"] == "0.1.0"


@pytest.mark.parametrize("scheme", ["galaxy10", "votes"])
def test_an_old_catalogue_converts(scheme: str, tmp_path: Path):
    assert convert(OLD / f"{scheme}.parquet", tmp_path / "new.vot") == 12


def test_similar_galaxies_are_found_in_an_old_catalogue():
    run = ms.load(OLD / "run-galaxy10")
    first = pq.read_table(OLD / "galaxy10.parquet")["id"][0].as_py()
    found = run.similar(OLD / "galaxy10.parquet", first, count=3)
    assert len(found) == 3
    assert first not in {each.values["id"] for each in found}
