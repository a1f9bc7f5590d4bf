"""Columns that say what the network does not know, and the features: all from one pass through it.

Shape letters: N galaxies, D features.

What is asked of the network for each batch: the answers, and the values of extra columns with them.

A catalogue with more columns (how unlike the training a galaxy is, how much an ensemble disagrees, the
features) is made by another :class:`ColumnProvider`: it names the columns, says what they are for the
provenance, and gives all values of a batch from one pass through the network.
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
STRANGENESS = Column(
    "out_of_distribution",
    pa.float32(),
    "how unlike the training's galaxies: distance of the features in units of that within which 95 % of "
    "held-out galaxies lie; above 1 is stranger than they",
)
TYPICALITY = Column(
    "typicality",
    pa.float32(),
    "share of held-out galaxies of the training's kind that are at least as unlike it; below 0.05 is strange",
    ucd="stat.probability",
)


class FullColumns:
    """The answers with every column that the networks can fill.

    ``out_of_distribution`` and ``typicality`` where there is a reference, ``mutual_information`` where there
    are several opinions, ``embedding`` where it is asked for.

    Args:
        predictor: one run, or several.
        embeddings: with the features before the head, averaged over the views.
        out: the catalogue: Parquet keeps features as float16, other formats as float32.

    Raises:
        UsageError: features of an ensemble, or in a format that has no place for them.
    """

    def __init__(
        self, predictor: Predictor | Ensemble, *, embeddings: bool = False, out: Path | None = None
    ) -> None:
        self.predictor = predictor
        self.embedding = _embedding(predictor, out) if embeddings else None
        columns = []
        if predictor.has_ood_score:
            columns += [STRANGENESS, TYPICALITY]
        if predictor.opinions > 1:
            columns.append(_information(predictor))
        if self.embedding is not None:
            columns.append(self.embedding)
        self.extras: Sequence[Column] = tuple(columns)

    @property
    def provenance(self) -> Mapping[str, str]:
        """What the columns were made with."""
        from morphoscope.inference.ood import METHOD

        predictor = self.predictor
        members = list(_members(predictor))
        said = {"reference": "none"}
        if predictor.has_ood_score:
            galaxies = [member.reference.galaxies for member in members if member.reference is not None]
            held_out = [len(m.reference.held_out[m.views]) for m in members if m.reference is not None]
            said["reference"] = (
                f"{METHOD} from {_listed(galaxies)} training galaxies, read off {_listed(held_out)} held-out "
                "ones"
            )
        if len(members) > 1:
            said["members"] = "; ".join(
                f"{member.run.name}, weights {member.run.header.weights_sha256}, {member.views} views"
                for member in members
            )
        if members[0].dropout is not None:
            seeds = [member.dropout.seed for member in members if member.dropout is not None]
            said["dropout_samples"] = f"{members[0].dropout.samples}, seed {_listed(seeds)}"
        if self.embedding is not None:
            said["embedding"] = f"features before the head, {members[0].feature_count}"
        return said

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Answers (N, K), and the values of the extra columns.

        Raises:
            MorphoscopeError: features are too large for the catalogue's numbers.
        """
        from morphoscope.inference.ensemble import mutual_information

        look = self.predictor.predict(images)
        values: dict[str, np.ndarray] = {}
        for extra in self.extras:
            if extra is STRANGENESS and look.ood_score_N is not None:
                values[extra.name] = look.ood_score_N
            elif extra is TYPICALITY and look.p_value_N is not None:
                values[extra.name] = look.p_value_N
            elif extra is self.embedding and look.features_ND is not None:
                values[extra.name] = _stored(look.features_ND, extra.kind)
            else:
                values[extra.name] = mutual_information(self.predictor.scheme, look.opinions_ONK)
        return look.predictions_NK, values


def note_missing_scores(predictor: Predictor | Ensemble) -> None:
    """Say once why a catalogue has no column ``out_of_distribution``."""
    from morphoscope.inference.ood import why_no_reference

    for member in _members(predictor):
        if not member.has_ood_score:
            note(f"no column {STRANGENESS.name}: {why_no_reference(member.run, member.views)}")
            return


def _members(predictor: Predictor | Ensemble) -> Sequence[Predictor]:
    from morphoscope.inference.ensemble import Ensemble

    return predictor.members if isinstance(predictor, Ensemble) else (predictor,)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in dict.fromkeys(numbers))


def _information(predictor: Predictor | Ensemble) -> Column:
    meaning = (
        f"mutual information in nats: how much {predictor.opinions} opinions "
        f"disagree{predictor.scheme.entropy_note}; 0 if not at all"
    )
    return Column("mutual_information", pa.float32(), meaning)


def _embedding(predictor: Predictor | Ensemble, out: Path | None) -> Column:
    if len(_members(predictor)) > 1:
        raise UsageError("--embeddings: several runs have features of different meaning; give one run")
    suffix = ".parquet" if out is None else out.suffix.lower()
    if suffix == ".csv":
        raise UsageError(
            f"{out}: a CSV has no place for features; with --embeddings write .parquet, or a format with "
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
            f"features up to {np.abs(features_ND).max():.3g} do not fit the numbers of the column "
            f"'{EMBEDDING}'; leave --embeddings out"
        )
    return stored


class ColumnProvider(Protocol):
    """How a batch of images is answered."""

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
        """What a reader must know about them; part of what a resumed catalogue must have in common."""
        ...

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Answers (N, K) float32, and for each extra column its values, (N,) or (N, D).

        Called in one thread at a time, with N images (H, W, C) uint8 that fit the run.
        """
        ...


class PlainColumns:
    """The run's answers alone."""

    extras: Sequence[Column] = ()

    def __init__(self, predictor: Predictor | Ensemble) -> None:
        self.predictor = predictor
        self.provenance: Mapping[str, str] = {}

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Answers without extra columns."""
        return self.predictor.probabilities(images), {}
