"""Scores of predicted measurements: R², bias, scatter, outliers, and whether the intervals hold.

A prediction of a quantity is a mean and a standard deviation, of a Gaussian or of a Student-t distribution
with ``degrees_of_freedom`` (None: Gaussian). A measurement's own error is added to the predicted standard
deviation in quadrature wherever the two are compared; for Student-t that is an approximation, which keeps the
variance.

Shape letters: N galaxies, T quantities, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.metrics.bootstrap import resample_rows, resampled_sums, wilson_interval, with_interval

INTERVAL = 0.9  # of the intervals in a catalogue
ONE_SIGMA = 0.68
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, ONE_SIGMA, 0.8, INTERVAL, 0.95)
NMAD = 1.4826  # a Gaussian's standard deviation over its median absolute deviation
OUTLIER_OF_REDSHIFT = 0.15  # |Δz| / (1 + z), as Hildebrandt et al. 2010 (A&A 523, A31) count them
OUTLIER = 5.0  # in units of the scatter σ_NMAD, for quantities that are no redshifts
STATISTICS = ("r2", "rmse", "bias", "median_bias", "sigma_nmad", "outliers")


def half_width(level: float, degrees_of_freedom: float | None = None) -> float:
    """Half the width of the central interval of a level, in standard deviations.

    >>> round(half_width(0.9), 4)
    1.6449
    """
    from scipy.stats import norm, t

    if degrees_of_freedom is None:
        return float(norm.ppf((1 + level) / 2))
    scale = np.sqrt((degrees_of_freedom - 2) / degrees_of_freedom)
    return float(t.ppf((1 + level) / 2, degrees_of_freedom) * scale)


def total_deviations(errors_NT: np.ndarray, deviations_NT: np.ndarray) -> np.ndarray:
    """Predicted standard deviation and the measurement's error in quadrature, (N, T); no error: 0."""
    return np.hypot(np.asarray(deviations_NT, np.float64), np.nan_to_num(np.asarray(errors_NT, np.float64)))


def measurement_log_losses(
    values_NT: np.ndarray,
    errors_NT: np.ndarray,
    means_NT: np.ndarray,
    deviations_NT: np.ndarray,
    degrees_of_freedom: float | None = None,
) -> np.ndarray:
    """−ln p of each measurement in nats, (N, T) float64; NaN where there is none."""
    from scipy.special import gammaln

    total = total_deviations(errors_NT, deviations_NT)
    residuals = np.asarray(values_NT, np.float64) - means_NT
    if degrees_of_freedom is None:
        return 0.5 * np.log(2 * np.pi) + np.log(total) + 0.5 * np.square(residuals / total)
    nu = degrees_of_freedom
    scale = total * np.sqrt((nu - 2) / nu)
    constant = gammaln(nu / 2) - gammaln((nu + 1) / 2) + 0.5 * np.log(nu * np.pi)
    return constant + np.log(scale) + (nu + 1) / 2 * np.log1p(np.square(residuals / scale) / nu)


def measurement_entropies(deviations: np.ndarray, degrees_of_freedom: float | None = None) -> np.ndarray:
    """Differential entropy in nats of predictions with these standard deviations, of the same shape."""
    from scipy.special import betaln, psi

    logarithm = np.log(np.asarray(deviations, np.float64))
    if degrees_of_freedom is None:
        return logarithm + 0.5 * np.log(2 * np.pi * np.e)
    nu = degrees_of_freedom
    shape = (nu + 1) / 2 * (psi((nu + 1) / 2) - psi(nu / 2)) + 0.5 * np.log(nu) + betaln(nu / 2, 0.5)
    return logarithm + 0.5 * np.log((nu - 2) / nu) + shape


def measurement_metrics(
    values_NT: np.ndarray,
    errors_NT: np.ndarray,
    means_NT: np.ndarray,
    deviations_NT: np.ndarray,
    names: Sequence[str],
    *,
    redshifts: Sequence[str] = (),
    scales: Sequence[float] | None = None,
    degrees_of_freedom: float | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores of predicted measurements, JSON-able.

    The residual Δ is prediction − truth, for redshifts divided by 1 + truth; R² and RMSE never are.

    Args:
        values_NT: measurements; NaN where there is none, and such pairs are left out.
        errors_NT: standard deviations of the measurements, 0 where they are exact or unknown.
        means_NT: predictions.
        deviations_NT: predicted standard deviations, above 0.
        names: of the T quantities.
        redshifts: those of them that are redshifts.
        scales: of the T quantities; ``log_loss`` is that of the quantities divided by them. None: 1.
        degrees_of_freedom: of the predicted Student-t distributions; None: Gaussian.
        bootstrap: resamples of the galaxies for the intervals (95 %); 0: none.
        seed: of the resampling.

    Returns:
        ``n``; ``r2``, 1 − Σ(v − m)² / Σ(v − v̄)², the mean over the quantities; ``log_loss``, nats per
        measurement; ``coverage_68`` and ``coverage_90``, shares of the measurements within the central
        intervals, all as ``{"value", "low", "high"}``; ``per_quantity``, with ``name``, ``n``, ``redshift``,
        ``spread`` (standard deviation of the truth), ``outlier_limit`` (of |Δ|: 0.15 for redshifts, 5 σ_NMAD
        for others) and, with intervals, ``r2``, ``rmse``, ``bias`` (mean Δ), ``median_bias`` (median Δ),
        ``sigma_nmad`` (1.4826 median |Δ − median Δ|), ``outliers`` (share), ``coverage_68`` and
        ``coverage_90`` (Wilson intervals) and ``coverage`` (of :data:`LEVELS`); ``coverage``, over all
        quantities; ``notes``.

    Raises:
        MorphoscopeError: no galaxies, wrong shapes, predictions that are not finite.
    """
    values, errors, means, deviations = _checked(values_NT, errors_NT, means_NT, deviations_NT, names)
    known = np.isfinite(values)
    inside_LNT = _inside(values, errors, means, deviations, degrees_of_freedom)
    losses = measurement_log_losses(values, errors, means, deviations, degrees_of_freedom)
    losses = np.where(known, losses - np.log(np.ones(len(names)) if scales is None else scales), 0.0)
    rows = [
        _quantity(name, values[:, k], means[:, k], inside_LNT[:, :, k], name in redshifts, bootstrap, seed)
        for k, name in enumerate(names)
    ]
    count = len(values)
    table = np.concatenate([losses.sum(1, keepdims=True), known.sum(1, keepdims=True)], axis=1)
    totals, samples = table.sum(axis=0), resampled_sums(table, bootstrap, seed)
    overall = _shares(inside_LNT, known, bootstrap, seed)
    never = [row["name"] for row in rows if not row["n"]]
    return {
        "n": count,
        "r2": _mean_r2(values, means, bootstrap, seed),
        "log_loss": with_interval(
            float(totals[0] / totals[1]), samples[:, 0] / np.maximum(samples[:, 1], 1), count
        ),
        "coverage_68": overall[LEVELS.index(ONE_SIGMA)],
        "coverage_90": overall[LEVELS.index(INTERVAL)],
        "per_quantity": rows,
        "coverage": [{"level": level, **share} for level, share in zip(LEVELS, overall, strict=True)],
        "notes": [f"none of these galaxies has a value of {', '.join(never)}"] if never else [],
    }


def _quantity(
    name: str,
    values_N: np.ndarray,
    means_N: np.ndarray,
    inside_LN: np.ndarray,
    redshift: bool,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    known = np.isfinite(values_N)
    truth, predicted, inside = values_N[known], means_N[known], inside_LN[:, known]
    count = len(truth)
    row: dict[str, Any] = {"name": name, "n": count, "redshift": redshift}
    if not count:
        nothing = {"value": None, "low": None, "high": None}
        none = dict.fromkeys((*STATISTICS, "coverage_68", "coverage_90"), nothing)
        return row | {"spread": None, "outlier_limit": None, "coverage": []} | none
    found = statistics(truth, predicted, redshift=redshift)
    samples: dict[str, list[np.ndarray]] = {key: [] for key in STATISTICS}
    for drawn in resample_rows(count, bootstrap, seed):
        for key, some in statistics(truth[drawn], predicted[drawn], redshift=redshift).items():
            samples[key].append(some)
    scores = {
        key: _with_interval(float(found[key]), np.concatenate([*samples[key], np.empty(0)]), count)
        for key in STATISTICS
    }
    coverage = [_share(int(each.sum()), count) for each in inside]
    return {
        **row,
        "spread": float(truth.std()),
        "outlier_limit": OUTLIER_OF_REDSHIFT if redshift else OUTLIER * float(found["sigma_nmad"]),
        **scores,
        "coverage_68": coverage[LEVELS.index(ONE_SIGMA)],
        "coverage_90": coverage[LEVELS.index(INTERVAL)],
        "coverage": [{"level": level, **share} for level, share in zip(LEVELS, coverage, strict=True)],
    }


def residuals(truth: np.ndarray, predicted: np.ndarray, *, redshift: bool) -> np.ndarray:
    """Prediction − truth, for redshifts divided by 1 + truth."""
    difference = np.asarray(predicted, np.float64) - truth
    return difference / (1 + truth) if redshift else difference


def statistics(truth: np.ndarray, predicted: np.ndarray, *, redshift: bool) -> dict[str, np.ndarray]:
    """The :data:`STATISTICS` over the last axis of (…, N) arrays without NaN.

    R² of a constant truth is NaN.
    """
    delta = residuals(truth, predicted, redshift=redshift)
    squares = np.square(np.asarray(predicted, np.float64) - truth)
    apart = np.square(truth - truth.mean(axis=-1, keepdims=True)).sum(axis=-1)
    apart = np.where(apart > 0, apart, np.nan)
    middle = np.median(delta, axis=-1)
    scatter = NMAD * np.median(np.abs(delta - middle[..., None]), axis=-1)
    limit = OUTLIER_OF_REDSHIFT if redshift else OUTLIER * scatter[..., None]
    return {
        "r2": 1 - squares.sum(axis=-1) / apart,
        "rmse": np.sqrt(squares.mean(axis=-1)),
        "bias": delta.mean(axis=-1),
        "median_bias": middle,
        "sigma_nmad": scatter,
        "outliers": (np.abs(delta) > limit).mean(axis=-1),
    }


def outliers_of(truth_N: np.ndarray, predicted_N: np.ndarray, *, redshift: bool) -> np.ndarray:
    """Which galaxies are outliers, (N,) bool; none without a measurement."""
    known = np.isfinite(truth_N)
    found = np.zeros(len(truth_N), bool)
    if known.any():
        delta = residuals(truth_N[known], predicted_N[known], redshift=redshift)
        scatter = NMAD * np.median(np.abs(delta - np.median(delta)))
        found[known] = np.abs(delta) > (OUTLIER_OF_REDSHIFT if redshift else OUTLIER * scatter)
    return found


def measurement_calibration(
    values_NT: np.ndarray,
    errors_NT: np.ndarray,
    means_NT: np.ndarray,
    deviations_NT: np.ndarray,
    names: Sequence[str],
    *,
    scales: Sequence[float] | None = None,
    degrees_of_freedom: float | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Calibration of predicted spreads, JSON-able; arguments as of :func:`measurement_metrics`.

    Returns:
        ``n``; as ``{"value", "low", "high"}`` ``ece``, the mean over :data:`LEVELS` of |share of the
        measurements within the central interval − its level| (Kuleshov et al. 2018, arXiv:1807.00263, eq. 9,
        with the absolute difference), and ``log_loss``.
    """
    values, errors, means, deviations = _checked(values_NT, errors_NT, means_NT, deviations_NT, names)
    known, count = np.isfinite(values), len(values)
    inside = _inside(values, errors, means, deviations, degrees_of_freedom).sum(axis=2).T
    losses = measurement_log_losses(values, errors, means, deviations, degrees_of_freedom)
    losses = np.where(known, losses - np.log(np.ones(len(names)) if scales is None else scales), 0.0)
    table = np.concatenate([inside, losses.sum(1, keepdims=True), known.sum(1, keepdims=True)], axis=1)
    totals, samples = table.sum(axis=0), resampled_sums(table, bootstrap, seed)

    def error(sums: np.ndarray) -> np.ndarray:
        shares = sums[..., : len(LEVELS)] / np.maximum(sums[..., -1:], 1)
        return np.abs(shares - LEVELS).mean(axis=-1)

    return {
        "n": count,
        "ece": with_interval(float(error(totals)), error(samples), count, biased_upward=True),
        "log_loss": with_interval(
            float(totals[-2] / totals[-1]), samples[:, -2] / np.maximum(samples[:, -1], 1), count
        ),
    }


def compare_measurements(
    values_NT: np.ndarray,
    first_NT: np.ndarray,
    second_NT: np.ndarray,
    names: Sequence[str],
    *,
    redshifts: Sequence[str] = (),
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Second minus first on the same galaxies, resampled together, JSON-able.

    Returns:
        ``difference`` of the mean R², as ``{"value", "low", "high"}``; ``per_quantity``: ``name``, ``n`` and
        the differences of the :data:`STATISTICS`; ``closer``: the share of measurements to which the second
        is closer.
    """
    values = np.asarray(values_NT, np.float64)
    known = np.isfinite(values)
    rows = []
    for k, name in enumerate(names):
        truth, *both = (
            each[known[:, k], k] for each in (values, np.asarray(first_NT), np.asarray(second_NT))
        )
        if not len(truth):
            continue
        redshift = name in redshifts
        one, other = (statistics(truth, each, redshift=redshift) for each in both)
        samples: dict[str, list[np.ndarray]] = {key: [] for key in STATISTICS}
        for drawn in resample_rows(len(truth), bootstrap, seed):
            a, b = (statistics(truth[drawn], each[drawn], redshift=redshift) for each in both)
            for key in STATISTICS:
                samples[key].append(b[key] - a[key])
        gains = {
            key: _with_interval(
                float(other[key] - one[key]), np.concatenate([*samples[key], np.empty(0)]), len(truth)
            )
            for key in STATISTICS
        }
        rows.append({"name": name, "n": len(truth), **gains})
    nearer = np.abs(second_NT - values)[known] < np.abs(first_NT - values)[known]
    return {
        "difference": _mean_r2(values, second_NT, bootstrap, seed, against=first_NT),
        "per_quantity": rows,
        "closer": float(nearer.mean()),
    }


def _mean_r2(
    values: np.ndarray, means: np.ndarray, bootstrap: int, seed: int, against: np.ndarray | None = None
) -> dict[str, Any]:
    """R², the mean over the quantities, or its difference from that of other predictions."""
    known = np.isfinite(values)
    # About the mean, so that the difference of sums below does not lose digits.
    middle = np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, values - middle, 0.0)
    squares = [
        np.where(known, np.square(values - each), 0.0) for each in (means, against) if each is not None
    ]
    table = np.concatenate([known, centred, np.square(centred), *squares], axis=1)

    def r2(sums: np.ndarray) -> np.ndarray:
        count, total, square, *errors = np.split(
            np.atleast_2d(sums), table.shape[1] // values.shape[1], axis=1
        )
        apart = square - np.square(total) / np.maximum(count, 1)
        # A quantity without two different values has no R².
        apart = np.where(apart > 1e-12 * np.maximum(square, 1e-300), apart, np.nan)
        scores = -errors[0] / apart if against is not None else 1 - errors[0] / apart
        scores = scores + errors[1] / apart if against is not None else scores
        some = np.isfinite(scores)
        total = np.where(some, scores, 0).sum(axis=1)
        return np.where(some.any(axis=1), total / np.maximum(some.sum(axis=1), 1), np.nan)

    value = float(r2(table.sum(axis=0))[0])
    return _with_interval(value, r2(resampled_sums(table, bootstrap, seed)), len(values))


def _with_interval(value: float, samples_R: np.ndarray, count: int) -> dict[str, Any]:
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None, "reason": "all values are the same"}
    return with_interval(value, samples_R[np.isfinite(samples_R)], count)


def _inside(
    values: np.ndarray,
    errors: np.ndarray,
    means: np.ndarray,
    deviations: np.ndarray,
    degrees_of_freedom: float | None,
) -> np.ndarray:
    """Whether each measurement is within its central intervals, (L, N, T); not where there is none."""
    away = np.abs(values - means) / total_deviations(errors, deviations)
    return np.stack([np.nan_to_num(away, nan=np.inf) <= half_width(q, degrees_of_freedom) for q in LEVELS])


def _shares(inside_LNT: np.ndarray, known_NT: np.ndarray, bootstrap: int, seed: int) -> list[dict[str, Any]]:
    """Coverage over all quantities: those of one galaxy are not independent, so galaxies are resampled."""
    if known_NT.shape[1] == 1:
        return [_share(int(each.sum()), int(known_NT.sum())) for each in inside_LNT]
    table = np.concatenate([inside_LNT.sum(axis=2).T, known_NT.sum(axis=1, keepdims=True)], axis=1)
    totals, samples = table.sum(axis=0), resampled_sums(table, bootstrap, seed)
    return [
        with_interval(
            float(totals[level] / totals[-1]), samples[:, level] / np.maximum(samples[:, -1], 1), len(table)
        )
        for level in range(len(inside_LNT))
    ]


def _share(hits: int, count: int) -> dict[str, Any]:
    low, high = wilson_interval(hits, count) or (None, None)
    return {"value": hits / count if count else None, "low": low, "high": high}


def _checked(
    values_NT: np.ndarray,
    errors_NT: np.ndarray,
    means_NT: np.ndarray,
    deviations_NT: np.ndarray,
    names: Sequence[str],
) -> tuple[np.ndarray, ...]:
    arrays = [np.asarray(each, np.float64) for each in (values_NT, errors_NT, means_NT, deviations_NT)]
    expected = (len(arrays[0]), len(names))
    if not expected[0] or not np.isfinite(arrays[0]).any():
        raise MorphoscopeError(
            "there are no measurements to compare with; galaxies with values were expected"
        )
    for title, array in zip(("values", "errors", "predictions", "predicted errors"), arrays, strict=True):
        if array.shape != expected:
            raise MorphoscopeError(f"{title} have shape {array.shape}; {expected} was expected")
    for title, array in zip(("prediction", "predicted error"), arrays[2:], strict=True):
        bad = np.argwhere(~np.isfinite(array) | ((array <= 0) & (title != "prediction")))
        if len(bad):
            row, column = bad[0]
            raise MorphoscopeError(
                f"the {title} of {names[column]} is {array[row, column]:g} in row {row}; a finite number was "
                "expected, above 0 for an error"
            )
    return tuple(arrays)
