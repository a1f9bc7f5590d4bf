"""A folder of cutouts that grows, survives any kill, and is its own cache.

::

    OUT/
      cutouts.yaml         survey, what every cutout shows, licence, credit
      journal.jsonl        a line for each position that was tried: what came of it
      images/150/150.1163213+02.2058333.jpg
      manifest.parquet     a row for each row of the table, with the file, or why there is none
      lock                 held by the process that writes

An image is written under another name and renamed, and only then entered in the journal. So a kill loses at
most the images that are under way; half a line at the journal's end is one that was being written. What is
there already is not fetched again: positions without an image neither, but failures are tried anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import yaml

from morphoscope import files
from morphoscope.cutouts.fetch import Cutout
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.versioned import load_yaml, read_document

HEADER, JOURNAL, MANIFEST = "cutouts.yaml", "journal.jsonl", "manifest.parquet"
IMAGES, LOCK = "images", "lock"
FORMAT_VERSION = 1
FETCHED, OUTSIDE, FAILED, INVALID, PENDING = "fetched", "outside", "failed", "invalid", "pending"
_SAME = ("survey", "format", "bands", "pixels", "arcsec", "address")  # of cutouts that belong together


@dataclass(frozen=True)
class Outcome:
    """What came of a position.

    Attributes:
        status: "fetched", "outside" (the survey's footprint), "failed", "invalid" (no position) or "pending".
        reason: why there is no image.
        names: files by band, relative to the folder.
        sizes: their bytes.
        arcsec: side on the sky.
        diameter: of the galaxy, arcsec, if measured.
        at: when, UTC.
    """

    status: str
    reason: str = ""
    names: tuple[tuple[str, str], ...] = ()
    sizes: tuple[int, ...] = ()
    arcsec: float | None = None
    diameter: float | None = None
    at: str = ""


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def key_of(ra: float, dec: float, arcsec: float | None) -> str:
    """The name of a cutout: its position to 0.4 mas, and its side where sides differ."""
    side = "" if arcsec is None else f"_{arcsec:.2f}"
    return f"{ra:011.7f}{dec:+011.7f}{side}"


class CutoutFolder:
    """Cutouts on disk.

    Args:
        path: the folder.
        header: what is the same for all of them; see ``cutouts.yaml``.

    Attributes:
        outcomes: of the positions tried so far, by key.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path, self.header = path, dict(header)
        self.outcomes: dict[str, Outcome] = {}
        self._writing = threading.Lock()
        self._journal: IO[bytes] | None = None
        self._suffix = f".{header['format']}"

    @contextlib.contextmanager
    def opened(self) -> Iterator[CutoutFolder]:
        """Make the folder or continue it, alone, until the end of the block.

        Raises:
            UsageError: it holds something else, or cutouts of another kind, or another process writes it.
            MorphoscopeError: the disk is full, or writing is not permitted.
        """
        self._check_place()
        with files.explained_os_errors(self.path, "what was fetched is kept. Free some room, then go on"):
            self.path.mkdir(parents=True, exist_ok=True)
            busy = f"{self.path}: another process is fetching into this folder; wait for it"
            with files.lock_held(self.path / LOCK, busy):
                self._check_header()
                self._read_journal()
                with open(self.path / JOURNAL, "ab") as self._journal:
                    yield self

    def _check_place(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file; a folder for the cutouts was expected")
        for name in (HEADER, JOURNAL, LOCK, IMAGES):  # a folder from a stranger may lead elsewhere
            path = self.path / name
            if path.is_symlink():
                raise _is_link(path)
            if path.exists() and not (path.is_dir() if name == IMAGES else path.is_file()):
                raise UsageError(
                    f"{path} is not what a folder of cutouts has there; remove it or choose another folder"
                )
        if self.path.is_dir() and not (self.path / HEADER).is_file():
            others = sorted(name for name in os.listdir(self.path) if name not in (LOCK, JOURNAL))
            if any(not name.startswith(f".{HEADER}.") for name in others):
                raise UsageError(
                    f"{self.path} holds '{others[0]}' and no {HEADER}, so it is no folder of cutouts; choose "
                    "another name"
                )

    def _check_header(self) -> None:
        path = self.path / HEADER
        if not path.is_file():
            text = yaml.safe_dump(
                {"format_version": FORMAT_VERSION, **self.header, "date": now()}, sort_keys=False
            )
            with files.atomic_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
            return
        before = _header(path)
        changed = [
            f"{name} was '{before.get(name, '')}' and is '{self.header.get(name, '')}' now"
            for name in _SAME
            if before.get(name, "") != self.header.get(name, "")
        ]
        if changed:
            raise UsageError(
                f"{self.path}: holds other cutouts ({'; '.join(changed)}); repeat their options, or choose "
                "another folder"
            )

    def _read_journal(self) -> None:
        self.outcomes = {}
        path = self.path / JOURNAL
        if not path.is_file():
            return
        whole = 0
        with open(path, "rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # a kill came in the middle
                whole += len(line)
                with contextlib.suppress(
                    ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError
                ):  # a damaged line: its position is asked for again
                    key, outcome = _of_line(line)
                    self.outcomes[key] = outcome
        if whole < path.stat().st_size:
            os.truncate(path, whole)

    def done(self, key: str) -> bool:
        """Whether a position needs no request: its images are there, or it has none."""
        outcome = self.outcomes.get(key)
        if outcome is None or outcome.status not in (FETCHED, OUTSIDE):
            return False
        for (_, name), size in zip(outcome.names, outcome.sizes, strict=False):
            try:
                if os.stat(self.path / name).st_size != size:
                    return False
            except OSError:
                return False
        return True

    def keep(self, key: str, cutout: Cutout) -> Outcome:
        """Write the images of a position; called from any thread.

        Raises:
            OSError: the disk is full.
        """
        names = []
        for band, content in cutout.files.items():
            part = f"_{band}" if band else ""
            name = f"{IMAGES}/{key[:3]}/{key}{part}{self._suffix}"
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.part")  # one writer: nobody else has this name
            if target.parent.is_symlink():
                raise _is_link(target.parent)
            try:
                partial.write_bytes(content)
                os.replace(partial, target)
            finally:
                partial.unlink(missing_ok=True)
            names.append((band, name))
        sizes = tuple(map(len, cutout.files.values()))
        return self.enter(
            key, Outcome(FETCHED, "", tuple(names), sizes, cutout.arcsec, cutout.diameter, now())
        )

    def enter(self, key: str, outcome: Outcome) -> Outcome:
        """Enter what came of a position into the journal; called from any thread."""
        line = json.dumps({"key": key, **_as_values(outcome)}, ensure_ascii=False) + "\n"
        with self._writing:
            assert self._journal is not None
            self._journal.write(line.encode())
            self._journal.flush()
            self.outcomes[key] = outcome
        return outcome

    def contents(self, key: str) -> dict[str, bytes]:
        """The images of a position that are there, by band.

        Raises:
            MorphoscopeError: one cannot be read.
        """
        return {band: files.read_bytes(self.path / name, name) for band, name in self.outcomes[key].names}


def _is_link(path: Path) -> UsageError:
    return UsageError(
        f"{path} is a link; a folder of cutouts keeps its files in itself. Remove the link or choose another "
        "folder"
    )


def _as_values(outcome: Outcome) -> dict[str, Any]:
    values = {
        "status": outcome.status,
        "reason": outcome.reason,
        "names": [list(pair) for pair in outcome.names],
        "sizes": list(outcome.sizes),
        "arcsec": outcome.arcsec,
        "diameter": outcome.diameter,
        "at": outcome.at,
    }
    return {name: value for name, value in values.items() if value not in (None, "", [])}


def _of_line(line: bytes) -> tuple[str, Outcome]:
    values = json.loads(line)
    names = tuple((str(band), str(name)) for band, name in values.get("names", ()))
    for _, name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError("a file outside the folder")
    return str(values["key"]), Outcome(
        str(values["status"]),
        str(values.get("reason", "")),
        names,
        tuple(int(size) for size in values.get("sizes", ())),
        _number(values.get("arcsec")),
        _number(values.get("diameter")),
        str(values.get("at", "")),
    )


def _number(value: object) -> float | None:
    return None if value is None else float(value)  # type: ignore[arg-type]


def _header(path: Path) -> dict[str, Any]:
    try:
        values = load_yaml(read_document(path))
        version = int(values["format_version"])
    except (yaml.YAMLError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise MorphoscopeError(f"{path} is damaged: it is not the header of a folder of cutouts") from error
    if version > FORMAT_VERSION:
        raise MorphoscopeError(f"{path} was written by a newer version of morphoscope; update it")
    return values
