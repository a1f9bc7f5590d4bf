"""Measurements from a table of images to catalogues, ensembles, dropout and an exported network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.io import fits, votable
from astropy.table import Table

from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.data.sources.table import ingest_table
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.evaluation.evaluate import evaluate, evaluate_elsewhere, evaluate_ensemble
from morphoscope.explanation.explain import Explainer
from morphoscope.inference.engine.export import export_onnx
from morphoscope.inference.ensemble import Ensemble
from morphoscope.inference.predictor import Predictor
from morphoscope.labels import MeasuredColumns
from morphoscope.labels.scheme import Measurements
from morphoscope.labels.spreads import averaged
from morphoscope.recipes import Recipe
from morphoscope.runs.run import Run
from morphoscope.training.fit import fit

COUNT = 200
RECIPE = Recipe().changed(
    {
        "model.name": "test_resnet",
        "model.pretrained": False,
        "model.dropout": 0.1,
        "model.likelihood": "student-t",
        "model.degrees_of_freedom": 5.0,
        "augment.size": 32,
        "training.epochs": 6,
        "training.batch": 16,
        "training.precision": "fp32",
        "data.validation": 0.2,
        "evaluation.views": 2,
    }
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Discs whose radius and brightness are measured, the radius with errors."""
    folder = tmp_path_factory.mktemp("discs")
    rng = np.random.default_rng(1)
    radius, level = rng.uniform(3, 14, COUNT), rng.uniform(60, 230, COUNT)
    y, x = np.mgrid[:32, :32] - 15.5
    for number in range(COUNT):
        disc = level[number] * (np.hypot(x, y) < radius[number]) + rng.normal(15, 4, (32, 32))
        cv2.imwrite(
            str(folder / f"{number}.png"), np.repeat(disc[:, :, None], 3, 2).clip(0, 255).astype(np.uint8)
        )
    error = rng.uniform(0.1, 0.6, COUNT)
    flux = np.where(np.arange(COUNT) % 6, 1e-17 * level, np.nan)
    table = Table({"file": [f"{number}.png" for number in range(COUNT)]})
    table["radius"] = (radius + error * rng.normal(size=COUNT)) * units.arcsec
    table["e_radius"] = error * units.arcsec
    table["flux"] = flux * units.Unit("erg / (s cm2)")
    table.write(folder / "discs.fits")
    fits.setval(folder / "discs.fits", "TUCD2", value="phys.angSize", ext=1)
    measured = MeasuredColumns(("radius", "flux"), errors={"radius": "e_radius"})
    return ingest_table(folder / "discs.fits", folder / "store", measured=measured)


@pytest.fixture(scope="module")
def run(store: Store) -> Run:
    run = fit(RECIPE, store, store.path.parent / "run", progress=False)
    evaluate(run, store)
    return run


def test_the_run_standardises_and_its_numbers_have_the_tables_units(run: Run, store: Store) -> None:
    scheme, test = run.scheme, run.metrics()["test"]
    assert isinstance(scheme, Measurements)
    assert (scheme.likelihood, scheme.degrees_of_freedom) == ("student-t", 5.0)
    assert scheme.unfitted == store.need_scheme().with_outputs("sigmoid", "student-t", 5.0)
    assert scheme.centres == pytest.approx((8.5, 1.45e-15), rel=0.15)
    radius, flux = test["per_quantity"]
    assert radius["r2"]["value"] > 0.5
    assert 0.5e-15 * 0.5 < flux["spread"] < 1e-15
    assert flux["n"] < radius["n"]


def test_a_catalogue_in_every_format_has_values_errors_units_and_ucds(
    run: Run, store: Store, tmp_path: Path
) -> None:
    names = [name + after for name in ("radius", "flux") for after in ("", "_error", "_low", "_high")]
    found = {}
    for ending in ("parquet", "fits", "vot", "ecsv", "csv"):
        out = tmp_path / f"made.{ending}"
        predict_catalogue(Predictor(run), CatalogueRequest(store.path, out))
        kind = {"vot": "votable", "csv": "ascii.csv", "ecsv": "ascii.ecsv"}.get(ending, ending)
        found[ending] = Table.read(out, format=kind)
        assert set(names) <= set(found[ending].colnames)
        if ending != "csv":
            assert found[ending]["radius_low"].unit == units.arcsec
            unit = str(found[ending]["flux_error"].unit)  # written in one of several ways
            assert units.Unit(unit, format="fits") == units.Unit("erg / (s cm2)")
        for name in names:
            np.testing.assert_allclose(found[ending][name], found["parquet"][name], rtol=1e-6)
    header = fits.getheader(tmp_path / "made.fits", 1)
    said = {header[f"TTYPE{n}"]: header.get(f"TUCD{n}", "") for n in range(1, header["TFIELDS"] + 1)}
    assert (said["radius"], said["radius_error"]) == ("phys.angSize", "stat.error;phys.angSize")
    fields = votable.parse(tmp_path / "made.vot").get_first_table().fields
    assert {field.name: field.ucd for field in fields}["radius_low"] == "phys.angSize;stat.min"
    table = found["parquet"]
    np.testing.assert_allclose(
        table["radius_high"] - table["radius"], table["radius"] - table["radius_low"], rtol=1e-4
    )
    truth = store.targets()
    assert np.corrcoef(table["radius"], truth[:, 0])[0, 1] > 0.7


def test_views_and_dropout_are_mixtures(run: Run, store: Store) -> None:
    images = [store.images[row] for row in range(6)]
    two = Predictor(run, views=2, calibrated=False)
    by_view, _ = two.predictions_and_features(images)
    np.testing.assert_allclose(two.predict(images).predictions_NK, averaged(by_view), rtol=1e-6)
    samples = Predictor(run, views=1, calibrated=False, dropout_samples=5).predict(images)
    means, deviations = np.split(samples.members_MNK.astype(float), 2, axis=-1)
    variance = (deviations**2).mean(axis=0) + means.var(axis=0)
    np.testing.assert_allclose(samples.predictions_NK[:, 2:], np.sqrt(variance), rtol=1e-5)


def test_an_ensemble_has_the_mixtures_mean_and_variance(run: Run, store: Store, tmp_path: Path) -> None:
    other = fit(
        RECIPE.changed({"training.epochs": 1, "data.limit": 90, "seed": 4}),
        store,
        tmp_path / "b",
        progress=False,
    )
    assert other.scheme != run.scheme  # standardised by other galaxies
    both = Ensemble([Predictor(run), Predictor(other)])
    each, together = both.predict_each([store.images[row] for row in range(5)])
    np.testing.assert_allclose(
        together.predictions_NK, averaged(np.stack([one.predictions_NK for one in each])), rtol=1e-6
    )
    measured = evaluate_ensemble(both)
    assert measured["mutual_information"] > 0
    assert set(measured["members"]) == {"run", "b"}


def test_another_store_is_measured_by_the_runs_likelihood_and_in_its_units(run: Run, store: Store) -> None:
    measured = evaluate_elsewhere(run, store)["test"]
    predictions = Predictor(run).probabilities([store.images[row] for row in range(COUNT)])
    expected = run.scheme.measure(store.targets(), predictions, bootstrap=0)
    assert measured["coverage_90"]["value"] == expected["coverage_90"]["value"]
    assert measured["log_loss"]["value"] == pytest.approx(expected["log_loss"]["value"])
    scheme = store.need_scheme()
    assert isinstance(scheme, Measurements)
    pixels = scheme.model_copy(
        update={"quantities": (scheme.quantities[0].model_copy(update={"unit": "pix"}), scheme.quantities[1])}
    )
    other = replace(store, meta=store.meta.model_copy(update={"scheme": pixels}))
    with pytest.raises(MorphoscopeError, match="has other labels: radius in arcsec and in pix"):
        evaluate_elsewhere(run, other)


def test_maps_are_of_one_quantity(run: Run, store: Store) -> None:
    explainer = Explainer(Predictor(run, views=1, engine="torch"))
    images = [store.images[row] for row in range(2)]
    maps = explainer(images, method="saliency", target="flux_error")
    assert maps.targets == ("flux_error",) * 2
    assert explainer(images, method="saliency").targets == ("radius",) * 2
    with pytest.raises(UsageError, match="has no output 'radus'"):
        explainer(images, method="saliency", target="radus")


@pytest.mark.slow
def test_an_exported_network_makes_the_same_catalogue(run: Run, store: Store, tmp_path: Path) -> None:
    from morphoscope.inference.engine.graph import open_exported

    graph = export_onnx(run, tmp_path / "net.onnx")
    exported = open_exported(graph)
    tables = []
    for name, predictor in (("a", Predictor(run)), ("b", Predictor(exported, engine="onnx"))):
        predict_catalogue(predictor, CatalogueRequest(store.path, tmp_path / f"{name}.parquet"))
        tables.append(pq.read_table(tmp_path / f"{name}.parquet"))
    for column in run.scheme.catalogue_columns():
        first, second = (table[column.name].to_numpy() for table in tables)
        scale = run.scheme.output_scales[int(column.name.startswith("flux"))]
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-4 * scale)
