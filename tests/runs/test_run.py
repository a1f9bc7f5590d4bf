"""Runs that are damaged, or made to do harm: one sentence, and nothing opened, fetched or allocated."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.models import build
from morphoscope.models.hub import HubBackbone
from morphoscope.packaged import NETWORKS
from morphoscope.recipes import Recipe
from morphoscope.runs.run import open_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged network."""
    return Path(shutil.copytree(NETWORKS / "default", tmp_path / "run"))


def change(path: Path, changes: Callable[[dict[str, Any]], None]) -> None:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    changes(values)
    path.write_text(yaml.safe_dump(values), encoding="utf-8")


def refused(
    message: str, work: Callable[[], object], kind: type[MorphoscopeError] = MorphoscopeError
) -> None:
    with pytest.raises(kind, match=message) as caught:
        work()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_whole_run_opens_and_leaves_random_numbers_alone(folder: Path):
    state = torch.get_rng_state()
    network = open_run(folder).network()
    assert torch.equal(torch.get_rng_state(), state)
    kept = load_file(folder / "weights.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())
    assert not network.training


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[1]",
        b"\xff\xfe\x00",
        b"format_version: null",
        b"format_version: .inf",
        b"format_version: .nan",
        b"format_version: [1]",
        b"created: 2024-13-45\nformat_version: 1",
        b"format_version: " + b"9" * 5000,
        b"a: " + b"[" * 20_000,
        b"a: &a [x]\nb: [" + b"*a, " * 30 + b"*a]\nformat_version: 1",
        b"a: &a [1, *a]\nformat_version: 1",
        b"format_version: !!python/object/apply:os.system [ls]",
    ],
)
def test_a_damaged_header_is_refused(folder: Path, header: bytes):
    (folder / "run.yaml").write_bytes(header)
    refused(r"run\.yaml is damaged: it is not the header of a run", lambda: open_run(folder))


def test_documents_are_bounded(folder: Path):
    with open(folder / "run.yaml", "ab") as file:
        file.truncate(1 << 20)
    refused(r"run\.yaml is larger than 512 KiB", lambda: open_run(folder))
    with open(folder / "recipe.yaml", "ab") as file:
        file.truncate(2 << 20)
    refused(r"recipe\.yaml.*is larger than 512 KiB", lambda: Recipe.from_yaml(folder / "recipe.yaml"))


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff", b"[" * 100_000, b"3"])
def test_damaged_json_is_refused(folder: Path, content: bytes):
    (folder / "metrics.json").write_bytes(content)
    refused(r"metrics\.json is damaged", open_run(folder).metrics)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a table", bytes(5000)])
def test_damaged_predictions_are_refused(folder: Path, content: bytes):
    (folder / "predictions.parquet").write_bytes(content)
    refused(r"predictions\.parquet is damaged \(.*morphoscope evaluate", open_run(folder).predictions)


@pytest.mark.parametrize(
    "content", [b"epoch,seconds\n1,2\n", b"\xff\xfe", b"x\n" * 3, b'epoch\n"' + b"1" * 200_000]
)
def test_a_damaged_history_is_refused(folder: Path, content: bytes):
    (folder / "history.csv").write_bytes(content)
    refused(r"history\.csv is damaged; a table with the columns epoch, seconds", open_run(folder).history)


def test_a_history_that_is_not_there_yet_is_empty(folder: Path):
    (folder / "history.csv").unlink(missing_ok=True)
    assert np.array_equal(open_run(folder).history()["epoch"], [])


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"architecture": "hf-hub:owner/name"}, "is not the name of a timm model"),
        ({"architecture": "../../etc/passwd"}, "is not the name of a timm model"),
        ({"architecture": "galaxynet"}, "this timm has no model 'galaxynet'"),
        ({"architecture": "resnet18", "model_args": {"checkpoint_path": "/etc/passwd"}}, "'checkpoint_path'"),
        ({"architecture": "resnet18", "model_args": {"pretrained": True}}, "'pretrained'"),
        ({"architecture": "resnet18", "model_args": {"pretrained_cfg": {"url": "x"}}}, "'pretrained_cfg'"),
        ({"architecture": "resnet18", "model_args": {"act_layer": "http://host/x"}}, "'act_layer' must be a"),
        ({"architecture": "resnet18", "model_args": {"stem_width": 10**9}}, "'stem_width' must be a"),
        ({"architecture": "resnet18", "model_args": {"layers": list(range(99))}}, "'layers' must be a"),
        ({"architecture": "resnet18", "pretrained_cfg": {"mean": ["a"]}}, "'mean' must be one number"),
        ({"architecture": "resnet18", "pretrained_cfg": {"std": [0.0]}}, "'std' must be positive"),
    ],
)
def test_a_backbone_of_a_run_names_no_file_and_no_address(
    folder: Path, monkeypatch: pytest.MonkeyPatch, backbone: dict[str, Any], message: str
):
    def connect(*_: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", connect)
    change(folder / "run.yaml", lambda values: values.update(backbone=backbone))
    change(folder / "recipe.yaml", lambda values: values["model"].update(name="hf-hub:owner/name"))
    refused(message, lambda: open_run(folder).network())


def test_a_run_does_not_ask_a_hub_for_its_backbone(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("asked the network"))
    change(folder / "recipe.yaml", lambda values: values["model"].update(name="hf-hub:owner/name"))
    refused(
        r"run\.yaml has no 'backbone', without which hf-hub:owner/name", lambda: open_run(folder).network()
    )


def test_what_is_kept_of_a_hubs_words_holds_no_address():
    config = {
        "mean": [0.1, 0.2, 0.3],
        "std": (1, 2, 3),
        "url": "https://host/x",
        "file": "/x",
        "hf_hub_id": "a/b",
    }
    kept = HubBackbone(architecture="resnet18.a1_in1k", pretrained_cfg=config).pretrained_cfg
    assert kept.keys() == {"mean", "std"}


def test_a_network_larger_than_its_file_is_not_built(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "SLACK", 0)
    change(folder / "recipe.yaml", lambda values: values["model"].update(hidden=[65536, 65536, 65536]))
    filled: list[torch.Tensor] = []
    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", lambda tensor, **_: filled.append(tensor))
    refused(
        r"weights\.safetensors does not fit the recipe's network \(that has more than [\d,]+ parameters, the",
        lambda: open_run(folder).network(),
    )
    assert sum(tensor.numel() for tensor in filled) < 1e8  # of 8.6 billion
    change(folder / "recipe.yaml", lambda values: values["model"].update(hidden=[8]))
    refused(r"network \(head\.\d\.\w+ is ", lambda: open_run(folder).network())


def test_a_copy_that_tells_shapes_alone_does_not_count_as_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "SLACK", 0)  # VGG16 is built with a large classifier, twice
    with build._at_most(10), torch.device("meta"):
        torch.nn.Linear(100, 100)
    with pytest.raises(RuntimeError, match="more than"), build._at_most(10):
        torch.nn.Linear(100, 100)


def test_a_recipe_bounds_the_layers_of_its_head():
    for hidden in ((65537,), (1,) * 17, (0,)):
        with pytest.raises(UsageError, match=r"model\.hidden"):
            Recipe().changed(model={"hidden": hidden})


@pytest.mark.parametrize(
    "field",
    [
        *("augment.size", "augment.crop", "evaluation.batch", "training.batch", "training.workers"),
        *("data.folds", "data.split_seed", "training.epochs", "seed"),
    ],
)
def test_a_recipe_bounds_its_numbers(field: str):
    with pytest.raises(UsageError, match=field):
        Recipe().changed({field: 10**30})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image_shape": [10**12, 10**12, 3]}, r"store\.image_shape\.0: Input should be less"),
        ({"image_shape": [0, 0, 0]}, r"store\.image_shape\.0: Input should be greater"),
        ({"image_shape": [50_000, 50_000, 3]}, "the run: declares 50000 × 50000 pixels"),
        ({"crop": 50_000}, "the run: declares 50000 × 50000 pixels"),
        ({"crop": -1}, r"store\.crop: Input"),
        ({"size": 10**20}, r"store\.size: Input"),
    ],
)
def test_sizes_that_no_image_has_are_refused(folder: Path, values: dict[str, object], words: str):
    change(folder / "run.yaml", lambda header: header["store"].update(values))
    refused(words, lambda: open_run(folder))


@pytest.mark.parametrize("content", [b"", b"damaged", b"\xff" * 100])
def test_damaged_weights_are_refused(folder: Path, content: bytes):
    change(folder / "run.yaml", lambda values: values.update(weights_sha256=""))
    (folder / "weights.safetensors").write_bytes(content)
    refused(r"weights\.safetensors does not fit the recipe's network", lambda: open_run(folder).network())


def test_weights_of_another_network_are_refused(folder: Path):
    change(folder / "run.yaml", lambda values: values.update(weights_sha256=""))
    save_file({"a": torch.zeros(1)}, folder / "weights.safetensors")
    refused(r"does not fit the recipe's network \(.* is missing\)", lambda: open_run(folder).network())
