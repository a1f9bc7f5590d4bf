from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from morphoscope.data.store import Store
from morphoscope.errors import UsageError
from morphoscope.inference.adapt_batch_norm import adapt_batch_norm
from morphoscope.inference.predictor import Predictor
from morphoscope.runs.run import Run


def test_layers_take_the_statistics_of_the_images(noise: Store, run: Run):
    predictor = Predictor(run, views=1, engine="torch")
    dark = [noise.images[row] // 4 for row in range(min(48, len(noise)))]
    first = next(m for m in predictor.torch_engine().network.modules() if isinstance(m, nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    handle = first.register_forward_hook(lambda module, given, out: seen.append(given[0].float()))
    assert first.running_mean is not None
    before = first.running_mean.clone()
    momentum = first.momentum
    adapt_batch_norm(predictor, dark)
    handle.remove()
    mean = torch.stack([part.mean(dim=(0, 2, 3)) for part in seen]).mean(dim=0)
    torch.testing.assert_close(first.running_mean, mean, atol=1e-3, rtol=1e-2)
    assert not torch.allclose(before, first.running_mean, atol=1e-3)
    assert first.momentum == momentum
    assert not any(module.training for module in predictor.torch_engine().network.modules())
    assert predictor.adapted_to == len(dark)
    assert np.isfinite(predictor.probabilities(dark)).all()


def test_a_handful_of_images_is_refused_and_changes_nothing(noise: Store, run: Run):
    predictor = Predictor(run, views=1, engine="torch")
    kept = {name: value.clone() for name, value in predictor.torch_engine().network.state_dict().items()}
    with pytest.raises(UsageError, match="5 images are too few"):
        adapt_batch_norm(predictor, [noise.images[row] for row in range(5)])
    for name, value in predictor.torch_engine().network.state_dict().items():
        assert torch.equal(value, kept[name])


def test_a_network_without_batch_normalisation_is_refused(noise: Store, run: Run):
    predictor = Predictor(run, views=1, engine="torch")
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    predictor.torch_engine().network = network  # type: ignore[assignment]
    with pytest.raises(UsageError, match="no batch normalisation"):
        adapt_batch_norm(predictor, [noise.images[row] for row in range(40)])
