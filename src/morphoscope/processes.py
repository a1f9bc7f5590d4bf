"""The current process: tuned if it runs only this program, one of several under torchrun, and the memory it
holds.

torchrun tells each process which one it is through its environment (``RANK``, ``WORLD_SIZE``,
``LOCAL_RANK``, …).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # glibc's malloc.h
owned = False  # whether this process runs only this program: see :func:`claim`


def claim() -> None:
    """Tune this process for networks on a CPU. Only for processes that run nothing but this program.

    The command line and the workers that it starts call it once, early; the library never does. It sets
    options of the C library's memory allocator and of OpenCV, and lets timm be imported without torch's
    compiler (:mod:`morphoscope.models.quick_timm`).
    """
    global owned
    owned = True
    keep_freed_memory()
    # OpenCV would start threads of its own for large images, inside each of the loader's.
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")  # read when OpenCV is imported
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


def leave_pandas_out() -> None:
    """Let pyarrow do without pandas in this process. Only for processes that run nothing but this program.

    pyarrow looks for pandas at the first array it makes, and imports it, nearly a second, to know its
    types. It looks once; here that happens when pyarrow is imported, with nothing to be found. Who asks it
    for pandas later on (``to_pandas``) gets it: see :func:`let_pandas_in`.
    """
    if "pyarrow" in sys.modules:
        _look_for_pandas_in_vain()
    else:
        sys.meta_path.insert(0, _ArrowFinder())


def let_pandas_in() -> None:
    """Undo :func:`leave_pandas_out`, for other people's code that gives pyarrow what pandas has made."""
    if "pandas" not in sys.modules and importlib.util.find_spec("pandas") is not None:
        import pyarrow as pa

        pa.nulls(0).to_pandas()


class _ArrowFinder:
    """Finds pyarrow where it is, once, and has it look for pandas at the end of its import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "pyarrow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def and_look(module: ModuleType) -> None:
                execute(module)
                _look_for_pandas_in_vain()

            spec.loader.exec_module = and_look
        return spec


def _look_for_pandas_in_vain() -> None:
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """Finds no pandas."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next step instead of returning it to the system.

    A step on the CPU frees and allocates the same large activations again and again. By default glibc maps
    each of them anew, and the system clears every page first: about a tenth of the time of a step
    (EXPERIMENTS.md, 2026-11-21). The process then holds its peak memory until it ends. All threads share
    one heap: with a heap each, memory freed by one thread was of no use to the others, and a long catalogue
    grew.

    Returns:
        Whether the C library accepted; only glibc does.
    """
    mallopt = c_library_function("mallopt")
    if mallopt is None:
        return False
    options = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1))
    return all(bool(mallopt(*option)) for option in options)


def available_cores() -> int:
    """How many cores this process may use; a batch system or ``taskset`` may leave it few of a machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def c_library_function(name: str) -> Callable[..., int] | None:
    """A function of glibc; None with another C library."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        return getattr(ctypes.CDLL(None), name)
    return None


@dataclass(frozen=True)
class Process:
    """One of the processes that torchrun has started.

    Attributes:
        rank: from 0; only rank 0 writes files and messages.
        count: how many there are.
        local: its number on this machine, and that of its GPU.
        on_this_machine: how many there are on this machine.
    """

    rank: int
    count: int
    local: int
    on_this_machine: int = 1


def started() -> Process | None:
    """Which of torchrun's processes this is; None if it is the only one."""
    processes = _number("WORLD_SIZE", 1)
    if processes < 2:
        return None
    return Process(
        _number("RANK", 0),
        processes,
        _number("LOCAL_RANK", 0),
        _number("LOCAL_WORLD_SIZE", processes),
    )


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else otherwise


def is_rank_0() -> bool:
    """Whether this process writes files and messages: the only one does."""
    process = started()
    return process is None or process.rank == 0


def leave_messages_to_rank_0() -> None:
    """Make a command print nothing in all ranks but 0; these have nothing to clean up, so a signal ends them.

    For commands only: it changes signal handlers.
    """
    if is_rank_0():
        return
    from morphoscope import progress

    progress.silent = True
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def give_back_freed_memory() -> bool:
    """Return free memory between the blocks in use to the system.

    Allocating and freeing blocks of many sizes leaves holes in the heap, which then grows although no more is
    in use. Returned memory has to be mapped again page by page, so doing this often is slow.

    Returns:
        Whether there was any; only glibc can do this.
    """
    trim = c_library_function("malloc_trim")
    return trim is not None and bool(trim(0))


class Tidying:
    """Returns free memory to the system when a long task holds more than it did in its first steps.

    The first steps show how much the task needs, fragmentation included. Whenever it holds more later on,
    free memory is returned; doing so more often would cost time, as the next step needs it again.

    Args:
        beginning: the number of first steps.
    """

    def __init__(self, beginning: int = 8) -> None:
        self.beginning = beginning
        self.most = self.steps = 0

    def step(self) -> bool:
        """Record a finished step; returns whether memory was returned."""
        self.steps += 1
        held = resident_memory()
        if self.steps <= self.beginning:
            self.most = max(self.most, held)
            return False
        return held > self.most and give_back_freed_memory()


def resident_memory() -> int:
    """Resident memory of the process in bytes; 0 where the system does not report it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def python_module(module: str) -> list[str]:
    """The command of another Python that runs a module; it imports nothing from the folder it starts in."""
    return [sys.executable, "-P", "-m", module]


def package_path() -> dict[str, str]:
    """The environment variable with which another Python finds the packages that this one finds."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextlib.contextmanager
def helper(
    module: str, *arguments: str, environment: dict[str, str] | None = None, **options: Any
) -> Iterator[Any]:
    """A Python process beside this one, which is asked through its stdin and answers through its stdout.

    It finds the packages that this one finds, and ends with the block, however that ends.

    Args:
        module: run as ``python -m``.
        arguments: of its command line.
        environment: further variables.
        options: of ``subprocess.Popen``.

    Yields:
        The process, a ``subprocess.Popen``.
    """
    import subprocess

    process = subprocess.Popen(
        [*python_module(module), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | package_path() | (environment or {}),
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
