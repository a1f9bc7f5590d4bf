from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from morphoscope.data.store import Store
from morphoscope.evaluation.fit_uncertainty import log_loss_change, measured_sets
from morphoscope.files import write_json
from morphoscope.labels.scheme import Classes
from morphoscope.metrics.conformal import SCORE, truth_probabilities
from morphoscope.report import figures
from morphoscope.report.run_report import write_report
from morphoscope.report.sections_uncertainty import before_and_after_table, method_text, set_table, set_text
from morphoscope.runs.run import Run, open_run

CLASSES = Classes(name="drawn", classes=("Round", "Edge-on & <thin>", "Spiral"))


def _done(scheme, targets, before, after, method: str) -> dict:
    return {
        "method": method,
        "words": "temperature 0.500; chosen on 111 validation galaxies",
        "galaxies": 111,
        "temperature": 0.5 if method == "temperature" else None,
        "held_out": {"none": 0.31, method: 0.2512345},
        "before": scheme.calibration_scores(targets, before, bootstrap=30),
        "after": scheme.calibration_scores(targets, after, bootstrap=30),
        "log_loss_change": log_loss_change(scheme, targets, before, after, bootstrap=30),
    }


@pytest.fixture(scope="module")
def measured() -> dict:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    after = rng.dirichlet(np.ones(3), 300) * 0.2 + 0.8 * np.eye(3)[labels]
    before = after**0.5 / (after**0.5).sum(axis=1, keepdims=True)
    scores = truth_probabilities(labels, after, CLASSES.classes)
    kinds = {
        key: measured_sets(scores, labels, after, CLASSES.classes, 0.9, per_class=key == "per_class")
        for key in ("marginal", "per_class")
    }
    return {
        "calibration": _done(CLASSES, labels, before, after, "temperature"),
        "sets": {"coverage": 0.9, "score": SCORE, "galaxies": 300, **kinds},
    }


def test_the_words_say_what_was_done_and_what_it_did(measured):
    words = method_text(measured["calibration"], "nats per galaxy")
    assert "divided by a temperature of 0.500" in words
    assert "111 validation galaxies" in words
    assert "nats per galaxy: none 0.3100, temperature 0.2512" in words
    assert "the log loss changed by −0." in words
    none = method_text(measured["calibration"] | {"method": "none"}, "nats per galaxy")
    assert none.startswith("No calibration improved")
    assert "changed" not in none


def test_the_tables_have_before_and_after_and_both_kinds_of_sets(measured):
    table = before_and_after_table(measured["calibration"])
    assert [row[0] for row in table.rows][-2:] == ["Log loss (nats)", "Brier score"]
    assert all(float(row[1]) > float(row[3]) for row in table.rows)
    assert "n = 300" in table.caption
    sets = set_table(measured["sets"])
    assert [row[0] for row in sets.rows] == ["Over all galaxies", "Within every class"]
    assert all(len(row) == len(sets.headings) for row in sets.rows)
    words = set_text(measured["sets"])
    assert "for 90\u00a0% of galaxies" in words
    assert "Sadinle" in words


def test_both_diagrams_are_drawn_on_one_scale(measured):
    done = measured["calibration"]
    figure = figures.reliability_before_and_after(done["before"], done["after"])
    titles = [axes.get_title(loc="left") + axes.get_title() for axes in figure.axes[:2]]
    assert titles[0].startswith(f"before: ECE {done['before']['ece']['value']:.3f}")
    assert titles[1].startswith(f"after: ECE {done['after']['ece']['value']:.3f}")
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


@pytest.mark.usefixtures("undrawn_here")
def test_a_report_of_classes_shows_them(make_run: Callable[..., Run], classes_store: Store, measured: dict):
    run = make_run(classes_store, name="calibrated")
    write_json(run.path / "metrics.json", run.metrics() | measured)
    page = write_report(open_run(run.path), classes_store).read_text(encoding="utf-8")
    assert "Prediction sets" in page
    assert "Calibration. Test split, n = " in page
    assert "the run has no calibration" not in page
    assert (run.path / "figures" / "reliability.png").is_file()


@pytest.mark.usefixtures("undrawn_here")
def test_a_report_of_votes_shows_them(make_run: Callable[..., Run], votes_store: Store):
    run = make_run(votes_store, name="calibrated-votes")
    rng = np.random.default_rng(1)
    truth = rng.dirichlet(np.ones(3), 40)
    done = _done(votes_store.need_scheme(), truth, np.sqrt(truth), truth, "isotonic")
    write_json(run.path / "metrics.json", run.metrics() | {"calibration": done, "sets": None})
    page = write_report(open_run(run.path), votes_store).read_text(encoding="utf-8")
    assert "calibrated by an isotonic curve" in page
    assert "nats per answer" in page
    assert "Prediction sets" not in page


@pytest.mark.usefixtures("undrawn_here")
def test_a_report_of_an_old_run_says_that_nothing_was_corrected(classes_run: Run, classes_store: Store):
    page = Path(write_report(classes_run, classes_store)).read_text(encoding="utf-8")
    assert "The run has no calibration: " in page
