"""Files that are whole or not there: atomic writing, checksums, free space."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from morphoscope.errors import MorphoscopeError, UsageError

_PARTIAL = ".partial-"
_REPLACED = ".replaced-"


def read_bytes(path: Path | str, name: str) -> bytes:
    """The content of a file, called ``name`` in messages.

    Raises:
        MorphoscopeError: it cannot be read.
    """
    try:
        return _content_of(path)
    except FileNotFoundError as error:
        raise MorphoscopeError(f"{name}: no such file") from error
    except ValueError as error:  # a null character, which no file name can have
        raise MorphoscopeError(f"{name!r}: not a file name; it contains a null character") from error
    except OSError as error:
        raise MorphoscopeError(f"{name}: cannot be read ({error.strerror})") from error


_READING = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK"))


def _content_of(path: Path | str) -> bytes:
    """A file's content, but no pipe's or device's, of which reading may never end.

    A quarter faster than ``open(path).read()``, which for a JPEG of 20 kB is 1 % of decoding it.
    """
    handle = os.open(path, _READING)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
            raise OSError(errno.EINVAL, "a pipe or a device, not a file")
        pieces, piece = [], os.read(handle, about.st_size or 1 << 20)
        while piece:
            pieces.append(piece)
            if len(piece) == about.st_size:
                break
            piece = os.read(handle, 1 << 30)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    finally:
        os.close(handle)


def cache_folder() -> Path:
    """Where this program may keep what it can make again: ``$XDG_CACHE_HOME`` or ``~/.cache``, morphoscope.

    It need not exist, and it may not be writable.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "morphoscope"


def partial_name(target: Path) -> Path:
    """A hidden sibling of ``target`` to write into before the rename: ``.NAME.partial-PID-xxxx``."""
    return _sibling(target, _PARTIAL)


def _sibling(target: Path, mark: str) -> Path:
    return target.parent / f".{target.name}{mark}{os.getpid()}-{uuid.uuid4().hex[:6]}"


def _process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove_stale_partials(target: Path) -> None:
    """Delete what killed processes left half-written beside ``target``; files of living ones stay.

    A folder whose replacement was interrupted by a kill (:func:`put_in_place`) is restored first.
    """
    for leftover in _leftovers(target, _REPLACED):
        if not target.exists():
            os.rename(leftover, target)
        else:
            shutil.rmtree(leftover, ignore_errors=True)
    for leftover in _leftovers(target, _PARTIAL):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _leftovers(target: Path, mark: str) -> Iterator[Path]:
    """Hidden siblings of ``target`` whose writer has ended."""
    for sibling in target.parent.glob(f"{glob.escape(f'.{target.name}{mark}')}*"):
        pid = sibling.name.split(mark)[-1].split("-")[0]
        if pid.isdigit() and not _process_lives(int(pid)):
            yield sibling


def put_in_place(partial: Path, target: Path) -> None:
    """Rename the finished folder ``partial`` to ``target``, replacing a folder that is there.

    The old folder is moved aside, and deleted once the new one is in place: deleting a large folder takes
    seconds, and a kill meanwhile would leave neither whole. A kill between the two renames leaves the old
    folder hidden, and :func:`remove_stale_partials` restores it.
    """
    if not target.is_dir():
        os.replace(partial, target)
        return
    replaced = _sibling(target, _REPLACED)
    os.rename(target, replaced)
    try:
        os.rename(partial, target)
    except BaseException:
        os.rename(replaced, target)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


@contextlib.contextmanager
def explained_os_errors(
    target: Path,
    when_full: str = "nothing was kept. Free some room or choose another folder, then run the same command "
    "again",
) -> Iterator[None]:
    """Turn a full disk or a refused permission into one sentence that says what to do.

    Errors about files elsewhere, such as a source that may not be read, pass unchanged.

    Args:
        target: what is being written.
        when_full: what becomes of it when the disk is full.
    """
    try:
        yield
    except Exception as caught:
        error = _system_error(caught)
        inside = _PARTIAL in target.parent.name  # a file of a folder that is being written, which says it
        if error is None or inside or not _concerns(error, target):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MorphoscopeError(f"{target}: the disk is full; {when_full}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise MorphoscopeError(f"{target}: no permission to write here; choose another folder") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST) and not target.parent.is_dir():
            raise UsageError(f"{target}: a part of this path is a file, not a folder") from error
        raise


def _system_error(error: Exception) -> OSError | None:
    """The operating system's error, if it is one; safetensors and astropy may give it only as text."""
    if isinstance(error, OSError) and error.errno is None and "Not enough space on disk" in str(error):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if isinstance(error, OSError):
        return error
    if type(error).__name__ == "SafetensorError":
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is not None:
            return OSError(int(number[1]), os.strerror(int(number[1])))
    return None


def _concerns(error: OSError, target: Path) -> bool:
    """Whether an error is about writing ``target``, and not about a file elsewhere."""
    named = [path for path in (error.filename, error.filename2) if isinstance(path, str | os.PathLike)]
    if not named:
        return True  # a write to an open file names none
    return any(_is_part(Path(os.path.abspath(path)), target) for path in named)  # a copy names its source too


def _is_part(path: Path, target: Path) -> bool:
    """Whether a path is ``target``, a folder above it, inside it, or a partial file for it."""
    parent = Path(os.path.abspath(target.parent))
    if parent.is_relative_to(path):
        return True
    name = path.relative_to(parent).parts[0] if path.is_relative_to(parent) else ""
    return name == target.name or name.startswith(f".{target.name}.")


def _refuse_foreign(target: Path) -> None:
    """Refuse what no file can be called, and writing through a link out of a run.

    A run from a stranger may hold a folder that is a link to somewhere else.

    Raises:
        UsageError: for either.
    """
    if "\0" in str(target):
        raise UsageError(f"{str(target)!r}: not a file name; it contains a null character")
    for folder in target.parents:
        if folder.is_symlink() and (folder.parent / "run.yaml").is_file():
            raise UsageError(
                f"{folder} is a link; a run keeps its files in its own folder. Replace it by a folder"
            )


@contextlib.contextmanager
def atomic_file(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it becomes ``target``, on failure it is removed.

    Raises:
        UsageError: ``target`` is a folder, or in a linked folder of a run.
        MorphoscopeError: the disk is full, or writing here is not permitted.
    """
    target = Path(target)
    _refuse_foreign(target)
    if target.is_dir():
        raise UsageError(f"{target} is a folder; a file to write was expected")
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
def atomic_folder(target: Path | str, *, overwrite: bool = False, mark: str | None = None) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it becomes ``target``, on failure it is removed.

    Raises:
        UsageError: as :func:`refuse_existing`, or ``target`` is in a linked folder of a run.
        MorphoscopeError: the disk is full, or writing here is not permitted.
    """
    target = Path(target)
    _refuse_foreign(target)
    refuse_existing(target, overwrite=overwrite, mark=mark)
    with explained_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_partials(target)
        partial = partial_name(target)
        partial.mkdir()
        try:
            yield partial
            put_in_place(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def atomic_files(folder: Path, *, last: str) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success its files move to ``folder`` in one go, on failure none.

    For results that belong together, such as a calibration and the numbers measured with it.

    Args:
        folder: which exists.
        last: the file by which the others are known to be there.

    Raises:
        UsageError: ``folder`` is a linked folder of a run.
        MorphoscopeError: the disk is full, or writing here is not permitted.
    """
    together = folder / "together"
    _refuse_foreign(together)
    with explained_os_errors(folder):
        remove_stale_partials(together)
        partial = partial_name(together)
        partial.mkdir()
        try:
            yield partial
            for path in sorted(partial.iterdir(), key=lambda path: path.name == last):
                os.replace(path, folder / path.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def lock_held(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock until the end of the block, or of the process; nothing where the system has no such locks.

    Args:
        path: the lock's file, which stays.
        busy: what to say if another process holds it.

    Raises:
        UsageError: another process does.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(busy) from error
        except OSError:  # a file system without locks
            pass
        yield


def refuse_existing(target: Path, *, overwrite: bool, mark: str | None = None) -> None:
    """Refuse to overwrite something that is there.

    Args:
        target: the folder to be written.
        overwrite: allow replacing a folder.
        mark: a file that only folders which may be replaced contain, such as "store.yaml": a folder of images
            given by mistake is not deleted, whatever ``overwrite`` says.

    Raises:
        UsageError: ``target`` is a file or a link, or a folder with something in it that may not be replaced.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        what = "link" if target.is_symlink() else "file"
        raise UsageError(f"{target} is a {what}; a folder to create was expected")
    with explained_os_errors(target):
        if not target.is_dir() or not any(target.iterdir()):
            return
    if not overwrite:
        raise UsageError(f"{target} exists already; choose another name or pass --overwrite")
    if mark is not None and not (target / mark).is_file():
        raise UsageError(
            f"{target} has no {mark}, so it is something else that --overwrite will not delete; "
            "choose another name"
        )


def ensure_room(folder: Path | str, needed_bytes: int) -> None:
    """Check before the work starts that the disk can hold its result.

    Raises:
        MorphoscopeError: fewer than ``needed_bytes`` are free where ``folder`` will be.
    """
    existing = Path(folder).absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise MorphoscopeError(
            f"{folder}: {in_bytes(needed_bytes)} are needed and {in_bytes(free)} are free; "
            "free some room or choose another folder"
        )


def in_bytes(count: int) -> str:
    """A size with three digits, in a unit that leaves some before the point; decimal, as disks are sold.

    >>> in_bytes(0), in_bytes(65_536), in_bytes(2_736_000_000)
    ('0 bytes', '65.5 kB', '2.74 GB')
    """
    if count < 1000:
        return f"{count} bytes"
    size, units = count / 1000, ["kB", "MB", "GB", "TB", "PB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{size:,.{digits}f} {units[0]}"


def sha256_of(path: Path | str) -> str:
    """The SHA-256 of a file as 64 hex digits, read in constant memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON document atomically; numbers that are not finite are refused."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
