"""The default layer of every network, and maps from all of them in one contract."""

from __future__ import annotations

import pytest
import torch

from morphoscope.errors import UsageError
from morphoscope.explanation.attribution import ablation_cam, grad_cam
from morphoscope.explanation.layers import Centres, centres, find_layer, output_of
from morphoscope.models.build import build
from morphoscope.recipes import Model, Recipe
from morphoscope.studies.registry import recipes, scheme_outputs

DEFAULTS = {
    "cheng/vgg16": "backbone.trunk",
    "cheng/resnet18": "backbone.layer4",
    "cheng/plain50": "backbone.trunk",
    "tong/cs-resnet50": "backbone.trunk",
    "yan/efficientnetv2s-cbam": "backbone.attention",
    "yan/efficientnetv2s": "backbone.trunk",
    "yan/mobilenetv2": "backbone.trunk",
    "ng/baseline": "backbone.trunk",
    "ng/baseline-cbam": "backbone.trunk",
    "ng/resnet50": "backbone.layer4",
    "ng/dinov2-base": "backbone.blocks.10",
    "ng/efficientnet-lite0": "backbone.bn2",
    "fu/densenet121-20": "backbone.features",
    "small/five-class-scratch": "backbone.layer4",
}


def _network(recipe: Recipe, size: int = 64):
    torch.manual_seed(0)
    model = recipe.model.model_copy(update={"pretrained": False, "rest": "pretrained"})
    outputs = scheme_outputs(recipe.data.scheme) or 3
    return build(model, outputs, image_size=size)[0].eval()


LARGE = {"cheng/vgg16", "cheng/plain50", "tong/cs-resnet50", "yan/efficientnetv2s-cbam", "ng/resnet50"}
LARGE |= {"ng/dinov2-base", "yan/efficientnetv2s", "fu/densenet121-20"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in DEFAULTS]
)
def test_the_default_layer(name: str) -> None:
    size = 56 if "dinov2" in name else 64
    layer = find_layer(_network(recipes()[name], size))
    assert layer.name == DEFAULTS[name]
    assert layer.tail is not None


def _distinct() -> dict[str, Recipe]:
    """One recipe for every different network; the largest are left to their smaller sisters."""
    found: dict[str, Recipe] = {}
    for recipe in recipes().values():
        heavy = recipe.name in ("ng/convnext-large", "yan/fused-6")
        key = repr(recipe.model.model_copy(update={"pretrained": False, "frozen": 0, "hidden_l2": 0}))
        if not heavy:
            found.setdefault(key, recipe)
    return {recipe.name: recipe for recipe in found.values()}


SMALL = {"cheng/resnet18", "ng/baseline", "yan/mobilenetv2"}


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(recipe, id=name, marks=() if name in SMALL else pytest.mark.slow)
        for name, recipe in _distinct().items()
    ],
)
def test_every_model_gives_a_map_with_its_default_layer(recipe: Recipe) -> None:
    size = {"ng/dinov2-base": 56, "yan/inception-resnet-v2": 80}.get(recipe.name, 64)
    network = _network(recipe, size)
    layer = find_layer(network)
    images = torch.randint(0, 256, (2, 3, size, size)).float()
    maps = grad_cam(network, layer, images, torch.tensor([0, 1]))
    assert maps.ndim == 3
    assert len(maps) == 2
    assert torch.isfinite(maps).all()
    assert (maps >= 0).all()


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ({"name": "resnet18"}, 64),
        pytest.param(
            {"name": "residual50", "attention": "tiled-cbam", "hidden": (8,)}, 64, marks=pytest.mark.slow
        ),
        pytest.param({"name": "vgg16", "pool": "flatten"}, 32, marks=pytest.mark.slow),
        ({"name": "test_efficientnet"}, 64),
        ({"name": "resnet18", "classifier": True}, 64),
        ({"name": "test_vit"}, 160),
        ({"name": "baseline-cnn", "pool": "flatten", "attention": "cbam-residual", "reduction": 4}, 32),
    ],
)
def test_the_tail_is_the_rest_of_the_network(model: dict, size: int) -> None:
    """What Ablation-CAM reruns, given the layer's own output, gives the network's own outputs."""
    torch.manual_seed(1)
    network = build(Model(**model, pretrained=False), 4, image_size=size)[0].eval()
    layer = find_layer(network)
    images = torch.randint(0, 256, (3, 3, size, size)).float()
    with torch.no_grad(), output_of(layer, leaf=False) as kept:
        outputs = network(images)
        assert layer.tail is not None
        torch.testing.assert_close(layer.tail(kept[0]), outputs)


def test_ablation_by_the_tail_is_ablation_of_the_whole_network() -> None:
    from dataclasses import replace

    torch.manual_seed(1)
    network = build(Model(name="test_resnet", pretrained=False), 4, image_size=64)[0].eval()
    layer = find_layer(network)
    images, target = torch.randint(0, 256, (2, 3, 64, 64)).float(), torch.tensor([1, 3])
    quick = ablation_cam(network, layer, images, target)
    slow = ablation_cam(network, replace(layer, tail=None), images, target)
    torch.testing.assert_close(quick, slow, rtol=1e-4, atol=1e-5)


def test_tokens_lie_on_their_grid_and_registers_are_left_out() -> None:
    torch.manual_seed(0)
    network = build(Model(name="test_vit", pretrained=False), 4, image_size=160)[0].eval()
    layer = find_layer(network)
    tokens = torch.arange(1 * 101 * 2).float().view(1, 101, 2)
    grid = layer.as_map(tokens)
    assert grid.shape == (1, 2, 10, 10)
    assert grid[0, 0, 0, 0] == tokens[0, 1, 0]  # the class token comes first
    assert grid[0, 1, 9, 9] == tokens[0, 100, 1]
    masked = layer.masked(tokens, torch.tensor([1]))
    assert torch.equal(masked[0, 0], tokens[0, 0])
    assert (masked[0, 1:, 1] == 0).all()


def test_a_network_that_takes_one_size_and_keeps_its_channels_last() -> None:
    """Swin: maps at its own size, by the tail or not, laid over the image in equal stripes."""
    torch.manual_seed(0)
    network = build(Model(name="swin_tiny_patch4_window7_224", pretrained=False), 4, image_size=64)[0].eval()
    layer = find_layer(network, size=64)
    images, target = torch.randint(0, 256, (1, 3, 64, 64)).float(), torch.tensor([1])
    with torch.no_grad(), output_of(layer, leaf=False) as kept:
        outputs = network(images)
    assert layer.as_map(kept[0]).shape == (1, 768, 2, 2)
    masked = layer.masked(kept[0], torch.tensor([0, 5]))
    assert (layer.as_map(masked)[1, 5] == 0).all()
    assert layer.tail is not None
    torch.testing.assert_close(layer.tail(kept[0]), outputs)
    assert grad_cam(network, layer, images, target).shape == (1, 2, 2)
    assert centres(network, layer, 64) == Centres(15.5, 32.0)
    assert centres(network, find_layer(network, "backbone.patch_embed.proj"), 64) == Centres(1.5, 4.0)


def test_layers_that_are_not_there_or_have_no_places() -> None:
    network = build(Model(name="test_resnet", pretrained=False), 4, image_size=64)[0].eval()
    with pytest.raises(UsageError, match=r"no layer 'backbone.layer5' \(did you mean 'backbone.layer"):
        find_layer(network, "backbone.layer5")
    images, target = torch.zeros(1, 3, 64, 64), torch.tensor([0])
    with pytest.raises(UsageError, match="not a map"):
        grad_cam(network, find_layer(network, "head"), images, target)


@pytest.mark.parametrize("name", ["backbone.layer4.1.bn1", "backbone.layer4.1.bn2"])
def test_what_follows_a_layer_in_place_does_not_change_its_map(name: str) -> None:
    network = _network(recipes()["small/five-class-scratch"])
    layer = find_layer(network, name)
    images_NCHW = torch.randint(0, 256, (1, 3, 64, 64)).float()
    given: list[torch.Tensor] = []
    handle = layer.module.register_forward_hook(lambda module, inputs, output: given.append(output.clone()))
    for leaf in (True, False):
        with output_of(layer, leaf=leaf) as kept:
            network(images_NCHW)
        assert torch.equal(kept[0], given[-1])
    handle.remove()
    target_N = torch.zeros(1, dtype=torch.int64)
    assert grad_cam(network, layer, images_NCHW, target_N).isfinite().all()
