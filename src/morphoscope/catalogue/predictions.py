"""Uncertainty, out-of-distribution and embedding columns.

A :class:`ColumnProvider` runs the network once on each batch: it returns the predictions and the values of
the columns that it adds to the usual ones, and describes them for the provenance.

Shape letters: N galaxies, K outputs, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.scheme import Column
from morphoscope.progress import note

if TYPE_CHECKING:
    from morphoscope.inference.ensemble import Ensemble
    from morphoscope.inference.predictor import Predictor

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
    "conformal p-value: share of held-out galaxies like the training's that are at least as far from it; "
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
        """How they are made; a resumed catalogue must have it in common."""
        ...

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Predictions (N, K) float32, and for each extra column its values, (N,) or (N, D).

        Called from one thread at a time, with N preprocessed images (H, W, C) uint8.
        """
        ...


class PlainColumns:
    """The run's predictions alone."""

    extras: Sequence[Column] = ()

    def __init__(self, predictor: Predictor | Ensemble) -> None:
        self.predictor = predictor
        self.provenance: Mapping[str, str] = {}

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Predictions without extra columns."""
        return self.predictor.probabilities(images), {}


class FullColumns:
    """The predictions with every column that the run can fill.

    ``out_of_distribution`` and ``typicality`` where the run has a training feature distribution,
    ``mutual_information`` of an ensemble or Monte-Carlo samples, ``embedding`` where it is asked for.

    Args:
        predictor: one run, or several.
        embeddings: add the features before the head, averaged over the views.
        out: the catalogue; Parquet stores features as float16, other formats as float32.

    Raises:
        UsageError: features of an ensemble, or in a format that cannot store them.
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
            held_out = [len(m.distribution.held_out[m.views]) for m in members if m.distribution is not None]
            provenance["reference"] = (
                f"{METHOD} from {_listed(galaxies)} training galaxies, read off {_listed(held_out)} held-out "
                "ones"
            )
        if len(members) > 1:
            provenance["members"] = "; ".join(
                f"{member.run.name}, weights {member.run.header.weights_sha256}, {member.views} views"
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
            MorphoscopeError: features are too large for the catalogue's numbers, or the network returned no
                values for a column.
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
            note(f"no column {OOD_SCORE.name}: {why_no_ood_score(member.run, member.views)}")
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
