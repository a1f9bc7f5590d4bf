"""Rows of a catalogue from several GPUs or machines: Ray Data distributes ranges of the input to workers.

Every worker opens the input itself (:mod:`morphoscope.catalogue.distributed.partition`), so input, run and
working folder must be on a file system that all machines share. This process writes the rows, as it does
without a cluster.
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

from morphoscope.catalogue.columns import ColumnProvider
from morphoscope.catalogue.distributed.partition import (
    RangeResult,
    RowRange,
    Work,
    Worker,
    partition,
    rows_of_results,
)
from morphoscope.catalogue.pipeline import Batch
from morphoscope.catalogue.rows import Notice, Remaining, RowMaker
from morphoscope.errors import MorphoscopeError
from morphoscope.processes import claim, let_pandas_in
from morphoscope.progress import note


class TaskWorker:
    """The worker in the form that Ray needs: a table of ranges in, a table of results out."""

    def __init__(self, work: Work, *, alone: bool = False) -> None:
        if alone:  # in a process started by Ray
            claim()
        self._worker = Worker(work, alone=alone)

    def __call__(self, ranges: pa.Table) -> pa.Table:
        """One row per (number, start, stop): the result, or the error that stopped the work."""
        return pa.Table.from_pylist([self._predicted(**row) for row in ranges.to_pylist()])

    def _predicted(self, number: int, start: int, stop: int) -> dict[str, Any]:
        try:
            return {"number": number, "result": pickle.dumps(next(self._worker.predict([(start, stop)])))}
        except MorphoscopeError as error:
            return {"number": number, "result": pickle.dumps(error)}


def rows_from_cluster(
    load: Callable[[], ColumnProvider], maker: RowMaker, remaining: Remaining, notice: Notice
) -> Generator[tuple[Batch, pa.Table | None]]:
    """Rows made on a Ray cluster; with ``load`` filled in, a :class:`morphoscope.catalogue.rows.RowSource`.

    The cluster is that of ``RAY_ADDRESS`` (``auto``, ``host:port``) or the one this process is connected
    to; otherwise one is started on this machine for the duration.

    Args:
        load: loads the network on a worker.
        maker: provides the request; this process makes no rows itself.
        remaining: the galaxies; their images are not loaded here.
        notice: called with one image of each kind, without pixels.

    Raises:
        MorphoscopeError: a worker or the cluster failed, or the input has changed.
    """
    ranges = partition(remaining, maker.batch)
    if not ranges:
        return
    let_pandas_in()  # Ray uses it
    with _cluster() as ray:
        done = 0
        results = _sorted(_results(ray, Work(maker.request, load), ranges))
        for rows in rows_of_results(ranges, results, notice):
            yield rows
            done += 1
        if done != len(ranges):
            raise MorphoscopeError(f"the cluster returned {done} of {len(ranges)} row ranges; try again")


def _sorted(rows: Iterable[dict[str, Any]]) -> Iterator[RangeResult | MorphoscopeError]:
    """The results in the order of their ranges."""
    waiting: dict[int, bytes] = {}
    due = 0
    for row in rows:
        waiting[row["number"]] = row["result"]
        while due in waiting:
            yield pickle.loads(waiting.pop(due))
            due += 1


def _results(ray: Any, work: Work, ranges: list[RowRange]) -> Iterator[dict[str, Any]]:
    """The workers' results as they arrive, nearly in order."""
    from ray.data import ActorPoolStrategy, DataContext, ExecutionOptions

    context = DataContext.get_current()
    before = context.execution_options, context.enable_progress_bars
    context.execution_options, context.enable_progress_bars = ExecutionOptions(preserve_order=True), False
    workers, resources = _shares(ray.nodes(), len(ranges))
    note(f"Ray: {workers} worker{'s' if workers > 1 else ''}, {len(ranges)} row ranges")
    tasks = [
        pa.table({"number": [number], "start": [each.start], "stop": [each.stop]})
        for number, each in enumerate(ranges)
    ]
    results = ray.data.from_arrow(tasks).map_batches(
        TaskWorker,
        fn_constructor_args=(work,),
        fn_constructor_kwargs={"alone": True},
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=workers),
        **resources,
    )
    try:
        yield from results.iter_rows()
    except ray.exceptions.RayError as error:
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "unknown")
        raise MorphoscopeError(f"the Ray cluster failed: {reason.strip()}") from error
    finally:
        context.execution_options, context.enable_progress_bars = before


def _shares(nodes: list[dict[str, Any]], tasks: int) -> tuple[int, dict[str, float]]:
    """The number of workers and the resources of each: one per GPU if there are any, else one per machine."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = int(sum(each.get("GPU", 0) for each in alive))
    if gpus:
        return min(gpus, tasks), {"num_gpus": 1}
    machines = sum(each.get("CPU", 0) >= 1 for each in alive)
    if not machines:
        raise MorphoscopeError("the Ray cluster has neither a GPU nor a core")
    # A worker uses all cores of its machine but claims one, so that it need not wait until all are free.
    return min(machines, tasks), {"num_cpus": 1}


@contextlib.contextmanager
def _cluster() -> Iterator[Any]:
    """Connect to Ray, and disconnect at the end if this process connected."""
    # Under "uv run", Ray would create an environment without this one's packages for the workers.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray
    import ray.data

    found = ray.is_initialized()
    before = signal.getsignal(signal.SIGTERM)
    if not found:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about future changes in Ray
                ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (
            Exception
        ) as error:  # Ray also raises plain ones, for instance when it starts too slowly on a busy machine
            ray.shutdown()
            where = os.environ.get("RAY_ADDRESS", "on this machine")
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise MorphoscopeError(
                f"no Ray cluster ({where}): {reason}; set RAY_ADDRESS to host:port or "
                "auto, or unset it for one on this machine"
            ) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray handles it itself
    try:
        yield ray
    finally:
        if not found:
            ray.shutdown()
