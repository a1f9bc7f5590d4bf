"""What a catalogue says of each galaxy: its columns, with units and descriptions.

Shape letters: N galaxies, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from morphoscope.data.ingest import Item
from morphoscope.errors import MorphoscopeError
from morphoscope.evaluation.conformal import SEPARATOR, filled_sets, set_names
from morphoscope.labels.scheme import Classes, VoteFractions, probability_column

_PLACE = (
    ("id", pa.string(), "", "identifier of the galaxy"),
    ("source", pa.string(), "", "where its image comes from"),
    ("ra", pa.float64(), "deg", "right ascension"),
    ("dec", pa.float64(), "deg", "declination"),
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


def catalogue_schema(scheme: Classes | VoteFractions, sets: Sets | None = None) -> pa.Schema:
    """The columns of a catalogue made with ``scheme``; units and descriptions are in the fields' metadata.

    Args:
        scheme: what the answers mean.
        sets: with a column of prediction sets.

    Raises:
        MorphoscopeError: an answer has the name of another column.
    """
    fields = [_field(*column) for column in _PLACE]
    if isinstance(scheme, VoteFractions):
        clash = {field.name for field in fields} & set(scheme.answers)
        if clash:
            raise MorphoscopeError(
                f"scheme '{scheme.name}': an answer called {', '.join(sorted(clash))} cannot be a column "
                "of a catalogue, which has one of that name already"
            )
        fields += [
            _field(answer, pa.float32(), "", "fraction of volunteers, predicted") for answer in scheme.answers
        ]
        return pa.schema(fields)
    fields += [
        _field("predicted", pa.string(), "", "most probable class"),
        _field("probability", pa.float32(), "", "probability of the predicted class"),
    ]
    fields += [
        _field(probability_column(name), pa.float32(), "", f"probability of class {name}")
        for name in scheme.classes
    ]
    fields.append(_field("entropy", pa.float32(), "nat", "entropy of the class probabilities"))
    if sets is not None:
        fields.append(
            _field(
                "set",
                pa.string(),
                "",
                f"classes that hold the truth for a share of {sets.words} like the training's, the most "
                f"probable first, separated by {SEPARATOR}",
            )
        )
    return pa.schema(fields)


def catalogue_table(
    scheme: Classes | VoteFractions,
    items: Sequence[Item],
    answers_NK: np.ndarray,
    sets: Sets | None = None,
) -> pa.Table:
    """N rows of a catalogue, with the columns of :func:`catalogue_schema`.

    Args:
        scheme: what the answers mean.
        items: the galaxies; their rows may have id, ra and dec.
        answers_NK: probabilities or vote fractions, finite.
        sets: with a column of prediction sets.
    """
    columns: dict[str, pa.Array] = {
        "id": pa.array([str(item.row["id"]) for item in items], pa.string()),
        "source": pa.array([item.source for item in items], pa.string()),
    }
    for name in ("ra", "dec"):
        degrees = np.array([item.row.get(name, np.nan) for item in items], np.float64)
        columns[name] = pa.array(degrees, mask=~np.isfinite(degrees))
    if isinstance(scheme, VoteFractions):
        for k, answer in enumerate(scheme.answers):
            columns[answer] = pa.array(answers_NK[:, k], pa.float32())
    else:
        columns["predicted"] = pa.array([scheme.classes[k] for k in answers_NK.argmax(axis=1)], pa.string())
        columns["probability"] = pa.array(answers_NK.max(axis=1), pa.float32())
        for k, name in enumerate(scheme.classes):
            columns[probability_column(name)] = pa.array(answers_NK[:, k], pa.float32())
        columns["entropy"] = pa.array(entropy(answers_NK), pa.float32())
        if sets is not None:
            chosen = filled_sets(answers_NK, sets.least_K)
            columns["set"] = pa.array(set_names(answers_NK, chosen, scheme.classes), pa.string())
    return pa.table(columns, schema=catalogue_schema(scheme, sets))


def entropy(probabilities_NK: np.ndarray) -> np.ndarray:
    """−Σ p ln p of each row in nats, (N,) float64: 0 for certainty, ln K for no idea; 0 ln 0 is 0."""
    p = np.asarray(probabilities_NK, np.float64)
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1) + 0.0  # no negative zero


def _field(name: str, kind: pa.DataType, unit: str, description: str) -> pa.Field:
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, metadata=metadata)
