"""Maps against independent implementations and plain arithmetic."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.explanation import attribution
from morphoscope.explanation.attribution import ablation_cam, grad_cam
from morphoscope.explanation.explain import Explainer, choose_galaxies
from morphoscope.explanation.layers import Centres, Layer, centres, find_layer, over_the_image
from morphoscope.labels.scheme import Classes
from morphoscope.models.build import build
from morphoscope.models.network import Network
from morphoscope.recipes import Model, Recipe


def _made(name: str, size: int = 96) -> tuple[Network, torch.Tensor]:
    torch.manual_seed(3)
    network = build(Model(name=name, pretrained=False), 5, image_size=size)[0].eval()
    for module in network.modules():  # running statistics as if it had seen images
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5)
    return network, torch.randint(0, 256, (3, 3, size, size)).float()


def _output_bias(network: Network) -> nn.Parameter:
    (bias,) = (module.bias for module in network.head.modules() if isinstance(module, nn.Linear))
    return bias


@pytest.mark.parametrize(
    "name",
    [
        "test_resnet",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("resnet18", "densenet121", "tf_efficientnetv2_s")
        ),
    ],
)
def test_grad_cam_is_that_of_the_package_grad_cam(name: str) -> None:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, images = _made(name)
    layer = find_layer(network)
    target = torch.tensor([0, 3, 4])
    own = grad_cam(network, layer, images, target)
    package = GradCAM(model=network, target_layers=[layer.module])
    package.get_target_width_height = lambda _: None  # type: ignore[method-assign]  # not stretched
    theirs = package(images, targets=[ClassifierOutputTarget(int(each)) for each in target])
    assert (own.amax((1, 2)) > 0).any()
    np.testing.assert_allclose(_as_scaled_there(own), theirs, atol=1e-4)


def _as_scaled_there(maps: torch.Tensor) -> np.ndarray:
    """Each map from 0 to 1, twice over, as the package does it."""
    scaled = maps.numpy()
    for _ in range(2):
        scaled = scaled - scaled.min(axis=(1, 2), keepdims=True)
        scaled = scaled / (1e-7 + scaled.max(axis=(1, 2), keepdims=True))
    return scaled


def test_ablation_cam_is_that_of_the_package_grad_cam() -> None:
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, images = _made("test_resnet", 96)
    layer = find_layer(network)
    _output_bias(network).data.fill_(10)  # the package's map turns around where the output is negative
    own = ablation_cam(network, layer, images[:1], torch.tensor([2]))
    package = AblationCAM(model=network, target_layers=[layer.module])
    package.batch_size = 64
    package.get_target_width_height = lambda _: None  # type: ignore[method-assign]  # not stretched
    theirs = package(images[:1], targets=[ClassifierOutputTarget(2)])
    assert own.max() > 0
    assert np.corrcoef(own.numpy().ravel(), theirs.ravel())[0, 1] >= 0.999


@pytest.mark.parametrize("method", [ablation_cam, grad_cam])
@pytest.mark.parametrize("name", ["test_resnet", pytest.param("densenet121", marks=pytest.mark.slow)])
def test_a_bias_of_the_output_changes_no_map(name: str, method) -> None:
    """An output below zero is explained as one above it: no channel changes sides."""
    network, images = _made(name, 64)
    layer, target = find_layer(network), torch.tensor([0, 3, 4])
    bias = _output_bias(network)
    maps = []
    for value in (3.0, -3.0):
        with torch.no_grad():
            bias.fill_(value)
            outputs = network(images).gather(1, target[:, None])
        assert (outputs.sign() == np.sign(value)).all()
        found = method(network, layer, images, target)
        maps.append((found / found.amax((1, 2), keepdim=True).clamp_min(1e-12)).numpy())
    assert maps[0].max() == 1
    np.testing.assert_allclose(maps[0], maps[1], atol=2e-3)


def test_saliency_is_plain_autograd() -> None:
    network, images = _made("test_resnet", 32)
    target = torch.tensor([1, 0, 4])
    pixels = images.clone().requires_grad_()
    network(pixels).gather(1, target[:, None]).sum().backward()
    assert pixels.grad is not None
    torch.testing.assert_close(attribution.saliency(network, images, target), pixels.grad.abs().amax(1))


def test_integrated_gradients_add_up_to_the_difference_of_the_outputs() -> None:
    """Completeness (Sundararajan et al. 2017, proposition 1), on a network that is linear in its pixels."""
    weights = torch.arange(27.0).view(1, 27) - 13
    backbone = nn.Flatten()
    backbone.num_features = 27  # type: ignore[assignment]
    head = nn.Linear(27, 1, bias=False)
    head.weight.data = weights
    network = Network(backbone, head, (0.0,) * 3, (1 / 255,) * 3).eval()
    images = torch.randint(0, 256, (2, 3, 3, 3)).float()
    found = attribution.integrated(network, images, torch.tensor([0, 0]))
    expected = (images * weights.view(3, 3, 3)).sum(1).abs()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)


def test_smoothgrad_can_be_made_again() -> None:
    network, images = _made("test_resnet", 32)
    target = torch.tensor([1, 0, 4])
    first = attribution.smoothgrad(network, images, target)
    torch.manual_seed(99)
    assert torch.equal(first, attribution.smoothgrad(network, images, target))
    assert not torch.allclose(first, attribution.saliency(network, images, target))


def test_grad_cam_of_a_network_whose_map_is_known() -> None:
    """One channel counts for the output and one against it: the map is the first one's."""

    class Known(nn.Module):
        num_features = 2

        def forward_features(self, images: torch.Tensor) -> torch.Tensor:
            return self.keep(torch.nn.functional.avg_pool2d(images[:, :2], 4))

        def forward_head(self, features: torch.Tensor) -> torch.Tensor:
            return features.mean((2, 3))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.forward_head(self.forward_features(images))

        def __init__(self) -> None:
            super().__init__()
            self.keep = nn.Identity()
            self.weight = nn.Parameter(torch.ones(1))

    head = nn.Linear(2, 1, bias=False)
    head.weight.data = torch.tensor([[2.0, -1.0]])
    network = Network(Known(), head, (0.0,) * 3, (1 / 255,) * 3).eval()
    layer = find_layer(network)
    images = torch.zeros(1, 3, 8, 8)
    images[0, 0, :4, :4], images[0, 1, 4:, 4:] = 100.0, 50.0
    found = grad_cam(network, layer, images, torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[[100 * 2 / 4, 0.0], [0.0, 0.0]]]))
    ablated = ablation_cam(network, layer, images, torch.tensor([0]))
    whole, without = 2 * 25 - 12.5, -12.5
    torch.testing.assert_close(ablated, torch.tensor([[[100 * (whole - without) / whole, 0.0], [0.0, 0.0]]]))


def test_nothing_stays_in_memory_over_many_calls() -> None:
    import gc

    network, images = _made("test_resnet", 32)
    layer, target = find_layer(network), torch.tensor([0, 1, 2])

    def tensors() -> int:
        gc.collect()
        return sum(type(each) in (torch.Tensor, nn.Parameter) for each in gc.get_objects())

    for _ in range(3):
        grad_cam(network, layer, images, target)
    before = tensors()
    for _ in range(50):
        grad_cam(network, layer, images, target)
        network.zero_grad()
    assert tensors() <= before
    assert not layer.module._forward_hooks


# ------------------------------------------------------------------------------- where a cell looks


def _stack(*layers: nn.Module) -> tuple[Network, Layer]:
    body = nn.Sequential(*layers)
    body.num_features = 1  # type: ignore[assignment]
    network = Network(body, nn.Flatten(), (0.0,) * 3, (1.0,) * 3).eval()
    return network, Layer("backbone", body)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Conv2d(3, 1, 3, 2, 1)], Centres(0.0, 2.0)),
        ([nn.Conv2d(3, 1, 3, 2, "valid")], Centres(1.0, 2.0)),
        ([nn.Conv2d(3, 1, 2, 2)], Centres(0.5, 2.0)),
        ([nn.Conv2d(3, 1, 14, 14)], Centres(6.5, 14.0)),
        ([nn.Conv2d(3, 3, 5, 1, 2), nn.AvgPool2d(2), nn.Conv2d(3, 1, 3, 2, 1)], Centres(0.5, 4.0)),
        ([nn.Conv2d(3, 3, 3), nn.MaxPool2d(2)], Centres(1.5, 2.0)),
    ],
)
def test_centres_of_receptive_fields(layers: list[nn.Module], expected: Centres) -> None:
    network, layer = _stack(*layers)
    assert centres(network, layer, 56) == expected
    # and as the gradient sees it: the mean place of the pixels that an inner cell depends on
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
    pixels = torch.ones(1, 3, 56, 56, requires_grad=True)
    cell = 2 if expected.step > 10 else 5
    network.backbone(pixels)[0, 0, cell, cell].backward()
    assert pixels.grad is not None
    if any(isinstance(each, nn.MaxPool2d) for each in layers):
        return  # equal pixels: the maximum takes the first of them
    place = pixels.grad.abs().sum((0, 1, 2))
    middle = float((place * torch.arange(56)).sum() / place.sum())
    assert middle == pytest.approx(expected.first + cell * expected.step)


def test_zeros_on_the_far_side_shift_the_other_way() -> None:
    """TensorFlow's padding of EfficientNet; the first cell of five such layers looks 31 pixels in."""
    torch.manual_seed(0)
    network = build(Model(name="tf_efficientnet_lite0", pretrained=False), 2, image_size=160)[0].eval()
    assert centres(network, find_layer(network), 160) == Centres(31.0, 32.0)
    network = build(Model(name="resnet18", pretrained=False), 2, image_size=160)[0].eval()
    assert centres(network, find_layer(network), 160) == Centres(0.0, 32.0)


def test_a_map_lies_where_its_cells_look() -> None:
    maps = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]])
    laid = over_the_image(maps, Centres(3.0, 8.0), (24, 24))[0]
    assert laid.argmax().item() == 11 * 24 + 11
    assert laid[11, 7].item() == pytest.approx(0.5)
    stripe = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])  # left is high
    laid = over_the_image(stripe, Centres(0.0, 10.0), (12, 12))[0]
    assert laid[0, 0] == 1
    assert laid[5, 11] == 0


def test_unknown_methods_and_targets(tmp_path) -> None:
    from morphoscope.explanation.explain import check_method, target_index
    from morphoscope.labels.five_class import FIVE_CLASS
    from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES

    with pytest.raises(UsageError, match=r"did you mean 'gradcam'"):
        check_method("gradcm")
    assert target_index(GALAXY_ZOO_2_VOTES, "Class4.1") == 7
    assert target_index(FIVE_CLASS, "Spiral") == target_index(FIVE_CLASS, 4) == 4
    with pytest.raises(UsageError, match=r"no output 'Spirl' \(did you mean 'Spiral'"):
        target_index(FIVE_CLASS, "Spirl")
    with pytest.raises(UsageError, match="no output '5'"):
        target_index(FIVE_CLASS, 5)


def test_maps_are_scaled_each_for_itself() -> None:
    from morphoscope.explanation.explain import Maps

    values = np.zeros((3, 20, 20), np.float32)
    values[0, :10] = 2
    values[1, :10] = 1
    values[1, 0, 0] = 100  # a single pixel that stands out
    images, answers = np.zeros((3, 20, 20, 3), np.uint8), np.ones((3, 1), np.float32)
    pixels = Maps("saliency", "", values, images, ("a",) * 3, answers, ("a",))
    assert pixels.scaled()[0].max() == 1
    assert pixels.scaled()[1, 5, 5] == 1  # the rest is not hidden by it
    assert pixels.dead.tolist() == [False, False, True]
    cam = Maps("gradcam", "layer", values, images, ("a",) * 3, answers, ("a",))
    assert cam.scaled()[1, 5, 5] == pytest.approx(0.01)
    assert not cam.scaled()[2].any()


class _Beside(nn.Module):
    """Runs a layer without using what it gives, and never another."""

    num_features = 1

    def __init__(self) -> None:
        super().__init__()
        self.main, self.beside, self.never = (nn.Conv2d(3, 1, 1) for _ in range(3))
        self.pair = _Pair()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.beside(images)
        return self.main(self.pair(images)[0])


class _Pair(nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images, images


@pytest.mark.parametrize(
    ("method", "layer", "said"),
    [
        (grad_cam, "never", "takes no part in a prediction; choose another"),
        (ablation_cam, "never", "takes no part in a prediction; choose another"),
        (grad_cam, "beside", "the outputs do not depend on layer 'beside'"),
        (grad_cam, "pair", "layer 'pair' gives no single tensor"),
    ],
)
def test_a_layer_without_a_map_is_refused(method, layer: str, said: str) -> None:
    body = _Beside()
    network = Network(body, nn.Flatten(), (0.0,) * 3, (1.0,) * 3).eval()
    images, target = torch.ones(1, 3, 2, 2), torch.tensor([0])
    with pytest.raises(UsageError, match=said):
        method(network, Layer(layer, body.get_submodule(layer)), images, target)


def test_a_backbone_that_does_not_tell_of_its_maps_needs_a_layer() -> None:
    network = Network(_Beside(), nn.Flatten(), (0.0,) * 3, (1.0,) * 3).eval()
    with pytest.raises(UsageError, match="_Beside tells nothing of its feature maps; name a layer"):
        find_layer(network, size=2)


def test_what_cannot_be_explained_is_said() -> None:
    scheme = Classes(name="two", classes=("a", "b"))
    recipe = Recipe().changed({"augment.size": 32})
    predictor: Any = SimpleNamespace(scheme=scheme, run=SimpleNamespace(recipe=recipe))
    explainer = Explainer.__new__(Explainer)
    explainer.predictor = predictor
    images = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(UsageError, match="saliency is made at the pixels; a layer is for gradcam"):
        explainer(images, method="saliency", layer="backbone.layer4")
    with pytest.raises(UsageError, match="no galaxy to explain was given"):
        explainer(images[:0], method="saliency")
    with pytest.raises(UsageError, match="1 targets for 2 galaxies; give one for each, or one for all"):
        explainer(images, method="saliency", target=["a"])


def test_galaxies_to_explain_come_from_a_store_with_the_run_s_labels() -> None:
    scheme = Classes(name="two", classes=("a", "b"))
    run: Any = SimpleNamespace(scheme=scheme)
    other: Any = SimpleNamespace(path="galaxies", need_scheme=lambda: Classes(name="two", classes=("b", "a")))
    with pytest.raises(UsageError, match="galaxies holds other labels than the run answers"):
        choose_galaxies(run, other, "a", 3)
    with pytest.raises(MorphoscopeError, match="the run has no scores by class; choose a class with --class"):
        scheme.output_to_explain({})
