"""Measurements: likelihood, missing values, standardisation, mixtures, calibration, catalogue."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from astropy.io.votable.ucd import check_ucd
from scipy.stats import norm, t

from morphoscope.catalogue import columns as catalogue
from morphoscope.catalogue.inputs import mosaic_cutouts
from morphoscope.data.store import MASK_HASH, STANDARD_COLUMNS
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.engine.int8 import agreement_of
from morphoscope.inference.ensemble import mutual_information
from morphoscope.labels.measurement_columns import RESERVED
from morphoscope.labels.scheme import Measurements, Quantity, scheme_from
from morphoscope.labels.spreads import SpreadFactors, averaged, fit_factors

SCHEME = Measurements(
    name="own",
    quantities=(
        Quantity(name="z", error="e_z", redshift=True, ucd="src.redshift.phot"),
        Quantity(name="bar", unit="arcsec", ucd="phys.angSize"),
    ),
)


def drawn(count: int = 400, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z, bar = rng.uniform(0, 1, count), rng.normal(3000, 50, count)
    bar[::4] = np.nan
    return np.stack([z, bar, rng.uniform(0.01, 0.2, count), np.zeros(count)], axis=1).astype(np.float32)


@pytest.mark.parametrize("likelihood", ["gaussian", "student-t"])
def test_the_loss_is_scipys_likelihood_of_the_known_values(likelihood: str) -> None:
    targets = drawn(12)
    scheme = SCHEME.with_outputs("sigmoid", likelihood, 3.0).fitted(targets, "store")
    outputs = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    means, spreads = np.split(scheme.probabilities(outputs).numpy().astype(float), 2, axis=1)
    total = np.hypot(spreads, targets[:, 2:])
    if likelihood == "gaussian":
        losses = -norm(means, total).logpdf(targets[:, :2])
    else:
        losses = -t(3.0, means, total * np.sqrt(1 / 3)).logpdf(targets[:, :2])
    expected = np.nansum(losses - np.log(scheme.scales), axis=1) / 2
    loss = scheme.loss(outputs, torch.from_numpy(targets))
    assert loss.item() == pytest.approx(expected.mean(), rel=1e-4)
    assert scheme.log_losses(targets, np.concatenate([means, spreads], axis=1)) == pytest.approx(
        np.nansum(losses - np.log(scheme.scales), axis=1) / np.isfinite(targets[:, :2]).sum(axis=1), rel=1e-4
    )


def test_a_missing_value_is_out_of_the_loss_and_a_galaxy_without_any_moves_nothing() -> None:
    targets = drawn(3)
    targets[1, 1], targets[2, :2] = 3000.0, np.nan
    outputs = torch.zeros(3, 4, requires_grad=True)
    SCHEME.fitted(drawn(), "store").loss(outputs, torch.from_numpy(targets)).backward()
    assert outputs.grad is not None
    assert (outputs.grad[0] != 0).tolist() == [True, False, True, False]
    assert (outputs.grad[1] != 0).all()
    assert outputs.grad[2].tolist() == [0, 0, 0, 0]


def test_learning_finds_mean_and_spread_beyond_the_errors_of_the_measurements() -> None:
    rng = np.random.default_rng(3)
    error = 0.5
    values = 7 + 2 * rng.normal(size=4000) + error * rng.normal(size=4000)
    scheme = Measurements(name="x", quantities=(Quantity(name="v", error="e"),))
    targets = np.stack([values, np.full(4000, error)], axis=1).astype(np.float32)
    scheme = scheme.fitted(targets, "store")
    outputs = torch.zeros(1, 2, requires_grad=True)
    for _ in range(60):
        loss = scheme.loss(outputs.expand(4000, 2), torch.from_numpy(targets))
        (gradient,) = torch.autograd.grad(loss, outputs)
        outputs.data -= 0.5 * gradient
    mean, spread = scheme.probabilities(outputs.detach())[0].tolist()
    assert mean == pytest.approx(7, abs=0.1)
    assert spread == pytest.approx(2, abs=0.07)  # not 2.06, the scatter of the measurements


def test_student_t_ignores_wild_values() -> None:
    targets = drawn(200)
    targets[0, 0] = 1e4
    for likelihood, most in (("gaussian", np.inf), ("student-t", 60)):
        scheme = SCHEME.with_outputs("sigmoid", likelihood).fitted(drawn(200), "store")
        loss = scheme.loss(torch.zeros(1, 4), torch.from_numpy(targets[:1])).item()
        assert np.isfinite(loss)
        assert loss < most
    assert loss > 10


def test_units_do_not_matter() -> None:
    targets = drawn()
    outputs = torch.randn(400, 4, generator=torch.Generator().manual_seed(1))
    losses = []
    for factor in (1.0, 1e12, 1e-12):
        scaled = (targets.astype(float) * factor).astype(np.float32)
        scheme = SCHEME.model_copy(update={"quantities": (Quantity(name="z", error="e"), Quantity(name="b"))})
        scheme = scheme.fitted(scaled, "store")
        predicted = scheme.probabilities(outputs)
        assert torch.isfinite(predicted).all()
        losses.append(scheme.loss(outputs, torch.from_numpy(scaled)).item())
        assert scheme.measure(scaled, predicted.numpy(), bootstrap=0)["log_loss"]["value"] > 0
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-3)


def test_a_mixture_has_the_mean_and_variance_of_its_draws() -> None:
    parts = np.array([[[0.0, 10, 1, 2]], [[4.0, 10, 0.5, 2]]], np.float32)
    found = averaged(parts)[0]
    rng = np.random.default_rng(0)
    draws = np.concatenate([rng.normal(0, 1, 200_000), rng.normal(4, 0.5, 200_000)])
    assert found[0] == pytest.approx(draws.mean(), abs=0.02)
    assert found[2] == pytest.approx(draws.std(), abs=0.01)
    assert found[[1, 3]].tolist() == [10, 2]
    same = np.stack([parts[0], parts[0], parts[0]])
    assert averaged(same).tolist() == parts[0].tolist()
    assert mutual_information(SCHEME, same) == pytest.approx([0], abs=1e-12)
    assert mutual_information(SCHEME, parts)[0] > 0.3


def test_calibration_finds_the_factor_of_each_quantity() -> None:
    rng = np.random.default_rng(4)
    spreads = rng.uniform(0.5, 2, (800, 2))
    truth = rng.normal(size=(800, 2)) * spreads * [2.0, 0.5]
    errors = np.tile([0.0, 0.7], (800, 1))
    targets = np.concatenate([truth + errors * rng.normal(size=(800, 2)), errors], axis=1)
    targets[::2, 1] = np.nan
    predictions = np.concatenate([np.zeros((800, 2)), spreads], axis=1).astype(np.float32)
    found = fit_factors(targets, predictions)
    assert found.factors == pytest.approx((2.0, 0.5), rel=0.1)
    corrected = found(predictions)
    np.testing.assert_allclose(corrected[:, :2], 0)
    coverage = SCHEME.measure(targets, corrected, bootstrap=0)["per_quantity"]
    assert [row["coverage_90"]["value"] for row in coverage] == pytest.approx([0.9, 0.9], abs=0.03)
    targets[:, 0] = np.nan
    assert fit_factors(targets, predictions).factors[0] == 1
    with pytest.raises(ValueError, match="factors above 0"):
        SpreadFactors(factors=(1.0, 0.0))


def test_catalogue_columns_have_units_and_valid_ucds() -> None:
    columns = {column.name: column for column in SCHEME.catalogue_columns()}
    assert list(columns) == [
        name + after for name in ("z", "bar") for after in ("", "_error", "_low", "_high")
    ]
    assert {columns[name].unit for name in ("bar", "bar_error", "bar_low", "bar_high")} == {"arcsec"}
    assert columns["z_error"].ucd == "stat.error;src.redshift.phot"
    for column in columns.values():
        assert check_ucd(column.ucd, check_controlled_vocabulary=True), column.ucd
    values = SCHEME.catalogue_values(np.array([[0.5, 3.0, 0.1, 2.0]], np.float32))
    found = {name: array[0].as_py() for name, array in values.items()}
    assert found["z"] == pytest.approx(0.5)
    assert (found["bar_error"], found["bar_low"]) == pytest.approx((2.0, 3 - 2 * norm.ppf(0.95)))
    heavy = SCHEME.with_outputs("sigmoid", "student-t", 3.0)
    wide = heavy.catalogue_values(np.array([[0.5, 3.0, 0.1, 2.0]], np.float32))
    assert wide["bar_high"][0].as_py() == pytest.approx(3 + 2 * t.ppf(0.95, 3) / np.sqrt(3))


def test_reserved_names_are_all_that_catalogues_and_stores_have() -> None:
    named = [catalogue.QUALITY, catalogue.SCALING, *catalogue._PLACE, *catalogue.FITTED_COLUMNS]
    named += [*catalogue.FITS_COLUMNS, catalogue.OOD_SCORE, catalogue.P_VALUE]
    named += [mosaic_cutouts.CUTOUT, mosaic_cutouts.ON_MOSAIC]
    assert {column.name for column in named} | {*STANDARD_COLUMNS, MASK_HASH, catalogue.EMBEDDING} <= RESERVED


@pytest.mark.parametrize(
    ("quantities", "match"),
    [
        ([{"name": "z"}, {"name": "Z"}], "'z' makes a column 'z' of a catalogue, and there are two of them"),
        ([{"name": "z"}, {"name": "z_error"}], "makes a column 'z_error'"),
        ([{"name": "ra"}], "makes a column 'ra' of a catalogue, and a catalogue or store has one"),
        ([{"name": "a", "error": "a"}], "the error column 'a' of 'a' is used otherwise"),
        ([{"name": "a", "error": "e"}, {"name": "b", "error": "e"}], "the error column 'e' of 'a' is used"),
        ([], "at least 1 item"),
    ],
)
def test_names_that_clash_are_refused(quantities: list[dict[str, Any]], match: str) -> None:
    with pytest.raises(MorphoscopeError, match=match):
        scheme_from({"kind": "measurements", "name": "x", "quantities": quantities})


def test_what_cannot_be_learned_is_refused_before_a_training() -> None:
    targets = drawn(10)
    targets[:, 0] = 0.5
    with pytest.raises(UsageError, match=r"^store: z is 0.5 for all of the 10 training galaxies"):
        SCHEME.fitted(targets, "store")
    targets[:, 0] = np.nan
    with pytest.raises(UsageError, match="z is known of none of the 10 training galaxies"):
        SCHEME.fitted(targets, "store")
    dates = drawn(10)
    dates[:, 1] = 2_459_000 + np.arange(10)
    with pytest.raises(UsageError, match="subtract a constant near 24590"):
        SCHEME.fitted(dates, "store")
    with pytest.raises(UsageError, match=r"model.votes = tree is for vote fractions; the labels are measure"):
        SCHEME.with_outputs("tree")


def test_fifths_of_the_commonest_quantity_stratify_a_split() -> None:
    targets = drawn(100)
    targets[0, :2] = np.nan
    strata = SCHEME.strata(targets)
    assert strata[0] == -1
    assert np.bincount(strata[1:]).tolist() == pytest.approx([20] * 5, abs=1)
    assert targets[strata == 0, 0].max() < targets[strata == 4, 0].min()


def test_predictions_come_back_from_their_table() -> None:
    scheme, targets = SCHEME.fitted(drawn(), "store"), drawn(30)
    predicted = scheme.probabilities(torch.randn(30, 4)).numpy()
    table = pa.table(scheme.prediction_columns(targets, predicted))
    outputs = Measurements.outputs_in(table.column_names)
    assert outputs == ("z_redshift", "bar_true")
    truth, back = Measurements.read_predictions(table, outputs)
    np.testing.assert_array_equal(truth, targets)
    np.testing.assert_array_equal(back, predicted)
    same = Measurements.compare(truth, back, back, outputs, bootstrap=10)
    assert [row["name"] for row in same["per_quantity"]] == ["z", "bar"]
    assert same["difference"]["value"] == 0


def test_8_bits_may_change_a_tenth_of_a_predicted_error() -> None:
    targets = drawn(300)
    scheme = SCHEME.fitted(targets, "store")
    predicted = np.concatenate([targets[:, :2], np.tile([0.1, 50], (300, 1))], axis=1).astype(np.float32)
    predicted[:, 1] = np.nan_to_num(predicted[:, 1], nan=3000)
    predicted[:, :2] += (np.array([0.1, 50]) * np.random.default_rng(0).normal(size=(300, 2))).astype(
        np.float32
    )
    near, far = predicted.copy(), predicted.copy()
    near[:, 1] += 0.05 * 50 * (-1) ** np.arange(300)
    far[:, 1] += 0.5 * 50
    small, large = (agreement_of(scheme, targets, predicted, each) for each in (near, far))
    assert (small.median, large.median) == pytest.approx((0.005, 0.05), rel=1e-3)
    assert small.passes
    assert not large.passes
    assert small.description.startswith("predictions, in units of ten predicted errors, change by 0.005 in")
    better = small.model_copy(update={"int8": small.fp32 + 0.1})
    worse = small.model_copy(update={"int8": small.fp32 - 0.1})
    assert (better.passes, worse.passes) == (True, False)  # a larger R² is better


def test_epochs_r2_is_that_of_the_scores() -> None:
    targets = drawn(200)
    scheme = SCHEME.fitted(targets, "store")
    predicted = scheme.probabilities(0.3 * torch.randn(200, 4, generator=torch.Generator().manual_seed(2)))
    metric = scheme.epoch_metric()
    for rows in (slice(0, 77), slice(77, 200)):
        metric.update(predicted[rows], torch.from_numpy(targets[rows]))
    score = scheme.measure(targets, predicted.numpy(), bootstrap=0)["r2"]["value"]
    assert metric.compute().item() == pytest.approx(score, abs=1e-4)
