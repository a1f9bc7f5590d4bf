"""Predictions in 8 bits: the quantised graph of a run, and the check that it agrees with the run.

::

    RUN/onnx/int8.onnx
    RUN/onnx/int8.json   of which weights it is, its own checksum, and how far its answers are from fp32's

It is made at the first prediction with ``--precision int8``, from the run's validation galaxies, and kept
only if it passes. Where the run's folder takes no files it goes to the user's cache, as the graph in fp32
does.

Shape letters: N galaxies, K outputs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from morphoscope import files
from morphoscope.augment.cpu import Augmenter
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.engine.graph import INT8, ExportedRun, graph_of, new_path, paths_of, weights_sha256
from morphoscope.inference.engine.onnx_engine import OnnxEngine
from morphoscope.inference.engine.preparation import sidecar
from morphoscope.labels.scheme import Scheme
from morphoscope.progress import note
from morphoscope.runs.run import Run
from morphoscope.version import __version__
from morphoscope.versioned import read_document, understood

if TYPE_CHECKING:
    from morphoscope.inference.engine.quantise import Quantiser

FORMAT_VERSION = 1
FOR_RANGES = 256
"""Galaxies that the ranges of activations are taken from."""
FOR_CHECK = 2000
"""Galaxies of the check at most."""
FEWEST = 100
"""With fewer galaxies beside those of the ranges, all are in the check."""

# What 8 bits may change, for one view and before calibration. Two views instead of eight, which nobody would
# call another network, change the packaged network's class for one galaxy in twenty of a real survey
# (docs/default.md), so one in thirty is within what a prediction is worth; the accuracy may fall by what an
# interval of a thousand galaxies cannot show by far.
LARGEST_MEDIAN = 0.01
LARGEST_99TH = 0.2
LEAST_SAME_CLASS = 0.97
LARGEST_LOSS = 0.003  # of accuracy, and at least one galaxy; of the error of votes, relative
SHARES = (0.0, 0.05, 0.1, 0.2)
"""Shares of the convolutions, those that hurt most, that are put back to fp32 until the check passes."""


class Agreement(BaseModel):
    """How far the answers in 8 bits are from those in fp32, for galaxies that were not trained on.

    ``median`` and ``percentile_99`` are of the largest change of a probability or vote fraction in a galaxy.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    galaxies: int
    median: float
    percentile_99: float
    same_class: float | None = Field(default=None, description="share; None: votes have no class")
    score: str = Field(description="accuracy, or rmse for votes")
    higher_is_better: bool = Field(default=False, description="of a score that is no accuracy")
    changed: str = Field(default="probabilities", description="what changes")
    fp32: float
    int8: float

    @property
    def description(self) -> str:
        """For provenance and refusals."""
        words = [
            f"{self.changed} change by {self.median:.3f} in the median and {self.percentile_99:.3f} at the "
            "99th percentile"
        ]
        if self.same_class is not None:
            words.append(f"{self.same_class:.1%} keep their class")
        words.append(f"{self.score} {self.int8:.4f} instead of {self.fp32:.4f}")
        return f"{', '.join(words)} ({self.galaxies} validation galaxies)"

    @property
    def passes(self) -> bool:
        """Whether this is near enough to fp32."""
        if self.same_class is None:
            worse = self.fp32 - self.int8 if self.higher_is_better else self.int8 - self.fp32
            loses = worse > LARGEST_LOSS * abs(self.fp32)
        else:
            loses = self.fp32 - self.int8 > max(LARGEST_LOSS, 1 / self.galaxies) + 1e-9
        return (
            self.median <= LARGEST_MEDIAN
            and self.percentile_99 <= LARGEST_99TH
            and (self.same_class is None or self.same_class >= LEAST_SAME_CLASS)
            and not loses
        )


class Quantisation(BaseModel):
    """The content of ``int8.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    kind: Literal["morphoscope-int8"] = "morphoscope-int8"
    format_version: int = FORMAT_VERSION
    onnx_sha256: str
    weights_sha256: str = Field(description="of the run's weights.safetensors")
    agreement: Agreement
    convolutions: int
    fp32_convolutions: int = Field(description="of them, those that stay in fp32")
    galaxies: str = Field(description="which ones it was made and checked with")
    program_version: str = __version__


def int8_graph_of(run: Run, store: Store | None = None) -> tuple[Path, Quantisation]:
    """The run's graph in 8 bits, which is made now if there is none.

    Args:
        run: a finished run.
        store: with validation galaxies for it; None: the run's own.

    Raises:
        UsageError: an exported file, or a run whose validation galaxies are not here.
        MorphoscopeError: a package is missing, or the answers in 8 bits are too far from the run's.
    """
    if isinstance(run, ExportedRun):
        raise UsageError(
            f"{run.onnx} is an exported file, in fp32; give the run's folder for --precision int8"
        )
    kept = kept_int8(run) if store is None else None
    if kept is not None:
        return kept
    return _made(run, *_held_out(run, store))


def kept_int8(run: Run) -> tuple[Path, Quantisation] | None:
    """The run's graph in 8 bits if it is there already, whole and of these weights; None otherwise.

    One that is damaged or of other weights is left out, and said.
    """
    for graph in paths_of(run, INT8):
        if not graph.is_file() or not sidecar(graph).is_file():
            continue
        try:
            found = understood(
                Quantisation,
                read_document(sidecar(graph)),
                json.loads,
                sidecar(graph),
                "an int8 graph's record",
            )
        except MorphoscopeError as error:
            note(f"a graph is not used: {error}")
            continue
        if found.weights_sha256 != weights_sha256(run):
            note(f"{graph} is not used: it is a graph of other weights than the run's")
        elif found.onnx_sha256 != files.sha256_of(graph):
            note(f"{graph} is not used: its checksum is not that in {sidecar(graph).name}")
        else:
            return graph, found
    return None


def _held_out(run: Run, store: Store | None) -> tuple[Store, np.ndarray]:
    """The store and its validation galaxies, shuffled."""
    if store is None:
        if not run.header.store.path:
            raise UsageError(
                f"{run.path} has no graph in 8 bits and does not record where its validation galaxies are, "
                "which one is made with; leave out --precision int8"
            )
        store = run.store()
        split = run.split(store)
        rows = split.train if run.recipe.data.folds else split.validation
    else:
        rows = np.flatnonzero(store.labelled())
    if not len(rows):
        raise UsageError(
            f"{run.path} has no validation galaxies, which a graph in 8 bits is made with; leave out "
            "--precision int8"
        )
    return store, np.random.default_rng(run.recipe.seed).permutation(rows)


def _made(run: Run, store: Store, rows: np.ndarray) -> tuple[Path, Quantisation]:
    from morphoscope.inference.engine.quantise import Quantiser

    plain = graph_of(run)
    note("quantising the network to 8 bits")
    augmenter = Augmenter(run.recipe.augment)
    for_ranges, others = rows[:FOR_RANGES], rows[FOR_RANGES:]
    check = (others if len(others) >= FEWEST else rows)[:FOR_CHECK]
    images_NSSC = augmenter.evaluation([store.images[row] for row in for_ranges])
    quantiser = Quantiser(plain, images_NSSC)
    expected_NK, targets = _answers(OnnxEngine(plain), augmenter, store, check), store.targets()[check]
    new = new_path(run, INT8)
    with files.atomic_file(new) as path:
        count = len(quantiser.convolutions)
        hurting: list[str] = []
        fp32: list[str] = []
        agreement: Agreement | None = None
        for share in SHARES:
            if share and not hurting:
                hurting = _by_hurt(quantiser, path, images_NSSC[:64], expected_of=OnnxEngine(plain))
            fp32 = hurting[: round(share * count)]
            path.write_bytes(quantiser.quantised(fp32))
            found_NK = _answers(OnnxEngine(path, precision="int8"), augmenter, store, check)
            agreement = agreement_of(run.scheme, targets, expected_NK, found_NK)
            if agreement.passes:
                break
        assert agreement is not None
        if not agreement.passes:
            raise MorphoscopeError(
                f"{run.path} loses too much in 8 bits: {agreement.description}; leave out --precision int8"
            )
        quantisation = Quantisation(
            onnx_sha256=files.sha256_of(path),
            weights_sha256=weights_sha256(run),
            agreement=agreement,
            convolutions=count,
            fp32_convolutions=len(fp32),
            galaxies=f"{store.path.name}: ranges from {len(for_ranges)}, check with {len(check)}",
        )
        files.write_json(sidecar(new), quantisation.model_dump(mode="json"))
    note(f"8 bits: {agreement.description}")
    return new, quantisation


def agreement_of(
    scheme: Scheme, targets: np.ndarray, expected_NK: np.ndarray, found_NK: np.ndarray
) -> Agreement:
    """Compare predictions in 8 bits with those in fp32."""
    if not np.isfinite(found_NK).all():
        raise MorphoscopeError("the network gives numbers that are not finite in 8 bits")
    change_N = scheme.changes(expected_NK, found_NK)
    classes, score = scheme.class_names is not None, scheme.metric
    fp32, int8 = (
        float(scheme.measure(targets, each_NK, bootstrap=0)[score]["value"])
        for each_NK in (expected_NK, found_NK)
    )
    same = float((found_NK.argmax(axis=1) == expected_NK.argmax(axis=1)).mean()) if classes else None
    return Agreement(
        galaxies=len(change_N),
        median=float(np.median(change_N)),
        percentile_99=float(np.quantile(change_N, 0.99)),
        same_class=same,
        score=score,
        higher_is_better=scheme.higher_is_better,
        changed=scheme.changes_of,
        fp32=fp32,
        int8=int8,
    )


def _answers(engine: OnnxEngine, augmenter: Augmenter, store: Store, rows: np.ndarray) -> np.ndarray:
    """Predictions of one view before calibration, (N, K)."""
    parts = []
    for start in range(0, len(rows), 64):
        images = [store.images[row] for row in rows[start : start + 64]]
        parts.append(engine(augmenter.evaluation(images))[0][0])
    return np.concatenate(parts)


def _by_hurt(
    quantiser: Quantiser, path: Path, images_NSSC: np.ndarray, *, expected_of: OnnxEngine
) -> list[str]:
    """The convolutions, first the one that changes predictions most when it alone has 8 bits."""
    expected_NK = expected_of(images_NSSC)[0][0]
    hurt = {}
    for each in quantiser.convolutions:
        path.write_bytes(quantiser.quantised([other for other in quantiser.convolutions if other != each]))
        found_NK = OnnxEngine(path, precision="int8")(images_NSSC)[0][0]
        hurt[each] = float(((found_NK - expected_NK) ** 2).sum())
    return sorted(hurt, key=lambda name: hurt[name], reverse=True)
