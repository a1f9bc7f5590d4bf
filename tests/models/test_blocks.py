from __future__ import annotations

import pytest
import torch

from morphoscope.models.blocks import block_numbers, freeze_all_but_last
from morphoscope.models.build import build
from morphoscope.models.network import Network
from morphoscope.recipes import Model, Optimiser
from morphoscope.training.optimisation import optimiser


def network(name: str, **options: object) -> Network:
    with torch.device("meta"):
        made, _ = build(Model(name=name, pretrained=False, **options), 3, image_size=64, start=False)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    ("name", "first", "last", "count"),
    [
        ("resnet18", "conv1.weight", "layer4.1.conv2.weight", 9),
        ("regnetx_004", "stem.conv.weight", "s4.b12.conv3.conv.weight", 23),
        ("vit_tiny_patch16_224", "pos_embed", "norm.weight", 13),
        ("residual18", "trunk.stem.0.weight", "", 0),
    ],
)
def test_blocks_are_counted_from_the_input(name: str, first: str, last: str, count: int) -> None:
    numbers = block_numbers(network(name).backbone)
    assert set(numbers) == {each for each, _ in network(name).backbone.named_parameters()}
    assert sorted(set(numbers.values())) == list(range(max(numbers.values()) + 1))
    if count:
        assert numbers[first] == 0
        assert (numbers[last], max(numbers.values())) == (count - 1, count - 1)


def test_the_last_blocks_alone_learn() -> None:
    made = network("resnet18", last_blocks=2)
    learning = {name for name, p in made.named_parameters() if p.requires_grad}
    assert {name.split(".")[1] for name in learning if name.startswith("backbone")} == {"layer4"}
    assert {name for name in learning if name.startswith("head")} == {"head.1.weight", "head.1.bias"}
    made.train()
    assert not made.backbone.get_submodule("layer3.1.bn2").training
    assert made.backbone.get_submodule("layer4.0.bn1").training


def test_positions_of_a_transformer_are_frozen_with_its_input() -> None:
    backbone = network("vit_tiny_patch16_224").backbone
    freeze_all_but_last(backbone, 3)
    learning = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert "pos_embed" not in learning
    assert {".".join(name.split(".")[:2]) for name in learning} == {
        "blocks.9",
        "blocks.10",
        "blocks.11",
        "norm.weight",
        "norm.bias",
    }


def test_no_block_learns_when_none_is_asked_for() -> None:
    made = network("resnet18", last_blocks=0)
    assert {name for name, p in made.named_parameters() if p.requires_grad} == {
        "head.1.weight",
        "head.1.bias",
    }


def test_learning_rates_fall_by_a_factor_a_block() -> None:
    made = network("resnet18")
    groups = optimiser(Optimiser(name="sgd", lr=0.1, layer_decay=0.5, head_lr=3.0), made).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    named = dict(made.named_parameters())
    expected = {
        "head.1.weight": 0.3,
        "backbone.layer4.1.conv1.weight": 0.1,
        "backbone.layer4.0.bn1.bias": 0.05,
    }
    expected |= {"backbone.layer3.1.conv1.weight": 0.025, "backbone.conv1.weight": 0.1 * 0.5**8}
    assert {name: rates[id(named[name])] for name in expected} == pytest.approx(expected)
    assert len(rates) == len(named)
    assert groups[0]["lr"] == 0.1  # what the history shows
    same = optimiser(Optimiser(name="sgd", lr=0.1), made).param_groups
    assert {group["lr"] for group in same} == {0.1}
    assert len(same) == 4
