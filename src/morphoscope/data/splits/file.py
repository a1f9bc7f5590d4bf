"""Splits as small, named, checksummed files.

JSON with one letter per galaxy, in the store's order: t train, v validation, s test, b validation and test,
. left out. ``fingerprint`` identifies the store's galaxies by id and coordinates; ``sha256`` covers
everything else in the file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope import files
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.versioned import check_version, read_document

FORMAT_VERSION = 1
KIND = "morphoscope-split"
LETTERS = b".tvsb"
LEFT_OUT, TRAIN, VALIDATION, TEST, VALIDATION_AND_TEST = range(5)
_LINE = 100  # galaxies per line of the file


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of a store's training, validation and test galaxies.

    Attributes:
        name: of the splitting rule.
        seed: of the draw.
        count: galaxies in the store.
        train, validation, test: sorted int64 row numbers; validation and test are the same rows in ``ng``.
        fingerprint: of the store's galaxies, see :func:`fingerprint`.
    """

    name: str
    seed: int
    count: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    fingerprint: str

    def parts(self) -> np.ndarray:
        """The part of each galaxy, (N,) int8: 0 left out, 1 train, 2 validation, 3 test, 4 the last two."""
        parts = np.zeros(self.count, dtype=np.int8)
        parts[self.train] = TRAIN
        parts[self.validation] = VALIDATION
        parts[self.test] = np.where(parts[self.test] == VALIDATION, VALIDATION_AND_TEST, TEST)
        return parts

    def with_held_out(self, most: int | None, strata_N: np.ndarray) -> Split:
        """At most so many validation and test galaxies, every stratum among them if it can be; None: all.

        Args:
            most: in each of the two parts.
            strata_N: of every galaxy of the store.
        """
        parts = {"validation": self.validation, "test": self.test}
        return replace(
            self, **{name: _thinned(rows, most, strata_N[rows], self.seed) for name, rows in parts.items()}
        )

    def save(self, path: Path | str) -> None:
        """Write the split file, atomically."""
        letters = np.frombuffer(LETTERS, dtype=np.uint8)[self.parts()].tobytes().decode("ascii")
        content = {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "seed": self.seed,
            "count": self.count,
            "sizes": {part: len(getattr(self, part)) for part in ("train", "validation", "test")},
            "fingerprint": self.fingerprint,
            "letters": "t train, v validation, s test, b validation and test, . left out",
            "galaxies": [letters[start : start + _LINE] for start in range(0, len(letters), _LINE)],
        }
        content["sha256"] = _checksum(content)
        with files.atomic_file(path) as partial:
            partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def fingerprint(store: Store) -> str:
    """SHA-256 of the ids and coordinates of a store's galaxies, in order; 64 hex digits.

    Labels and pixels are not included: a split also fits a store of the same galaxies at another size.
    """
    digest = hashlib.sha256()
    for batch in store.table.select(["id"]).to_batches(max_chunksize=65536):
        for name in batch.column(0).to_pylist():
            digest.update(f"{name}\n".encode())
    for name in ("ra", "dec"):
        degrees = store.column(name).astype("<f8")
        digest.update(np.where(np.isnan(degrees), np.nan, degrees).tobytes())
    return digest.hexdigest()


def load_split(path: Path | str, store: Store) -> Split:
    """Read a split file for the store that it was made for.

    Raises:
        UsageError: there is no such file, or it belongs to other galaxies.
        MorphoscopeError: the file is damaged, was edited, or was made by a newer program.
    """
    path = Path(path)
    content = _read(path)
    try:
        check_version(content["format_version"], FORMAT_VERSION, path)
        if _checksum({key: value for key, value in content.items() if key != "sha256"}) != content["sha256"]:
            raise MorphoscopeError(
                f"{path}: the split was edited or damaged after it was written (its sha256 does not match); "
                "use the original file, or make the split again"
            )
        split = _from_content(content)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MorphoscopeError(f"{path} is damaged: it is not a complete split file") from error
    if split.count != len(store) or split.fingerprint != fingerprint(store):
        raise UsageError(
            f"{path}: this split was made for a store of {split.count} other galaxies; the {len(store)} of "
            f"{store.path} differ in number, order, id or coordinates. Make a new split for it"
        )
    return split


def _read(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise UsageError(f"{path}: the split file cannot be read (no such file)")
        content = json.loads(read_document(path))
    except (ValueError, RecursionError) as error:  # not UTF-8 or not JSON
        raise MorphoscopeError(f"{path} is damaged: a split file (JSON) was expected") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise UsageError(f"{path} is not a split file: 'kind': '{KIND}' was expected in it")
    return content


def _from_content(content: dict[str, Any]) -> Split:
    letters = np.frombuffer("".join(content["galaxies"]).encode("ascii"), dtype=np.uint8)
    known = np.isin(letters, np.frombuffer(LETTERS, dtype=np.uint8))
    if len(letters) != content["count"] or not known.all():
        raise ValueError("wrong number of letters, or unknown letters")

    def rows(*codes: int) -> np.ndarray:
        return np.flatnonzero(np.isin(letters, [LETTERS[code] for code in codes]))

    return Split(
        name=str(content["name"]),
        seed=int(content["seed"]),
        count=int(content["count"]),
        train=rows(TRAIN),
        validation=rows(VALIDATION, VALIDATION_AND_TEST),
        test=rows(TEST, VALIDATION_AND_TEST),
        fingerprint=str(content["fingerprint"]),
    )


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def limited(rows: np.ndarray, most: int | None, seed: int) -> np.ndarray:
    """At most so many of some rows, drawn by a seed, in their order; None: all."""
    if most is None or most >= len(rows):
        return rows
    return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])]


def _thinned(rows: np.ndarray, most: int | None, strata: np.ndarray, seed: int) -> np.ndarray:
    """As :func:`limited`, but one galaxy of every stratum is drawn first."""
    if most is None or most >= len(rows):
        return rows
    order = np.random.default_rng(seed).permutation(len(rows))
    firsts = np.unique(strata[order], return_index=True)[1]
    order = np.concatenate([order[firsts], np.delete(order, firsts)])
    return rows[np.sort(order[:most])]
