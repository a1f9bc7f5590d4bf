"""Catalogues of votes and of measurements, as a network with each kind of label predicts them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from morphoscope.catalogue.formats.write import target_of, write_catalogue
from morphoscope.labels.measurements import Measurements, Quantity
from morphoscope.labels.scheme import Scheme, VoteCounts
from morphoscope.labels.tree_files import tree_file
from morphoscope.labels.vote_fractions import GALAXY_ZOO_2_VOTES

COUNT = 80
SCHEMES: dict[str, Scheme] = {
    "vote counts": VoteCounts(name="dr5", tree=tree_file("gz-decals-dr5").tree()),
    "vote fractions": GALAXY_ZOO_2_VOTES,
    "measurements": Measurements(
        name="sizes",
        quantities=(Quantity(name="radius", unit="arcsec"), Quantity(name="redshift", redshift=True)),
    ),
}


def predictions(kind: str, seed: int) -> np.ndarray:
    """As a network's calibrated outputs, (COUNT, K)."""
    rng, scheme = np.random.default_rng(0), SCHEMES[kind]
    noise = np.random.default_rng(seed)
    if kind == "vote counts":
        size = (COUNT, scheme.outputs)
        return np.exp(rng.normal(1.2, 0.8, size) + noise.normal(0, 0.2, size)) + 1
    if kind == "vote fractions":
        shares = rng.uniform(0, 1, (COUNT, scheme.outputs))
        return np.clip(shares + noise.normal(0, 0.05, shares.shape), 0, 1)
    values = np.stack([rng.gamma(4, 1, COUNT), rng.gamma(3, 0.05, COUNT)], axis=1)
    return np.concatenate([values + noise.normal(0, 0.01, values.shape), values * 0.1 + 0.01], axis=1)


def write(kind: str, path: Path, seed: int = 1, order: np.ndarray | None = None) -> Path:
    scheme = SCHEMES[kind]
    values = scheme.catalogue_values(predictions(kind, seed))
    fields = {column.name: column.field for column in scheme.catalogue_columns()}
    names = pa.array([f"g{row}" for row in range(COUNT)])
    columns = {"id": names, "source": names, **values}
    schema = pa.schema([fields.get(name, pa.field(name, columns[name].type)) for name in columns])
    table = pa.table(columns, schema=schema)
    if order is not None:
        table = table.take(pa.array(order))
    write_catalogue(target_of(path), table, {"scheme": scheme.model_dump_json()})
    return path
