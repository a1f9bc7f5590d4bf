"""What the routes share: the subject, its thumbnails, and what is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import Depends, Query
from starlette.concurrency import run_in_threadpool

from morphoscope.errors import MorphoscopeError
from morphoscope.explorer.feature_maps import FeatureMaps, check_method
from morphoscope.explorer.label_queue import label_path, queued_rows
from morphoscope.explorer.labels_file import LabelFile
from morphoscope.explorer.neighbours import Neighbours
from morphoscope.explorer.network import Network
from morphoscope.explorer.pictures import Place
from morphoscope.explorer.samp import Samp
from morphoscope.explorer.server import Request
from morphoscope.explorer.subject import Subject, open_subject
from morphoscope.explorer.table import ROW, View
from morphoscope.explorer.thumbnails import Thumbnails
from morphoscope.packaged import run_folder

QUICK = 500  # characters of a filter that is read in no time


class NoSuchGalaxy(MorphoscopeError):
    """A row that the catalogue does not have."""


@dataclass(frozen=True)
class Asked:
    """The view that a request is about, as the address says.

    Attributes:
        filter: an expression; empty: all galaxies.
        sort: a column; empty: the catalogue's order.
        descending: the largest first.
    """

    filter: str = ""
    sort: str = ""
    descending: bool = False


async def asked(
    expression: Annotated[str, Query(alias="filter")] = "", sort: str = "", descending: bool = False
) -> Asked:
    """What the address asks for; a coroutine, so that it takes no thread of its own."""
    return Asked(expression, sort, descending)


InAddress = Annotated[Asked, Depends(asked)]
Answer = TypeVar("Answer")


async def soon(at_hand: bool, work: Callable[[], Answer]) -> Answer:
    """An answer: at once if all that it needs is at hand, or else by a thread, while others are answered.

    Handing work to a thread and back takes longer than a page that is at hand, most of all when many ask.
    """
    return work() if at_hand else await run_in_threadpool(work)


@dataclass
class State:
    """The explorer of one subject.

    Attributes:
        request: what was asked for on the command line.
        subject: what is explored.
        thumbnails: of its galaxies.
        network: of its run.
        neighbours: similar galaxies; None: the catalogue has no features.
        feature_maps: by its features.
        labels: that people give.
        queue: rows to label first; None: those of the view.
        compared: the name of the second catalogue; None: there is none.
        samp: the way to other programs of this machine.
    """

    request: Request
    subject: Subject
    thumbnails: Thumbnails
    network: Network
    neighbours: Neighbours | None
    feature_maps: FeatureMaps
    labels: LabelFile
    queue: np.ndarray | None = None
    compared: str | None = None
    samp: Samp = field(default_factory=Samp)

    @classmethod
    def open(cls, request: Request) -> State:
        """Open everything that a request names.

        Raises:
            UsageError: something of it is of no known kind.
            MorphoscopeError: something is damaged.
        """
        check_method(request.feature_map)
        subject = open_subject(request.source, catalogue=request.catalogue, images=request.images)
        try:
            neighbours, table = None, subject.table
            if subject.embedded is not None:
                neighbours = Neighbours(subject.embedded, table.count, table.folder)
            maps = FeatureMaps(table, neighbours)
            queue = None if request.queue is None else queued_rows(Path(request.queue), table)
            packaged = run_folder(request.source) != Path(request.source)  # not into the package itself
            beside = Path(request.source) if packaged else subject.path
            labels = LabelFile(label_path(beside, request.labels))
        except BaseException:
            subject.close()
            raise
        state = cls(
            request,
            subject,
            Thumbnails(subject.pictures),
            Network(subject.run),
            neighbours,
            maps,
            labels,
            queue,
        )
        if request.feature_map == "umap":
            try:
                maps.need("umap")  # begins
            except BaseException:
                state.close()
                raise
        return state

    def close(self) -> None:
        """Leave other programs, close the labels, and remove the temporary files."""
        self.samp.close()
        self.feature_maps.close()
        self.labels.close()
        self.subject.close()

    @property
    def same_network(self) -> bool:
        """Whether the catalogue's features are those of the run's network."""
        run = self.subject.run
        made_with = self.subject.provenance.get("weights_sha256", "")
        return run is not None and made_with in ("", run.header.weights_sha256)

    def view(self, asked: Asked) -> View:
        """The galaxies that a request is about.

        Raises:
            UsageError: the filter is no expression, or there is no such column.
        """
        return self.subject.table.view(asked.filter, asked.sort, descending=asked.descending)

    def has_at_hand(self, asked: Asked, columns: Sequence[str]) -> bool:
        """Whether a page of a view can be told without asking the database."""
        table = self.subject.table
        return len(asked.filter) <= QUICK and table.has_at_hand(
            asked.filter, asked.sort, columns, descending=asked.descending
        )

    def places(self, rows: list[int]) -> list[Place]:
        """Where some galaxies are; rows that do not exist are left out."""
        found = self.subject.table.rows(rows, ("id", "source"))
        return [Place(values[ROW], str(values["id"]), str(values["source"] or "")) for values in found]

    def place(self, row: int) -> Place:
        """Where a galaxy is.

        Raises:
            NoSuchGalaxy: there is no such row.
        """
        found = self.places([row])
        if not found:
            raise NoSuchGalaxy(f"there is no galaxy {row}; the catalogue has {self.subject.table.count:,}")
        return found[0]

    def values(self, row: int) -> dict[str, Any]:
        """All values of a galaxy.

        Raises:
            NoSuchGalaxy: there is no such row.
        """
        found = self.subject.table.rows([row])
        if not found:
            raise NoSuchGalaxy(f"there is no galaxy {row}; the catalogue has {self.subject.table.count:,}")
        return found[0]
