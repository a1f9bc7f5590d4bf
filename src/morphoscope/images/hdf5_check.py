"""HDF5 files are read in another process first: the HDF5 library can crash on a damaged one, or hang.

What the other process reads is what this one will read: the structure of every data set, where its pieces
lie, its first row, and, of text, as many rows as five seconds allow, since each value is found through an
address in the file.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from morphoscope.errors import MorphoscopeError
from morphoscope.progress import track

_PATIENCE = 60.0  # seconds for one file
_ENDED_BY_ITSELF = (0, 1)  # 1: without h5py, which the caller says
# Names come in, separated by zero bytes; one line goes out after each file, whatever it holds.
_WALK = """
import sys, time, h5py, numpy

def walk(path):
    with h5py.File(path, "r") as file:
        for name in file:
            found = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
            if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
                continue
            list(found.attrs.items())
            if found.chunks:
                found.id.chunk_iter(lambda chunk: None)
            row = numpy.prod(found.shape[1:], dtype=object) * found.dtype.itemsize
            piece = numpy.prod(found.chunks or (1,), dtype=object) * found.dtype.itemsize
            if not found.shape or max(row, piece) >= 1 << 30:
                continue
            found[:1]
            start, began = 1, time.monotonic()
            while found.dtype.kind == "O" and start < found.shape[0] and time.monotonic() < began + 5:
                found[start : start + 1024]
                start += 1024

for path in sys.stdin.buffer.read().split(b"\\0"):
    try:
        walk(path)
    except Exception:
        pass  # the main process reports it
    print(flush=True)
"""
_checked: set[tuple[str, int, int]] = set()


def check_hdf5(paths: Sequence[Path | str], expected: str = "") -> None:
    """Read files in another process; each once, as long as it does not change.

    Args:
        paths: HDF5 files; one that cannot be opened at all is left to the caller.
        expected: what to have in place of a file that is refused, for the message.

    Raises:
        MorphoscopeError: the library crashes on one of them, or takes more than a minute.
    """
    keys = {str(path): key for path in paths if (key := _key(path)) is not None}
    left = [path for path, key in keys.items() if key not in _checked]
    if not left:
        return
    for path in track(_walked(left, expected), "checking HDF5 files", len(left), "files"):
        _checked.add(keys[path])


def _key(path: Path | str) -> tuple[str, int, int] | None:
    """What identifies a file's content; None if there is no file."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return os.path.abspath(path), facts.st_size, facts.st_mtime_ns


def _walked(paths: Sequence[str], expected: str) -> Iterator[str]:
    """Each file after the other process has read it.

    Raises:
        MorphoscopeError: it could not.
    """
    end = f"; {expected}" if expected else ""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _WALK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"\0".join(os.fsencode(os.path.abspath(path)) for path in paths))
            process.stdin.close()
        for path in paths:
            late = threading.Event()
            timer = threading.Timer(_PATIENCE, _end, (process, late))
            timer.start()
            try:
                answered = process.stdout.readline()
            finally:
                timer.cancel()
            if late.is_set():
                raise MorphoscopeError(
                    f"{path}: its structure could not be read in {_PATIENCE:g} seconds{end}"
                )
            if not answered and process.wait() not in _ENDED_BY_ITSELF:
                raise MorphoscopeError(f"{path} is damaged: the HDF5 library crashes on it{end}")
            yield path
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _end(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()
