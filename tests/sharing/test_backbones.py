"""Encoders trained on galaxies, in the form in which timm puts them on a hub."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from timm.models import save_for_hf

from morphoscope import api
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.models.build import build
from morphoscope.recipes import Model, Recipe


def encoder(folder: Path) -> torch.nn.Module:
    """An encoder without a classifier, as Zoobot's are, with a normalisation of its own."""
    torch.manual_seed(5)
    made = timm.create_model("test_convnext", num_classes=0).eval()
    made.pretrained_cfg |= {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "num_classes": 0}
    save_for_hf(made, folder, model_args={"drop_rate": 0.1}, safe_serialization=True)
    return made


@pytest.mark.parametrize("form", ["hub", "folder"])
def test_an_encoder_becomes_the_backbone_by_name(form: str, tmp_path: Path, hub):
    root, _ = hub
    folder = root / "owner" / "encoder-galaxies"
    made = encoder(folder)
    name = "hf-hub:owner/encoder-galaxies" if form == "hub" else f"local-dir:{folder}"
    network, origin = build(Model(name=name), 3, image_size=64)
    assert "encoder-galaxies" in origin
    assert str(folder) not in origin
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    normalised = (images / 255 - torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)) / torch.tensor(
        [0.4, 0.5, 0.6]
    ).view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(network.eval().embed(images), made(normalised), rtol=1e-4, atol=1e-5)
    with_attention, _ = build(Model(name=name, attention="cbam", pool="average"), 3, image_size=64)
    torch.testing.assert_close(
        with_attention.backbone.trunk.state_dict()["stem.0.weight"], made.state_dict()["stem.0.weight"]
    )


@pytest.mark.parametrize(
    ("form", "normalise", "as_configured"),
    [("hub", "model", False), ("folder", "model", False), ("folder", "config", True)],
)
def test_zoobots_encoders_take_grey_levels_from_0_to_1(
    form: str, normalise: str, as_configured: bool, tmp_path: Path, hub
):
    folder = hub[0] / "mwalmsley" / "zoobot-encoder-convnext_nano"
    made = encoder(folder)
    config = json.loads((folder / "config.json").read_text())
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # timm's, which Zoobot's files carry along
    config["pretrained_cfg"] |= {"mean": mean, "std": std}
    (folder / "config.json").write_text(json.dumps(config))
    name = "hf-hub:mwalmsley/zoobot-encoder-convnext_nano" if form == "hub" else f"local-dir:{folder}/"
    network, _ = build(Model(name=name, normalise=normalise), 3, image_size=64)  # type: ignore[arg-type]
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    expected = images / 255
    if as_configured:
        expected = (expected - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(network.eval().embed(images), made(expected), rtol=1e-4, atol=1e-5)


def test_a_run_with_such_a_backbone_needs_no_hub_to_load(
    hub, recipe: Recipe, colours: Store, images: np.ndarray, tmp_path: Path, unreachable
):
    encoder(hub[0] / "owner" / "galaxies")
    chosen = recipe.changed({"model.name": "hf-hub:owner/galaxies", "model.pretrained": True})
    trained = api.train(chosen, colours, tmp_path / "run", report=False, progress=False)
    expected = trained.predict(images)
    unreachable()
    hub[1].clear()
    np.testing.assert_array_equal(api.load(tmp_path / "run").predict(images), expected)
    api.load(tmp_path / "run").publish(tmp_path / "shared")
    np.testing.assert_array_equal(api.load(tmp_path / "shared").predict(images), expected)
    assert hub[1] == []


def test_what_is_no_encoder_is_refused_in_one_sentence(hub, tmp_path: Path, unreachable):
    root, _ = hub
    folder = root / "owner" / "broken"
    encoder(folder)
    config = json.loads((folder / "config.json").read_text())

    def refused(name: str, message: str, kind: type[MorphoscopeError] = MorphoscopeError) -> None:
        with pytest.raises(kind, match=message):
            build(Model(name=name), 3, image_size=64)

    refused("local-dir:/nowhere", r"/nowhere has no config\.json", UsageError)
    refused("s3:owner/broken", "hf-hub:owner/name or local-dir:FOLDER was expected", UsageError)
    refused("hf-hub:owner/none", "the hub has no such model, or it is private")
    (folder / "config.json").write_text(json.dumps(config | {"architecture": "galaxynet"}))
    refused(f"local-dir:{folder}", "this timm has no model 'galaxynet'")
    (folder / "config.json").write_text("{}")
    refused(f"local-dir:{folder}", "is not that of a timm model")
    (folder / "config.json").write_text(json.dumps(config | {"architecture": "test_convnext2"}))
    refused(f"local-dir:{folder}", "does not fit")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    refused(f"local-dir:{folder}", "no weights: ")
    unreachable()
    refused("hf-hub:owner/other", "the hub cannot be reached and the model is not in the cache")
