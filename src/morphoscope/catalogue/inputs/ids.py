"""Ids that occur more than once in an input."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import numpy as np

from morphoscope.images.stream import Item
from morphoscope.progress import note


def watched(items: Iterable[Item], name: str) -> Iterator[Item]:
    """The same items; after the last of them a note says how many share an id with another one.

    Eight bytes an item are kept: hashes of the ids, of which two may be alike by chance once in 10⁷ inputs of
    a million.
    """
    hashes = array("q")
    for item in items:
        hashes.append(hash(item.row["id"]))
        yield item
    if not hashes:
        return
    _, counts = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
    repeated = counts[counts > 1]
    if len(repeated):
        note(
            f"{name}: {len(repeated)} ids stand for several galaxies ({repeated.sum()} of {len(hashes)} "
            "rows); all are in the catalogue"
        )
