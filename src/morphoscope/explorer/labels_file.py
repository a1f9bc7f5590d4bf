"""The labels that people give: one SQLite file that nothing is ever deleted from.

Every click is a row, written and on disk before the page is answered. Undoing is a row too. A click has a
token that the page made: a page that got no answer sends it again, and it counts once. What a person says of
a galaxy is the last click that was not undone.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from morphoscope.errors import MorphoscopeError, UsageError, reason_of

APPLICATION = 0x4D4F5250  # "MORP" in the file's header
VERSION = 1
KINDS = ("answer", "unsure", "skip")
LONGEST_NAME = 60  # of a person
_LONGEST_TOKEN = 64
_PATIENCE = 10.0  # seconds to wait for others who write
_TABLE = """
CREATE TABLE clicks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    token TEXT NOT NULL UNIQUE,
    time TEXT NOT NULL,
    person TEXT NOT NULL,
    question TEXT NOT NULL,
    galaxy TEXT NOT NULL,
    source TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('answer', 'unsure', 'skip', 'undo')),
    answer TEXT,
    undoes INTEGER UNIQUE REFERENCES clicks (number)
) STRICT;
CREATE INDEX of_galaxies ON clicks (question, galaxy, source, person);
CREATE INDEX of_people ON clicks (question, person, number);
"""
_COUNTS = {"CREATE TABLE sqlite_sequence(name,seq)"}  # SQLite's own, for AUTOINCREMENT
_STANDS = "kind <> 'undo' AND number NOT IN (SELECT undoes FROM clicks WHERE undoes IS NOT NULL)"
_STANDING = f"""
SELECT galaxy, source, person, kind, answer, max(number) AS number FROM clicks
WHERE question = ? AND {_STANDS} GROUP BY galaxy, source, person
"""


@dataclass(frozen=True)
class Click:
    """What a person says of a galaxy.

    Attributes:
        token: made by the page, different for every click.
        person: who.
        question: its key.
        galaxy: the id.
        source: of its picture, which tells galaxies of one id apart.
        kind: one of :data:`KINDS`.
        answer: for the kind "answer".
    """

    token: str
    person: str
    question: str
    galaxy: str
    source: str
    kind: str = "answer"
    answer: str | None = None


@dataclass(frozen=True)
class Standing:
    """What a person says of a galaxy now."""

    galaxy: str
    source: str
    person: str
    kind: str
    answer: str | None


class LabelFile:
    """The file; it is made at the first click.

    Args:
        path: of it.

    Raises:
        MorphoscopeError: something else is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        if path.exists():
            self._connect()

    def close(self) -> None:
        """Close it."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def add(self, click: Click) -> bool:
        """Write a click; False: one with its token is there already, and nothing changes.

        Raises:
            UsageError: a name, a kind or a token that cannot be.
            MorphoscopeError: the file cannot be written.
        """
        _check(click.person, click.token)
        if click.kind not in KINDS or (click.kind == "answer") != (click.answer is not None):
            raise UsageError(f"a click is one of {', '.join(KINDS)}, and an answer alone has an answer")
        values = (click.question, click.galaxy, click.source, click.kind, click.answer, None)
        return self._write(click.token, click.person, values)

    def undo(self, token: str, person: str, question: str) -> Standing | None:
        """Take a person's last click back; None: there is none.

        Sent again with the same token, it takes back no more.
        """
        _check(person, token)
        with self._lock:
            known = self._rows("SELECT undoes FROM clicks WHERE token = ?", (token,))
            if known:
                wanted = "SELECT number, galaxy, source, kind, answer FROM clicks WHERE number = ?"
                last = self._rows(wanted, known[0])
            else:
                last = self._rows(
                    "SELECT number, galaxy, source, kind, answer FROM clicks WHERE question = ? AND "
                    f"person = ? AND {_STANDS} ORDER BY number DESC LIMIT 1",
                    (question, person),
                )
            if not last:
                return None
            number, galaxy, source, kind, answer = last[0]
            if not known:
                self._write(token, person, (question, galaxy, source, "undo", None, number))
            return Standing(galaxy, source, person, kind, answer)

    def standing(self, question: str) -> list[Standing]:
        """What everybody says now, one for each galaxy and person, in the order of the clicks."""
        rows = self._rows(f"SELECT * FROM ({_STANDING}) ORDER BY number", (question,))
        return [Standing(*row[:5]) for row in rows]

    def of_person(self, question: str, person: str) -> list[Standing]:
        """What one person says now."""
        return [each for each in self.standing(question) if each.person == person]

    def people(self) -> list[str]:
        """Everybody who has clicked."""
        return [name for (name,) in self._rows("SELECT DISTINCT person FROM clicks ORDER BY person", ())]

    def version(self) -> int:
        """A number that changes whenever somebody clicks, in this process or another one."""
        rows = self._rows("SELECT coalesce(max(number), 0) FROM clicks", ())
        return int(rows[0][0]) if rows else 0

    def tokens(self) -> list[str]:
        """Those of all clicks, in their order."""
        return [token for (token,) in self._rows("SELECT token FROM clicks ORDER BY number", ())]

    def _write(self, token: str, person: str, values: tuple) -> bool:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock, self._explained("written"):
            connection = self._connection or self._connect()
            changed = connection.execute(
                "INSERT OR IGNORE INTO clicks (token, time, person, question, galaxy, source, kind, answer, "
                "undoes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (token, now, person, *values),
            )
            return changed.rowcount > 0

    def _rows(self, sql: str, values: tuple) -> list[tuple]:
        with self._lock, self._explained("read"):
            if self._connection is None and not self.path.exists():
                return []
            return (self._connection or self._connect()).execute(sql, values).fetchall()

    def _connect(self) -> sqlite3.Connection:
        """Open the file, or make it. Each statement is its own transaction, on disk when it returns."""
        with self._explained("opened"):
            connection = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            try:
                self._settle(connection)
            except BaseException:
                connection.close()
                raise
        self._connection = connection
        return connection

    def _settle(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")  # both as of one moment: another process may be making the file
        found = connection.execute("PRAGMA application_id").fetchone()[0]
        empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        connection.execute("COMMIT")
        if found != APPLICATION and not (found == 0 and empty):
            raise MorphoscopeError(f"{self.path} is another program's database; choose a file with --labels")
        connection.execute("PRAGMA trusted_schema = OFF")
        _keep_a_journal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")  # of two that make it, one does
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise MorphoscopeError(
                    f"{self.path} was made by a newer version of this program; update Morphoscope"
                )
            if version == 0:
                for statement in _TABLE.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
            there = {text for (text,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql <> ''")}
            if there != {text.strip() for text in _TABLE.split(";") if text.strip()} | _COUNTS:
                raise MorphoscopeError(  # a view or a trigger of a stranger's would be run
                    f"{self.path} has other tables than those of labels; choose another file with --labels"
                )
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has ended the transaction already
                connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise MorphoscopeError(
                f"{self.path}: the labels cannot be {done} ({reason_of(error)}); choose another file with "
                "--labels"
            ) from error


def _keep_a_journal(connection: sqlite3.Connection) -> None:
    """Write ahead. SQLite does not wait for others here: of two that switch at once it refuses one."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _check(person: str, token: str) -> None:
    name = person.strip()
    if name != person or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise UsageError(f"a name of 1 to {LONGEST_NAME} letters was expected: who labels?")
    if not 8 <= len(token) <= _LONGEST_TOKEN or not token.isascii() or not token.isprintable():
        raise UsageError("a click needs a token of 8 to 64 letters and digits")
