"""Figures of measurements: every galaxy is drawn, outliers apart, and none beyond its panel."""

from __future__ import annotations

import numpy as np
import pytest

from morphoscope.report.figures import coverage, predicted_against_true, residuals_against_truth
from morphoscope.report.figures.measurements import FEW, Panel


def panel(count: int, redshift: bool = False) -> Panel:
    rng = np.random.default_rng(count)
    truth = rng.uniform(0, 2, count)
    predicted = truth + 0.1 * rng.normal(size=count)
    predicted[:2] += [50, -50]
    outlier = np.arange(count) < 2
    return Panel("z", truth, predicted, outlier, redshift)


@pytest.mark.parametrize("draw", [predicted_against_true, residuals_against_truth])
@pytest.mark.parametrize("count", [40, FEW + 40])
def test_outliers_are_drawn_apart_and_on_the_border(draw, count: int) -> None:
    figure = draw([panel(count), panel(count, redshift=True)])
    for axes in figure.axes[:2]:
        low, high = axes.get_ylim()
        dots = [line for line in axes.lines if line.get_marker() == "D"]
        (outliers,) = dots
        assert len(outliers.get_ydata()) == 2
        assert set(outliers.get_ydata()) == {low, high}
        usual = [line for line in axes.lines if line.get_marker() == "o"]
        assert len(usual) == (count <= FEW)
        assert bool(axes.collections) == (count > FEW)
        if usual:
            assert len(usual[0].get_ydata()) == count - 2


def test_the_running_median_shows_a_bias() -> None:
    truth = np.linspace(0, 10, 300)
    biased = Panel("x", truth, truth + np.where(truth > 5, 1.0, -1.0), np.zeros(300, bool))
    (axes,) = residuals_against_truth([biased]).axes
    running = next(line for line in axes.lines if line.get_linewidth() == 1.2)
    assert np.asarray(running.get_ydata()).tolist() == [-1] * 5 + [1] * 5


def test_four_quantities_stand_in_two_rows() -> None:
    figure = predicted_against_true([panel(20)] * 4)
    assert len(figure.axes) == 4


def test_coverage_is_drawn_as_share_and_as_difference() -> None:
    cells = [
        {"level": level, "value": level + 0.05, "low": level, "high": level + 0.1} for level in (0.5, 0.9)
    ]
    figure = coverage([{"name": "z", "coverage": cells}, {"name": "bar", "coverage": cells}])
    whole, difference = figure.axes
    assert np.asarray(whole.lines[1].get_ydata()).tolist() == pytest.approx([0.55, 0.95])
    assert np.asarray(difference.lines[1].get_ydata()).tolist() == pytest.approx([5, 5])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["z", "bar"]
