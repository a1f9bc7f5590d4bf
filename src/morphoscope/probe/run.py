"""From a recipe and a store to the run of a linear probe.

The folder appears when all of it is there: a probe takes seconds, so an interrupted one is made again.

Shape letters: V views, N galaxies, D features.
"""

from __future__ import annotations

import importlib.metadata
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope import files
from morphoscope.augment.cpu import Augmenter
from morphoscope.data.splits.file import Split, limited
from morphoscope.data.splits.training_split import folds_of, learned_scheme
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.evaluation.cross_validate import FoldPredictions, measure_folds
from morphoscope.evaluation.fit_uncertainty import outputs_by_chunk
from morphoscope.extras import need
from morphoscope.files import write_json
from morphoscope.inference.engine.graph import GRAPH, graph_of
from morphoscope.inference.engine.linear_head import write_with_head
from morphoscope.inference.engine.onnx_engine import OnnxEngine
from morphoscope.inference.engine.preparation import preparation_of, sidecar, write_preparation
from morphoscope.inference.head_fit import (
    Labelled,
    chosen_strength,
    fit_head,
    held_out_predictions,
    labelled_galaxies,
    predicted,
)
from morphoscope.inference.ood import fit_distribution
from morphoscope.inference.predictor import Predictor, mean_over_views
from morphoscope.labels.scheme import Scheme
from morphoscope.metrics.linear_models import LinearModel
from morphoscope.probe.encoder import WEIGHTS, encoder_of, head_parameters, origin_of, with_head
from morphoscope.progress import note
from morphoscope.recipes import Recipe
from morphoscope.runs.environment import environment, peak_memory_gib
from morphoscope.runs.run import (
    Header,
    Run,
    galaxies_digest,
    galaxy_size,
    open_run,
    store_facts,
    write_header,
)
from morphoscope.version import __version__

TOLERANCE = 1e-5
"""Largest difference between the graph and the head, of a probability or relative to a number: rounding."""
_CHECKED = 16  # galaxies that the graph is compared with


def rounding(head: LinearModel, features_ND: np.ndarray) -> np.ndarray:
    """How much outputs of a linear head may change by 32-bit numbers, (N, K).

    A few units in the last place of what is summed, which is large if labels have wild values.
    """
    terms_NK = np.abs(features_ND) @ np.abs(head.weight_KD).T + np.abs(head.bias_K)
    return np.asarray(4 * np.finfo(np.float32).eps * terms_NK)


def train_probe(recipe: Recipe, store: Store, split: Split, out: Path | str, *, resume: bool = False) -> Run:
    """Fit a linear probe and leave a run folder, measured if its recipe has folds.

    Args:
        recipe: with ``training.linear_probe``.
        store: labelled galaxies.
        split: of the galaxies.
        out: the run folder to make.
        resume: return a finished run as it is.

    Raises:
        UsageError: the folder exists, the labels are of a kind that a probe does not learn, or there is no
            network to take features from.
        MorphoscopeError: the features are not finite, the disk is full, or a package is missing.
    """
    out = Path(out)
    if (out / "run.yaml").is_file():
        if not resume:
            raise UsageError(
                f"{out} already contains a training; continue it with --resume, or choose another folder"
            )
        note(f"{out} is already finished")
        return open_run(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already and is not a training; choose another folder")
    need(("onnx",), "probe", "a linear probe")
    store.need_scheme().linear_targets(store.targets()[:0])  # refuses kinds that it does not learn
    started = time.monotonic()
    with encoder_of(recipe, store, split) as encoder, files.atomic_folder(out) as folder:
        probe = _fitted(_resolved(recipe, encoder), store, split, encoder)
        run = _write(probe, folder)
        if recipe.data.folds:
            measure_folds(run, store, _folds(probe, run))
        write_json(folder / "environment.json", _provenance(probe, started))
    return open_run(out)


def _resolved(recipe: Recipe, encoder: Run) -> Recipe:
    """The recipe with the network and the image size of the encoder, whose features it uses as they are."""
    asked, own = recipe.model, encoder.recipe.model
    model = own.model_copy(
        update={
            "start": asked.start,
            "votes": asked.votes,
            "likelihood": asked.likelihood,
            "degrees_of_freedom": asked.degrees_of_freedom,
            "frozen": 1.0,
            "last_blocks": None,
            "rest": "pretrained",
            "hidden": (),
            "hidden_l2": 0.0,
            "dropout": 0.0,
            "head": "random",
        }
    )
    size = encoder.recipe.augment.size
    return recipe.changed(model=model.model_dump(), augment={"size": size, "train_size": ()})


@dataclass(frozen=True, eq=False)
class _Probe:
    """What a probe was fitted from and to."""

    recipe: Recipe
    store: Store
    split: Split
    encoder: Run
    scheme: Scheme
    rows: np.ndarray
    labelled: Labelled
    strength: float
    head: LinearModel


def _fitted(recipe: Recipe, store: Store, split: Split, encoder: Run) -> _Probe:
    rows = limited(split.train, recipe.data.limit, recipe.seed)
    scheme = learned_scheme(recipe, store).fitted(store.targets()[rows], str(store.path))
    labelled = labelled_galaxies(recipe, store, rows, _features(recipe, encoder, store, rows))
    strength = chosen_strength(labelled, scheme, seed=recipe.data.split_seed)
    head = fit_head(labelled, scheme, strength)
    note(
        f"{recipe.name}: a linear head on {labelled.features_VND.shape[2]} features of "
        f"{origin_of(encoder, recipe)}; {len(rows)} galaxies, penalty {strength:.2g}"
    )
    return _Probe(recipe, store, split, encoder, scheme, rows, labelled, strength, head)


def _features(recipe: Recipe, encoder: Run, store: Store, rows: np.ndarray) -> np.ndarray:
    """Features of some galaxies by view, (V, N, D) float32."""
    as_asked = replace(encoder, recipe=encoder.recipe.changed(augment=recipe.augment.model_dump()))
    # The head is fitted for the network itself, which then predicts, and not for its graph in 8 bits.
    predictor = Predictor(as_asked, views=recipe.evaluation.views, calibrated=False, precision="fp32")
    chunks = outputs_by_chunk(predictor, store, rows, "features of the labelled galaxies")
    features_VND = np.concatenate([features for _, features in chunks], axis=1)
    if not np.isfinite(features_VND).all():
        raise MorphoscopeError(f"the features of {encoder.path} are not finite; use another network")
    return features_VND


def _write(probe: _Probe, folder: Path) -> Run:
    """Write weights, split, recipe, header and graph; the run as it then is."""
    from safetensors.numpy import save_file

    encoder, head = probe.encoder, probe.head
    save_file(with_head(encoder, head), folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors leaves its files readable by their owner alone
    probe.split.save(folder / "split.json")
    (folder / "recipe.yaml").write_text(probe.recipe.to_yaml(), encoding="utf-8")
    own = head.weight_KD.size + head.bias_K.size
    facts = store_facts(probe.store).model_copy(
        update={"galaxy_size": galaxy_size(probe.store), "galaxies": galaxies_digest(probe.store)}
    )
    header = Header(
        state="finished",
        scheme=probe.scheme,
        store=facts,
        parameters=encoder.header.parameters - head_parameters(encoder) + own,
        start=f"a linear head on the features of {origin_of(encoder, probe.recipe)}",
        backbone=encoder.header.backbone,
        weights_sha256=files.sha256_of(folder / WEIGHTS),
        program_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_header(folder, header)
    run = open_run(folder)
    _write_graph(probe, run)
    return run


def _write_graph(probe: _Probe, run: Run) -> None:
    """Write the graph, and compare it with the head on some of the galaxies."""
    target = run.path / GRAPH
    target.parent.mkdir()
    write_with_head(graph_of(probe.encoder), target, probe.head, probe.scheme)
    images = [probe.store.images[row] for row in probe.rows[:_CHECKED]]
    engine = OnnxEngine(target)
    predictions_MNK, features_ND = engine(Augmenter(run.recipe.augment).evaluation(images))
    expected_NK = predicted(probe.head, probe.scheme, features_ND[None])[0]
    unit_NK = np.maximum(run.scheme.output_scales, np.abs(expected_NK))
    difference_NK = np.abs(predictions_MNK[0] - expected_NK) / unit_NK
    difference = float(difference_NK.max())
    if not (difference_NK <= np.maximum(TOLERANCE, rounding(probe.head, features_ND))).all():  # nor NaN
        raise MorphoscopeError(
            f"predictions of the probe's graph differ from the fit's by {difference:.1e}; look for labels "
            "far from all others"
        )
    versions = {name: importlib.metadata.version(name) for name in ("onnx", "onnxruntime")}
    preparation = preparation_of(
        run,
        target,
        features=engine.feature_count,
        parity={"images": len(images), "largest_difference": difference},
        versions={"morphoscope": __version__} | versions,
        digest=files.sha256_of(target),
    )
    write_preparation(sidecar(target), preparation)


def _folds(probe: _Probe, run: Run) -> list[FoldPredictions]:
    """Predictions and distances of each fold, from the features that are there already."""
    splits = folds_of(probe.recipe, probe.store)
    fold_of_row = {int(row): fold for fold, split in enumerate(splits) for row in split.test}
    fold_N = np.array([fold_of_row[int(row)] for row in probe.rows])
    labelled, views = probe.labelled, Predictor(run, calibrated=False).views_within()
    seed = probe.recipe.data.split_seed
    predictions_VNK = held_out_predictions(labelled, probe.scheme, fold_N, probe.strength, seed=seed)
    found = []
    for fold in np.unique(fold_N):
        inside, outside = fold_N != fold, fold_N == fold
        distribution = fit_distribution(labelled.features_VND[0, inside])
        distances = {
            number: distribution.distances(mean_over_views(labelled.features_VND[some][:, outside]))
            for number, some in views.items()
            if distribution is not None
        }
        found.append(FoldPredictions(probe.rows[outside], predictions_VNK[:, outside], distances))
    return found


def _provenance(probe: _Probe, started: float) -> dict[str, Any]:
    seconds = round(time.monotonic() - started, 1)
    return environment() | {
        "seed": probe.recipe.seed,
        "penalty": probe.strength,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "training_seconds": seconds,
        "peak_memory_gib": peak_memory_gib(),
    }
