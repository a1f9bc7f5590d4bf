from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from morphoscope import api, files
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.engine.graph import GRAPH
from morphoscope.runs.run import (
    HISTORY_COLUMNS,
    Run,
    last_part,
    open_run,
    portable_recipe,
    portable_values,
    write_header,
)
from morphoscope.sharing.card import CardDetails, model_card
from morphoscope.sharing.publish import publish


@pytest.fixture(scope="module")
def published(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("published") / "colour-model"
    return Path(api.load(run.path).publish(to, licence="cc-by-4.0", authors="A. Student"))


def test_a_published_folder_answers_to_the_last_bit(run: Run, published: Path, images: np.ndarray):
    loaded = api.load(published)
    np.testing.assert_array_equal(loaded.predict(images), api.load(run.path).predict(images))
    assert loaded.predict_sets(images, 0.9) == api.load(run.path).predict_sets(images, 0.9)
    assert loaded.metrics() == run.metrics()
    assert loaded.run.header.weights_sha256 == run.header.weights_sha256


def test_it_holds_no_images_and_no_folders_of_this_machine(run: Run, published: Path):
    assert sorted(place.name for place in published.iterdir() if place.name != GRAPH.parts[0]) == [
        "README.md",
        "calibration.json",
        "history.csv",
        "metrics.json",
        "recipe.yaml",
        "reference.safetensors",
        "run.yaml",
        "weights.safetensors",
    ]
    for place in published.iterdir():
        content = place.read_bytes()
        assert str(run.path.parents[1]).encode() not in content, place.name
        assert str(Path.home()).encode() + b"/" not in content, place.name
    with pytest.raises(UsageError, match="give the store with --store"):
        api.load(published).evaluate()


def test_links_in_a_strangers_run_publish_no_private_file(run: Run, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("the\npassphrase\n")
    theirs = shutil.copytree(run.path, tmp_path / "theirs")
    (theirs / "history.csv").unlink()
    (theirs / "history.csv").symlink_to(secret)
    with pytest.raises(MorphoscopeError, match=r"history\.csv is damaged"):
        api.load(theirs).publish(tmp_path / "out")
    secret.write_text(",".join(["passphrase", *HISTORY_COLUMNS]))
    api.load(theirs).publish(tmp_path / "out")
    assert not any(b"passphrase" in path.read_bytes() for path in (tmp_path / "out").iterdir())
    header = yaml.safe_load((theirs / "run.yaml").read_text())
    (theirs / "run.yaml").write_text(yaml.safe_dump({**header, "weights_sha256": ""}))
    (theirs / "weights.safetensors").unlink()
    (theirs / "weights.safetensors").symlink_to(secret)
    with pytest.raises(MorphoscopeError, match=r"weights\.safetensors is not a file of weights"):
        publish(open_run(theirs), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_reference_comes_along(run: Run, published: Path, images: np.ndarray):
    own, shared = api.load(run.path).predictor.predict(images), api.load(published).predictor.predict(images)
    assert own.ood_score_N is not None
    np.testing.assert_array_equal(shared.ood_score_N, own.ood_score_N)
    np.testing.assert_array_equal(shared.p_value_N, own.p_value_N)


def test_half_precision_is_half_as_large_and_answers_nearly_alike(
    run: Run, published: Path, images: np.ndarray, tmp_path: Path
):
    halved = Path(api.load(run.path).publish(tmp_path / "halved", half=True))
    weights, whole = load_file(halved / "weights.safetensors"), load_file(run.path / "weights.safetensors")
    for name, tensor in whole.items():
        half = tensor.ndim >= 2 and tensor.is_floating_point()
        assert weights[name].dtype == (torch.float16 if half else tensor.dtype), name
    sizes = [(folder / "weights.safetensors").stat().st_size for folder in (halved, published)]
    assert sizes[0] < 0.55 * sizes[1]
    loaded, own = api.load(halved), api.load(run.path)
    assert {weight.dtype for weight in loaded.run.network().parameters()} == {torch.float32}
    assert loaded.run.header.weights_sha256 == files.sha256_of(halved / "weights.safetensors")
    assert loaded.predictor.calibration == own.predictor.calibration is not None
    difference = np.abs(loaded.predict(images) - own.predict(images)).max()
    assert 0 < difference < 5e-3
    strange, expected = (np.asarray(each.predictor.predict(images).ood_score_N) for each in (loaded, own))
    np.testing.assert_allclose(strange, expected, rtol=0.01)
    assert "half precision" in (halved / "README.md").read_text(encoding="utf-8")
    assert "half precision" not in (published / "README.md").read_text(encoding="utf-8")


def test_weights_too_large_for_half_precision_are_refused(run: Run, tmp_path: Path):
    folder = Path(shutil.copytree(run.path, tmp_path / "large"))
    weights = load_file(folder / "weights.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.ndim == 4)
    weights[name][0, 0, 0, 0] = 1e5
    save_file(weights, folder / "weights.safetensors")
    digest = files.sha256_of(folder / "weights.safetensors")
    write_header(folder, run.header.model_copy(update={"weights_sha256": digest}))
    for named in ("calibration.json", "reference.safetensors"):
        (folder / named).unlink()
    with pytest.raises(MorphoscopeError, match=rf"{name} reach 1e\+05.*publish without --half"):
        api.load(folder).publish(tmp_path / "halved", half=True)
    assert not (tmp_path / "halved").exists()


def test_metrics_lose_the_folders_they_name():
    said = {"test": {"n": 3, "notes": ["all", "/data/me/galaxies"]}, "store": "~/me/store"}
    assert portable_values(said) == {"test": {"n": 3, "notes": ["all", "galaxies"]}, "store": "store"}


def test_it_is_measured_on_another_store(run: Run, published: Path, colours: Any):
    measured = api.load(published).evaluate(colours)["test"]
    assert measured == api.load(run.path).evaluate(colours)["test"]


def test_the_card_has_the_runs_own_numbers(run: Run, published: Path):
    text = (published / "README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    said = yaml.safe_load(head)
    test = run.metrics()["test"]
    assert said["license"] == "cc-by-4.0"
    assert said["library_name"] == "morphoscope"
    (result,) = said["model-index"][0]["results"]
    assert result["metrics"][0] == {
        "type": "accuracy",
        "name": "accuracy",
        "value": test["accuracy"]["value"],
    }
    accuracy = test["accuracy"]
    shown = "–".join(f"{100 * accuracy[end]:.1f}" for end in ("low", "high"))
    assert f"accuracy {100 * accuracy['value']:.1f} % ({shown}), n = {test['n']}" in body.replace(" %)", ")")
    for row in test["per_class"]:
        assert f"| {row['name']} |" in body
        assert f"| {row['support']} |" in body
    calibration = json.loads((run.path / "metrics.json").read_text())["calibration"]
    assert calibration["words"] in body
    assert f"{calibration['after']['ece']['value']:.3f}" in body
    assert 'ms.load("colour-model")' in body
    assert "morphoscope predict colour-model" in body
    assert "multi-attention" in body  # the study that the recipe is named after
    assert "By A. Student." in body
    assert run.header.weights_sha256 in body
    assert "Measured on fewer than 20 galaxies, so uncertain" in body


def test_votes_and_runs_without_numbers_have_cards(run: Run, tmp_path: Path):
    bare = Path(shutil.copytree(run.path, tmp_path / "bare"))
    for name in ("metrics.json", "calibration.json"):
        (bare / name).unlink()
    card = (Path(api.load(bare).publish(tmp_path / "to")) / "README.md").read_text(encoding="utf-8")
    assert "Not measured" in card
    assert "None: the network's probabilities are uncorrected" in card
    assert "license" not in card


def test_edited_weights_are_refused(run: Run, published: Path, tmp_path: Path, images: np.ndarray):
    for original in (run.path, published):
        edited = Path(shutil.copytree(original, tmp_path / original.name))
        weights = edited / "weights.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1  # a bit of the last tensor; the file itself stays sound
        weights.write_bytes(bytes(content))
        with pytest.raises(
            MorphoscopeError, match=r"weights\.safetensors is not the file .*checksum differs"
        ):
            api.load(edited).predict(images)
        with pytest.raises(MorphoscopeError, match="checksum differs"):
            api.load(edited).publish(tmp_path / "to")
        assert not (tmp_path / "to").exists()


def test_nothing_else_is_overwritten(run: Run, published: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="is the run itself"):
        api.load(run.path).publish(run.path, overwrite=True)
    with pytest.raises(UsageError, match="exists already"):
        api.load(run.path).publish(published)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(UsageError, match=r"has no run\.yaml"):
        api.load(run.path).publish(tmp_path / "photos", overwrite=True)


def test_a_recipe_loses_the_folders_it_started_from(run: Run):
    recipe = run.recipe.changed(
        model={"weights": "/home/me/zoo/resnet.pth", "name": "local-dir:/home/me/enc"}
    )
    shared = portable_recipe(recipe).model
    assert (shared.weights, shared.name) == ("resnet.pth", "local-dir:enc")
    assert portable_recipe(run.recipe) == run.recipe
    assert last_part(r"C:\data\table.csv") == "table.csv"


def test_a_run_on_a_hub_is_loaded_by_name(published: Path, images: np.ndarray, hub, unreachable):
    root, asked = hub
    shutil.copytree(published, root / "owner" / "colours")
    (root / "owner" / "colours" / "huge.bin").write_bytes(b"something else")
    expected = api.load(published).predict(images)
    np.testing.assert_array_equal(api.load("hf-hub:owner/colours").predict(images), expected)
    assert not [path for path in asked if path.endswith("huge.bin")]
    unreachable()
    np.testing.assert_array_equal(api.load("hf-hub:owner/colours").predict(images), expected)


def test_what_the_hub_has_not_is_said(hub, unreachable):
    with pytest.raises(
        MorphoscopeError, match="hf-hub:owner/none: the hub has no such model, or it is private"
    ):
        api.load("hf-hub:owner/none")
    with pytest.raises(MorphoscopeError, match="the form owner/name"):
        api.load("hf-hub:a/b/c")
    unreachable()
    with pytest.raises(MorphoscopeError, match="the hub cannot be reached and the model is not in the cache"):
        api.load("hf-hub:owner/none")


def test_uploading_needs_a_token_and_sends_the_folder(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UsageError, match="needs your token; run 'hf auth login'"):
        api.load(run.path).publish("hf-hub:owner/colours")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    sent: dict[str, Any] = {}

    def create_repo(self: object, name: str, *, private: bool, exist_ok: bool) -> huggingface_hub.RepoUrl:
        sent.update(private=private, exist_ok=exist_ok)
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{name}")

    def upload_folder(self: object, *, repo_id: str, folder_path: Path, **_: object) -> None:
        sent.update(
            repo_id=repo_id, loaded=open_run(folder_path), card=(folder_path / "README.md").read_text()
        )

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    where = api.load(run.path).publish("hf-hub:owner/colours", private=True)
    assert where == "https://huggingface.co/owner/colours"
    assert (sent["repo_id"], sent["private"], sent["exist_ok"]) == ("owner/colours", True, True)
    assert sent["loaded"].header.store.path == ""
    assert 'ms.load("hf-hub:owner/colours")' in sent["card"]


def test_uploading_without_a_network_is_one_sentence(run: Run, monkeypatch, unreachable):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    unreachable()
    with pytest.raises(MorphoscopeError, match="hf-hub:owner/colours: the hub cannot be reached"):
        api.load(run.path).publish("hf-hub:owner/colours")


def test_names_in_a_card_make_no_html_links_or_pictures(run: Run):
    hostile = "<img src=x onerror=1> ![a](http://x) \x1b[2J"
    header = run.header.model_copy(update={"start": hostile})
    card = model_card(
        Run(run.path, run.recipe, header), name="x", digest="0", details=CardDetails(authors="A [b](c)")
    )
    body = card.split("---", 2)[2]
    assert "<" not in body
    assert re.search(r"(?<!\\)\[", body) is None
    assert "\x1b" not in card


def test_results_that_no_evaluation_wrote_are_named(run: Run, tmp_path: Path):
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text('{"test": {"n": 3}}')
    with pytest.raises(MorphoscopeError, match=r"environment.json is damaged \(KeyE"):
        model_card(open_run(tmp_path / "run"), name="x", digest="0", details=CardDetails())
