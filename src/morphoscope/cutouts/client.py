"""Requests to one service: few at a time, no faster than it allows, again after errors that pass.

Everything about politeness is shared by all threads: a pause that the service asks of one request
(``Retry-After``, as seconds or a date) holds for all.
"""

from __future__ import annotations

import ipaddress
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from morphoscope.cutouts.services import Service
from morphoscope.errors import CannotContinue, MorphoscopeError, reason_of
from morphoscope.extras import need
from morphoscope.progress import note, printable
from morphoscope.version import __version__

AGENT = f"morphoscope/{__version__} (galaxy cutouts; python-requests)"
_TRY_AGAIN = frozenset((408, 425, 429, *range(500, 600))) - {501, 505}  # those two will not pass
_BUSY = (429, 503)  # of these all requests wait
_REFUSED = (401, 403, 407)
_REDIRECTED = (301, 302, 303, 307, 308)
_MOST_REDIRECTIONS = 5
_BLOCK = 1 << 16
_DOWN, _NEVER_UP = 10, 3  # requests in a row that fail before a service is left; before its first answer
_PUBLIC = re.compile(r"([a-z0-9_-]+\.)+[a-z][a-z0-9-]*\.?")
_LOCAL = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
Answer = TypeVar("Answer")


class Outside(MorphoscopeError):
    """The survey has no image at this position."""


class Failed(MorphoscopeError):
    """No cutout could be had."""


class Refused(CannotContinue):
    """The service will not answer any further request, or cannot."""


class Unsuitable(Exception):
    """An answer that is no cutout; the message says why, to follow "the service"."""


@dataclass(frozen=True)
class Patience:
    """How long a service is waited for.

    Attributes:
        attempts: largest number of requests for the same thing.
        pause: seconds before the second, doubled for each further one.
        longest: seconds that a pause may last; a service that asks for more is left.
        connect: seconds for a connection.
        read: seconds without data.
        whole: seconds for a whole answer.
    """

    attempts: int = 5
    pause: float = 1.0
    longest: float = 300.0
    connect: float = 10.0
    read: float = 30.0
    whole: float = 120.0


class Client:
    """Requests to a service, from any thread.

    Args:
        service: says which hosts may answer, how many requests may be under way and how many a second.
        patience: how long it is waited for.

    Raises:
        MissingExtra: requests is not installed.
    """

    def __init__(self, service: Service, patience: Patience | None = None) -> None:
        need(("requests",), "cutouts", "a cutout service")
        self.service, self.patience = service, patience or Patience()
        self._slots = threading.BoundedSemaphore(service.connections)
        self._clock = threading.Lock()
        self._next = 0.0  # when the next request may begin
        self._stopped = threading.Event()
        self._here = threading.local()
        self._in_a_row, self._ever = 0, False
        self._said = threading.Lock()
        self._noted: set[str] = set()

    def stop(self) -> None:
        """Let requests that are waiting end with an error."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self._stopped.is_set()

    def get(
        self,
        address: str,
        check: Callable[[bytes], Answer],
        *,
        most_bytes: int,
        outside: Sequence[int] = (),
        account: str = "",
    ) -> Answer:
        """What ``check`` makes of the answer to a request.

        Args:
            address: of the request.
            check: makes something of the content; may raise :class:`Unsuitable` or :class:`Outside`.
            most_bytes: an answer may have.
            outside: status of positions without images.
            account: where one registers, if the service needs that.

        Raises:
            Outside: the survey has no image there.
            Failed: no attempt gave a suitable answer.
            Refused: the service wants no further requests, or an account.
        """
        reason, everywhere = "", False
        for attempt in range(self.patience.attempts):
            if attempt:
                self._note(reason)
                self._pause(self.patience.pause * 2 ** (attempt - 1))
            try:
                status, content, headers = self._answer(address, most_bytes)
            except Unsuitable as error:
                reason, everywhere = str(error), True
                continue
            if status in outside:
                self._works()
                raise Outside(f"the survey has no image here (status {status})")
            if status in _REFUSED:
                raise Refused(self._refusal(status, account))
            if status in _TRY_AGAIN:
                reason, everywhere = f"returned status {status}", status != 500
                self._obey(status, headers, attempt)
                continue
            if status != 200:
                raise Failed(f"the service returned status {status}")
            self._works()
            try:
                return check(content)
            except Unsuitable as error:
                reason = str(error)
        words = f"the service {reason}, {self.patience.attempts} attempts"
        if everywhere:
            self._fails(words)
        raise Failed(words)

    def _works(self) -> None:
        with self._said:
            self._in_a_row, self._ever = 0, True

    def _fails(self, words: str) -> None:
        """Count a request that failed as all others may.

        Raises:
            Refused: it was one of many.
        """
        with self._said:
            self._in_a_row += 1
            down = self._in_a_row >= (_DOWN if self._ever else _NEVER_UP)
        if down:
            raise Refused(f"{self.service.title}: {words}")

    def _refusal(self, status: int, account: str) -> str:
        title = self.service.title
        if account and status == 401:
            return (
                f"{title} needs an account; register at {account} and put its name and password into ~/.netrc"
            )
        return f"{title} refuses requests (status {status}); wait, or ask the service why"

    def _answer(self, address: str, most_bytes: int) -> tuple[int, bytes, Any]:
        """Status, content and headers, redirections followed.

        Raises:
            Unsuitable: there is no answer, or not a whole one.
            Failed: it leads to a host that is none of the service's, or is too large.
        """
        for _ in range(_MOST_REDIRECTIONS):
            with self._slots:
                self._wait_for_turn()
                status, content, headers = self._one_answer(address, most_bytes)
            if status not in _REDIRECTED:
                return status, content, headers
            address = self._redirected(address, headers.get("Location", ""))
        raise Failed("the service redirects without end")

    def _redirected(self, address: str, location: str) -> str:
        return self._allowed(urljoin(address, location), address, "redirects to")

    def named(self, address: str, *, after: str) -> str:
        """An address that the service has named, by https if the service is asked so.

        Args:
            address: of an image, of links, or of another service of the same archive.
            after: address of the answer that named it.

        Raises:
            Failed: it leads to a host that is none of the service's.
        """
        return self._allowed(address, after, "names an address at")

    def _allowed(self, target: str, before: str, does: str) -> str:
        try:
            parts = urlsplit(target)
            host = parts.hostname or ""
        except ValueError:
            raise Failed(f"the service {does} '{printable(target)[:80]}', which is no address") from None
        known = host in self.service.hosts or (self.service.elsewhere and is_public(host))
        if parts.scheme not in ("http", "https") or not known:
            raise Failed(f"the service {does} '{printable(host)[:80]}', which is none of its hosts")
        if parts.scheme == "http" and urlsplit(before).scheme == "https":
            target = parts._replace(scheme="https").geturl()
        return target

    def _one_answer(self, address: str, most_bytes: int) -> tuple[int, bytes, Any]:
        import requests
        import urllib3

        began = time.monotonic()
        try:
            with self._session().get(
                address,
                stream=True,
                allow_redirects=False,
                timeout=(self.patience.connect, self.patience.read),
            ) as answer:
                content = b""
                if answer.status_code == 200:
                    content = self._content(answer, most_bytes, began)
                return answer.status_code, content, answer.headers
        except requests.exceptions.SSLError as error:
            raise Unsuitable(f"has no valid certificate ({reason_of(error)})") from error
        except requests.exceptions.Timeout as error:
            raise Unsuitable("does not answer in time") from error
        except requests.exceptions.ChunkedEncodingError as error:
            raise Unsuitable("broke off its answer") from error
        except requests.exceptions.ConnectionError as error:
            late = isinstance(error.args[0] if error.args else None, urllib3.exceptions.ReadTimeoutError)
            raise Unsuitable("does not answer in time" if late else "cannot be reached") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Unsuitable(f"sent an answer that cannot be read ({reason_of(error)})") from error

    def _content(self, answer: Any, most_bytes: int, began: float) -> bytes:
        pieces, size = [], 0
        for piece in answer.iter_content(_BLOCK):
            size += len(piece)
            if size > most_bytes:
                raise Failed(f"the service sends more than {most_bytes:,} bytes")
            if time.monotonic() - began > self.patience.whole:
                raise Unsuitable(f"takes more than {self.patience.whole:g} s to answer")
            if self._stopped.is_set():
                raise Failed("stopped")
            pieces.append(piece)
        return b"".join(pieces)

    def _session(self) -> Any:
        """A session of this thread's own: they are not safe to share."""
        session = getattr(self._here, "session", None)
        if session is None:
            import requests

            session = self._here.session = requests.Session()
            session.headers["User-Agent"] = AGENT
        return session

    def _wait_for_turn(self) -> None:
        """Wait until a request may begin: no more than the rate, and not while all must pause."""
        while True:
            with self._clock:
                now = time.monotonic()
                wait = self._next - now
                if wait <= 0:
                    self._next = now + 1 / self.service.rate
                    return
            self._sleep(wait)

    def _pause(self, seconds: float) -> None:
        self._sleep(min(seconds, self.patience.longest))

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(max(seconds, 0.0)):
            raise Failed("stopped")

    def _obey(self, status: int, headers: Any, attempt: int) -> None:
        """Let all requests wait for as long as the service asks, or, if it is busy, as this one would.

        Raises:
            Refused: that is longer than anyone would wait.
        """
        seconds = _retry_after(headers.get("Retry-After"))
        if not seconds and status not in _BUSY:
            return
        seconds = seconds or self.patience.pause * 2**attempt
        if seconds > self.patience.longest:
            raise Refused(
                f"{self.service.title} asks for a pause of {seconds / 60:.0f} minutes (status {status})"
            )
        with self._clock:
            self._next = max(self._next, time.monotonic() + seconds)

    def _note(self, reason: str) -> None:
        with self._said:
            if reason in self._noted:
                return
            self._noted.add(reason)
        note(f"{self.service.title}: the service {reason}; trying again")


def is_public(host: str) -> bool:
    """Whether a host's name is one of the open network, and not of this machine or the network round it.

    >>> [is_public(host) for host in ("archive.eso.org", "8.8.8.8", "127.0.0.1", "localhost", "0x7f.1")]
    [True, True, False, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return _PUBLIC.fullmatch(host.lower()) is not None and not host.lower().endswith(_LOCAL)


def _retry_after(value: str | None) -> float:
    """Seconds to wait, from a number or an HTTP date; 0 if there is none that can be read."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    if not value:
        return 0.0
    try:
        return float(Retry().parse_retry_after(value))
    except InvalidHeader:
        return 0.0
