"""What every kind of label keeps to: from a store over training and calibration to a catalogue and a report.

One more kind is made here, of one class and one registration, to hold that no other file has to know it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import Field
from torchmetrics import MeanMetric

from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.data.store import Store, StoreMeta, describe, description_lines, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError
from morphoscope.evaluation.compare import compare
from morphoscope.evaluation.evaluate import evaluate
from morphoscope.explanation.explain import BEST_F1, choose_galaxies
from morphoscope.inference.calibration import calibration_of
from morphoscope.inference.ensemble import mutual_information
from morphoscope.inference.predictor import Predictor
from morphoscope.labels import kind as kinds
from morphoscope.labels.calibrators import Correction, Unchanged
from morphoscope.labels.columns import numbers
from morphoscope.labels.scheme import (
    KINDS,
    Chart,
    Classes,
    Column,
    Measurements,
    Quantity,
    ReportPart,
    Scheme,
    VoteCounts,
    VoteFractions,
    register,
    scheme_from,
)
from morphoscope.labels.tree_files import TreeAnswer, TreeQuestion, VoteTree
from morphoscope.metrics.bootstrap import resampled_sums, with_interval
from morphoscope.recipes import Recipe
from morphoscope.report.kinds import report_of
from morphoscope.report.run_report import write_report
from morphoscope.report.terminal import calibration_lines
from morphoscope.runs.run import Run
from morphoscope.sharing.card import CardDetails, model_card
from morphoscope.training.fit import fit

COUNT = 120


class Flattened(Correction, frozen=True):
    """Fractions drawn towards equal ones."""

    method: Literal["flattened"] = "flattened"
    share: float = Field(ge=0, le=1)

    def __call__(self, predictions_NK: np.ndarray) -> np.ndarray:
        equal = 1 / predictions_NK.shape[1]
        return ((1 - self.share) * predictions_NK + self.share * equal).astype(np.float32)

    @property
    def description(self) -> str:
        return f"drawn by {self.share:.2f} towards equal fractions"


class LogLoss(MeanMetric):
    """Mean log loss per galaxy."""

    def update(self, predictions: torch.Tensor, targets: torch.Tensor) -> None:
        super().update(-(targets * predictions.clamp_min(1e-7).log()).sum(dim=1))


class Counts(Scheme, frozen=True):
    """How many volunteers chose each of K answers to one question: multinomial likelihood."""

    kind: Literal["test-counts"] = "test-counts"
    answers: tuple[str, ...] = Field(min_length=2)

    metric: ClassVar[str] = "surprise"
    higher_is_better: ClassVar[bool] = False
    compared_scores: ClassVar[tuple[str, ...]] = ("surprise",)
    noun: ClassVar[str] = "vote counts"
    output_meaning: ClassVar[str] = "expected fractions of the votes"
    corrections: ClassVar[Mapping[str, type[Correction]]] = {"none": Unchanged, "flattened": Flattened}

    @property
    def output_names(self) -> tuple[str, ...]:
        return self.answers

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"n_{name}" for name in self.answers)

    @property
    def column_type(self) -> pa.DataType:
        return pa.int32()

    @property
    def missing(self) -> int:
        return 0

    def check_row(self, row: Mapping[str, Any], name: str) -> None:
        for column in self.columns:
            if row.get(column, 0) < 0:
                raise MorphoscopeError(f"{name}: {column} is {row[column]}; a count of votes was expected")

    def read_columns(
        self, table: pa.Table, columns: Sequence[str], ids: Sequence[object], where: str
    ) -> dict[str, np.ndarray]:
        return {name: numbers(table[name], where, name).astype(np.int32) for name in self.columns}

    def targets(self, table: pa.Table) -> np.ndarray:
        return np.stack([kinds.label_column(table, name) for name in self.columns], axis=1).astype(np.float32)

    def labelled(self, table: pa.Table) -> np.ndarray:
        return self.targets(table).sum(axis=1) > 0

    def strata(self, targets: np.ndarray) -> np.ndarray:
        return np.where(targets.sum(axis=1) > 0, targets.argmax(axis=1), -1).astype(np.int64)

    @property
    def strata_names(self) -> tuple[str, ...]:
        return self.answers

    def summary(self, targets: np.ndarray) -> dict[str, dict[str, float]]:
        return {"votes": dict(zip(self.answers, targets.sum(axis=0).tolist(), strict=True))}

    def loss(self, outputs_NK: torch.Tensor, targets: torch.Tensor, **_: Any) -> torch.Tensor:
        return -(targets * outputs_NK.float().log_softmax(dim=1)).sum(dim=1).mean()

    def probabilities(self, outputs_NK: torch.Tensor) -> torch.Tensor:
        return outputs_NK.float().softmax(dim=1)

    def epoch_metric(self) -> LogLoss:
        return LogLoss()

    def measure(
        self, targets: np.ndarray, predictions_NK: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        losses = self.log_losses(targets, predictions_NK)
        samples = resampled_sums(losses[:, None], bootstrap, seed)[:, 0] / len(losses)
        score = with_interval(float(losses.mean()), samples, len(losses))
        return {"n": len(losses), "surprise": score, "log_loss": score, "notes": []}

    def calibration_scores(
        self, targets: np.ndarray, predictions_NK: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        measured = self.measure(targets, predictions_NK, bootstrap=bootstrap, seed=seed)
        return {"n": measured["n"], "log_loss": measured["log_loss"]}

    def log_losses(self, targets: np.ndarray, predictions_NK: np.ndarray) -> np.ndarray:
        return -(targets * np.log(np.maximum(predictions_NK, 1e-7))).sum(axis=1).astype(np.float64)

    def entropy(self, predictions: np.ndarray) -> np.ndarray:
        return -(predictions * np.log(np.maximum(predictions, 1e-30))).sum(axis=-1)

    @property
    def calibrators(self) -> tuple[str, ...]:
        return ("none", "flattened")

    def fit_calibrator(self, method: str, targets: np.ndarray, predictions_NK: np.ndarray) -> Correction:
        return Unchanged() if method == "none" else Flattened(share=0.1)

    def prediction_columns(self, targets: np.ndarray, predictions_NK: np.ndarray) -> dict[str, pa.Array]:
        columns = {}
        for k, name in enumerate(self.answers):
            columns[f"n_{name}"] = pa.array(targets[:, k], pa.float32())
            columns[f"fraction_{name}"] = pa.array(predictions_NK[:, k], pa.float32())
        return columns

    @classmethod
    def outputs_in(cls, columns: Sequence[str]) -> tuple[str, ...] | None:
        return tuple(name.removeprefix("n_") for name in columns if name.startswith("n_")) or None

    @classmethod
    def read_predictions(cls, table: pa.Table, outputs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        truth, predicted = (
            np.stack([table.column(before + name).to_numpy() for name in outputs], axis=1)
            for before in ("n_", "fraction_")
        )
        return truth, predicted

    @classmethod
    def compare(
        cls,
        truth: np.ndarray,
        first: np.ndarray,
        second: np.ndarray,
        outputs: Sequence[str],
        *,
        bootstrap: int = 1000,
        seed: int = 0,
    ) -> dict[str, Any]:
        scheme = cls(name="compared", answers=tuple(outputs))
        gains = scheme.log_losses(truth, second) - scheme.log_losses(truth, first)
        samples = resampled_sums(gains[:, None], bootstrap, seed)[:, 0] / len(gains)
        return {"difference": with_interval(float(gains.mean()), samples, len(gains))}

    def catalogue_columns(self, sets: object = None) -> list[Column]:
        return [Column(f"{name}_fraction", pa.float32(), "expected") for name in self.answers]

    def catalogue_values(self, predictions_NK: np.ndarray, sets: object = None) -> dict[str, pa.Array]:
        return {
            f"{name}_fraction": pa.array(predictions_NK[:, k], pa.float32())
            for k, name in enumerate(self.answers)
        }

    def report_parts(self, test: Mapping[str, Any]) -> list[ReportPart]:
        score = test["surprise"]
        bar = Chart(("all",), {"": (score["value"],)}, "Surprise in nats.", "nats", low={"": (score["low"],)})
        line = Chart((), {"a": (1.0, 2.0)}, "Surprise over votes.", "nats", at=(1.0, 5.0), at_label="votes")
        cells = [[name, str(test["n"])] for name in self.answers]
        return [
            ReportPart("surprise", "Surprise", bar, ("Answer", "Galaxies"), cells, "Galaxies asked."),
            ReportPart("over-votes", "Over votes", line),
        ]


SEEN = VoteTree(
    name="seen",
    questions=(
        TreeQuestion(key="level", answers=(TreeAnswer(key="bright", next="sure"), TreeAnswer(key="dark"))),
        TreeQuestion(key="sure", answers=(TreeAnswer(key="yes"), TreeAnswer(key="no"))),
    ),
)

SCHEMES = {
    "classes": Classes(name="three", classes=("red", "green", "blue")),
    "votes": VoteFractions(name="two", answers=("bright", "dark")),
    "vote-counts": VoteCounts(name="seen", tree=SEEN),
    "measurements": Measurements(
        name="measured",
        quantities=(
            Quantity(name="z", error="e_z", redshift=True),
            Quantity(name="bar", unit="arcsec", ucd="phys.angSize"),
        ),
        likelihood="student-t",
    ),
    "test-counts": Counts(name="asked", answers=("bright", "dark")),
}


def labels_of(scheme: Scheme, level: float, number: int) -> dict[str, Any]:
    if isinstance(scheme, Classes):
        return {"label": number % 3}
    if isinstance(scheme, VoteFractions):
        return {"bright": level, "dark": 1 - level}
    if isinstance(scheme, VoteCounts):
        bright, sure = round(10 * level), round(5 * level)
        votes = {
            "level_bright": bright,
            "level_dark": 10 - bright,
            "sure_yes": sure,
            "sure_no": bright - sure,
        }
        return {f"{name}_count": count for name, count in votes.items()}
    if isinstance(scheme, Measurements):
        return {"z": level, "e_z": 0.01, "bar": 2000 + 9 * level if number % 5 else np.nan}
    return {"n_bright": round(10 * level), "n_dark": 10 - round(10 * level)}


@pytest.fixture(scope="module", autouse=True)
def another_kind() -> Iterator[None]:
    register(Counts)
    yield
    del KINDS["test-counts"]


@pytest.fixture(scope="module", params=SCHEMES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    scheme, place = SCHEMES[request.param], tmp_path_factory.mktemp(request.param) / "store"
    draw = np.random.default_rng(5)
    with StoreWriter(place, StoreMeta(scheme=scheme), image_shape=(32, 32, 3)) as writer:
        for number in range(COUNT):
            level = float(draw.uniform(0.1, 0.9))
            image = draw.integers(0, 30, (32, 32, 3)) + int(200 * level)
            row = {"id": f"g{number}", "source": f"g{number}.png"} | labels_of(scheme, level, number)
            writer.append(image.clip(0, 255).astype(np.uint8), row)
    return open_store(place)


@pytest.fixture(scope="module")
def run(store: Store) -> Run:
    recipe = Recipe().changed(
        {
            "model.name": "test_resnet",
            "data.validation": 0.25,
            "model.pretrained": False,
            "augment.size": 32,
            "training.epochs": 1,
            "training.batch": 32,
            "training.mixup": 0.2,
            "training.precision": "fp32",
            "evaluation.views": 1,
        }
    )
    run = fit(recipe, store, store.path.parent / "run", progress=False)
    evaluate(run, store)
    return run


def test_a_scheme_comes_back_from_its_saved_form(store: Store) -> None:
    scheme = store.need_scheme()
    assert scheme_from(json.loads(scheme.model_dump_json())) == scheme
    assert StoreMeta(scheme=scheme).model_dump(mode="json")["scheme"] == scheme.model_dump(mode="json")
    assert scheme == SCHEMES[scheme.kind] == scheme.unfitted
    assert scheme.outputs == len(scheme.output_names)


def test_labels_are_kept_and_described(store: Store) -> None:
    scheme = store.need_scheme()
    assert set(scheme.columns) <= set(store.table.column_names)
    assert store.labelled().all()
    strata = scheme.strata(store.targets())
    assert 0 <= strata.min() <= strata.max() < len(scheme.strata_names)
    assert any(name in " ".join(description_lines(describe(store))) for name in scheme.output_names)
    empty = store.table.slice(0, 1).select(["id"])
    for name in scheme.columns:
        empty = empty.append_column(name, pa.array([scheme.missing], scheme.column_type))
    assert not scheme.labelled(empty).any()
    assert scheme.strata(scheme.targets(empty)).tolist() == [-1]


def test_wrong_labels_name_their_galaxy(store: Store) -> None:
    scheme = store.need_scheme()
    with pytest.raises(MorphoscopeError, match=r"^odd\.png: "):
        scheme.check_row(dict.fromkeys(scheme.columns, -7), "odd.png")


def test_every_parameter_gets_a_gradient_and_mixing_keeps_the_loss(store: Store) -> None:
    scheme = store.need_scheme()
    targets = torch.from_numpy(store.targets()[:8])
    outputs = torch.randn(8, scheme.outputs, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = scheme.loss(outputs, targets)
    loss.backward()
    assert loss.ndim == 0
    assert outputs.grad is not None
    assert bool((outputs.grad.abs().sum(dim=1) > 0).all())
    assert scheme.loss(outputs, scheme.mixable(targets)).item() == pytest.approx(loss.item(), rel=1e-5)
    meaning = scheme.probabilities(outputs.detach())
    metric = scheme.epoch_metric()
    metric.update(meaning, targets)
    assert meaning.dtype == torch.float32
    assert np.isfinite(float(metric.compute()))


def test_a_run_is_trained_measured_and_calibrated(run: Run, store: Store) -> None:
    scheme, metrics = run.scheme, run.metrics()
    assert run.history()["validation_metric"].shape == (1,)
    assert metrics["scheme"] == scheme.kind
    assert np.isfinite(metrics["test"][scheme.metric]["value"])
    calibration = calibration_of(run, 1)
    assert calibration is not None
    assert set(calibration.held_out) == set(scheme.calibrators)
    assert type(calibration.correction) is scheme.corrections[calibration.correction.method]
    assert (calibration.scores is not None) == (scheme.class_names is not None)
    assert json.dumps(metrics, allow_nan=False)


def test_members_that_agree_have_no_mutual_information(run: Run, store: Store) -> None:
    predictions = Predictor(run).predict([store.images[row] for row in range(4)]).predictions_NK
    assert predictions.shape == (4, run.scheme.outputs)
    same, apart = (
        mutual_information(run.scheme, np.stack(pair))
        for pair in ((predictions, predictions), (predictions, 0.5 * predictions + 0.25))
    )
    assert same.tolist() == [0, 0, 0, 0]
    assert (apart >= 0).all()


def test_a_run_is_compared_with_itself(run: Run) -> None:
    runs = [
        {"name": name, "predictions": run.predictions(), "metrics": run.metrics()} for name in ("one", "two")
    ]
    result = compare(runs, bootstrap=20)
    assert result["kind"] == run.scheme.kind
    assert result["pairs"][0]["difference"]["value"] == 0
    assert set(result["runs"][0]) == {"name", *run.scheme.compared_scores}
    assert "two against one" in report_of(run.scheme.kind).compare_table(result)


def test_a_catalogue_has_the_columns_of_its_kind(run: Run, store: Store, tmp_path: Path) -> None:
    request = CatalogueRequest(
        store.path, tmp_path / "made.parquet", quality="off"
    )  # no galaxies, only noise
    summary = predict_catalogue(Predictor(run), request)
    table = pq.read_table(tmp_path / "made.parquet")
    columns = run.scheme.catalogue_columns()
    assert summary.predicted == COUNT
    assert {column.name for column in columns} <= set(table.column_names)
    for column in columns:
        assert table.schema.field(column.name).type == column.kind
        assert table.schema.field(column.name).metadata[b"description"].decode() == column.description
        assert table[column.name].null_count == 0


@pytest.mark.slow
def test_an_exported_network_predicts_the_same(run: Run, store: Store, tmp_path: Path) -> None:
    from morphoscope.inference.engine.export import export_onnx
    from morphoscope.inference.engine.onnx_engine import OnnxEngine

    exported = OnnxEngine(export_onnx(run, tmp_path / "net.onnx"))
    images = [store.images[row] for row in range(12)]
    own, graph = (
        Predictor(run, engine=engine).predict(images).predictions_NK for engine in ("torch", exported)
    )
    np.testing.assert_allclose(graph, own, rtol=1e-4, atol=1e-5)


def test_maps_are_made_of_a_telling_output(run: Run, store: Store) -> None:
    rows, output = choose_galaxies(run, store, BEST_F1, 3)
    assert output in run.scheme.output_names
    assert 0 < len(rows) <= 3


@pytest.mark.usefixtures("undrawn")
def test_a_report_a_terminal_and_a_card_say_how_good_it_is(run: Run, store: Store) -> None:
    report, metrics = report_of(run.scheme.kind), run.metrics()
    page = write_report(run, store).read_text(encoding="utf-8")
    headline = report.headline(metrics)
    assert headline is not None
    assert headline.figure in page
    for part in run.scheme.report_parts(metrics["test"]):
        assert part.title in page
        assert (run.path / "figures" / f"{part.key}.png").is_file() == (part.chart is not None)
    if isinstance(run.scheme, VoteCounts):
        assert "Expected against observed fractions" in page
        assert "The worst galaxies" in page
        assert headline.label.startswith("RMSE of the expected fractions of ")
    if isinstance(run.scheme, Measurements):
        for title in ("Coverage at every level", "Residuals", "The worst galaxies", "z: highest"):
            assert title in page
        assert headline.label.startswith("R², mean of 2 quantities, on ")
        assert any(
            "z: R²" in line and "of Δ / (1 + z)" in line for line in report.summary_lines(metrics["test"])
        )
    lines = report.summary_lines(metrics["test"]) + calibration_lines(metrics)
    assert lines[0].startswith(report.title)
    assert f"n = {metrics['test']['n']}" in lines[0]
    card = model_card(run, name="x", digest="0" * 64, details=CardDetails())
    assert lines[0].split(",")[0] in card


def test_two_kinds_cannot_share_the_name_of_a_correction() -> None:
    class Other(Counts, frozen=True):
        corrections: ClassVar[Mapping[str, type[Correction]]] = {"temperature": Flattened}

    with pytest.raises(ValueError, match="'temperature' is a different correction in Classes"):
        register(Other)
