"""Files that are whole or not there: atomic writing, checksums, room on the disk."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from morphoscope.errors import MorphoscopeError, UsageError

_PARTIAL = ".partial-"


def partial_name(target: Path) -> Path:
    """A hidden sibling of ``target`` to write into before the rename: ``.NAME.partial-PID-xxxx``."""
    return target.parent / f".{target.name}{_PARTIAL}{os.getpid()}-{uuid.uuid4().hex[:6]}"


def _process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove_stale_partials(target: Path) -> None:
    """Delete what killed processes left half-written beside ``target``; living writers are left alone."""
    for leftover in target.parent.glob(f".{target.name}{_PARTIAL}*"):
        pid = leftover.name.split(_PARTIAL)[-1].split("-")[0]
        if pid.isdigit() and not _process_lives(int(pid)):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def explained_os_errors(target: Path) -> Iterator[None]:
    """Turn a full disk or a refused permission into one sentence that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MorphoscopeError(
                f"{target}: the disk is full; nothing was kept. Free some room or choose another "
                "folder, then run the same command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise MorphoscopeError(f"{target}: no permission to write here; choose another folder") from error
        raise


@contextlib.contextmanager
def atomic_file(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it becomes ``target``, on failure it is removed."""
    target = Path(target)
    with explained_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_partials(target)
        partial = partial_name(target)
        try:
            yield partial
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it becomes ``target``, on failure it is removed.

    Raises:
        UsageError: ``target`` exists, is not empty, and ``overwrite`` is false.
    """
    target = Path(target)
    refuse_existing(target, overwrite=overwrite)
    with explained_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_partials(target)
        partial = partial_name(target)
        partial.mkdir()
        try:
            yield partial
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Refuse to write over something that is there.

    Raises:
        UsageError: ``target`` is a file, or a folder with something in it and ``overwrite`` is false.
    """
    if target.is_file() or target.is_symlink():
        raise UsageError(f"{target} is a file; a folder to create was expected")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise UsageError(f"{target} exists already; choose another name or pass --overwrite")


def ensure_room(folder: Path | str, needed_bytes: int) -> None:
    """Say before the work starts when the disk cannot hold its result.

    Raises:
        MorphoscopeError: fewer than ``needed_bytes`` are free where ``folder`` will be.
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise MorphoscopeError(
            f"{folder}: {needed_bytes / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free; "
            "free some room or choose another folder"
        )


def sha256_of(path: Path | str) -> str:
    """The SHA-256 of a file as 64 hex digits, read in constant memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
