"""Every network of every study: exact counts, and one contract that all of them keep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from morphoscope.models.build import build
from morphoscope.recipes import Model, Recipe
from morphoscope.studies.registry import describe_recipes, recipes, scheme_outputs

TOTALS = {
    "cheng/vgg16": 27_627_210,
    "cheng/resnet18-published": 11_196_042,
    "tong/resnet50": 38_203_269,
    "tong/cs-resnet50": 38_601_809,
    "tong/cs-resnet50-text": 40_735_829,
    "yan/efficientnetv2s-cbam": 25_825_564,
    "yan/efficientnetv2s-cbam-published": 20_550_428,
    **{f"fu/densenet121-{percent}": 7_047_754 for percent in (0, 20, 40, 60, 80, 100)},
}
WEIGHTS = {
    "cheng/resnet18": 11_506_122,
    "cheng/resnet50": 24_624_074,
    "cheng/resnet101": 43_616_202,
    "cheng/resnet152": 59_259_850,
    "ng/baseline": 2_896_709,
    "ng/baseline-3x3": 641_605,  # the sum of its layers, by hand
    "ng/baseline-cbam": 2_941_225,
    "ng/baseline-ema": 2_897_619,
    "ng/resnet50": 25_594_069,
    "ng/resnet50-scratch": 25_594_069,
    "ng/resnet101": 44_586_197,
    "ng/convnext-large": 197_804_373,
    "ng/dinov2-base": 86_610_469,
}
TRAINABLE = {0: 6_964_106, 20: 6_312_714, 40: 5_227_146, 60: 3_809_034, 80: 1_730_698, 100: 10_250}
FUSED_TRUNKS = {0: 19_683_954, 3: 20_331_360, 4: 22_872_240, 5: 32_706_896, 6: 74_831_144}
CBAM_AND_HEAD = 206_258 + 12_810


@pytest.fixture(scope="module")
def described() -> dict[str, dict]:
    return {row["name"]: row for row in describe_recipes()}


def test_published_totals(described: dict[str, dict]) -> None:
    assert {name: described[name]["parameters_total"] for name in TOTALS} == TOTALS


def test_weights_as_torch_counts(described: dict[str, dict]) -> None:
    assert {name: described[name]["parameters"] for name in WEIGHTS} == WEIGHTS


def test_trainable_weights_of_the_frozen_fractions(described: dict[str, dict]) -> None:
    found = {p: described[f"fu/densenet121-{p}"]["parameters_trainable"] for p in TRAINABLE}
    assert found == TRAINABLE


def test_fused_stages_count_as_published(described: dict[str, dict]) -> None:
    found = {k: described[f"yan/fused-{k}"]["parameters_total"] - CBAM_AND_HEAD for k in FUSED_TRUNKS}
    assert found == FUSED_TRUNKS


def test_the_golden_counts(described: dict[str, dict], shared_data: Path) -> None:
    golden = json.loads((shared_data.parent / "papers" / "golden_counts.json").read_text())
    total, weights = "parameters_total", "parameters"
    for key, name, kind in (
        ("vgg16_flatten224_512_128_10", "cheng/vgg16", total),
        ("resnet18_bias_gap_fc10", "cheng/resnet18-published", total),
        ("tong_resnet50_allproj_bias_gap_fc5", "tong/resnet50", total),
        ("tong_cs_resnet50_count_variant", "tong/cs-resnet50", total),
        ("tong_cs_resnet50_text_r16", "tong/cs-resnet50-text", total),
        ("ng_baseline", "ng/baseline", weights),
        ("ng_cbam", "ng/baseline-cbam", weights),
        ("ng_ema", "ng/baseline-ema", weights),
        ("ng_resnet50", "ng/resnet50", weights),
        ("ng_resnet101", "ng/resnet101", weights),
        ("ng_convnext_large", "ng/convnext-large", weights),
        ("densenet121_gap_fc10", "fu/densenet121-0", total),
        ("effv2s_cbam16_gap_fc10", "yan/efficientnetv2s-cbam-published", total),
        ("effv2s_cbam16_gap_4096_fc10", "yan/efficientnetv2s-cbam", total),
    ):
        assert described[name][kind] == golden[key], key


@pytest.mark.parametrize(
    ("depth", "hidden"), [(50, (512, 128)), (101, (512, 128)), (152, (512, 128)), (50, ())]
)
def test_keras_totals_of_deeper_resnets(depth: int, hidden: tuple[int, ...], shared_data: Path) -> None:
    from morphoscope.models.network import parameter_total

    golden = json.loads((shared_data.parent / "papers" / "golden_counts.json").read_text())
    model = Model(name=f"residual{depth}", biases=True, pretrained=False, hidden=hidden)
    with torch.device("meta"):
        network, _ = build(model, 10, image_size=224, start=False)
    tail = "512_128_10" if hidden else "fc10"
    assert parameter_total(network) == golden[f"resnet{depth}_gap_{tail}"]


def _small(recipe: Recipe) -> Recipe:
    """The same network on the smallest image that suits it, from random weights."""
    size = {"ng/dinov2-base": 56, "ng/dinov2-base-30": 56, "yan/inception-resnet-v2": 80}.get(recipe.name, 64)
    return recipe.changed(
        {
            "model.pretrained": False,
            "model.rest": "pretrained",
            "augment.size": size,
            "augment.train_size": (),
        }
    )


def _distinct() -> dict[str, Recipe]:
    """One recipe for every different network: rows that differ in training alone are built once."""
    found: dict[str, Recipe] = {}
    for recipe in map(_small, recipes().values()):
        key = repr((recipe.model, recipe.augment.size, recipe.data.scheme))
        found.setdefault(key, recipe)
    return {recipe.name: recipe for recipe in found.values()}


REPRESENTATIVES = {"cheng/resnet18-published", "yan/mobilenetv2", "ng/baseline-ema"}  # small, one of a kind


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(recipe, id=name, marks=() if name in REPRESENTATIVES else pytest.mark.slow)
        for name, recipe in _distinct().items()
    ],
)
def test_contract(recipe: Recipe) -> None:
    """Finite outputs, gradients in all that trains and nowhere else, bf16, channels_last, save and load."""
    torch.manual_seed(0)
    size = recipe.augment.size
    outputs = scheme_outputs(recipe.data.scheme) or 3
    network, _ = build(recipe.model, outputs, image_size=size)
    network = network.to(memory_format=torch.channels_last).train()
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    images = images.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answers = network(images)
    assert answers.shape == (2, outputs)
    assert torch.isfinite(answers).all()
    # In fp32: oneDNN's bf16 kernels for AVX-512 and AMX let memory that nobody wrote into results of odd
    # sizes (oneDNN issue 5717; seen in the gradient of GAM's 7 × 7 convolution on a map of 2 × 2).
    (network(images).float().square().mean() + network.penalty()).backward()
    for name, weight in network.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, name
        assert weight.grad is None or torch.isfinite(weight.grad).all(), name
    network.eval()
    with torch.no_grad():
        before = network(images)
    state = network.state_dict()
    with torch.device("meta"):
        again, _ = build(recipe.model, outputs, image_size=size, start=False)
    again.load_state_dict(state, strict=True, assign=True)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), before)
