"""Columns of a catalogue, with units and descriptions; its provenance; its prediction sets.

A column beyond the usual ones is a :class:`Column`, which has its name, type and description. Its values come
with the predictions (:mod:`morphoscope.catalogue.columns`) or with the galaxy's row. The provenance is
text, which any format can store.

Shape letters: N galaxies, K outputs.

Uncertainty, out-of-distribution and embedding columns.

A :class:`ColumnProvider` runs the network once on each batch: it returns the predictions and the values of
the columns that it adds to the usual ones, and describes them for the provenance.

Shape letters: N galaxies, K outputs, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from morphoscope import files
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.coverage import joined
from morphoscope.images.planes import kind_of
from morphoscope.images.source_quality import has_no_class
from morphoscope.images.stream import Item
from morphoscope.inference.preprocess import bands_asked
from morphoscope.labels.scheme import Column, Scheme
from morphoscope.metrics.conformal import Sets, check_coverage, least_probabilities
from morphoscope.progress import note
from morphoscope.version import __version__

if TYPE_CHECKING:
    from morphoscope.inference.ensemble import Ensemble
    from morphoscope.inference.predictor import Predictor
    from morphoscope.runs.run import StoreFacts

_PLACE = (
    Column("id", pa.string(), "identifier of the galaxy", ucd="meta.id;meta.main"),
    Column("source", pa.string(), "where its image comes from", ucd="meta.ref"),
    Column("ra", pa.float64(), "right ascension", "deg", "pos.eq.ra;meta.main"),
    Column("dec", pa.float64(), "declination", "deg", "pos.eq.dec;meta.main"),
)
QUALITY = Column(
    "quality",
    pa.string(),
    "what is wrong with the image, reasons separated by '; '; empty if nothing was found",
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
    Column("no_data", pa.float32(), "fraction of the image without data, which is shown as sky"),
    Column("bands", pa.string(), "bands of the picture, from red to blue", ucd="instr.filter"),
    SCALING,
    Column(
        "orientation", pa.string(), ("flips and rotations that brought north up and east left, from the WCS")
    ),
)


def catalogue_schema(
    scheme: Scheme, sets: Sets | None = None, extras: Sequence[Column] = (), *, integer_ids: bool = False
) -> pa.Schema:
    """The columns of a catalogue made with ``scheme``; units and descriptions are in the fields' metadata.

    Args:
        scheme: the label scheme.
        sets: with a column of prediction sets.
        extras: further columns, which come last.
        integer_ids: make ``id`` int64, to match the input's own integer column; otherwise it is a string.

    Raises:
        MorphoscopeError: an output or an extra column has the same name as another column.
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
    check: bool = False,
) -> pa.Table:
    """N rows of a catalogue, with the columns of :func:`catalogue_schema`.

    Args:
        scheme: the label scheme.
        items: the galaxies; their rows may have id, ra and dec, and the values of extra columns.
        predictions_NK: probabilities or vote fractions, finite.
        sets: with a column of prediction sets.
        extras: further columns.
        values: values of extra columns, (N,) or, for vectors, (N, D). Other columns are taken from the
            items' rows or ``found``, and are empty if missing there.
        integer_ids: as for the schema; every item's id is then a whole number, or its text.
        check: give no class where a reason in ``quality`` rules it out
            (:mod:`morphoscope.images.source_quality`); the probabilities stay.
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
    if check:
        refused_N = np.array([has_no_class(item.quality) for item in items], bool)
        for name in set(scheme.decisions) & set(columns):
            kept = columns[name].to_numpy(zero_copy_only=False)
            columns[name] = pa.array(kept, columns[name].type, mask=refused_N)
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
    """What a reader needs to trust a catalogue, or to reproduce it.

    Args:
        predictor: the predictor that made it.
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
        **_views_of(predictor),
        "engine": predictor.engine_description,
        "number_format": predictor.precision_description,
        **({"quantisation": quantised} if quantised else {}),
        "calibration": predictor.calibration_description,
        "adapted": f"batch normalisation to {adapted} images of the input" if adapted else "no",
        "sets": "none" if sets is None else sets.description,
        "scheme": predictor.scheme.model_dump_json(),
        "stretch": stretch,
        **({} if facts.pictures else _of_bands(facts)),
        "crop": str(crop) if crop else "",
        "size": str(facts.image_shape[0]),
    }


def _views_of(predictor: Predictor | Ensemble) -> dict[str, str]:
    """How many views a catalogue's predictions are the mean of, and when the first was enough."""
    sure = dict.fromkeys(member.sure for member in _members(predictor))
    words = ", ".join("none" if each is None else f"{each:g}" for each in sure)
    return {"views": str(predictor.views), **({} if set(sure) == {None} else {"sure": words})}


def _of_bands(facts: StoreFacts) -> dict[str, str]:
    """What a catalogue of other images than pictures says of them."""
    given = bands_asked((), facts)  # in the order by which planes without names are found
    return {"bands": ",".join(given), "shown": ",".join(facts.shown), "images": kind_of(facts)}


def sets_of(
    predictor: Predictor | Ensemble, coverage: float | None, *, per_class: bool = False
) -> Sets | None:
    """Thresholds for a coverage, from the run's calibration; None if no sets were requested.

    Raises:
        UsageError: the coverage is not between 0 and 1, the run predicts votes, or is not calibrated for
            these views.
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


EMBEDDING = "embedding"
OOD_SCORE = Column(
    "out_of_distribution",
    pa.float32(),
    "out-of-distribution score: distance of the features from the training's, in units of that within which "
    "95 % of held-out galaxies lie",
)
P_VALUE = Column(
    "typicality",
    pa.float32(),
    "conformal p-value: fraction of held-out galaxies like the training's that are at least as far from it; "
    "below 0.05 is unusual",
    ucd="stat.probability",
)


class ColumnProvider(Protocol):
    """The network, and the columns it adds to a catalogue."""

    @property
    def predictor(self) -> Predictor | Ensemble:
        """The network, or several."""
        ...

    @property
    def extras(self) -> Sequence[Column]:
        """Columns beyond the usual ones, in their order."""
        ...

    @property
    def provenance(self) -> Mapping[str, str]:
        """How they are made; must be the same when a catalogue is resumed."""
        ...

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Predictions (N, K) float32, and the values of each extra column, (N,) or (N, D).

        Called from one thread at a time, with N preprocessed images (H, W, C) uint8.
        """
        ...


class PlainColumns:
    """Only the run's predictions."""

    extras: Sequence[Column] = ()

    def __init__(self, predictor: Predictor | Ensemble) -> None:
        self.predictor = predictor
        self.provenance: Mapping[str, str] = {}

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Predictions without extra columns."""
        return self.predictor.probabilities(images), {}


class FullColumns:
    """The predictions with every column that the run can fill.

    ``out_of_distribution`` and ``typicality`` if the run has a training feature distribution,
    ``mutual_information`` for an ensemble or Monte-Carlo samples, ``embedding`` if requested.

    Args:
        predictor: one run, or several.
        embeddings: add the features before the head, averaged over the views.
        out: the catalogue; Parquet stores features as float16, other formats as float32.

    Raises:
        UsageError: features are requested of an ensemble, or in a format that cannot store them.
    """

    def __init__(
        self, predictor: Predictor | Ensemble, *, embeddings: bool = False, out: Path | str | None = None
    ) -> None:
        self.predictor = predictor
        self.embedding = _embedding(predictor, out) if embeddings else None
        self.disagreement = _disagreement(predictor) if predictor.member_count > 1 else None
        scores = (OOD_SCORE, P_VALUE) if predictor.has_ood_score else ()
        optional = (*scores, self.disagreement, self.embedding)
        self.extras: Sequence[Column] = tuple(column for column in optional if column is not None)

    @property
    def provenance(self) -> Mapping[str, str]:
        """How the columns were made."""
        from morphoscope.inference.ood import METHOD

        predictor = self.predictor
        members = list(_members(predictor))
        provenance = {"reference": "none"}
        if predictor.has_ood_score:
            galaxies = [member.distribution.galaxies for member in members if member.distribution is not None]
            held_out = [
                len(m.distribution.held_out[m.feature_views]) for m in members if m.distribution is not None
            ]
            provenance["reference"] = (
                f"{METHOD} from {_listed(galaxies)} training galaxies, read off {_listed(held_out)} held-out "
                "ones"
            )
        if len(members) > 1:
            provenance["members"] = "; ".join(
                f"{member.run.name}, weights {member.run.header.weights_sha256}, {member.views_description}"
                for member in members
            )
        if members[0].member_count > 1:
            seeds = [member.run.recipe.seed for member in members]
            provenance["dropout_samples"] = f"{members[0].member_count}, seed {_listed(seeds)}"
        if self.embedding is not None:
            provenance["embedding"] = f"features before the head, {members[0].feature_count}"
        return provenance

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Predictions (N, K), and the values of the extra columns.

        Raises:
            MorphoscopeError: features are too large for the catalogue's data type, or a column got no values.
        """
        from morphoscope.inference.ensemble import mutual_information

        prediction = self.predictor.predict(images)
        values: dict[str, np.ndarray] = {}
        for extra in self.extras:
            value = None
            if extra is OOD_SCORE:
                value = prediction.ood_score_N
            elif extra is P_VALUE:
                value = prediction.p_value_N
            elif extra is self.embedding and prediction.features_ND is not None:
                value = _stored(prediction.features_ND, extra.kind)
            elif extra is self.disagreement:
                value = mutual_information(self.predictor.scheme, prediction.members_MNK)
            if value is None:
                raise MorphoscopeError(
                    f"run '{self.predictor.run.name}' has no values for the column '{extra.name}'"
                )
            values[extra.name] = value
        return prediction.predictions_NK, values


def note_missing_scores(predictor: Predictor | Ensemble) -> None:
    """Note why a catalogue has no column ``out_of_distribution``."""
    from morphoscope.inference.ood import why_no_ood_score

    for member in _members(predictor):
        if not member.has_ood_score:
            note(f"no column {OOD_SCORE.name}: {why_no_ood_score(member.run, member.feature_views)}")
            return


def _members(predictor: Predictor | Ensemble) -> Sequence[Predictor]:
    from morphoscope.inference.ensemble import Ensemble

    return predictor.members if isinstance(predictor, Ensemble) else (predictor,)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in dict.fromkeys(numbers))


def _disagreement(predictor: Predictor | Ensemble) -> Column:
    what = "ensemble members" if len(_members(predictor)) > 1 else "Monte-Carlo samples"
    meaning = (
        f"mutual information in nats: how much {predictor.member_count} {what} "
        f"disagree{predictor.scheme.entropy_note}; 0 if not at all"
    )
    return Column("mutual_information", pa.float32(), meaning)


def _embedding(predictor: Predictor | Ensemble, out: Path | str | None) -> Column:
    if len(_members(predictor)) > 1:
        raise UsageError("--embeddings: several runs have features of different meaning; give one run")
    suffix = ".parquet" if out is None else Path(out).suffix.lower()
    if suffix == ".csv":
        raise UsageError(
            f"{out}: CSV cannot store features; with --embeddings write .parquet, or another format with "
            "arrays"
        )
    number = pa.float16() if suffix in ("", ".parquet") else pa.float32()
    width = _members(predictor)[0].feature_count
    return Column(EMBEDDING, pa.list_(number, width), "features of the network before its head")


def _stored(features_ND: np.ndarray, kind: pa.DataType) -> np.ndarray:
    with np.errstate(over="ignore"):  # found below
        stored = features_ND.astype(np.float16 if kind.value_type == pa.float16() else np.float32)
    if not np.isfinite(stored).all():
        raise MorphoscopeError(
            f"features up to {np.abs(features_ND).max():.3g} are too large for the column '{EMBEDDING}'; "
            "leave --embeddings out"
        )
    return stored
