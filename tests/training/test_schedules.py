from __future__ import annotations

import math

import pytest

from morphoscope.recipes import Schedule
from morphoscope.training.optimisation import schedule


def test_one_cycle_rises_to_one_and_falls_to_its_end():
    factor = schedule(Schedule(name="one-cycle", warmup=0.25, final=1e-3), 100)
    values = [factor(step) for step in range(100)]
    assert max(values) == values[25] == 1.0
    assert values[:26] == sorted(values[:26])
    assert values[25:] == sorted(values[25:], reverse=True)
    assert values[0] == pytest.approx(0.04)
    assert values[-1] == pytest.approx(1e-3)


def test_cosine_follows_the_published_formula():
    factor = schedule(Schedule(name="cosine", warmup=0.0, final=0.0), 11)
    for step in range(11):
        assert factor(step) == pytest.approx(0.5 * (1 + math.cos(math.pi * step / 10)))


def test_keras_decay_is_what_cheng_ran():
    # 50 epochs of 178 steps at decay 1e-5 end near 0.918 of the first rate (specification, section 1.2)
    factor = schedule(Schedule(name="keras-decay", warmup=0.0, decay=1e-5), 50 * 178)
    assert factor(0) == 1.0
    assert factor(50 * 178) == pytest.approx(0.918, abs=5e-4)


def test_constant_stays():
    factor = schedule(Schedule(name="constant", warmup=0.0), 10)
    assert {factor(step) for step in range(10)} == {1.0}
    rising = schedule(Schedule(name="constant", warmup=0.5), 10)
    assert rising(0) < rising(4) < rising(5) == 1.0


def test_steps_beyond_the_end_stay_at_the_end():
    factor = schedule(Schedule(name="one-cycle", warmup=0.0, final=0.1), 5)
    assert factor(50) == pytest.approx(0.1)
