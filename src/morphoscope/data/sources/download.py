"""Download large files: resume after a broken connection, verify the checksum."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from morphoscope import files
from morphoscope.data.ingest import refuse_out, sha256_with_progress
from morphoscope.data.sources.galaxy10 import ingest_galaxy10
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.extras import need
from morphoscope.progress import Bar, note

GALAXY10_URL = "https://zenodo.org/records/10845026/files/Galaxy10_DECals.h5"
GALAXY10_SHA256 = "19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571"
GALAXY10_BYTES = 2_735_267_419

_BLOCK = 1 << 20
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)  # temporary HTTP errors


def fetch_galaxy10(
    out: Path | str,
    *,
    url: str = GALAXY10_URL,
    sha256: str = GALAXY10_SHA256,
    length: int = GALAXY10_BYTES,
    folder: Path | str | None = None,
    attempts: int = 5,
    pause: float = 2.0,
    crop: int | None = None,
    size: int | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> Store:
    """Download the official Galaxy10 DECaLS file, check it and make a store of it.

    A file downloaded earlier is used again; a partial download is resumed.

    Args:
        out: folder of the store.
        url: address of the HDF5 file.
        sha256: its checksum.
        length: its length in bytes.
        folder: where to keep the HDF5 file; None: beside ``out``.
        attempts: how often to try before giving up.
        pause: seconds before the second attempt, doubled for each further one.
        crop: side of the centre crop; see :func:`morphoscope.data.ingest.write_store` for this and the rest.
        size: side the crop is scaled to.
        overwrite: replace an existing store.
        workers: decoding threads.

    Raises:
        UsageError: ``out`` exists.
        MorphoscopeError: no connection, a wrong checksum, or no space on the disk; or h5py is not installed.
    """
    need(("h5py",), "hdf5", "an HDF5 file")
    out = Path(out)
    refuse_out(out, overwrite=overwrite)
    name = url.split("?")[0].rstrip("/").rsplit("/", 1)[-1] or "Galaxy10_DECals.h5"
    directory = Path(folder) if folder is not None else out.absolute().parent
    try:
        h5 = download(url, directory / name, sha256=sha256, length=length, attempts=attempts, pause=pause)
    except NoConnection as error:
        raise MorphoscopeError(
            f"{error}. Or get the file with a browser, put it at {directory / name} and run "
            f"'morphoscope data ingest galaxy10 {directory / name} {out}'"
        ) from error
    return ingest_galaxy10(h5, out, sha256=sha256, crop=crop, size=size, overwrite=overwrite, workers=workers)


class NoConnection(MorphoscopeError):
    """The server cannot be reached or does not serve the file."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str,
    length: int,
    attempts: int = 5,
    pause: float = 2.0,
    timeout: float = 30.0,
) -> Path:
    """Download a file to ``target`` and check its length and checksum.

    The download goes to ``TARGET.part``, which is kept if the connection breaks or the program is stopped;
    the next call resumes it. If the checksum is wrong it is deleted.

    Args:
        url: http or https.
        target: path of the file.
        sha256: 64 hex digits.
        length: bytes.
        attempts: largest number of requests.
        pause: seconds before the second request, doubled for each further one.
        timeout: seconds without data after which a request fails.

    Raises:
        NoConnection: all attempts failed, or the server refuses.
        MorphoscopeError: wrong length or checksum, a different file at ``target``, or no space on the disk.
    """
    if attempts < 1:
        raise UsageError(f"attempts {attempts}: at least 1 was expected")
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url}: an address that begins with https:// or http:// was expected")
    if target.exists():
        _check(target, sha256, length, "move it away to download it again")
        note(f"{target} exists already and is complete")
        return target
    part = target.with_name(f"{target.name}.part")
    files.ensure_room(target, length - _length(part))
    with files.explained_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    _collect(url, part, length, attempts, pause, timeout)
    try:
        _check(part, sha256, length, "it was deleted; try again, or choose another address")
    except MorphoscopeError:
        part.unlink()
        raise
    os.replace(part, target)
    return target


def _collect(url: str, part: Path, length: int, attempts: int, pause: float, timeout: float) -> None:
    """Download until ``part`` has ``length`` bytes, in as many requests as it takes."""
    reason = ""
    for attempt in range(attempts):
        if _length(part) >= length:
            return
        if attempt:
            note(f"{url}: {reason}; trying again ({attempt + 1} of {attempts})")
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _request(url, part, length, timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # the partial file is longer than the server's
                part.unlink(missing_ok=True)
                raise MorphoscopeError(
                    f"{url}: the server's file is shorter than the {length:,} bytes that were expected; "
                    "this is another file"
                ) from error
            if error.code not in _TRY_AGAIN:
                raise NoConnection(f"{url}: the server returned {error.code} {error.reason}") from error
            reason = f"the server returned {error.code} {error.reason}"
        except urllib.error.URLError as error:
            reason = f"cannot be reached ({error.reason})"
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = f"the connection broke ({str(error) or type(error).__name__})"
        else:
            reason = "the connection ended early"
    kept = _length(part)
    if kept < length:
        advice = (
            f"; {kept / 1e6:.1f} of {length / 1e6:.1f} MB are kept, and the same command resumes the download"
        )
        raise NoConnection(f"{url}: {reason}, {attempts} attempts{advice * (kept > 0)}")


def _request(url: str, part: Path, length: int, timeout: float) -> None:
    """One request for the rest of ``part``; returns when the server sends no more."""
    start = _length(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "morphoscope"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
        if not _continues(answer, start):
            start = 0
        announced = answer.headers.get("Content-Length")
        if announced is not None and start + int(announced) != length:
            raise MorphoscopeError(
                f"{url}: the server's file has {start + int(announced):,} bytes, {length:,} were expected; "
                "this is another file"
            )
        with (
            files.explained_os_errors(part),
            open(part, "ab" if start else "wb") as file,
            Bar(f"downloading {part.stem}", (length - start) // _BLOCK, "MB") as bar,
        ):
            got = start
            # read1 returns what has arrived, so a broken connection loses at most what is in transit.
            while got <= length and (block := answer.read1(_BLOCK)):
                file.write(block)
                bar.advance((got + len(block)) // _BLOCK - got // _BLOCK)
                got += len(block)


def _continues(answer: http.client.HTTPResponse, start: int) -> bool:
    """Whether the server resumes at ``start``; one that ignores Range starts from the first byte."""
    return answer.status == 206 and (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-")


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check(path: Path, sha256: str, length: int, advice: str) -> None:
    if _length(path) != length:
        raise MorphoscopeError(f"{path}: has {_length(path):,} bytes, {length:,} were expected; {advice}")
    found = sha256_with_progress(path)
    if found != sha256.lower():
        raise MorphoscopeError(
            f"{path}: is not the file that was expected (sha256 {found} instead of {sha256}); {advice}"
        )
