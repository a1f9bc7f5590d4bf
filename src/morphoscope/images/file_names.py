"""Names of image files: those in a folder, the ids made from them, and suggestions for misspelt ones."""

from __future__ import annotations

import contextlib
import difflib
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.decode import FITS_SUFFIXES, IMAGE_SUFFIXES, is_image_name
from morphoscope.progress import note

_SEPARATOR = "\0"  # not allowed in file names
_SINGLE_ENDINGS = frozenset(s for s in IMAGE_SUFFIXES + FITS_SUFFIXES if s.count(".") == 1)
_MOST_LISTED = 20_000  # files of a folder that are searched for the nearest name


def image_names(folder: Path, skipped: Counter[str] | None = None) -> Iterator[str]:
    """The images in a folder and its subfolders, relative and sorted; hidden files are skipped.

    Args:
        folder: the folder to list.
        skipped: counts the files that are not images, by suffix.

    Raises:
        UsageError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: cannot be read ({error.strerror})") from error

    for path, inner, names in os.walk(folder, onerror=refuse):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
        within = os.path.relpath(path, folder)
        before = "" if within == "." else f"{Path(within).as_posix()}/"
        if skipped is not None:
            skipped.update(
                Path(name).suffix.lower() or "without an ending"
                for name in names
                if not name.startswith(".") and not is_image_name(name)
            )
        packed = _SEPARATOR.join(sorted(filter(is_image_name, names)))
        names.clear()  # os.walk would keep them until the folder is done
        for name in _unpacked(packed):
            yield before + name


def _unpacked(packed: str) -> Iterator[str]:
    """Names from one packed text, where a million of them take a sixth of the memory of separate strings."""
    start = 0
    while start < len(packed):
        end = packed.find(_SEPARATOR, start)
        end = len(packed) if end < 0 else end
        yield packed[start:end]
        start = end + 1


def report_skipped(label: str, skipped: Counter[str]) -> None:
    """Report how many files of a folder are not images, by suffix."""
    if skipped:
        kinds = ", ".join(f"{count} {ending}" for ending, count in skipped.most_common(8))
        more = ", …" if len(skipped) > 8 else ""
        count = skipped.total()
        note(
            f"{label}: {count} "
            f"{'file is not an image and was' if count == 1 else 'files are not images and were'} "
            f"skipped ({kinds}{more})"
        )


def stem(name: str) -> str:
    """A file's name without its folder and suffix.

    >>> stem("a/J1234+01.5.fits.gz")
    'J1234+01.5'
    """
    return without_suffix(name.rsplit("/", 1)[-1])


def without_suffix(name: str) -> str:
    """A file's path without its suffix."""
    lower = name.lower()
    ending = lower[lower.rfind(".") :]
    if ending not in _SINGLE_ENDINGS:
        ending = max((s for s in IMAGE_SUFFIXES + FITS_SUFFIXES if lower.endswith(s)), key=len, default="")
    bare = name[: -len(ending)] if ending else Path(name).with_suffix("").as_posix() if name else name
    return bare if bare and not bare.endswith("/") else name


def _whole(name: str) -> str:
    return name


def distinct_ids(names: Iterable[str]) -> tuple[Callable[[str], str], int]:
    """A function that gives each image file an id, and the number of files.

    An id is a file's name without its suffix; with its folders if names repeat, and with the suffix as well
    if they still do.

    Only eight bytes per name are kept. If two hashes happen to collide, ids are longer than necessary.
    """
    kinds = (stem, without_suffix)
    hashes = [array("q") for _ in kinds]
    for name in names:
        for seen, kind in zip(hashes, kinds, strict=True):
            seen.append(hash(kind(name)))
    count = len(hashes[0])
    for seen, kind in zip(hashes, kinds, strict=True):
        ordered = np.frombuffer(seen, np.int64)
        ordered.sort()  # in place: there may be a hundred million
        if (ordered[1:] != ordered[:-1]).all():
            return kind, count
    return _whole, count


def writable(name: str) -> str:
    """A name that any file can store: bytes that are not UTF-8 are written in hexadecimal."""
    try:
        name.encode()
    except UnicodeEncodeError:
        with contextlib.suppress(UnicodeEncodeError):
            return os.fsencode(name).decode("utf-8", "backslashreplace")
        return name.encode("utf-8", "backslashreplace").decode()  # a lone surrogate, as in JSON
    return name


def refuse_name(name: str) -> np.ndarray:
    """Stands for the image of a file whose name no catalogue can store.

    Raises:
        MorphoscopeError: always.
    """
    raise MorphoscopeError(f"{name}: the file's name is not UTF-8; rename it")


def load_named(name: str, load: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
    """``load``, or a function that raises the error if the file's name is not UTF-8."""
    shown = writable(name)
    return load if shown == name else partial(refuse_name, shown)


def nearest_file(folder: Path, name: str) -> Path | None:
    """The existing file with the most similar name to one that does not exist.

    Tried in turn: another suffix in the same folder, the same name in a sibling folder or subfolder, a
    similar name.
    """
    path = folder / name
    there = _listed(path.parent)
    wanted = stem(path.name)
    for test in (
        lambda entry: stem(entry).lower() == wanted.lower(),
        lambda entry: entry.lower().startswith(path.name.lower() + "."),
    ):
        found = next(filter(test, there), None)
        if found is not None:
            return path.parent / found
    for other in _folders(folder):
        for entry in _listed(other):
            if entry == path.name or stem(entry) == wanted:
                return other / entry
    near = difflib.get_close_matches(path.name, there[:_MOST_LISTED], n=1, cutoff=0.6)
    return path.parent / near[0] if near else None


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except (OSError, ValueError):
        return []


def _folders(folder: Path) -> list[Path]:
    try:
        inner = sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
    except (OSError, ValueError):
        inner = []
    return [folder, *inner[:100]]
