"""Worker processes that render rows: fresh interpreters, fed through pipes.

Forking would copy locks held by other threads, and multiprocessing's spawn re-runs an unguarded main script.
A worker is ``python -m`` this module and reads pickled jobs from standard input until that closes, which
happens even if the parent is killed, so no worker outlives the simulation.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from morphoscope.errors import MorphoscopeError
from morphoscope.processes import helper
from morphoscope.simulation.rows import Job, Rendered, render_rows

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def render(jobs: Iterable[Job], workers: int) -> Iterator[list[Rendered]]:
    """Render jobs in order, a few ahead of the consumer; with one worker in this process.

    Raises:
        MorphoscopeError: a worker process ended before its work was done.
    """
    if workers <= 1:
        yield from map(render_rows, jobs)
        return
    with contextlib.ExitStack() as stack:
        idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        # Unwound in reverse: the processes end first, which releases the threads waiting for them.
        threads = stack.enter_context(ThreadPoolExecutor(workers))
        for _ in range(workers):
            idle.put(stack.enter_context(helper(__spec__.name, environment=ONE_THREAD)))
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        ahead: deque[Future[list[Rendered]]] = deque()
        for job in jobs:
            ahead.append(threads.submit(_ask, idle, job))
            if len(ahead) >= 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _ask(idle: queue.SimpleQueue[subprocess.Popen[bytes]], job: Job) -> list[Rendered]:
    process = idle.get()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pickle.dump(job, process.stdin)
        process.stdin.flush()
        result = pickle.load(process.stdout)
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        raise MorphoscopeError(
            f"a simulation process ended before galaxies {job.start} to {job.stop - 1} were done "
            f"(exit status {process.poll()}); the machine may be short of memory: try fewer workers"
        ) from error
    finally:
        idle.put(process)
    if isinstance(result, BaseException):
        raise result
    return result


def _serve() -> None:
    """Main loop of a worker: job in, rendered rows out, until the input closes."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not mix with the results
    cv2.setNumThreads(1)
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            result: list[Rendered] | Exception = render_rows(job)
        except Exception as error:
            result = error
        try:
            pickle.dump(result, results, protocol=pickle.HIGHEST_PROTOCOL)
            results.flush()
        except BrokenPipeError:
            os._exit(1)  # the parent is gone: no result or traceback is wanted


if __name__ == "__main__":
    _serve()
