"""From a table of positions to a folder of cutouts with a manifest.

The table is read twice, in pieces: for the positions to fetch, each once however often it occurs, and for the
manifest, which has a row for every row of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from morphoscope.cutouts.client import Client, Failed, Outside, Refused
from morphoscope.cutouts.fetch import CutoutSource, pixels_by_default
from morphoscope.cutouts.folder import (
    FAILED,
    FETCHED,
    MANIFEST,
    OUTSIDE,
    PENDING,
    CutoutFolder,
    Outcome,
    now,
)
from morphoscope.cutouts.manifest import check_kept, write_manifest
from morphoscope.cutouts.services import SIA2, find_service
from morphoscope.cutouts.targets import CutoutRequest, Targets
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.progress import Bar, note

_AHEAD = 4  # positions handed out for each connection


@dataclass(frozen=True)
class CutoutSummary:
    """What came of it.

    Attributes:
        manifest: the table of the cutouts.
        counts: rows of each status.
        asked: positions that were asked for in this session.
    """

    manifest: Path
    counts: dict[str, int]
    asked: int

    @property
    def failed(self) -> int:
        """Rows that may still get an image."""
        return self.counts.get(FAILED, 0) + self.counts.get(PENDING, 0)


def fetch_cutouts(request: CutoutRequest) -> CutoutSummary:
    """Fetch the cutouts of a table of positions into a folder; what is there already is not fetched again.

    Raises:
        UsageError: the request is wrong: no positions, an unknown service, sizes it does not serve, or a
            folder of other cutouts. Raised before any request to the service.
        MorphoscopeError: the service cannot be used, or the disk is full. What was fetched stays, and the
            same request goes on.
    """
    service = find_service(request.survey, request.service)
    positions = Targets(request, service)
    client = Client(service, request.patience)
    pixels = request.pixels
    if pixels is None:
        pixels = pixels_by_default(service, request.kind, positions.side)
    source = CutoutSource(client, request.kind, pixels, request.bands)
    if positions.side is not None and (wrong := source.check_side(positions.side)):
        raise UsageError(f"--arcsec {positions.side:g}: {wrong}")
    if request.pixels is not None and not source.form.resampled:
        note(f"--pixels {request.pixels}: the {request.kind} images of {service.name} keep their own pixels")
    folder = CutoutFolder(Path(request.out), header_of(source, positions))
    check_kept(positions, source)
    positions.check()
    with folder.opened():
        work = _Work(source, folder, positions)
        stopped = work.run()
        counts = write_manifest(folder, positions, source)
    summary = CutoutSummary(folder.path / MANIFEST, counts, work.asked)
    if stopped is not None:
        raise MorphoscopeError(
            f"{stopped}; {counts.get(FETCHED, 0)} of {sum(counts.values())} cutouts are fetched and kept in "
            f"{folder.path}, and the same command goes on from there"
        )
    return summary


def header_of(source: CutoutSource, positions: Targets) -> dict[str, Any]:
    """What is the same for all cutouts of a folder."""
    service, form = source.service, source.form
    return {
        "survey": service.name,
        "title": service.title,
        "format": source.kind,
        "bands": ",".join(source.bands),
        "pixels": "" if form.protocol == SIA2 else source.pixels,
        "arcsec": positions.words,
        "address": form.address,
        "licence": service.licence,
        "credit": service.credit,
        "citation": service.citation,
        "documentation": service.documentation,
    }


class _Work:
    """Fetches what is not there yet."""

    def __init__(self, source: CutoutSource, folder: CutoutFolder, positions: Targets) -> None:
        self.source, self.folder, self.positions = source, folder, positions
        self.asked = 0

    def _todo(self) -> tuple[dict[str, tuple[float, float, float | None]], int]:
        """Positions to ask for, by key, in the order of the table, and how many there are in all."""
        seen: set[str] = set()
        todo: dict[str, tuple[float, float, float | None]] = {}
        rows = 0
        for piece in self.positions.rows():
            for target in self.positions.of(piece):
                rows += bool(target.key)
                if target.key and target.key not in seen:
                    seen.add(target.key)
                    if not self.folder.done(target.key):
                        todo[target.key] = target.ra, target.dec, target.arcsec
        if rows > len(seen):
            note(f"{rows} rows have {len(seen)} different positions; each is fetched once")
        return todo, len(seen)

    def run(self) -> str | None:
        """Fetch; returns why it was given up early, None if it was not."""
        todo, total = self._todo()
        if len(todo) < total:
            note(f"{total - len(todo)} of {total} positions are there already")
        threads = self.source.service.connections
        stopped: str | None = None
        pool = ThreadPoolExecutor(threads, thread_name_prefix="cutout")
        under_way: set[Future[Outcome]] = set()
        try:
            with Bar(
                f"fetching from {self.source.service.name}", total, "cutouts", done=total - len(todo)
            ) as bar:
                for key, place in todo.items():
                    under_way.add(pool.submit(self._one, key, *place))
                    self.asked += 1
                    if len(under_way) >= _AHEAD * threads:
                        under_way, stopped = self._collect(under_way, bar.advance)
                        if stopped:
                            break
                while under_way and not stopped:
                    under_way, stopped = self._collect(under_way, bar.advance)
        except KeyboardInterrupt:
            note(f"{self.folder.path}: what was fetched is kept, and the same command goes on from there")
            raise
        finally:
            self.source.client.stop()
            pool.shutdown(cancel_futures=True)
        return stopped

    def _collect(
        self, under_way: set[Future[Outcome]], advance: Callable[[int], None]
    ) -> tuple[set[Future[Outcome]], str | None]:
        """Wait for at least one position; the others, and why to give up."""
        done, rest = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            try:
                future.result()
            except Refused as error:
                return rest, str(error)
            advance(1)
        return rest, None

    def _one(self, key: str, ra: float, dec: float, arcsec: float | None) -> Outcome:
        """Fetch one position; runs in a thread."""
        wrong = "" if arcsec is None else self.source.check_side(arcsec)
        if wrong:
            return self.folder.enter(key, Outcome(FAILED, wrong, arcsec=arcsec, at=now()))
        try:
            return self.folder.keep(key, self.source.fetch(ra, dec, arcsec))
        except Outside as error:
            return self.folder.enter(key, Outcome(OUTSIDE, str(error), arcsec=arcsec, at=now()))
        except Failed as error:
            outcome = Outcome(FAILED, str(error), arcsec=arcsec, at=now())
            return outcome if self.source.client.stopped else self.folder.enter(key, outcome)
