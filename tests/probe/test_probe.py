"""Linear probes of the packaged network, with its own graph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from morphoscope import api
from morphoscope.data.splits.folds import fold_numbers
from morphoscope.data.splits.split import make_split
from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.extras import MissingExtra
from morphoscope.inference.calibration import read_calibration
from morphoscope.inference.engine.graph import kept_graph
from morphoscope.inference.head_fit import (
    Labelled,
    chosen_strength,
    fit_head,
    held_out_predictions,
    predicted,
)
from morphoscope.inference.ood import read_distribution
from morphoscope.inference.predictor import Predictor
from morphoscope.labels.scheme import Classes, Measurements, Quantity, Scheme, VoteCounts, VoteFractions
from morphoscope.probe.encoder import encoder_of, head_width, with_head
from morphoscope.report.run_report import write_report
from morphoscope.runs.run import open_run
from morphoscope.studies.registry import find_recipe

RECIPE = find_recipe("small/linear-probe").changed(evaluation={"views": 2}, training={"precision": "fp32"})
COUNT = 30


def store_of(place: Path, scheme: Scheme, *, first: list[float] | None = None) -> Store:
    """Round blobs and long ones; the fractions say how long. ``first``: labels of the first, if others."""
    draw = np.random.default_rng(3)
    y, x = np.mgrid[:48, :48] - 23.5
    with StoreWriter(place, StoreMeta(scheme=scheme), image_shape=(48, 48, 3)) as writer:
        for number in range(COUNT):
            ratio = 1.0 if number % 2 else 0.25
            light = 200 * np.exp(-np.hypot(x, y / ratio) / 6) + draw.normal(10, 3, (48, 48))
            row = {"id": f"g{number}", "source": f"g{number}.png"}
            labels = first if first and number == 0 else _labels(scheme, number)
            row |= dict(zip(scheme.columns, labels, strict=True))
            writer.append(np.repeat(light.clip(0, 255)[:, :, None], 3, axis=2).astype(np.uint8), row)
    return open_store(place)


def _labels(scheme: Scheme, number: int) -> list[float]:
    if scheme.class_names is not None:
        return [number % 2]
    if isinstance(scheme, Measurements):
        return [1.0, 20.5 + 0.01 * number] if number % 2 else [0.25, 18.0 + 0.01 * number]
    return [0.1, 0.9] if number % 2 else [0.8, 0.2]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(
        tmp_path_factory.mktemp("probe") / "shapes", Classes(name="shapes", classes=("long", "round"))
    )


@pytest.fixture(scope="module")
def probed(shapes: Store, tmp_path_factory: pytest.TempPathFactory) -> api.LoadedRun:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MORPHOSCOPE_ENGINE", "onnx")
        return api.train(RECIPE, shapes, tmp_path_factory.mktemp("probe") / "run", report=False)


def test_a_probe_is_a_run_like_any_other(probed: api.LoadedRun, shapes: Store) -> None:
    run = open_run(probed.run.path)
    assert run.recipe.model.name == "regnetx_004"
    assert run.recipe.model.frozen == 1
    assert run.metrics()["test"]["n"] == COUNT
    assert run.metrics()["test"]["accuracy"]["value"] > 0.9
    assert run.predictions().num_rows == COUNT
    calibration, distribution = read_calibration(run), read_distribution(run)
    assert calibration is not None
    assert set(calibration.views) == {1, 2}
    assert distribution is not None
    assert len(distribution.held_out[2]) == COUNT
    assert run.environment()["penalty"] > 0
    assert run.header.start == (
        "a linear head on the features of the packaged network 'default', which learned from simulated "
        "galaxies"
    )


def test_the_graph_and_the_network_agree(probed: api.LoadedRun, shapes: Store) -> None:
    run, images = open_run(probed.run.path), [shapes.images[row] for row in range(6)]
    assert kept_graph(run) is not None
    answers = [Predictor(run, engine=engine).predict(images) for engine in ("onnx", "torch")]
    assert answers[0].predictions_NK == pytest.approx(answers[1].predictions_NK, abs=1e-4)
    assert answers[0].features_ND == pytest.approx(answers[1].features_ND, abs=1e-3)
    assert run.header.parameters == sum(p.numel() for p in run.network().parameters())


def test_its_features_are_those_of_the_network_it_came_from(probed: api.LoadedRun, shapes: Store) -> None:
    images = [shapes.images[row] for row in range(4)]
    runs = [open_run(path) for path in (probed.run.path, "default")]
    own, start = (Predictor(run, views=1, engine="onnx").predict(images).features_ND for run in runs)
    assert own == pytest.approx(start, abs=1e-4)


def test_a_probe_can_be_exported_published_and_evaluated(
    probed: api.LoadedRun, shapes: Store, tmp_path: Path
) -> None:
    probed.publish(tmp_path / "published", licence="cc-by-4.0")
    again = api.load(tmp_path / "published", engine="onnx")
    images = [shapes.images[row] for row in range(3)]
    expected = api.load(probed.run.path, engine="onnx").predict(images)
    assert again.predict(images) == pytest.approx(expected, abs=1e-5)
    assert again.evaluate(shapes)["test"]["n"] == COUNT
    card = (tmp_path / "published" / "README.md").read_text(encoding="utf-8")
    assert f"On {COUNT} galaxies, cross-validated with 5 folds, 2 views of each" in card


def test_its_report_says_that_it_was_cross_validated(probed: api.LoadedRun, shapes: Store) -> None:
    words = write_report(probed.run, shapes).read_text(encoding="utf-8")
    assert f"accuracy on {COUNT} galaxies, cross-validated with 5 folds" in words
    assert f"Cross-validated (n = {COUNT})" in words
    assert "held out for the test" not in words
    assert "validation galax" not in words
    assert "test galax" not in words
    assert "epoch 1" not in words  # nothing was augmented


def test_fractions_are_learned_too_and_a_split_may_hold_galaxies_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MORPHOSCOPE_ENGINE", "onnx")
    store = store_of(tmp_path / "votes", VoteFractions(name="votes", answers=("long", "round")))
    recipe = RECIPE.changed(data={"folds": None, "test": 0.3, "validation": 0.0}, evaluation={"views": 1})
    run = api.train(recipe, store, tmp_path / "run", report=False)
    assert run.metrics()["test"]["n"] == 9
    assert run.metrics()["test"]["rmse"]["value"] < 0.15
    assert run.predict([store.images[0]])[0] == pytest.approx([0.8, 0.2], abs=0.15)


def test_measurements_are_learned_by_ridge_regression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MORPHOSCOPE_ENGINE", "onnx")
    scheme = Measurements(name="m", quantities=(Quantity(name="ratio"), Quantity(name="mag", unit="mag")))
    store = store_of(tmp_path / "measured", scheme)
    run = api.train(RECIPE.changed(evaluation={"views": 1}), store, tmp_path / "run", report=False)
    test = run.metrics()["test"]
    assert test["n"] == COUNT
    assert min(row["r2"]["value"] for row in test["per_quantity"]) > 0.8
    assert run.run.scheme.centres
    images = [store.images[row] for row in range(4)]
    answers = [
        Predictor(run.run, engine=engine).predict(images).predictions_NK for engine in ("onnx", "torch")
    ]
    assert answers[0] == pytest.approx(answers[1], rel=1e-4)
    assert (answers[0][:, 2:] > 0).all()
    assert answers[0][:, 0] == pytest.approx([0.25, 1, 0.25, 1], abs=0.3)


def test_one_wild_value_is_learned_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORPHOSCOPE_ENGINE", "onnx")
    monkeypatch.setattr("morphoscope.probe.run.TOLERANCE", 1e-6)
    scheme = Measurements(name="m", quantities=(Quantity(name="ratio"), Quantity(name="mag")))
    differences = []
    for wild in (-9999, -99_999, -999_999):
        store = store_of(tmp_path / f"wild{wild}", scheme, first=[wild, 18.0])
        out = tmp_path / f"run{wild}"
        run = api.train(RECIPE.changed(evaluation={"views": 1}), store, out, report=False)
        assert run.metrics()["test"]["n"] == COUNT
        kept = json.loads((run.run.path / "onnx" / "network.json").read_text(encoding="utf-8"))
        differences.append(kept["parity"]["largest_difference"])
    assert max(differences) > 1e-6  # sums so large that 32 bits show: more than the tolerance, without them


def test_ridge_is_its_closed_form_and_leaves_missing_values_out() -> None:
    rng = np.random.default_rng(4)
    scheme = Measurements(name="m", quantities=(Quantity(name="a"), Quantity(name="b")))
    features_ND = rng.normal(size=(80, 5))
    values_NT = features_ND @ rng.normal(size=(5, 2)) + rng.normal(0, 0.3, (80, 2))
    values_NT[:20, 1] = np.nan
    targets = np.concatenate([values_NT, np.zeros_like(values_NT)], axis=1)
    fitted = scheme.fitted(targets, "store")
    few = Labelled(features_ND[None], targets, np.arange(80))
    head = fit_head(few, fitted, 0.1)
    assert head.weight_KD.shape == (4, 5)
    standard_ND = (features_ND - features_ND.mean(axis=0)) / features_ND.std(axis=0)
    y_N = (values_NT[:, 0] - fitted.centres[0]) / fitted.scales[0]
    weight_D = np.linalg.solve(
        standard_ND.T @ standard_ND / 80 + 0.1 * np.eye(5), standard_ND.T @ (y_N - y_N.mean()) / 80
    )
    assert head.weight_KD[0] * features_ND.std(axis=0) == pytest.approx(weight_D, abs=1e-4)
    said_NK = predicted(head, fitted, few.features_VND)[0]
    known = np.isfinite(values_NT[:, 1])
    assert np.corrcoef(said_NK[known, 1], values_NT[known, 1])[0, 1] > 0.95
    residual = (said_NK[:, 0] - values_NT[:, 0]).std()
    assert residual < said_NK[0, 2] < 2 * residual  # of galaxies that were held out


def test_an_existing_folder_and_other_labels_are_refused(
    probed: api.LoadedRun, shapes: Store, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="already contains a training; continue it with --resume"):
        api.train(RECIPE, shapes, probed.run.path)
    assert api.train(RECIPE, shapes, probed.run.path, resume=True, report=False).run.path == probed.run.path
    counts = VoteCounts.model_construct(name="counts")
    with pytest.raises(UsageError, match="a linear probe learns classes, vote fractions or measurements"):
        Scheme.linear_targets(counts, np.empty(0))
    tree = VoteFractions(name="v", answers=("a", "b"), outputs_by="softmax")
    with pytest.raises(UsageError, match=r"set model\.votes=sigmoid"):
        tree.linear_targets(np.empty((0, 2)))
    assert not list(tmp_path.iterdir())


def test_the_missing_extra_is_said_before_any_feature_is_computed(
    shapes: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("morphoscope.extras.installed", lambda package: package != "onnx")
    monkeypatch.setattr("morphoscope.probe.run.encoder_of", lambda *_: pytest.fail("it has begun"))
    with pytest.raises(
        MissingExtra, match=r"a linear probe needs onnx, .* pip install 'morphoscope\[probe\]'"
    ):
        api.train(RECIPE, shapes, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_is_left_of_a_probe_that_fails(
    shapes: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("morphoscope.probe.run.TOLERANCE", -1.0)
    monkeypatch.setenv("MORPHOSCOPE_ENGINE", "onnx")
    monkeypatch.setattr("morphoscope.probe.run.rounding", lambda *_: -1.0)
    with pytest.raises(MorphoscopeError, match="graph differ from the fit's by"):
        api.train(RECIPE.changed(evaluation={"views": 1}), shapes, tmp_path / "run")
    assert not list(tmp_path.iterdir())


SCHEME = Classes(name="two", classes=("a", "b"))


def labelled(count: int, width: int, shift: float, seed: int = 0) -> Labelled:
    draw = np.random.default_rng(seed)
    targets = np.arange(count) % 2
    features = draw.normal(size=(2, count, width)) + shift * (targets[:, None] - 0.5)
    return Labelled(features.astype(np.float32), targets, np.arange(count))


def test_noise_is_penalised_more_than_signal() -> None:
    assert chosen_strength(labelled(60, 30, 0.0), SCHEME) > 10 * chosen_strength(
        labelled(60, 30, 3.0), SCHEME
    )


def test_a_galaxy_has_no_part_in_its_own_prediction() -> None:
    one = labelled(40, 5, 1.0)
    folds = fold_numbers(one.targets, one.groups_N, 4, 0)
    before = held_out_predictions(one, SCHEME, folds, 0.1)
    other = Labelled(one.features_VND, np.where(folds == 2, 1 - one.targets, one.targets), one.groups_N)
    after = held_out_predictions(other, SCHEME, folds, 0.1)
    assert np.array_equal(before[:, folds == 2], after[:, folds == 2])
    assert not np.allclose(before[:, folds != 2], after[:, folds != 2])


def test_balanced_classes_raise_the_rare_one() -> None:
    few = labelled(60, 3, 0.5)
    rows = np.concatenate([np.flatnonzero(few.targets == 0), np.flatnonzero(few.targets == 1)[:4]])
    few = few.take(rows)
    equal = Labelled(few.features_VND, few.targets, few.groups_N, balance=1.0)
    rare = [
        predicted(fit_head(each, SCHEME, 0.1), SCHEME, few.features_VND)[..., 1].mean()
        for each in (few, equal)
    ]
    assert rare[0] == pytest.approx(4 / 34, abs=0.02)
    assert rare[1] > 0.35


def test_a_head_of_every_position_takes_their_mean(probed: api.LoadedRun) -> None:
    run = open_run(probed.run.path)
    tensors = with_head(run, fit_head(labelled(10, 384, 1.0), SCHEME, 1.0))
    assert tensors["head.1.weight"].shape == (2, 384)
    assert head_width({"head.1.weight": np.zeros((2, 8)), "head.4.weight": np.zeros((2, 3))}) == 8


def test_an_encoder_that_starts_at_random_is_the_same_for_the_same_seed(shapes: Store) -> None:
    split = make_split(shapes, "random")
    found = []
    for seed in (0, 0, 1):
        recipe = RECIPE.changed(
            seed=seed,
            model={"name": "test_resnet", "start": None, "pretrained": False},
            augment={"size": 32},
        )
        with encoder_of(recipe, shapes, split) as encoder:
            found.append(encoder.header.weights_sha256)
    assert found[0] == found[1] != found[2]
