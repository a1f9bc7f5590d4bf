"""Names of image files in a folder, and ids made of them.

Ids that occur more than once in an input: said, once, for no row is left out for it.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from morphoscope.errors import UsageError
from morphoscope.images.decode import is_image_name
from morphoscope.images.stream import Item
from morphoscope.progress import note

_SEPARATOR = "\0"  # in no file's name


def image_names(folder: Path) -> Iterator[str]:
    """The images in a folder and its folders, relative and sorted; hidden ones are passed over."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: cannot be read ({error.strerror})") from error

    for place, inner, names in os.walk(folder, onerror=refuse):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
        within = os.path.relpath(place, folder)
        before = "" if within == "." else f"{Path(within).as_posix()}/"
        packed = _SEPARATOR.join(sorted(name for name in names if is_image_name(name)))
        names.clear()  # os.walk would hold them until the folder is done
        for name in _unpacked(packed):
            yield before + name


def _unpacked(packed: str) -> Iterator[str]:
    """Names out of one text, where a million of them take a sixth of the memory they take on their own."""
    start = 0
    while start < len(packed):
        end = packed.find(_SEPARATOR, start)
        end = len(packed) if end < 0 else end
        yield packed[start:end]
        start = end + 1


def _stem(name: str) -> str:
    return Path(name).stem


def _without_suffix(name: str) -> str:
    return Path(name).with_suffix("").as_posix()


def _whole(name: str) -> str:
    return name


def distinct_ids(names: Iterator[str]) -> tuple[Callable[[str], str], int]:
    """The shortest kind of id that differs for all names (as a folder's store has it), and their number.

    Eight bytes a name are kept, not the names. Should two hashes meet by chance, ids are longer than need be.
    """
    kinds = (_stem, _without_suffix)
    hashes = [array("q") for _ in kinds]
    for name in names:
        for seen, kind in zip(hashes, kinds, strict=True):
            seen.append(hash(kind(name)))
    count = len(hashes[0])
    for seen, kind in zip(hashes, kinds, strict=True):
        if len(np.unique(np.frombuffer(seen, np.int64))) == count:
            return kind, count
    return _whole, count


def watched(items: Iterable[Item], name: str) -> Iterator[Item]:
    """The same items; when the last has gone by, a note says how many share an id with another one.

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
