"""The answers of a catalogue from many machines: Ray Data deals out the galaxies, in order, by their rows.

Every worker opens the input by itself (:mod:`morphoscope.catalogue.distributed.partition`), so input, run
and working folder must be on a file system that every machine sees. This machine writes the rows that come
back, as it does without a cluster.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import pyarrow as pa

from morphoscope.catalogue.distributed.partition import Dealt, Stretch, Work, Worker, deal, in_turn
from morphoscope.catalogue.pipeline import Batch, Digest, Fitted
from morphoscope.errors import MorphoscopeError
from morphoscope.images.stream import Item
from morphoscope.progress import note


class TaskWorker:
    """A worker as Ray wants it: a table of rows in, a table out."""

    def __init__(self, work: Work, *, alone: bool = False) -> None:
        self._worker = Worker(work, alone=alone)

    def __call__(self, stretches: pa.Table) -> pa.Table:
        """One row for each (number, start, stop): the answers, or the error that ended the work."""
        return pa.Table.from_pylist([self._answered(**row) for row in stretches.to_pylist()])

    def _answered(self, number: int, start: int, stop: int) -> dict[str, Any]:
        try:
            return {"number": number, "said": pickle.dumps(next(self._worker.stretches([(start, stop)])))}
        except MorphoscopeError as error:
            return {"number": number, "said": pickle.dumps(error)}


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
    dealt = deal(items, digest, work.batch, start=start, count=count)
    if not dealt:
        return
    with _cluster() as ray:
        due = 0
        for answer in in_turn(dealt, _sorted(_rows(ray, work, dealt)), look):
            yield answer
            due += 1
        if due != len(dealt):
            raise MorphoscopeError(
                f"the cluster answered {due} of {len(dealt)} parts of the input; try again"
            )


def _sorted(rows: Iterable[dict[str, Any]]) -> Iterator[Stretch | MorphoscopeError]:
    """What the workers say, by the numbers of the parts."""
    waiting: dict[int, bytes] = {}
    due = 0
    for row in rows:
        waiting[row["number"]] = row["said"]
        while due in waiting:
            yield pickle.loads(waiting.pop(due))
            due += 1


def _rows(ray: Any, work: Work, dealt: list[Dealt]) -> Iterator[dict[str, Any]]:
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
        TaskWorker,
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
