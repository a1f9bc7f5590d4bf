from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from morphoscope.errors import MorphoscopeError
from morphoscope.evaluation.fit_uncertainty import log_loss_change
from morphoscope.inference.calibration import (
    Calibration,
    Shifted,
    calibration_of,
    fit_calibration,
    read_calibration,
    why_uncalibrated,
    write_calibrations,
)
from morphoscope.labels.calibrators import BetaCurve, Temperature, VoteCurves
from morphoscope.labels.scheme import Classes, VoteFractions
from morphoscope.recipes import Recipe
from morphoscope.runs.run import Header, Run, StoreFacts

CLASSES = Classes(name="three", classes=("a", "b", "c"))
VOTES = VoteFractions(name="own", answers=("bar", "ring"))


def _classified(count: int, sureness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 3))
    labels = np.array([rng.choice(3, p=row) for row in softmax(logits, axis=1)])
    return labels, softmax(logits * sureness, axis=1)


def _fractions(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Votes of forty volunteers each, and a network that states their squares."""
    rng = np.random.default_rng(seed)
    honest = rng.uniform(0.1, 0.9, (count, 2))
    return rng.binomial(40, honest) / 40, honest**2


def _views(correction: dict, scores: dict | None = None) -> dict:
    kept = {"galaxies": 30, "correction": correction, "held_out": {}, "scores": scores}
    return {"views": {"1": kept}}


def _run(path: Path, weights: str = "f" * 64) -> Run:
    store = StoreFacts(name="s", path="", image_shape=(32, 32, 3))
    return Run(path, Recipe(), Header(scheme=CLASSES, store=store, weights_sha256=weights))


def test_log_losses_by_hand():
    stated = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    assert CLASSES.log_losses(np.array([0, 1]), stated) == pytest.approx([np.log(2), 0], abs=1e-6)
    votes = VOTES.log_losses(np.array([[0.5, 0.0]]), np.array([[0.5, 0.5]]))
    assert votes == pytest.approx([np.log(2)])
    best = VOTES.log_losses(np.array([[0.3, 0.8]]), np.array([[0.3, 0.8]]))
    assert best < VOTES.log_losses(np.array([[0.3, 0.8]]), np.array([[0.35, 0.8]]))


def test_an_overconfident_network_gets_its_temperature():
    labels, stated = _classified(600, 2.5)
    fitted = fit_calibration(CLASSES, labels, stated)
    assert fitted is not None
    assert isinstance(fitted.correction, Temperature)
    assert fitted.correction.temperature == pytest.approx(2.5, rel=0.2)
    assert fitted.held_out["temperature"] < fitted.held_out["none"]
    assert fitted.scores is not None
    assert sum(map(len, fitted.scores.values())) == fitted.galaxies == 600
    new_labels, new = _classified(2000, 2.5, seed=1)
    before, after = (CLASSES.calibration_scores(new_labels, p, bootstrap=50) for p in (new, fitted(new)))
    assert after["ece"]["value"] < 0.5 * before["ece"]["value"]
    assert after["log_loss"]["value"] < before["log_loss"]["value"]
    change = log_loss_change(CLASSES, new_labels, new, fitted(new), bootstrap=200)
    difference = after["log_loss"]["value"] - before["log_loss"]["value"]
    assert change["value"] == pytest.approx(difference, abs=1e-6)
    assert change["high"] < 0


def test_changed_images_never_make_a_network_surer():
    labels, stated = _classified(600, 0.4)
    scores = np.random.default_rng(5).uniform(0.3, 3.0, 600)
    at_home = fit_calibration(CLASSES, labels, stated)
    away = fit_calibration(
        CLASSES, labels, stated, shifted=Shifted(labels, stated, scores, np.arange(600), "in grey")
    )
    assert at_home is not None
    assert away is not None
    assert isinstance(at_home.correction, Temperature)
    assert at_home.correction.temperature < 0.6
    assert (away(stated, scores).max(axis=1) <= stated.max(axis=1) + 1e-6).all()
    assert away.held_out["temperature"] == away.held_out["none"]


def test_an_honest_network_is_hardly_touched():
    chosen = []
    for seed in range(10):
        labels, stated = _classified(111, 1.0, seed)
        fitted = fit_calibration(CLASSES, labels, stated)
        assert fitted is not None
        assert np.abs(fitted(stated) - stated).max() < 0.12
        chosen.append(fitted.correction.method)
    assert chosen.count("none") >= 4


def test_too_few_galaxies_are_not_learned_from():
    labels, stated = _classified(19, 2.0)
    assert fit_calibration(CLASSES, labels, stated) is None
    labels, stated = _classified(20, 2.0)
    assert fit_calibration(CLASSES, labels, stated) is not None


def test_votes_choose_by_cross_validation_and_few_galaxies_take_no_isotonic_curve():
    votes, stated = _fractions(1000)
    fitted = fit_calibration(VOTES, votes, stated)
    assert fitted is not None
    assert fitted.correction.method in ("beta", "isotonic")
    assert fitted.held_out[fitted.correction.method] == min(fitted.held_out.values())
    assert fitted.scores is None
    new_votes, new = _fractions(1000, seed=1)
    assert np.square(fitted(new) - new_votes).mean() < 0.3 * np.square(new - new_votes).mean()
    rng = np.random.default_rng(2)
    losses = []
    for _ in range(6):  # honest fractions, and one volunteer each
        honest = rng.uniform(0.1, 0.9, (40, 2))
        few = fit_calibration(VOTES, rng.binomial(1, honest), honest)
        assert few is not None
        losses.append(few.held_out)
        assert few.correction.method != "isotonic"
    assert np.mean([loss["isotonic"] - loss["none"] for loss in losses]) > 0.03


def test_the_folds_are_those_of_the_seed():
    labels, stated = _classified(100, 2.0)
    assert fit_calibration(CLASSES, labels, stated, seed=1) == fit_calibration(
        CLASSES, labels, stated, seed=1
    )
    one, two = (fit_calibration(CLASSES, labels, stated, seed=seed) for seed in (1, 2))
    assert one is not None
    assert two is not None
    assert one.correction == two.correction
    assert one.held_out != two.held_out


def test_a_calibration_is_kept_as_plain_numbers_beside_those_of_other_views(tmp_path):
    run = _run(tmp_path)
    assert read_calibration(run) is None
    assert calibration_of(run, 1) is None
    assert why_uncalibrated(run, 1) == "none: the run was not calibrated"
    labels, stated = _classified(60, 2.0)
    fitted = fit_calibration(CLASSES, labels, stated)
    assert fitted is not None
    write_calibrations(run, {16: fitted})
    write_calibrations(run, {1: fitted})
    document = json.loads((tmp_path / "calibration.json").read_text())
    assert document["kind"] == "morphoscope-calibration"
    assert document["format_version"] == 1
    assert list(document["views"]) == ["1", "16"]
    back = calibration_of(run, 16)
    assert back == fitted
    assert (back(stated) == fitted(stated)).all()
    assert calibration_of(run, 8) is None
    assert why_uncalibrated(run, 8) == "none: the run was calibrated for 1 view and 16 views, not for 8 views"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("not json", "is damaged"),
        ({"format_version": None}, "is damaged"),
        ({"format_version": 99}, "made by a newer"),
        ({"views": {"1": {"galaxies": 3}}}, r"is damaged: views\.1\.correction"),
        ({"weights_sha256": "0" * 64}, "fitted to other weights"),
        ({"format_version": float("inf")}, "is damaged"),
        ("[" * 100_000, "is damaged"),
        (_views({"method": "guess"}), r"views\.1\.correction: unknown method 'guess'"),
        (_views({"method": "temperature", "temperature": -1}), r"correction: temperature: Input should be"),
        (_views({"method": "tree", "tree": "galaxy-zoo-2"}), r"views\.1: 'tree' does not calibrate classes"),
        (_views({"method": "none"}, {"a": [0.5]}), r"views\.1: its scores are of other classes"),
    ],
)
def test_a_damaged_calibration_is_said_and_not_used(tmp_path, change, message):
    run = _run(tmp_path)
    kept = Calibration(galaxies=30, correction=Temperature(temperature=2), held_out={})
    write_calibrations(run, {1: kept})
    place = tmp_path / "calibration.json"
    text = change if isinstance(change, str) else json.dumps(json.loads(place.read_text()) | change)
    place.write_text(text)
    with pytest.raises(MorphoscopeError, match=message):
        calibration_of(run, 1)


def test_curves_of_another_number_of_answers_are_refused(tmp_path):
    store = StoreFacts(name="s", path="", image_shape=(32, 32, 3))
    run = Run(tmp_path, Recipe(), Header(scheme=VOTES, store=store, weights_sha256="f" * 64))
    curves = (BetaCurve(a=1, b=1, c=0),) * 3
    write_calibrations(
        run, {1: Calibration(galaxies=30, correction=VoteCurves(method="beta", curves=curves), held_out={})}
    )
    with pytest.raises(MorphoscopeError, match=r"its correction is not one of 2 vote fractions"):
        calibration_of(run, 1)


def test_scores_of_votes_by_hand():
    truth = np.array([[0.5, 0.0], [0.7, 0.2]])
    stated = np.array([[0.61, 0.1], [0.65, 0.9]])
    scores = VOTES.calibration_scores(truth, stated, bootstrap=20)
    # 0.61 and 0.65 share the bin (0.6, 0.667]: their gaps 0.11 and −0.05 add up; the other two stand alone.
    assert scores["ece"]["value"] == pytest.approx((0.06 + 0.1 + 0.7) / 4)
    assert scores["brier"]["value"] == pytest.approx((0.11**2 + 0.05**2 + 0.1**2 + 0.7**2) / 4)
    assert scores["log_loss"]["value"] == pytest.approx(VOTES.log_losses(truth, stated).mean())
    full = [entry for entry in scores["reliability"] if entry["count"]]
    assert [entry["count"] for entry in full] == [1, 2, 1]
    assert full[1]["confidence"] == pytest.approx(0.63)
    assert full[1]["accuracy"] == pytest.approx(0.6)
    json.dumps(scores, allow_nan=False)


def test_a_calibration_error_of_votes_that_cancels_between_answers_is_seen():
    truth = np.full((50, 2), 0.5)
    stated = np.tile([0.52, 0.48], (50, 1))
    pooled_free = VOTES.calibration_scores(truth, stated, bootstrap=0)
    assert pooled_free["ece"]["value"] == pytest.approx(0.02)
