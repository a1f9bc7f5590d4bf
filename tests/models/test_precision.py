"""Which precision is chosen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from morphoscope.models import precision
from morphoscope.models.build import build
from morphoscope.models.precision import autocast_type, best_device, depthwise_share, fast_bf16, training_type
from morphoscope.recipes import Model

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "trained_in"),
    [("tf_efficientnet_lite0", None), ("regnetx_002", torch.bfloat16), ("convnext_atto", torch.bfloat16)],
)
def test_auto_trains_depthwise_networks_in_fp32_on_a_processor_with_bf16(
    name: str, trained_in: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build(Model(name=name, pretrained=False), 3, image_size=64)[0]
    monkeypatch.setattr(precision, "fast_bf16", lambda device: True)
    assert training_type("auto", CPU, network, 64) == trained_in
    assert training_type("bf16", CPU, network, 64) == torch.bfloat16
    assert training_type("fp32", CPU, network, 64) is None
    assert autocast_type("auto", CPU) == torch.bfloat16  # predictions
    monkeypatch.setattr(precision, "fast_bf16", lambda device: False)
    assert training_type("auto", CPU, network, 64) is None


def test_the_share_is_that_of_the_multiply_adds_and_leaves_the_network_as_it_was() -> None:
    norm = nn.BatchNorm2d(4)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 4, 1, groups=2), norm
    )
    assert depthwise_share(network, 10) == pytest.approx(72 / (24 + 72 + 16))
    assert network.training
    assert norm.num_batches_tracked == 0


def test_a_process_of_torchrun_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_device() == CPU or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert best_device() == torch.device("cuda")
    for name, value in (("WORLD_SIZE", "8"), ("RANK", "5"), ("LOCAL_RANK", "3")):
        monkeypatch.setenv(name, value)
    assert best_device() == torch.device("cuda", 1)
    assert not fast_bf16(torch.device("cuda"))  # an emulated bf16 is slow
    assert not fast_bf16(torch.device("mps"))
