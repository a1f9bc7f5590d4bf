"""This program's own layouts: equal to timm's where they should be, different where the papers are."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import vgg

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.models.backbone import weights_part
from morphoscope.models.build import build
from morphoscope.models.pretrained import frozen_layers, layers_in_order
from morphoscope.models.residual import Bottleneck, ResidualTrunk, Units
from morphoscope.recipes import Model


def _images(size: int = 64) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)) * 255


Seeded = Callable[..., tuple[torch.nn.Module, Path]]


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    """Makes a "pretrained" model with random weights and running statistics, and its file, once."""
    folder = tmp_path_factory.mktemp("pretrained")

    @functools.cache
    def make(name: str, **options: object) -> tuple[torch.nn.Module, Path]:
        torch.manual_seed(7)
        model = timm.create_model(name, **options)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
        place = folder / f"{name}.safetensors"
        save_file(model.state_dict(), place)
        return model.eval(), place

    return make


@pytest.fixture
def convolutions_of_vgg(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's VGG with one hidden value in place of 4096: its 120 million weights are not looked at."""
    original = vgg.ConvMlp
    monkeypatch.setattr(vgg, "ConvMlp", lambda *a, **k: original(*a, **k | {"mlp_ratio": 1 / 4096}))


@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.slow)])
def test_residual_trunk_is_timms_resnet_on_the_same_weights(depth: int, seeded: Seeded) -> None:
    reference, place = seeded(f"resnet{depth}")
    model = Model(name=f"residual{depth}", weights=str(place), normalise="unit")
    network, origin = build(model, 3, image_size=64)
    assert place.name in origin
    expected = reference.forward_head(reference.forward_features(_images() / 255), pre_logits=True)
    torch.testing.assert_close(network.eval().embed(_images()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("convolutions_of_vgg")
def test_vgg_with_all_places_is_timms_convolutions(seeded: Seeded) -> None:
    reference, place = seeded("vgg16", num_classes=0)
    network, _ = build(
        Model(name="vgg16", pool="flatten", weights=str(place), normalise="unit"), 3, image_size=64
    )
    expected = reference.features(_images() / 255).flatten(1)
    torch.testing.assert_close(network.eval().embed(_images()), expected, rtol=1e-4, atol=1e-5)
    assert expected.shape[1] == 512 * 2 * 2


@pytest.mark.slow
def test_attention_on_the_last_map_leaves_timms_trunk_as_it_is(seeded: Seeded) -> None:
    reference, place = seeded("tf_efficientnetv2_s")
    model = Model(name="tf_efficientnetv2_s", attention="cbam", weights=str(place), normalise="half")
    network, _ = build(model, 3, image_size=64)
    found = weights_part(network.backbone).eval()(_images() / 127.5 - 1)
    torch.testing.assert_close(found, reference.forward_features(_images() / 127.5 - 1), rtol=1e-4, atol=1e-4)


def test_three_fused_stages_are_efficientnetv2_s_itself(seeded: Seeded) -> None:
    reference, place = seeded("tf_efficientnetv2_s")
    model = Model(name="tf_efficientnetv2_s", fused=3, weights=str(place), normalise="half")
    network, _ = build(model, 3, image_size=64)
    found = weights_part(network.backbone).eval()(_images() / 127.5 - 1)
    torch.testing.assert_close(found, reference.forward_features(_images() / 127.5 - 1), rtol=1e-4, atol=1e-4)


def test_the_layer_of_1000_classes_is_kept_before_the_head(seeded: Seeded) -> None:
    reference, place = seeded("resnet18")
    network, _ = build(
        Model(name="resnet18", classifier=True, weights=str(place), normalise="half"), 37, image_size=64
    )
    torch.testing.assert_close(network.eval().embed(_images()), reference(_images() / 127.5 - 1))
    assert network(_images()).shape == (2, 37)


def test_dinov2_keeps_its_position_grid_and_takes_other_sizes() -> None:
    with torch.device("meta"):
        network, _ = build(
            Model(name="vit_base_patch14_reg4_dinov2.lvd142m"), 37, image_size=224, start=False
        )
        assert network.backbone.pos_embed.shape[1] == (518 // 14) ** 2
        assert network(torch.empty(1, 3, 224, 224)).shape == (1, 37)


@pytest.mark.parametrize(("shortcut", "count"), [("standard", 4), ("projection", 16), ("none", 0)])
def test_shortcuts(shortcut: str, count: int) -> None:
    trunk = ResidualTrunk(50, Units(shortcut=shortcut))  # type: ignore[arg-type]
    units = [module for module in trunk.modules() if isinstance(module, Bottleneck)]
    assert len(units) == 16
    assert sum(isinstance(unit.downsample, torch.nn.Sequential) for unit in units) == count
    unit = units[1].eval()
    features = torch.rand(1, 256, 4, 4)
    inner = unit.inner(features)
    expected = {"standard": inner + features, "none": inner}
    if shortcut in expected:
        torch.testing.assert_close(unit(features), expected[shortcut].relu())


def test_attention_comes_before_the_shortcut_is_added() -> None:
    torch.manual_seed(0)
    unit = next(
        module
        for module in ResidualTrunk(50, Units(attention="cbam")).modules()
        if isinstance(module, Bottleneck)
    ).eval()
    features = torch.rand(1, 64, 4, 4)
    expected = unit.attention(unit.inner(features)) + unit.downsample(features)  # type: ignore[misc]
    torch.testing.assert_close(unit(features), expected.relu())


# ---------------------------------------------------------------------------------------------- freezing


@pytest.mark.parametrize(
    ("percent", "last", "first"),
    [
        (20, "denseblock2.denselayer5.norm2", "denseblock2.denselayer5.conv2"),
        (40, "denseblock3.denselayer5.norm1", "denseblock3.denselayer5.conv1"),
        (60, "denseblock3.denselayer17.conv1", "denseblock3.denselayer17.norm2"),
        (80, "denseblock4.denselayer4.conv2", "denseblock4.denselayer5.norm1"),
    ],
)
def test_where_a_frozen_densenet_begins_to_learn(percent: int, last: str, first: str) -> None:
    with torch.device("meta"):
        backbone = timm.create_model("densenet121", num_classes=0)
    assert len(layers_in_order(backbone)) == 427
    frozen = {id(module) for module in frozen_layers(backbone, percent / 100)}
    assert id(backbone.get_submodule(f"features.{last}")) in frozen
    assert id(backbone.get_submodule(f"features.{first}")) not in frozen


def test_frozen_layers_keep_their_weights_and_their_statistics() -> None:
    torch.manual_seed(0)
    network, _ = build(Model(name="resnet18", pretrained=False, frozen=0.5), 3, image_size=64)
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(_images()).square().mean().backward()
    optimiser.step()
    after = network.state_dict()
    assert torch.equal(after["backbone.bn1.running_mean"], before["backbone.bn1.running_mean"])
    assert torch.equal(after["backbone.conv1.weight"], before["backbone.conv1.weight"])
    changed = "backbone.layer4.1.bn2.running_mean"
    assert not torch.equal(after[changed], before[changed])
    assert not torch.equal(after["head.1.weight"], before["head.1.weight"])


@pytest.mark.parametrize(
    "name",
    [
        "tf_efficientnet_lite0",
        pytest.param("regnetx_004", marks=pytest.mark.slow),
        "test_convnext",
        "test_vit",
        pytest.param("densenet121", marks=pytest.mark.slow),
        "residual18",
    ],
)
def test_all_layers_frozen_leaves_the_head_alone(name: str) -> None:
    network, _ = build(Model(name=name, pretrained=False, frozen=1.0), 3, image_size=64)
    learning = {part for part, tensor in network.named_parameters() if tensor.requires_grad}
    assert learning == {part for part, _ in network.named_parameters() if part.startswith("head.")}
    network.train()
    before = {part: tensor.clone() for part, tensor in network.backbone.state_dict().items()}
    if name not in ("test_convnext", "test_vit"):  # which have sizes of their own
        network(_images())
    assert all(torch.equal(before[part], tensor) for part, tensor in network.backbone.state_dict().items())


def test_normalisation_with_an_activation_is_frozen_with_its_convolution() -> None:
    """timm's ``BatchNormAct2d`` has a child, and is a layer all the same."""
    network, _ = build(Model(name="tf_efficientnet_lite0", pretrained=False, frozen=0.4), 3, image_size=64)
    trunk = network.backbone
    assert not trunk.get_submodule("bn1").weight.requires_grad
    convolution, normalisation = (trunk.get_submodule(f"blocks.1.0.{part}") for part in ("conv_pw", "bn1"))
    assert not convolution.weight.requires_grad
    assert not normalisation.weight.requires_grad
    assert trunk.get_submodule("blocks.6.0.bn3").weight.requires_grad


def test_the_rest_starts_random_where_the_recipe_says_so(seeded: Seeded) -> None:
    reference, place = seeded("densenet121")
    model = Model(name="densenet121", weights=str(place), frozen=0.2, rest="random")
    torch.manual_seed(0)
    network, origin = build(model, 3, image_size=64)
    torch.manual_seed(0)
    fresh, _ = build(Model(name="densenet121", pretrained=False), 3, image_size=64)
    pretrained, random = reference.state_dict(), fresh.backbone.state_dict()
    found = network.backbone.state_dict()
    frozen, learns = "features.conv0.weight", "features.denseblock4.denselayer16.conv2.weight"
    assert torch.equal(found[frozen], pretrained[frozen])
    assert torch.equal(found["features.norm0.running_var"], pretrained["features.norm0.running_var"])
    assert torch.equal(found[learns], random[learns])
    assert "20%" in origin


def test_nothing_frozen_and_the_rest_random_is_from_scratch() -> None:
    """`fu`'s 0 % needs no weights at all, and must not ask for any."""
    _, origin = build(Model(name="densenet121", frozen=0.0, rest="random"), 3, image_size=64)
    assert "random" in origin


# ---------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"name": "resnet18", "shortcut": "none"}, "model.shortcut"),
        ({"name": "residual18", "attention": "tiled-cbam"}, "bottleneck"),
        ({"name": "resnet18", "fused": 3}, "model.fused"),
        ({"name": "tf_efficientnetv2_s", "fused": 9}, "0 to 6"),
        ({"name": "resnet18", "classifier": True, "attention": "cbam"}, "model.classifier"),
        ({"name": "residual51"}, "did you mean 'residual50'"),
        ({"name": "resnet18", "kernels": (3, 3, 3, 3)}, r"model\.kernels is for baseline-cnn"),
    ],
)
def test_options_that_do_not_go_together(model: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build(Model(**model, pretrained=False), 3, image_size=64)


@pytest.mark.parametrize(
    ("name", "size"), [("inception_resnet_v2", 32), ("vit_base_patch14_reg4_dinov2", 100), ("vgg16", 16)]
)
def test_an_image_too_small_for_the_network(name: str, size: int) -> None:
    with pytest.raises(UsageError, match=f"augment.size: {name} does not accept {size} px"):
        build(Model(name=name, pretrained=False, pool="model"), 3, image_size=size)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param({"name": "vit_tiny_patch16_224"}, marks=pytest.mark.slow),
        pytest.param({"name": "swin_tiny_patch4_window7_224"}, marks=pytest.mark.slow),
        {"name": "test_vit"},
        {"name": "test_resnet"},
    ],
    ids=lambda model: model["name"],
)
def test_growing_images_go_through_the_network_of_the_last_size(model: dict) -> None:
    """A transformer fits its grid to each image; weights, and answers at its own size, stay the same."""
    torch.manual_seed(0)
    growing = build(Model(**model, pretrained=False), 3, image_size=64, other_sizes=(32, 64))[0].eval()
    plain = build(Model(**model, pretrained=False), 3, image_size=64, start=False)[0].eval()
    plain.load_state_dict(growing.state_dict())
    images = torch.randint(0, 256, (2, 3, 64, 64)).float()
    with torch.no_grad():
        torch.testing.assert_close(growing(images), plain(images))
        small = growing(images[:, :, ::2, ::2])
    assert small.shape == (2, 3)
    assert torch.isfinite(small).all()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"name": "resnet10t", "pool": "flatten"}, "1 × 1 at 32 px and 2 × 2 at 64 px"),
        (
            {"name": "cait_xxs24_224"},
            r"augment.train_size: .* does not accept 32 px .*; leave train_size out",
        ),
        (
            {"name": "vit_small_patch14_dinov2"},
            r"augment.train_size: .* does not accept 32 px .*divisible by patch size",
        ),
    ],
)
def test_growing_images_that_a_network_does_not_take(model: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build(
            Model(**model, pretrained=False),
            3,
            image_size=64 if "dino" not in model["name"] else 56,
            other_sizes=(32,),
        )


def test_weights_of_another_architecture(seeded: Seeded) -> None:
    _, place = seeded("resnet18")
    with pytest.raises(MorphoscopeError, match="does not fit"):
        build(Model(name="residual50", weights=str(place)), 3, image_size=64)


@pytest.mark.usefixtures("convolutions_of_vgg")
def test_a_folder_with_weights_of_several_models(seeded: Seeded, tmp_path: Path) -> None:
    reference, place = seeded("resnet18")
    for each in (place, seeded("densenet121")[1]):
        shutil.copy(each, tmp_path)
    network, _ = build(Model(name="residual18", weights=str(tmp_path)), 3, image_size=64)
    weights = weights_part(network.backbone).state_dict()["conv1.weight"]
    assert torch.equal(weights, reference.state_dict()["conv1.weight"])
    with pytest.raises(UsageError, match="vgg16"):
        build(Model(name="vgg16", weights=str(tmp_path)), 3, image_size=64)
