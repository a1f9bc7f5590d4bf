from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from morphoscope.data.sky import sky_groups
from morphoscope.data.store import Store, StoreMeta
from morphoscope.labels.scheme import Classes, VoteFractions


@pytest.fixture(scope="session")
def table_store() -> Callable[..., Store]:
    """Make a store with a table alone: splits and audits never look at pixels, only at their hashes."""

    def make(
        labels: np.ndarray,
        scheme: Classes | VoteFractions | None = None,
        *,
        ra: np.ndarray | None = None,
        dec: np.ndarray | None = None,
        pixels: list[str] | None = None,
        radius: float = 10.0,
        name: str = "store",
    ) -> Store:
        count = len(labels)
        if scheme is None and labels.ndim == 1:
            classes = tuple(f"class {index}" for index in range(int(labels.max()) + 1))
            scheme = Classes(name="test", classes=classes)
        ra = np.full(count, np.nan) if ra is None else np.asarray(ra, float)
        dec = np.where(np.isnan(ra), np.nan, 0.0) if dec is None else np.asarray(dec, float)
        columns = {"id": [f"g{row}" for row in range(count)], "ra": ra, "dec": dec}
        if scheme is not None:
            stacked = labels.reshape(count, -1)
            columns |= {column: stacked[:, place] for place, column in enumerate(scheme.columns)}
        columns["pixel_hash"] = [f"{row:016x}" for row in range(count)] if pixels is None else pixels
        columns["sky_group"] = sky_groups(ra, dec, radius)
        meta = StoreMeta(scheme=scheme, count=count, image_shape=(1, 1, 3), sky_group_radius=radius)
        return Store(Path(name), meta, np.zeros((count, 1, 1, 3), np.uint8), pa.table(columns))

    return make
