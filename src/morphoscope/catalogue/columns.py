"""What a catalogue says of each galaxy: its columns, with units and descriptions.

A column beyond the usual ones is an :class:`Extra`: its name, type and meaning stand there once, and its
values come with the network's answers (:mod:`morphoscope.catalogue.predictions`) or with the galaxy's row.

Shape letters: N galaxies, K outputs.

Where a catalogue's numbers come from, as texts that any format can carry.

The prediction sets that a catalogue was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from morphoscope import files
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.stream import Item
from morphoscope.inference.conformal import (
    SEPARATOR,
    check_coverage,
    filled_sets,
    least_probabilities,
    set_names,
)
from morphoscope.labels.decision_tree import tree_of
from morphoscope.labels.scheme import Classes, VoteFractions, probability_column
from morphoscope.version import __version__

if TYPE_CHECKING:
    from morphoscope.inference.ensemble import Ensemble
    from morphoscope.inference.predictor import Predictor


@dataclass(frozen=True)
class Extra:
    """One column of a catalogue.

    Attributes:
        name: of the column.
        kind: string, a number, or ``pa.list_(pa.float32(), D)`` for a vector; every format can hold these.
        description: one line for people.
        unit: as FITS and the VO write it ("deg", "pixel"); empty for pure numbers and texts.
        ucd: unified content descriptor of the Virtual Observatory (UCD1+); empty where none is evident.
    """

    name: str
    kind: pa.DataType
    description: str
    unit: str = ""
    ucd: str = ""

    @property
    def field(self) -> pa.Field:
        """The column with what it means in its metadata."""
        said = {"description": self.description, "unit": self.unit, "ucd": self.ucd}
        return pa.field(self.name, self.kind, metadata={name: text for name, text in said.items() if text})


_PLACE = (
    Extra("id", pa.string(), "identifier of the galaxy", ucd="meta.id;meta.main"),
    Extra("source", pa.string(), "where its image comes from", ucd="meta.ref"),
    Extra("ra", pa.float64(), "right ascension", "deg", "pos.eq.ra;meta.main"),
    Extra("dec", pa.float64(), "declination", "deg", "pos.eq.dec;meta.main"),
)
_PATH = Extra(
    "path",
    pa.string(),
    f"answers on the most voted way through the decision tree, from the first question, separated by "
    f"{SEPARATOR}",
    ucd="src.morph.type",
)


@dataclass(frozen=True)
class Sets:
    """Which prediction sets a catalogue is to have.

    Attributes:
        coverage: share of galaxies whose set shall hold the truth.
        per_class: within every class, and not only over all galaxies.
        least_K: the probability from which a class belongs to the set.
    """

    coverage: float
    per_class: bool
    least_K: np.ndarray

    @property
    def words(self) -> str:
        """What they are, for people."""
        where = "within every class" if self.per_class else "over all galaxies"
        return f"{self.coverage:g} {where}"


def catalogue_schema(
    scheme: Classes | VoteFractions,
    sets: Sets | None = None,
    extras: Sequence[Extra] = (),
    *,
    integer_ids: bool = False,
) -> pa.Schema:
    """The columns of a catalogue made with ``scheme``; units and descriptions are in the fields' metadata.

    Args:
        scheme: what the answers mean.
        sets: with a column of prediction sets.
        extras: further columns, which come last.
        integer_ids: ``id`` is int64, so that it joins the input's own integer column; else a string.

    Raises:
        MorphoscopeError: an answer or an extra column has the name of another column.
    """
    columns = [*_PLACE, *(_votes(scheme) if isinstance(scheme, VoteFractions) else _classes(scheme, sets))]
    columns += extras
    names = [column.name for column in columns]
    clash = sorted({name for name in names if names.count(name) > 1})
    if clash:
        raise MorphoscopeError(
            f"scheme '{scheme.name}': an answer called {', '.join(clash)} cannot be a column "
            "of a catalogue, which has one of that name already"
        )
    fields = [column.field for column in columns]
    if integer_ids:
        fields[0] = fields[0].with_type(pa.int64())
    return pa.schema(fields)


def _votes(scheme: VoteFractions) -> list[Extra]:
    columns = [
        Extra(answer, pa.float32(), "fraction of volunteers, predicted", ucd="src.morph.type;stat.value")
        for answer in scheme.answers
    ]
    return [*columns, _PATH] if tree_of(scheme) is not None else columns


def _classes(scheme: Classes, sets: Sets | None) -> list[Extra]:
    columns = [
        Extra("predicted", pa.string(), "most probable class", ucd="src.morph.type;meta.main"),
        Extra("probability", pa.float32(), "probability of the predicted class", ucd="stat.probability"),
    ]
    columns += [
        Extra(probability_column(name), pa.float32(), f"probability of class {name}", ucd="stat.probability")
        for name in scheme.classes
    ]
    columns.append(Extra("entropy", pa.float32(), "entropy of the class probabilities, in nats"))
    if sets is not None:
        meaning = (
            f"classes that hold the truth for a share of {sets.words} like the training's, the most "
            f"probable first, separated by {SEPARATOR}"
        )
        columns.append(Extra("set", pa.string(), meaning, ucd="src.morph.type"))
    return columns


def catalogue_table(
    scheme: Classes | VoteFractions,
    items: Sequence[Item],
    predictions_NK: np.ndarray,
    sets: Sets | None = None,
    extras: Sequence[Extra] = (),
    values: Mapping[str, np.ndarray] | None = None,
    *,
    integer_ids: bool = False,
) -> pa.Table:
    """N rows of a catalogue, with the columns of :func:`catalogue_schema`.

    Args:
        scheme: what the answers mean.
        items: the galaxies; their rows may have id, ra and dec, and the values of extra columns.
        predictions_NK: probabilities or vote fractions, finite.
        sets: with a column of prediction sets.
        extras: further columns.
        values: of extra columns, (N,) or, for vectors, (N, D) each. A column that is not here is taken from
            the items' rows; what is missing there is empty.
        integer_ids: as for the schema; every item's id is then a whole number, or its text.
    """
    schema = catalogue_schema(scheme, sets, extras, integer_ids=integer_ids)
    ids = [item.row["id"] for item in items]
    columns: dict[str, pa.Array] = {
        "id": pa.array([int(i) for i in ids] if integer_ids else [str(i) for i in ids], schema[0].type),
        "source": pa.array([item.source for item in items], pa.string()),
    }
    for name in ("ra", "dec"):
        degrees = np.array([item.row.get(name, np.nan) for item in items], np.float64)
        columns[name] = pa.array(degrees, mask=~np.isfinite(degrees))
    if isinstance(scheme, VoteFractions):
        columns |= _vote_columns(scheme, predictions_NK)
    else:
        columns |= _class_columns(scheme, predictions_NK, sets)
    for extra in extras:
        columns[extra.name] = _extra_column(extra, items, values or {})
    return pa.table(columns, schema=schema)


def _vote_columns(scheme: VoteFractions, predictions_NK: np.ndarray) -> dict[str, pa.Array]:
    columns = {
        answer: pa.array(predictions_NK[:, k], pa.float32()) for k, answer in enumerate(scheme.answers)
    }
    tree = tree_of(scheme)
    if tree is not None:
        paths = tree.leaf_paths(predictions_NK)
        columns[_PATH.name] = pa.array([SEPARATOR.join(path) for path in paths], pa.string())
    return columns


def _class_columns(scheme: Classes, predictions_NK: np.ndarray, sets: Sets | None) -> dict[str, pa.Array]:
    columns = {
        "predicted": pa.array([scheme.classes[k] for k in predictions_NK.argmax(axis=1)], pa.string()),
        "probability": pa.array(predictions_NK.max(axis=1), pa.float32()),
    }
    for k, name in enumerate(scheme.classes):
        columns[probability_column(name)] = pa.array(predictions_NK[:, k], pa.float32())
    columns["entropy"] = pa.array(entropy(predictions_NK), pa.float32())
    if sets is not None:
        chosen = filled_sets(predictions_NK, sets.least_K)
        columns["set"] = pa.array(set_names(predictions_NK, chosen, scheme.classes), pa.string())
    return columns


def _extra_column(extra: Extra, items: Sequence[Item], values: Mapping[str, np.ndarray]) -> pa.Array:
    if extra.name not in values:
        return pa.array([item.row.get(extra.name) for item in items], extra.kind)
    found = np.asarray(values[extra.name])
    if isinstance(extra.kind, pa.FixedSizeListType):
        flat = pa.array(np.ascontiguousarray(found).reshape(-1), extra.kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, type=extra.kind)
    return pa.array(found, extra.kind)


def entropy(probabilities_NK: np.ndarray) -> np.ndarray:
    """−Σ p ln p of each row in nats, (N,) float64: 0 for certainty, ln K for no idea; 0 ln 0 is 0."""
    p = np.asarray(probabilities_NK, np.float64)
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1) + 0.0  # no negative zero


def provenance_of(
    predictor: Predictor | Ensemble, source: str, *, stretch: str, crop: int | None, sets: Sets | None = None
) -> dict[str, str]:
    """What a reader must know to trust a catalogue, or to make it again.

    Args:
        predictor: that answered.
        source: what was predicted.
        stretch: of FITS images.
        crop: as asked; None: as the training's.
        sets: the prediction sets in it.
    """
    run = predictor.run
    facts = run.header.store
    crop = crop or facts.crop
    adapted = getattr(predictor, "adapted_to", 0)
    return {
        "program": "morphoscope",
        "program_version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": source,
        "run": run.name,
        "recipe": run.recipe.name,
        "weights_sha256": run.header.weights_sha256 or files.sha256_of(run.path / "weights.safetensors"),
        "views": str(predictor.views),
        "number_format": predictor.number_format,
        "calibration": predictor.calibration_words,
        "adapted": f"batch normalisation to {adapted} images of the input" if adapted else "no",
        "sets": "none" if sets is None else sets.words,
        "scheme": predictor.scheme.model_dump_json(),
        "stretch": stretch,
        "crop": str(crop) if crop else "",
        "size": str(facts.image_shape[0]),
    }


def sets_of(
    predictor: Predictor | Ensemble, coverage: float | None, *, per_class: bool = False
) -> Sets | None:
    """Thresholds for a coverage from the run's calibration; None where no sets were asked for.

    Raises:
        UsageError: the coverage is not between 0 and 1, the run answers with votes, or it was not
            calibrated for these views.
    """
    if coverage is None:
        if per_class:
            raise UsageError("sets within every class need a coverage; add --coverage, such as 0.9")
        return None
    check_coverage(coverage)
    if not isinstance(predictor.scheme, Classes):
        raise UsageError("--coverage makes sets of classes; this run answers with vote fractions")
    calibration = predictor.calibration
    if calibration is None or calibration.scores is None:
        raise UsageError(
            f"--coverage needs a calibrated run; calibration of '{predictor.run.name}' is "
            f"{predictor.calibration_words}. See 'morphoscope calibrate --help'"
        )
    least_K = least_probabilities(calibration.scores, predictor.scheme.classes, coverage, per_class=per_class)
    return Sets(coverage, per_class, least_K)
