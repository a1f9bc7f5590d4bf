"""Starting the explorer: from the command line until Ctrl-C, or beside a notebook."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import secrets
import socket
import threading
import time
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morphoscope.errors import UsageError, reason_of
from morphoscope.extras import EXPLORING, need
from morphoscope.progress import note

if TYPE_CHECKING:
    import uvicorn

PORT = 8501
TOKEN = "MORPHOSCOPE_TOKEN"  # environment variable


@dataclass(frozen=True)
class Request:
    """What is served, and where.

    Attributes:
        source: a run, a catalogue or a store.
        catalogue: made with the run.
        images: a folder, an archive, a table, a Galaxy10 file or a store with the galaxies' pictures.
        compare: a second catalogue or run of the same galaxies.
        labels: file of the labels that people give; None: beside the source.
        queue: a table with a column of ids: what is labelled first.
        classes: that people choose from; empty: the scheme's.
        feature_map: that is shown first: "pca" (principal components) or "umap".
        host: address to listen on.
        port: 0: any that is free.
    """

    source: Path | str
    catalogue: Path | str | None = None
    images: Path | str | None = None
    compare: Path | str | None = None
    labels: Path | str | None = None
    queue: Path | str | None = None
    classes: tuple[str, ...] = ()
    feature_map: str = "pca"
    host: str = "127.0.0.1"
    port: int = PORT


def serve(request: Request, *, open_browser: bool = False) -> None:
    """Serve the page until it is interrupted.

    Raises:
        UsageError: the source is of no known kind, the port is in use, or the address is not this machine's.
        MissingExtra: the packages of the extra ``explore`` are missing.
    """
    need(EXPLORING, "explore", "'morphoscope serve'")
    with listening(request.host, request.port) as listener, _opened(request) as (app, token):
        address = _address(request.host, listener.getsockname()[1], token)
        note(f"explorer of {request.source} → {address}  (Ctrl-C ends it)")
        if not is_local(request.host):
            note("anybody who has this address can look and label; it is not encrypted")
        if open_browser:
            threading.Timer(0.3, webbrowser.open, [address]).start()
        with contextlib.suppress(KeyboardInterrupt):  # that is how people end it
            _server(app).run(sockets=[listener])
        note("the explorer has ended")


def explore(
    source: Path | str,
    *,
    catalogue: Path | str | None = None,
    images: Path | str | None = None,
    compare: Path | str | None = None,
    labels: Path | str | None = None,
    queue: Path | str | None = None,
    classes: tuple[str, ...] = (),
    feature_map: str = "pca",
    port: int = 0,
    height: int = 800,
) -> Exploration:
    """Open the explorer of a run, a catalogue or a store; a notebook shows it in a frame.

    Args:
        source: a run's folder, a catalogue or a store.
        catalogue: made with the run; None: the run's test galaxies.
        images: a folder, an archive, a table, a Galaxy10 file or a store with the galaxies' pictures; None:
            as the catalogue says.
        compare: a second catalogue or run of the same galaxies.
        labels: file of the labels that people give; None: beside the source.
        queue: a table with a column of ids: what is labelled first.
        classes: that people choose from; empty: the scheme's.
        feature_map: that is shown first, "pca" or "umap" (extra ``umap``); the page has both.
        port: 0: any that is free.
        height: of the frame, pixels.

    Returns:
        What is running: ``address``, and ``stop()``.

    Raises:
        UsageError: the source is of no known kind, or the port is in use.
        MissingExtra: the packages of the extra ``explore`` are missing.
    """
    need(EXPLORING, "explore", "ms.explore")
    request = Request(
        source, catalogue, images, compare, labels, queue, tuple(classes), feature_map, port=port
    )
    return Exploration(request, height)


class Exploration:
    """The explorer, running in a thread of this process until :meth:`stop` or the end of the process."""

    def __init__(self, request: Request, height: int) -> None:
        self.height = height
        self._stack = contextlib.ExitStack()
        try:
            listener = self._stack.enter_context(listening(request.host, request.port))
            app, _ = self._stack.enter_context(_opened(request, framed=True))
        except BaseException:
            self._stack.close()
            raise
        self.address = _address(request.host, listener.getsockname()[1], "")
        self._server = _server(app)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="explorer", daemon=True
        )
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)

    def stop(self) -> None:
        """End it, and remove its temporary files."""
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._stack.close()

    def __enter__(self) -> Exploration:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _repr_html_(self) -> str:
        """A frame with the page."""
        return (
            f'<iframe src="{self.address}" title="Morphoscope explorer" width="100%" '
            f'height="{self.height}" style="border:0"></iframe>'
        )


@contextlib.contextmanager
def _opened(request: Request, *, framed: bool = False):
    """The application and its token, until its temporary files are removed."""
    from morphoscope.explorer.app import create_app

    token = "" if is_local(request.host) else _own_token() or secrets.token_urlsafe(24)
    app, close = create_app(request, token=token, framed=framed)
    try:
        yield app, token
    finally:
        close()


def _own_token() -> str:
    """The token that a person has set; empty: none.

    Raises:
        UsageError: it does not fit into an address, or is easily guessed.
    """
    token = os.environ.get(TOKEN, "")
    if token and not re.fullmatch(r"[A-Za-z0-9_-]{12,200}", token):
        raise UsageError(f"{TOKEN}: at least 12 letters, digits, - and _ were expected")
    return token


@contextlib.contextmanager
def listening(host: str, port: int):
    """A socket that listens; it is had before anything is read, so that a port in use is said at once.

    Raises:
        UsageError: the port is in use or not allowed, or the address is not this machine's.
    """
    if not 0 <= port < 1 << 16:
        raise UsageError(f"--port {port}: a number from 0 to 65535 was expected")
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By its protocol asyncio knows that it is TCP, and sends small answers at once; otherwise they wait 40 ms
    # for the other side to confirm their headers.
    listener = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(128)
        except OSError as error:
            raise UsageError(_why_not(host, port, error)) from error
        yield listener
    finally:
        listener.close()


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; choose another with --port, or --port 0 for any that is free"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} may not be used; choose one above 1023 with --port"
    return f"--host {host}: this machine cannot listen there ({reason_of(error)})"


def is_local(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(host: str, port: int, token: str) -> str:
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


def _server(app: Any) -> uvicorn.Server:
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
        lifespan="off",
    )
    return uvicorn.Server(config)
