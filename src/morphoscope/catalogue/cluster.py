"""The answers of a catalogue from many machines: Ray Data deals out the galaxies, in order, by their rows.

Every worker opens the input by itself and takes the rows it is given, so no image goes through the machine
that writes, and whatever :func:`morphoscope.catalogue.read.open_input` reads can be dealt out. Input, run and
working folder must therefore be on a file system that every machine sees. What comes back are finished rows
of the catalogue; this machine restores their order and writes them, as it does without a cluster.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import pyarrow as pa

from morphoscope.catalogue.pipeline import Batch, Digest, Fitted, batches
from morphoscope.data.ingest import Item, cores, in_order
from morphoscope.errors import MorphoscopeError
from morphoscope.progress import note

Ask = Callable[[list[Fitted]], pa.Table]
MOST_TASKS = 10_000  # each costs this machine a kilobyte and some milliseconds


@dataclass(frozen=True)
class Work:
    """What a worker must know; sent to each once.

    Attributes:
        open_items: opens the input; called on the worker, in the folder ``inside``.
        make_ask: loads the network; gives what makes rows of images.
        fit: reads one image and makes it like the training's.
        batch: images the network is handed at once.
        inside: the folder to work in.
    """

    open_items: Callable[[], Iterable[Item]]
    make_ask: Callable[[], Ask]
    fit: Callable[[Item], Fitted]
    batch: int
    inside: str = field(default_factory=os.getcwd)


@dataclass(frozen=True)
class Stretch:
    """What a worker says of some rows of the input.

    Attributes:
        table: the catalogue's rows; None where no image could be read.
        failures: id, source and reason of the others.
        digest: of all galaxies of the stretch.
        looks: images of each kind it met, without pixels.
    """

    table: pa.Table | None
    failures: list[tuple[str, str, str]]
    digest: str
    looks: list[Fitted]


class Worker:
    """Answers stretches of the input, with one GPU or all cores of one machine of the cluster.

    Args:
        work: what to do.
        alone: the process is the worker's own, which may then take all cores of the machine.
    """

    def __init__(self, work: Work, *, alone: bool = False) -> None:
        self.work, self.alone = work, alone
        self._ask: Ask | None = None
        self._items: Iterator[Item] = iter(())
        self._next: int | None = None

    def __call__(self, stretches: pa.Table) -> pa.Table:
        """One row for each (number, start, stop): the answers, or the error that ended the work."""
        return pa.Table.from_pylist([self._answered(**row) for row in stretches.to_pylist()])

    def _answered(self, number: int, start: int, stop: int) -> dict[str, Any]:
        try:
            return {"number": number, "said": pickle.dumps(self._stretch(start, stop))}
        except MorphoscopeError as error:
            return {"number": number, "said": pickle.dumps(error)}

    def _stretch(self, start: int, stop: int) -> Stretch:
        if self._ask is None:
            self._go_inside()
            if self.alone:
                import torch

                # Ray gives a process as many threads as the cores it claims, which is one.
                torch.set_num_threads(cores())
            self._ask = self.work.make_ask()
        digest, tables, failures = Digest(), [], []
        looks: dict[tuple[str, str], Fitted] = {}

        def look(fitted: Fitted) -> None:
            assert fitted.way is not None
            kind = (fitted.way.kind, os.path.splitext(fitted.item.source)[1])
            if kind not in looks:
                looks[kind] = replace(fitted, image=None, item=Item(fitted.item.source, _nothing, {}))

        with closing(in_order(self.work.fit, self._take(start, stop))) as fitted:
            for batch in batches(fitted, self.work.batch, digest, look):
                failures += batch.failures
                if batch.fitted:
                    tables.append(self._ask(batch.fitted))
        table = pa.concat_tables(tables) if tables else None
        return Stretch(table, failures, digest.words, list(looks.values()))

    def _take(self, start: int, stop: int) -> Iterator[Item]:
        """The items of some rows; the input is opened anew only to go back."""
        if self._next is None or start < self._next:
            self._items, self._next = iter(self.work.open_items()), 0
        for _ in islice(self._items, start - self._next):
            pass
        self._next = stop
        return islice(self._items, stop - start)

    def _go_inside(self) -> None:
        try:
            os.chdir(self.work.inside)
        except OSError as error:
            raise MorphoscopeError(
                f"{self.work.inside}: a machine of the cluster cannot see this folder ({error.strerror}); "
                "run, input and working folder must be on a file system that all of them share"
            ) from error


def answered_by_cluster(
    work: Work,
    items: Iterable[Item],
    digest: Digest,
    look: Callable[[Fitted], None],
    *,
    start: int = 0,
    count: int | None = None,
) -> Generator[tuple[Batch, pa.Table | None]]:
    """As :func:`morphoscope.catalogue.pipeline.answered`, from a Ray cluster.

    The cluster of ``RAY_ADDRESS`` (``auto``, ``host:port``) or the one this process is connected to; without
    either, one on this machine for as long as it takes.

    Args:
        work: for the workers.
        items: the input from ``start`` on; their images are not loaded here.
        digest: of the galaxies before ``start``; goes on.
        look: sees one image of each kind, without pixels.
        start: the first row to answer.
        count: how many galaxies there are, if that is known.

    Raises:
        MorphoscopeError: what a worker says; the input changed meanwhile; or the cluster fails.
    """
    dealt = _dealt(items, digest, work.batch, start=start, count=count)
    if not dealt:
        return
    with _cluster() as ray:
        waiting: dict[int, Any] = {}
        due = 0
        for row in _rows(ray, work, dealt):
            waiting[row["number"]] = row["said"]
            while due in waiting:
                said = pickle.loads(waiting.pop(due))
                if isinstance(said, MorphoscopeError):
                    raise said
                own, so_far = dealt[due].own, dealt[due].so_far
                if said.digest != own:
                    raise MorphoscopeError(
                        f"the galaxies {dealt[due].start} to {dealt[due].stop - 1} of the input are others "
                        "for a worker than for this machine; show all machines the same files, unchanged"
                    )
                for seen in said.looks:
                    look(seen)
                yield Batch([], said.failures, dealt[due].stop, so_far), said.table
                due += 1
        if due != len(dealt):
            raise MorphoscopeError(
                f"the cluster answered {due} of {len(dealt)} parts of the input; try again"
            )


@dataclass(frozen=True)
class _Dealt:
    """Rows for one task, the digest of these and of all up to them."""

    start: int
    stop: int
    own: str
    so_far: str


def _dealt(
    items: Iterable[Item], digest: Digest, batch: int, *, start: int, count: int | None
) -> list[_Dealt]:
    """Cut the input into tasks of whole batches, not more than :data:`MOST_TASKS` as far as is known."""
    rows = batch * math.ceil(max(count or 1, 1) / (batch * MOST_TASKS))
    iterator, found, at = iter(items), [], start
    while True:
        own = Digest()
        for item in islice(iterator, rows):
            own.add(item)
            digest.add(item)
        if not own.count:
            break
        found.append(_Dealt(at, at + own.count, own.words, digest.words))
        at += own.count
    return found


def _nothing() -> Any:
    raise AssertionError("the image stays with the worker")


def _rows(ray: Any, work: Work, dealt: list[_Dealt]) -> Iterator[dict[str, Any]]:
    """The workers' answers as they come, nearly in order."""
    from ray.data import ActorPoolStrategy, DataContext, ExecutionOptions

    context = DataContext.get_current()
    before = context.execution_options, context.enable_progress_bars
    context.execution_options, context.enable_progress_bars = ExecutionOptions(preserve_order=True), False
    workers, resources = _shares(ray.nodes(), len(dealt))
    note(f"Ray: {workers} worker{'s' if workers > 1 else ''}, {len(dealt)} parts of the input")
    tasks = [
        pa.table({"number": [number], "start": [each.start], "stop": [each.stop]})
        for number, each in enumerate(dealt)
    ]
    answers = ray.data.from_arrow(tasks).map_batches(
        Worker,
        fn_constructor_args=(work,),
        fn_constructor_kwargs={"alone": True},
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=workers),
        **resources,
    )
    try:
        yield from answers.iter_rows()
    except ray.exceptions.RayError as error:
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "unknown")
        raise MorphoscopeError(f"the Ray cluster failed: {reason.strip()}") from error
    finally:
        context.execution_options, context.enable_progress_bars = before


def _shares(nodes: list[dict[str, Any]], tasks: int) -> tuple[int, dict[str, float]]:
    """How many workers, and what each claims: one a GPU where there are any, else one a machine."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = int(sum(each.get("GPU", 0) for each in alive))
    if gpus:
        return min(gpus, tasks), {"num_gpus": 1}
    machines = sum(each.get("CPU", 0) >= 1 for each in alive)
    if not machines:
        raise MorphoscopeError("the Ray cluster has neither a GPU nor a core")
    # A worker uses all cores of its machine but claims one: it must not wait for ever where some are taken.
    return min(machines, tasks), {"num_cpus": 1}


@contextlib.contextmanager
def _cluster() -> Iterator[Any]:
    """Ray, connected; left as it was found."""
    # Under "uv run" Ray would make an environment for the workers, without this one's packages.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray
    import ray.data

    found = ray.is_initialized()
    polite = signal.getsignal(signal.SIGTERM)
    if not found:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what Ray will do otherwise one day
                ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray raises plain ones, too, as when a busy machine starts it too slowly
            ray.shutdown()
            where = os.environ.get("RAY_ADDRESS", "on this machine")
            raise MorphoscopeError(
                f"no Ray cluster ({where}): {str(error).splitlines()[0]}; set RAY_ADDRESS to host:port or "
                "auto, or unset it for one on this machine"
            ) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, polite)  # Ray takes it for itself
    try:
        yield ray
    finally:
        if not found:
            ray.shutdown()
