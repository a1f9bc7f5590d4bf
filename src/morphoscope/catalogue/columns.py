"""Columns of a catalogue, with units and descriptions; its provenance; its prediction sets.

A column beyond the usual ones is a :class:`Column`, which has its name, type and description. Its values come
with the predictions (:mod:`morphoscope.catalogue.predictions`) or with the galaxy's row. The provenance is
text, which any format can store.

Shape letters: N galaxies, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from morphoscope import files
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.quality import joined
from morphoscope.images.stream import Item
from morphoscope.labels.scheme import Column, Scheme
from morphoscope.metrics.conformal import Sets, check_coverage, least_probabilities
from morphoscope.version import __version__

if TYPE_CHECKING:
    from morphoscope.inference.ensemble import Ensemble
    from morphoscope.inference.predictor import Predictor


_PLACE = (
    Column("id", pa.string(), "identifier of the galaxy", ucd="meta.id;meta.main"),
    Column("source", pa.string(), "where its image comes from", ucd="meta.ref"),
    Column("ra", pa.float64(), "right ascension", "deg", "pos.eq.ra;meta.main"),
    Column("dec", pa.float64(), "declination", "deg", "pos.eq.dec;meta.main"),
)
QUALITY = Column(
    "quality",
    pa.string(),
    "what is wrong with the image, reasons parted by '; '; empty if nothing was found",
    ucd="meta.code.qual",
)
SCALING = Column("scaling", pa.string(), "how measured values became the picture: the stretch and its scales")
FITTED_COLUMNS = (
    Column(
        "galaxy_size",
        pa.float32(),
        "largest diameter of the central source, as a share of the image's shorter side; empty without one",
        ucd="phys.angSize",
    ),
    Column("shown_side", pa.float32(), "side of the square shown to the network", "pix"),
)
FITS_COLUMNS = (
    Column("no_data", pa.float32(), "share of the image without data, which is shown as sky"),
    Column("bands", pa.string(), "bands of the picture, from red to blue", ucd="instr.filter"),
    SCALING,
    Column("orientation", pa.string(), "how flips and turns brought north up and east left, by the WCS"),
)


def catalogue_schema(
    scheme: Scheme, sets: Sets | None = None, extras: Sequence[Column] = (), *, integer_ids: bool = False
) -> pa.Schema:
    """The columns of a catalogue made with ``scheme``; units and descriptions are in the fields' metadata.

    Args:
        scheme: the label scheme.
        sets: with a column of prediction sets.
        extras: further columns, which come last.
        integer_ids: ``id`` is int64, so that it joins the input's own integer column; else a string.

    Raises:
        MorphoscopeError: an output or an extra column has the name of another column.
    """
    columns = [*_PLACE, *scheme.catalogue_columns(sets), QUALITY]
    columns += extras
    names = [column.name for column in columns]
    clash = sorted({name for name in names if names.count(name) > 1})
    if clash:
        raise MorphoscopeError(
            f"scheme '{scheme.name}': an output called {', '.join(clash)} cannot be a column "
            "of a catalogue, which has one of that name already"
        )
    fields = [column.field for column in columns]
    if integer_ids:
        fields[0] = fields[0].with_type(pa.int64())
    return pa.schema(fields)


def catalogue_table(
    scheme: Scheme,
    items: Sequence[Item],
    predictions_NK: np.ndarray,
    sets: Sets | None = None,
    extras: Sequence[Column] = (),
    values: Mapping[str, np.ndarray] | None = None,
    *,
    integer_ids: bool = False,
) -> pa.Table:
    """N rows of a catalogue, with the columns of :func:`catalogue_schema`.

    Args:
        scheme: the label scheme.
        items: the galaxies; their rows may have id, ra and dec, and the values of extra columns.
        predictions_NK: probabilities or vote fractions, finite.
        sets: with a column of prediction sets.
        extras: further columns.
        values: of extra columns, (N,) or, for vectors, (N, D) each. A column that is not here is taken from
            the items' rows, or what their files say (``found``); what is missing there is empty.
        integer_ids: as for the schema; every item's id is then a whole number, or its text.
    """
    schema = catalogue_schema(scheme, sets, extras, integer_ids=integer_ids)
    ids = [item.row["id"] for item in items]
    columns: dict[str, pa.Array] = {
        "id": pa.array([int(i) for i in ids] if integer_ids else [str(i) for i in ids], schema[0].type),
        "source": pa.array([item.source for item in items], pa.string()),
    }
    coordinates = [item.coordinates for item in items]
    for name in ("ra", "dec"):
        degrees = np.array([each.get(name, np.nan) for each in coordinates], np.float64)
        columns[name] = pa.array(degrees, mask=~np.isfinite(degrees))
    columns |= scheme.catalogue_values(predictions_NK, sets)
    columns[QUALITY.name] = pa.array([joined(item.quality) for item in items], pa.string())
    for extra in extras:
        columns[extra.name] = _extra_column(extra, items, values or {})
    return pa.table(columns, schema=schema)


def _extra_column(extra: Column, items: Sequence[Item], values: Mapping[str, np.ndarray]) -> pa.Array:
    if extra.name not in values:
        return pa.array([item.row.get(extra.name, item.found.get(extra.name)) for item in items], extra.kind)
    found = np.asarray(values[extra.name])
    if isinstance(extra.kind, pa.FixedSizeListType):
        flat = pa.array(np.ascontiguousarray(found).reshape(-1), extra.kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, type=extra.kind)
    return pa.array(found, extra.kind)


def provenance_of(
    predictor: Predictor | Ensemble, source: str, *, stretch: str, crop: int | None, sets: Sets | None = None
) -> dict[str, str]:
    """What a reader must know to trust a catalogue, or to make it again.

    Args:
        predictor: that made it.
        source: what was predicted.
        stretch: of FITS images.
        crop: as asked; None: as the training's.
        sets: the prediction sets in it.
    """
    run = predictor.run
    facts = run.header.store
    crop = crop or facts.crop
    adapted = getattr(predictor, "adapted_to", 0)
    quantised = predictor.quantisation_description
    return {
        "program": "morphoscope",
        "program_version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": source,
        "run": run.name,
        "recipe": run.recipe.name,
        "weights_sha256": run.header.weights_sha256 or files.sha256_of(run.path / "weights.safetensors"),
        "views": str(predictor.views),
        "engine": predictor.engine_description,
        "number_format": predictor.precision_description,
        **({"quantisation": quantised} if quantised else {}),
        "calibration": predictor.calibration_description,
        "adapted": f"batch normalisation to {adapted} images of the input" if adapted else "no",
        "sets": "none" if sets is None else sets.description,
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
        UsageError: the coverage is not between 0 and 1, the run predicts votes, or it was not
            calibrated for these views.
    """
    if coverage is None:
        if per_class:
            raise UsageError("sets within every class need a coverage; add --coverage, such as 0.9")
        return None
    check_coverage(coverage)
    classes = predictor.scheme.class_names
    if classes is None:
        raise UsageError(f"--coverage makes sets of classes; this run predicts {predictor.scheme.noun}")
    calibration = predictor.calibration
    if calibration is None or calibration.scores is None:
        raise UsageError(
            f"--coverage needs a calibrated run; calibration of '{predictor.run.name}' is "
            f"{predictor.calibration_description}. See 'morphoscope calibrate --help'"
        )
    least_K = least_probabilities(calibration.scores, classes, coverage, per_class=per_class)
    return Sets(coverage, per_class, least_K)
