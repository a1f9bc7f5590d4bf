"""Networks for any number of bands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import adapt_input_conv

from morphoscope.images.stretch import SKY_LEVEL, SOFTENING, rendered
from morphoscope.models.build import build, trained_network
from morphoscope.models.values import Planes, Stretch, levels_of
from morphoscope.recipes import Model

OPTIONS = (
    Model(name="test_resnet", pretrained=False),
    Model(name="test_vit", pretrained=False),
    Model(name="baseline-cnn", attention="cbam", pretrained=False),
    Model(name="residual18", attention="channel", pretrained=False),
    Model(name="test_resnet", attention="cbam", pool="flatten", pretrained=False),
)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_networks_take_any_number_of_bands(channels: int, dtype: str, tmp_path: Path) -> None:
    planes = Planes(channels)
    if dtype == "float32":
        planes = Planes(
            channels, tuple(range(5, 5 + channels)), tuple(1.0 + each for each in range(channels))
        )
    for model in OPTIONS if channels in (1, 5) else OPTIONS[:1]:
        side = 160 if "vit" in model.name else 48
        network, _ = build(model, 3, image_size=side, planes=planes)
        assert network.channels == channels
        images = torch.rand(2, channels, side, side) * 200
        outputs = network.eval()(images.to(torch.uint8) if dtype == "uint8" else images)
        assert outputs.shape == (2, 3)
        outputs.sum().backward()
        assert all(weight.grad is not None for weight in network.parameters())
        save_file(network.state_dict(), tmp_path / "w.safetensors")
        again = trained_network(
            model,
            3,
            tmp_path / "w.safetensors",
            image_size=side,
            planes=Planes.unmeasured(channels, dtype),
        )
        torch.testing.assert_close(again(images), network(images))


@pytest.mark.parametrize("channels", [1, 2, 5, 8])
def test_pretrained_first_layers_are_adapted_as_timm_does(channels: int, tmp_path: Path) -> None:
    donor = timm.create_model("test_resnet", num_classes=0)
    save_file(donor.state_dict(), tmp_path / "test_resnet.safetensors")
    model = Model(name="test_resnet", weights=str(tmp_path))
    network, origin = build(model, 2, image_size=48, planes=Planes(channels))
    assert "pretrained weights" in origin
    name, conv = next((n, m) for n, m in network.backbone.named_modules() if isinstance(m, torch.nn.Conv2d))
    expected = adapt_input_conv(channels, donor.get_submodule(name).weight.detach())
    torch.testing.assert_close(conv.weight.detach(), expected)
    if channels > 1:
        return
    # One band gives what a grey picture gave.
    grey = torch.rand(2, 1, 48, 48)
    torch.testing.assert_close(
        network.backbone.eval()(grey.expand(-1, channels, -1, -1)),
        donor.eval()(grey.expand(-1, 3, -1, -1)),
        rtol=1e-3,
        atol=1e-4,
    )


def test_values_become_the_levels_of_the_stretch_for_pictures() -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :64] - 32.0
    plane = (7 + rng.normal(0, 2, (64, 64)) + 3000 * np.exp(-np.hypot(x, y) / 1.5)).astype(np.float32)
    picture, _ = rendered([plane], "lupton", name="galaxy")
    planes = Planes(1, (7.0,), (2.0,))
    found = Stretch(planes)(torch.from_numpy(plane)[None, None])[0, 0].numpy()
    shown = picture[:, :, 0].astype(float)
    within = (shown > 0) & (shown < 255)
    np.testing.assert_allclose(found[within], shown[within], atol=6)  # its sky and noise are measured
    np.testing.assert_allclose(
        levels_of(plane[:, :, None], (7.0,), (2.0,), "asinh")[:, :, 0], found, rtol=1e-4
    )
    sky = float(Stretch(planes)(torch.full((1, 1, 1, 1), 7.0)))
    assert sky == pytest.approx(255 * np.arcsinh(SOFTENING * SKY_LEVEL) / SOFTENING**0.5, rel=1e-5)
    assert found.max() > 255
    line = Stretch(planes, "linear")(torch.tensor([7.0, 9.0]).view(1, 1, 1, 2)).ravel()
    torch.testing.assert_close(line, torch.tensor([0.03 * 255, 0.04 * 255]))
