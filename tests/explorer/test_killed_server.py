"""The whole server killed while people click, again and again: no click lost, none counted twice."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from morphoscope.explorer.labels_file import LabelFile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
KILLS, PEOPLE, ROWS = 10, 3, 400


class Server:
    """``morphoscope serve`` in a process of its own."""

    def __init__(self, catalogue: Path, labels: Path) -> None:
        command = [sys.executable, "-m", "morphoscope", "serve", str(catalogue), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--labels", str(labels), "--classes", "lens,ring,neither"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            said += line
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                self.port = int(found[1])
                return
        raise AssertionError(said)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


class Person(threading.Thread):
    """Clicks as the page does: one after the other, each again with the same token until it is answered."""

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self.person, self.port, self.stop = name, 0, False
        self.answered: list[tuple[str, str]] = []
        self.repeated = 0

    def run(self) -> None:
        for row in range(ROWS):
            answer = ("lens", "ring", "neither")[(row + len(self.person)) % 3]
            token = f"click{self.person}{row:05d}"
            body = {"token": token, "person": self.person, "question": "class", "row": row}
            while not self.stop and (added := self.send({**body, "answer": answer})) is None:
                time.sleep(0.02)
            if self.stop:
                return
            self.repeated += not added
            self.answered.append((f"g{row}", answer))

    def send(self, body: dict[str, object]) -> bool | None:
        """Whether the click was new; None: no answer came."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(
                "POST", "/api/labels/click", json.dumps(body), {"content-type": "application/json"}
            )
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        assert answer.status == 200, content
        return json.loads(content)["added"]


def test_kill_9_of_the_server_ten_times_while_three_people_click(tmp_path: Path):
    catalogue, labels = tmp_path / "c.csv", tmp_path / "labels.sqlite"
    catalogue.write_text("id\n" + "".join(f"g{row}\n" for row in range(ROWS)))
    people = [Person(name) for name in ("Ada", "Bo", "Cleo")[:PEOPLE]]
    rng = np.random.default_rng(0)
    server = Server(catalogue, labels)
    for person in people:
        person.port = server.port
        person.start()
    for _ in range(KILLS):
        before = sum(len(person.answered) for person in people)
        wanted = before + int(rng.integers(5, 40))
        while sum(len(person.answered) for person in people) < wanted:
            assert all(person.is_alive() for person in people)
            time.sleep(0.005)
        server.kill()  # whatever it was doing
        server = Server(catalogue, labels)
        for person in people:
            person.port = server.port
    for person in people:
        person.stop = True
    for person in people:
        person.join()
    server.kill()
    file = LabelFile(labels)
    tokens, standing = file.tokens(), file.standing("class")
    file.close()
    assert len(tokens) == len(set(tokens))
    for person in people:
        kept = [(each.galaxy, each.answer) for each in standing if each.person == person.person]
        assert len(kept) == len(set(kept))
        assert set(person.answered) <= set(kept)  # none lost
        assert len(kept) - len(person.answered) <= 1  # written, and never answered
    answered = sum(len(person.answered) for person in people)
    assert answered >= 5 * KILLS
    again = sum(person.repeated for person in people)
    print(f"{answered} clicks answered, {again} sent again after they were written, {len(tokens)} kept")
