"""Who may ask: only pages of this server, and beyond this machine only who has the token.

A page of another site that is open in the same browser could otherwise ask a server on this machine (by a
form, an image, or a name of its own that it lets point here). So a request is refused unless it names this
server as its host, and comes, where a browser says from where, from a page of this server.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL = ("localhost", "127.0.0.1", "::1")
COOKIE = "morphoscope_token"
MOST_BODY = 64 << 20  # bytes; an upload
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
)
_NOTEBOOKS = "'self' http://localhost:* http://127.0.0.1:* https://localhost:*"


class Guard:
    """ASGI middleware that refuses requests of others, and forbids the page to ask anybody else.

    Args:
        app: what answers.
        hosts: names under which the server may be asked, besides this machine's own.
        token: that a browser must have; empty: none is needed.
        framed: a notebook of this machine may show the page in a frame.
    """

    def __init__(self, app: App, *, hosts: Iterable[str] = (), token: str = "", framed: bool = False) -> None:
        self.app, self.token = app, token
        self.hosts = {*LOCAL, *(host.lower() for host in hosts)}
        policy = _POLICY.format(ancestors=_NOTEBOOKS if framed else "'none'")
        self.headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.headers]
            await send(message)

        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(sent, *refusal)
        elif self.token and not self._knows_token(scope, headers):
            await _answer(sent, 401, "this server needs its token: open the address that 'morphoscope serve' "
                          "printed")  # fmt: skip
        elif self.token and "token=" in scope.get("query_string", b"").decode("latin-1"):
            await self._keep_token(sent)
        else:
            await self.app(scope, receive, sent)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        if _name_of(headers.get("host", "")) not in self.hosts:
            return 403, "this server answers only under its own name; open the address that it printed"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != headers["host"].lower():
            return 403, "requests of pages of another site are refused"
        site = headers.get("sec-fetch-site", "none")
        opened = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("same-origin", "none") and not (opened and scope["path"] == "/"):
            return 403, "requests of pages of another site are refused"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MOST_BODY:
            return 413, f"at most {MOST_BODY >> 20} MiB can be sent to this server"
        return None

    def _knows_token(self, scope: Scope, headers: dict[str, str]) -> bool:
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if headers.get("authorization", "").lower().startswith("bearer "):
            given = headers["authorization"][7:].strip()
        if not given:
            try:
                kept = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
            except CookieError:
                kept = None
            given = "" if kept is None else kept.value
        return hmac.compare_digest(given.encode(), self.token.encode())

    async def _keep_token(self, send: Send) -> None:
        """Keep the token in a cookie, and take it out of the address."""
        cookie = f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _name_of(host: str) -> str:
    """The name in a Host header, without its port; empty if it is no such header."""
    found = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]@/\s]+))(?::\d{1,5})?", host.strip().lower())
    return (found[1] or found[2]) if found else ""


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
