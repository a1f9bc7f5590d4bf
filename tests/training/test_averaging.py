"""The warmed-up moving average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from morphoscope.models.network import Network
from morphoscope.training.optimisation import averaged, decay_after


def _network() -> Network:
    return Network(nn.BatchNorm2d(3), nn.Linear(3, 2), mean=(0.5,) * 3, std=(0.5,) * 3)


def _moved(network: Network, to: float) -> Network:
    with torch.no_grad():
        for value in network.state_dict().values():
            value.fill_(to)
    return network


def test_the_decay_rises_to_the_asked_one_and_stays_there() -> None:
    assert decay_after(1, 0.999) == pytest.approx(2 / 11)
    assert decay_after(440, 0.98) == pytest.approx(0.98)
    assert decay_after(100_000, 0.98) == 0.98
    assert decay_after(1, 0.1) == 0.1


def test_the_average_follows_the_recursion_in_weights_and_running_statistics() -> None:
    network = _network()
    average = averaged(network, 0.6)
    expected = 0.0
    for step in range(12):
        average.update_parameters(_moved(network, float(step)))
        expected += (1 - decay_after(step, 0.6)) * (step - expected) if step else 0.0
    state = average.module.state_dict()
    assert state["head.weight"][0, 0].item() == pytest.approx(expected, rel=1e-5)
    assert state["backbone.running_var"][0].item() == pytest.approx(expected, rel=1e-5)


def test_the_average_of_the_first_steps_is_near_the_weights() -> None:
    """After 100 steps at 1 (a run's first epoch) a decay of 0.999 alone would be at 0.1."""
    network = _network()
    average = averaged(network, 0.999)
    average.update_parameters(_moved(network, 0.0))
    for _ in range(100):
        average.update_parameters(_moved(network, 1.0))
    assert average.module.state_dict()["head.weight"].min() > 0.99


def test_its_state_says_how_far_the_warm_up_is() -> None:
    network = _network()
    whole = averaged(network, 0.999)
    for step in range(5):
        whole.update_parameters(_moved(network, float(step)))
    resumed = averaged(_network(), 0.999)
    resumed.load_state_dict(whole.state_dict())
    for average in (whole, resumed):
        average.update_parameters(_moved(network, 7.0))
    assert torch.equal(resumed.module.state_dict()["head.bias"], whole.module.state_dict()["head.bias"])
