"""A local server that answers as the cutout services do, and as badly as they sometimes do.

Which request is answered how is decided by the test; the server counts requests, how many were under way at
once, and how many began within a second.
"""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import yaml
from astropy.io import fits
from sia2_archive import Archive

from morphoscope.cutouts.services import TABLE

NO_FAULT = ""
FAULTS = ("busy", "later", "error", "page", "broken", "half", "other size", "reset")
"""Eight ways in which an answer goes wrong; the next attempt is answered well."""


@lru_cache(maxsize=256)
def galaxy(pixels: int, share: float = 0.2, seed: int = 0) -> np.ndarray:
    """A round galaxy with a diameter of about ``share`` of the side, on noise, (H, W) float32 in 0..255."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:pixels, :pixels] - (pixels - 1) / 2
    radius = max(share * pixels / 3.5, 0.7)
    light = 200 * np.exp(-np.hypot(x, y * 1.3) / radius)
    return (12 + draw.normal(0, 2, (pixels, pixels)) + light).clip(0, 255).astype(np.float32)


@lru_cache(maxsize=256)
def jpeg(pixels: int, share: float, seed: int) -> bytes:
    """The galaxy as a JPEG."""
    image = np.repeat(galaxy(pixels, share, seed)[:, :, None], 3, axis=2).astype(np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


def fits_file(pixels: int, share: float = 0.2, seed: int = 0, planes: int = 1, header: Any = None) -> bytes:
    """The galaxy as a FITS image, or a cube."""
    image = galaxy(pixels, share, seed)
    data = image if planes == 1 else np.stack([image * (1 + plane) for plane in range(planes)])
    made = io.BytesIO()
    fits.PrimaryHDU(data, fits.Header(header or {})).writeto(made)
    return made.getvalue()


@dataclass
class Asked:
    """One request as the server saw it."""

    path: str
    query: dict[str, str]
    at: float
    position: tuple[float, float]


@dataclass
class Sky:
    """What the server shows.

    Attributes:
        fault: how the n-th request (from 0) for a position is answered; "" for well.
        outside: whether a position has no image.
        diameter: of each galaxy, arcsec.
        seconds: that each answer takes.
        password: of the account that HSC's FITS files need; None: no account is needed.
        archive: what is below ``/archive/``.
    """

    fault: Callable[[tuple[float, float], int], str] = lambda position, attempt: NO_FAULT
    outside: Callable[[tuple[float, float]], bool] = lambda position: False
    diameter: float = 20.0
    seconds: float = 0.0
    password: str | None = None
    names: dict[str, tuple[float, float]] = field(default_factory=dict)
    archive: Archive = field(default_factory=Archive)


class CutoutServer:
    """Counts what it is asked."""

    def __init__(self, sky: Sky) -> None:
        self.sky = sky
        self.requests: list[Asked] = []
        self.attempts: Counter[tuple[str, tuple[float, float]]] = Counter()
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()
        self.server = _Server(("127.0.0.1", 0), _handler(self))
        self.port = self.server.server_address[1]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def most_in_a_second(self) -> int:
        """The largest number of requests that began within a second."""
        times = np.array([asked.at for asked in self.requests])
        if not len(times):
            return 0
        return int((np.searchsorted(times, times + 1.0, side="left") - np.arange(len(times))).max())

    @property
    def archive(self) -> Archive:
        """The archive, which knows its address."""
        self.sky.archive.address = self.address
        return self.sky.archive

    def positions(self) -> Counter[tuple[float, float]]:
        """How often each position's image was asked for."""
        lists = ("ps1filenames", "/archive/sia2", "/archive/links")
        images = [asked for asked in self.requests if not any(name in asked.path for name in lists)]
        return Counter(asked.position for asked in images)

    def table(self, path: Path, *, connections: int = 4, rate: float = 500.0) -> Path:
        """The package's table of services with this server in place of theirs."""
        table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
        for service in table["services"].values():
            service |= {"connections": connections, "rate": rate, "hosts": ["127.0.0.1"]}
            for form in service["formats"].values():
                for name in {"address", "index"} & set(form):
                    parts = urlsplit(form[name])
                    form[name] = form[name].replace(f"{parts.scheme}://{parts.netloc}", self.address)
        table["resolver"] = f"{self.address}/cgi-bin/nph-sesame/"
        path.write_text(yaml.safe_dump(table), encoding="utf-8")
        return path


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


@contextmanager
def serving(sky: Sky | None = None) -> Iterator[CutoutServer]:
    """A server on a free port until the end of the block."""
    served = CutoutServer(sky or Sky())
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        served.server.shutdown()
        served.server.server_close()
        thread.join()


def _handler(served: CutoutServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            position = _position(query)
            with served.lock:
                served.under_way += 1
                served.most_under_way = max(served.most_under_way, served.under_way)
                served.requests.append(Asked(parts.path, query, time.monotonic(), position))
                attempt = served.attempts[parts.path, position]
                served.attempts[parts.path, position] += 1
            try:
                if served.sky.seconds:
                    time.sleep(served.sky.seconds)
                self._answer(parts.path, parts.query, query, position, attempt)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                with served.lock:
                    served.under_way -= 1

        def _answer(self, path: str, raw: str, query: dict[str, str], position: Any, attempt: int) -> None:
            sky = served.sky
            if "nph-sesame" in path:
                return self._sesame(raw)
            if "das_cutout" in path and sky.password is not None and not self._knows(sky.password):
                return self._send(401, b"Unauthorized", "text/plain", {"WWW-Authenticate": "Basic"})
            fault = sky.fault(position, attempt)
            if fault:
                return self._go_wrong(fault, path, query)
            status, content, kind = _content(sky, path, query, position)
            return self._send(status, content, kind)

        def _knows(self, password: str) -> bool:
            import base64

            given = self.headers.get("Authorization", "").removeprefix("Basic ")
            return base64.b64decode(given).decode().partition(":")[2] == password

        def _sesame(self, raw: str) -> None:
            from urllib.parse import unquote

            place = served.sky.names.get(unquote(raw))
            found = "#!" if place is None else f"%J {place[0]:.6f} {place[1]:+.6f} = \n"
            self._send(200, f"# {raw} #Q1\n{found}\n".encode(), "text/plain")

        def _send(
            self, status: int, content: bytes, kind: str, headers: dict[str, str] | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def _go_wrong(self, fault: str, path: str, query: dict[str, str]) -> None:
            _, good, kind = _content(served.sky, path, query, (0.0, 0.0))
            if fault == "busy":
                return self._send(429, b"slow down", "text/plain", {"Retry-After": "1"})
            if fault == "later":
                when = formatdate(time.time() + 1, usegmt=True)
                return self._send(503, b"back soon", "text/plain", {"Retry-After": when})
            if fault == "tomorrow":
                return self._send(503, b"back tomorrow", "text/plain", {"Retry-After": "7200"})
            if fault == "gateway":
                return self._send(522, b"timed out", "text/plain", {"Retry-After": "1"})
            if fault == "never":
                return self._send(501, b"not implemented", "text/plain")
            if fault == "error":
                return self._send(500, b"<html>Internal Server Error</html>", "text/html")
            if fault == "page":
                page = b"<!DOCTYPE html><html><head><title>Maintenance</title></head></html>"
                return self._send(200, page, "text/html")
            if fault == "half":
                return self._send(200, good[: len(good) // 2], kind)
            if fault == "other size":
                return self._send(200, jpeg(48, 0.2, 0), "image/jpeg")
            if fault == "elsewhere":
                return self._send(302, b"", kind, {"Location": "http://localhost:1/cutout.jpg"})
            if fault == "moved":
                target = f"{served.address}/moved{self.path}"
                return self._send(302, b"", kind, {"Location": target})
            if fault == "endless":
                return self._send(302, b"", kind, {"Location": self.path})
            if fault == "missing":
                return self._send(404, b"not found", "text/plain")
            if fault == "huge":
                return self._send(200, good + bytes(20 << 20), kind)
            if fault == "slow":
                time.sleep(1.5)
                return self._send(200, good, kind)
            self.send_response(200)  # "broken", "reset"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(good)))
            self.end_headers()
            if fault == "broken":
                self.wfile.write(good[: len(good) // 3])
                self.wfile.flush()
            self.close_connection = True
            return None

    return Handler


def _position(query: dict[str, str]) -> tuple[float, float]:
    """The position that a request names; (0, 0) if it names none."""
    circle = (query.get("CIRCLE") or query.get("POS", "").removeprefix("CIRCLE ")).split()
    ra, dec = circle[:2] if circle else (query.get("ra", "0"), query.get("dec", "0"))
    return round(float(ra), 6), round(float(dec), 6)


def _content(
    sky: Sky, path: str, query: dict[str, str], position: tuple[float, float]
) -> tuple[int, bytes, str]:
    """What the service of a path sends for a position."""
    if path.startswith("/archive/"):
        return sky.archive.answer(path, query)
    outside = sky.outside(position)
    if path.endswith("ps1filenames.py"):
        lines = ["projcell subcell ra dec filter mjd type filename shortname badflag"]
        for band in "" if outside else query["filters"]:
            name = f"/rings.v3.skycell/1234/rings.v3.skycell.1234.stk.{band}.unconv.fits"
            lines.append(f"1234 0 1.0 2.0 {band} 0 stack {name} {band} 0")
        return 200, "\n".join(lines).encode(), "text/plain"
    pixels, scale, kind = _asked(path, query)
    seed = int(abs(position[0] * 1000)) % 16
    share = min(sky.diameter / (pixels * scale), 3.0) if pixels else 0.2
    if kind == "fits":
        if outside and "das_cutout" in path:
            return 404, b"no data", "text/plain"
        planes = len(query.get("bands", "")) or 1
        header = {"BANDS": query["bands"]} if "bands" in query else {}
        good = fits_file(pixels, round(share, 2), seed, planes, header)
        if outside:
            good = good[:2880] + bytes(len(good) - 2880)
        return 200, good, "image/fits"
    if outside:
        black = np.full((pixels, pixels, 3), 32, np.uint8)
        return 200, cv2.imencode(".jpg", black)[1].tobytes(), "image/jpeg"
    return 200, jpeg(pixels, round(share, 2), seed), "image/jpeg"


def _asked(path: str, query: dict[str, str]) -> tuple[int, float, str]:
    """Pixels along a side, arcsec per pixel, and kind of file."""
    if "viewer" in path:
        return int(query["size"]), float(query["pixscale"]), "fits" if path.endswith(".fits") else "jpg"
    if "getjpeg" in path:
        return max(64, int(query["width"])), float(query["scale"]), "jpg"
    if "fitscut" in path:
        native = int(query["size"])
        pixels = native if query["format"] == "fits" else int(query["output_size"])
        return pixels, 0.25 * native / pixels, query["format"]
    if "das_cutout" in path:
        side = 2 * float(query["sw"].removesuffix("asec"))
        return round(side / 0.168) + 1, 0.168, "fits"
    pixels = int(query["width"])
    return pixels, float(query["fov"]) * 3600 / pixels, query["format"]
