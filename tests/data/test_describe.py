from __future__ import annotations

from dataclasses import replace

import numpy as np

from morphoscope.data.store import Store, StoreMeta, describe, description_lines
from morphoscope.labels.scheme import Classes

SCHEME = Classes(name="two", classes=("smooth", "spiral"))


def test_a_description_says_what_is_known(table_store) -> None:
    store = table_store(np.array([0, 1, 1, -1]), SCHEME, ra=np.array([10.0, 10.0, 20.0, np.nan]))
    known = {"unreadable": 2, "pixel_scale": 0.262, "source": "a folder", "source_checksum": "ab" * 32}
    store = replace(store, meta=store.meta.model_copy(update=known))
    assert description_lines(describe(store)) == [
        "store: 4 galaxies, 1×1 px, 3 channels, 0.0 MB",
        "source      a folder (sha256 abababababab…)",
        "stretch     as-served",
        "scale       0.262″ per pixel",
        "sky         3 with coordinates, 3 groups within 10″",
        "unreadable  2 images, listed in unreadable.csv",
        "labels      two: 3 galaxies labelled",
        "  smooth        1",
        "  spiral        2",
    ]


def test_a_store_without_labels_and_places_says_so(table_store) -> None:
    store = table_store(np.full(2, -1), SCHEME)
    bare = Store(store.path, StoreMeta(count=2, image_shape=(1, 1, 3)), store.images, store.table)
    assert description_lines(describe(bare))[1:] == [
        "source      unknown",
        "stretch     as-served",
        "labels      none",
    ]
