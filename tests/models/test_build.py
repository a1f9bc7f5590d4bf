from __future__ import annotations

import pytest
import torch
from torch import nn

from morphoscope.errors import UsageError
from morphoscope.models.build import build
from morphoscope.models.network import Network, head, parameter_count
from morphoscope.recipes import Model

SCRATCH = ("test_resnet", "test_efficientnet", "test_vit", "test_convnext")


@pytest.mark.parametrize("name", SCRATCH)
@pytest.mark.parametrize("hidden", [(), (12, 7)])
def test_a_network_gives_finite_outputs_and_a_gradient_to_every_weight(name: str, hidden: tuple[int, ...]):
    torch.manual_seed(0)
    network, origin = build(Model(name=name, pretrained=False, hidden=hidden), 5, image_size=64)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    outputs = network(images)
    assert outputs.shape == (3, 5)
    assert torch.isfinite(outputs).all()
    assert network.embed(images).shape[0] == 3
    outputs.square().sum().backward()
    for weight_name, weight in network.named_parameters():
        assert weight.grad is not None, weight_name
        assert torch.isfinite(weight.grad).all(), weight_name
    assert "random" in origin


def test_uint8_and_floating_grey_levels_are_the_same_image():
    network, _ = build(Model(name="test_resnet", pretrained=False), 2, image_size=32)
    network.eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(network(images), network(images.float()))


def test_the_network_normalises_as_its_backbone_was_trained():
    network, _ = build(Model(name="test_resnet", pretrained=False), 2, image_size=32)
    network.eval()
    seen: list[torch.Tensor] = []
    network.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    config = network.backbone.pretrained_cfg
    grey = torch.tensor(config["mean"]).view(1, 3, 1, 1) * 255
    network(grey.expand(1, 3, 32, 32))
    assert torch.allclose(seen[0], torch.zeros(1), atol=1e-4)


def test_parameters_are_counted_without_running_statistics():
    network = Network(nn.BatchNorm2d(4), nn.Linear(4, 2), mean=(0.5,) * 4, std=(0.5,) * 4)
    assert parameter_count(network) == 8 + 10
    network.backbone.requires_grad_(False)
    assert parameter_count(network, trainable_only=True) == 10


def test_the_head_has_dropout_after_hidden_layers_or_before_the_only_one():
    assert [type(layer) for layer in head(8, (), 3, 0.2)] == [nn.Dropout, nn.Linear]
    deep = head(8, (6, 5), 3, 0.5)
    assert [type(layer) for layer in deep] == [
        *(nn.Linear, nn.ReLU, nn.Dropout),
        *(nn.Linear, nn.ReLU, nn.Dropout),
        nn.Linear,
    ]
    assert sum(p.numel() for p in deep.parameters()) == (8 + 1) * 6 + (6 + 1) * 5 + (5 + 1) * 3


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        build(Model(name="resnet_18", pretrained=False), 2, image_size=32)


def test_big_networks_are_counted_without_memory():
    with torch.device("meta"):
        network, _ = build(Model(name="resnet152", pretrained=False), 10, image_size=224, start=False)
    assert parameter_count(network) == 58_143_808 + 2048 * 10 + 10
