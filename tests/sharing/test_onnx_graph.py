from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from morphoscope import api, extras
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.engine import export
from morphoscope.inference.engine.export import compared, write_graph
from morphoscope.inference.engine.onnx_engine import OnnxEngine
from morphoscope.inference.engine.preparation import read_preparation
from morphoscope.inference.engine.trial import TOLERANCE, trial_images
from morphoscope.labels.scheme import Classes, VoteFractions
from morphoscope.models.build import build
from morphoscope.models.network import Network
from morphoscope.runs.run import Run
from morphoscope.studies.registry import find_recipe

pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
import onnx
import onnxruntime

FIVE = Classes(name="five", classes=tuple("abcde"))
VOTES = VoteFractions(name="five-votes", answers=tuple("abcde"))
TINY = "ng/efficientnet-lite0-scratch"  # with a trunk of a few layers


def lively(network: Network, side: int, *, afresh: bool, spread: float = 3.0) -> Network:
    """With logits that differ by a few between images, as a trained network's do."""
    if afresh:
        draw = torch.Generator().manual_seed(1)
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                torch.nn.init.kaiming_normal_(module.weight, generator=draw)
    network.eval()
    images = torch.cat([torch.from_numpy(batch).permute(0, 3, 1, 2) for batch in trial_images(side, 3)])
    *_, last = network.head.modules()
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        logits = network(images)
        last.weight *= spread / logits.std(dim=0).mean()
        last.bias -= network(images).mean(dim=0)
        assert network(images).std(dim=0).min() > 0.03 * spread
    return network


@pytest.mark.parametrize(
    ("recipe", "side", "scheme"),
    [
        pytest.param("cheng/vgg16", 32, FIVE, marks=pytest.mark.slow),
        pytest.param("tong/resnet50", 32, FIVE, marks=pytest.mark.slow),
        pytest.param("fu/densenet121-0", 32, FIVE, marks=pytest.mark.slow),
        pytest.param("yan/efficientnetv2s-cbam", 32, FIVE, marks=pytest.mark.slow),
        pytest.param("ng/baseline", 48, VOTES, marks=pytest.mark.slow),
        (TINY, 32, VOTES),
        pytest.param("ng/dinov2-base", 28, VOTES, marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_network_answers_alike(
    recipe: str, side: int, scheme: Classes | VoteFractions, tmp_path: Path
):
    small = {"name": "test_efficientnet", "attention": "none"} if recipe == TINY else {}
    chosen = find_recipe(recipe).changed(
        model={"pretrained": False} | small, augment={"size": side, "crop": None}
    )
    torch.manual_seed(0)
    network, _ = build(chosen.model, scheme.outputs, image_size=side)
    # timm's own start of an EfficientNet keeps the signal of its many layers in bounds.
    spread = 0.3 if scheme is VOTES else 3.0  # fractions lie between 0 and 1
    lively(network, side, afresh="efficientnet" not in recipe, spread=spread)
    place = tmp_path / "network.onnx"
    write_graph(network, scheme, place, side=side)
    parity = compared(network, scheme, place, side=side)
    assert parity["images"] == 7
    assert 0 < parity["largest_difference"] <= TOLERANCE


def test_the_file_answers_as_the_run_does_for_any_number_of_galaxies(run: Run, exported: Path, images):
    predictor = api.load(run.path, views=1, calibrated=False).predictor
    stored = [image[:40, :40] for image in images]
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    for count in (1, 2, 12):
        prepared = predictor.prepared(stored[:count]).transpose(0, 3, 1, 2).astype(np.float32)
        probabilities, logits, features = map(np.asarray, session.run(None, {"images": prepared}))
        np.testing.assert_allclose(probabilities, predictor.probabilities(stored[:count]), atol=1e-5)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probabilities, shares, atol=1e-6)
        expected = predictor.torch_engine().network.embed(torch.from_numpy(prepared)).detach().numpy()
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)


def test_the_json_says_how_to_prepare_images(run: Run, exported: Path):
    said = json.loads(exported.with_suffix(".json").read_text())
    assert said["input"] == {
        "name": "images",
        "type": "float32",
        "shape": ["galaxies", 3, 32, 32],
        "layout": "NCHW",
        "range": [0, 255],
    }
    steps = said["images"]
    assert (steps["stored_crop"], steps["stored_side"], steps["crop"], steps["size"]) == (48, 40, 36, 32)
    assert (steps["border"], steps["stretch"]) == ("constant", "as-served")
    assert [view["flip_horizontal"] for view in steps["views"]] == [False, True]
    assert said["names"] == ["red", "green", "blue"]
    assert said["weights_sha256"] == run.header.weights_sha256
    assert set(said["calibration"]["views"]) == {"1", "2"}
    assert said["outputs"]["features"]["shape"][0] == "galaxies"
    assert 0 <= said["parity"]["largest_difference"] <= TOLERANCE
    assert set(said["versions"]) == {"morphoscope", "torch", "timm", "onnx", "onnxscript", "onnxruntime"}


def test_neither_file_names_a_folder_of_this_machine(run: Run, exported: Path):
    for place in (exported, exported.with_suffix(".json")):
        content = place.read_bytes()
        for folder in (run.path.parent, Path(run.header.store.path).parent, Path(export.__file__).parent):
            assert str(folder).encode() not in content
    onnx.checker.check_model(onnx.load(exported))


def test_a_file_that_answers_otherwise_is_not_left_behind(
    run: Run, exported: Path, tmp_path: Path, monkeypatch
):
    def slightly_wrong(network: Network, scheme: object, path: Path, **_: object) -> None:
        shutil.copy(exported, path)
        *_, last = network.head.modules()
        assert isinstance(last, torch.nn.Linear)
        with torch.no_grad():
            last.bias[0] += 1e-3

    monkeypatch.setattr(export, "write_graph", slightly_wrong)
    with pytest.raises(MorphoscopeError, match=r"differs from the run's by .*e-04.*nothing was written"):
        export.export_onnx(run, tmp_path / "out" / "wrong.onnx")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_onnx_cannot_express_is_said(tmp_path: Path):
    class Uneven(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images if float(images.sum()) > 0 else -images

    network = Network(Uneven(), torch.nn.Flatten(), (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(MorphoscopeError, match="cannot be exported to ONNX: "):
        write_graph(network, FIVE, tmp_path / "x.onnx", side=8)


def test_requests_that_cannot_be_met_are_refused_first(run: Run, exported: Path, tmp_path: Path, monkeypatch):
    with pytest.raises(UsageError, match=r"ends in \.onnx was expected"):
        export.export_onnx(run, tmp_path / "x.pt")
    with pytest.raises(UsageError, match="exists already"):
        export.export_onnx(run, exported)
    with pytest.raises(UsageError, match="is an exported file"):
        api.load(exported).export(tmp_path / "again.onnx")
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MorphoscopeError, match=r"pip install 'morphoscope\[train\]'"):
        export.export_onnx(run, tmp_path / "x.onnx")


def test_a_damaged_description_is_refused(exported: Path, tmp_path: Path):
    place = tmp_path / "m.onnx"
    place.write_bytes(exported.read_bytes())
    with pytest.raises(UsageError, match=r"m\.json is missing"):
        read_preparation(place)
    said = json.loads(exported.with_suffix(".json").read_text())
    for change, message in (
        ({"format_version": 99}, "newer morphoscope"),
        ({"names": 3}, "is damaged: names"),
        ({"onnx_sha256": "0" * 64}, "is not the file that m.json describes"),
    ):
        place.with_suffix(".json").write_text(json.dumps(said | change))
        with pytest.raises(MorphoscopeError, match=message):
            read_preparation(place)
    place.with_suffix(".json").write_text("[]")
    with pytest.raises(MorphoscopeError, match="is not the description of an ONNX file"):
        read_preparation(place)
    with open(place.with_suffix(".json"), "ab") as file:
        file.truncate(40 << 20)
    with pytest.raises(MorphoscopeError, match=r"m\.json is larger than 32 MiB"):
        read_preparation(place)


@pytest.mark.parametrize("kind", ["ConstantOfShape", "Expand"])
def test_a_graph_that_asks_for_more_memory_than_allowed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
):
    """A few bytes that ask for 40 MB, once when it is loaded, once when it is run."""
    helper, numbers = onnx.helper, onnx.numpy_helper
    single = numbers.from_array(np.ones((1, 3), np.float32), "one")
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["features"], axes=[2, 3], keepdims=0),
        helper.make_node(kind, ["shape"] if kind == "ConstantOfShape" else ["features", "shape"], ["large"]),
        helper.make_node("ReduceMean", ["large"], ["mean"], keepdims=0),
        helper.make_node("Add", ["features", "mean"], ["probabilities"]),
    ]
    shape = numbers.from_array(np.array([3_333_333, 3]), "shape")
    ends = [helper.make_tensor_value_info("images", 1, ["n", 3, 8, 8])]
    outputs = [helper.make_tensor_value_info(name, 1, ["n", 3]) for name in ("probabilities", "features")]
    graph = helper.make_graph(nodes, "g", ends, outputs, [single, shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    black = np.zeros((1, 8, 8, 3), np.uint8)
    assert OnnxEngine(tmp_path / "n.onnx")(black)[0].shape == (1, 1, 3)
    monkeypatch.setenv("MORPHOSCOPE_MOST_PIXELS", "10000")
    with pytest.raises(MorphoscopeError, match=r"n\.onnx needs more than 1 MiB .*MORPHOSCOPE_MOST_PIXELS"):
        OnnxEngine(tmp_path / "n.onnx")(black)


@pytest.mark.parametrize("location", ["../outside.bin", "{folder}/outside.bin", "inside.bin"])
def test_a_graph_with_data_outside_itself_is_refused(tmp_path: Path, location: str):
    inside = tmp_path / "in"
    inside.mkdir()
    for path in (tmp_path / "outside.bin", inside / "inside.bin"):
        path.write_bytes(np.ones(4, np.float32).tobytes())
    weights = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location="EXTERNAL")
    for key, value in (("location", location.format(folder=tmp_path)), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    ends = [onnx.helper.make_tensor_value_info(name, 1, [4]) for name in ("images", "features")]
    node = onnx.helper.make_node("Add", ["images", "w"], ["features"])
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    (inside / "n.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(MorphoscopeError, match=r"n\.onnx cannot be read as an ONNX file"):
        OnnxEngine(inside / "n.onnx")
