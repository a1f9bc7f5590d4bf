from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from morphoscope.errors import UsageError
from morphoscope.inference.calibration import Calibration
from morphoscope.inference.class_shares import FEWEST, class_shares_of, training_shares
from morphoscope.labels.calibrators import Unchanged
from morphoscope.labels.mixing import Mixing
from morphoscope.labels.scheme import Classes, VoteFractions

CLASSES = Classes(name="shapes", classes=("Round", "Disc", "Ring"))


def a_predictor(scheme=CLASSES, balance: str = "none", mixing: Mixing | None = None, **metrics: object):
    run = SimpleNamespace(
        name="run-7",
        recipe=SimpleNamespace(data=SimpleNamespace(balance=balance)),
        metrics=lambda: metrics,
        reading_results=contextlib.nullcontext,
    )
    calibration = Calibration(galaxies=20, correction=Unchanged(), held_out={}, mixing=mixing)
    return SimpleNamespace(scheme=scheme, run=run, calibration=calibration)


COUNTED = {"train": {"Round": 60, "Disc": 40, "Ring": 0}}


def test_the_trainings_shares_come_from_where_they_are_known():
    np.testing.assert_allclose(training_shares(a_predictor(counts=COUNTED)), [0.6, 0.4, 1e-4], atol=1e-4)
    np.testing.assert_allclose(
        training_shares(a_predictor(balance="oversample", counts=COUNTED)), [1 / 3] * 3
    )
    mixing = Mixing(half=3, power=3, shares=(0.2, 0.3, 0.5))
    np.testing.assert_allclose(training_shares(a_predictor(mixing=mixing, counts=COUNTED)), [0.2, 0.3, 0.5])
    with pytest.raises(UsageError, match="does not record how many galaxies of each class"):
        training_shares(a_predictor())
    with pytest.raises(UsageError, match="this run predicts vote"):
        training_shares(a_predictor(scheme=VoteFractions(name="v", answers=("a", "b"))))


def test_few_galaxies_have_no_shares():
    predictor = a_predictor(balance="oversample")
    even_NK = np.full((FEWEST, 3), 1 / 3)
    with pytest.raises(
        UsageError, match=f"at least {FEWEST} galaxies with a class, and {FEWEST - 1} are here"
    ):
        class_shares_of(predictor, even_NK[1:])
    found = class_shares_of(predictor, even_NK)
    np.testing.assert_allclose(found(even_NK), even_NK, atol=1e-4)
    assert f"from {FEWEST} galaxies" in found.description
    assert "Round 0.3333 (0.3333)" in found.description
