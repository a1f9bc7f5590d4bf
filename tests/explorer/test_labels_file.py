"""The file of labels: no click is lost, none counts twice, whatever happens to the process."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.explorer.labels_file import Click, LabelFile

ROOT = Path(__file__).resolve().parents[2]


def click(number: int, person: str = "Ada", **more: str | None) -> Click:
    values = {"kind": "answer", "answer": "Merging", **more}
    return Click(f"token-{number:06d}", person, "class", f"g{number}", f"g{number}.png", **values)  # type: ignore[arg-type]


@pytest.fixture
def labels(tmp_path: Path):
    made = LabelFile(tmp_path / "a.labels.sqlite")
    yield made
    made.close()


def test_the_file_is_made_at_the_first_click(labels: LabelFile):
    assert labels.standing("class") == []
    assert labels.people() == []
    assert labels.undo("token-undo", "Ada", "class") is None
    assert not labels.path.exists()
    assert labels.add(click(1))
    assert labels.path.exists()


def test_a_click_sent_twice_counts_once(labels: LabelFile):
    assert labels.add(click(1))
    assert not labels.add(click(1))
    assert not labels.add(Click("token-000001", "Ada", "class", "other", "", "answer", "Disturbed"))
    assert [each.galaxy for each in labels.standing("class")] == ["g1"]


def test_the_last_click_stands_and_can_be_taken_back(labels: LabelFile):
    labels.add(click(1, answer="Merging"))
    labels.add(Click("token-again", "Ada", "class", "g1", "g1.png", "unsure"))
    labels.add(click(2, person="Bo"))
    assert [(s.person, s.kind) for s in labels.standing("class")] == [("Ada", "unsure"), ("Bo", "answer")]
    taken = labels.undo("token-undo-1", "Ada", "class")
    assert taken is not None
    assert (taken.galaxy, taken.kind) == ("g1", "unsure")
    assert labels.undo("token-undo-1", "Ada", "class") == taken  # sent again
    assert labels.of_person("class", "Ada")[0].answer == "Merging"
    labels.undo("token-undo-2", "Ada", "class")
    assert labels.of_person("class", "Ada") == []
    assert labels.undo("token-undo-3", "Ada", "class") is None
    assert labels.of_person("class", "Bo")[0].galaxy == "g2"  # of other people nothing is taken back


@pytest.mark.parametrize(
    "added",
    [
        "CREATE TRIGGER gone AFTER INSERT ON clicks BEGIN DELETE FROM clicks; END",
        "DROP TABLE clicks; CREATE VIEW clicks AS "
        "WITH RECURSIVE r(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM r) SELECT number FROM r",
    ],
)
def test_what_a_stranger_added_to_the_database_is_not_run(labels: LabelFile, added: str):
    labels.add(click(1))
    labels.close()
    connection = sqlite3.connect(labels.path)
    connection.executescript(added)
    connection.close()
    with pytest.raises(MorphoscopeError, match="has other tables than those of labels"):
        LabelFile(labels.path)


def test_questions_are_kept_apart(labels: LabelFile):
    labels.add(click(1))
    labels.add(Click("token-other", "Ada", "Q2", "g1", "g1.png", "answer", "yes"))
    assert [each.answer for each in labels.standing("Q2")] == ["yes"]
    labels.undo("token-undo-1", "Ada", "Q2")
    assert [each.answer for each in labels.standing("class")] == ["Merging"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"person": ""},
        {"person": " Ada"},
        {"person": "A" * 61},
        {"person": "A\n"},
        {"token": "short"},
        {"token": "t" * 65},
        {"kind": "delete"},
        {"answer": None},
        {"kind": "skip"},  # with an answer
    ],
)
def test_what_is_no_click_is_refused(labels: LabelFile, wrong: dict[str, str]):
    values = {"token": "token-123", "person": "Ada", "kind": "answer", "answer": "a", **wrong}
    with pytest.raises(UsageError):
        labels.add(Click(question="class", galaxy="g", source="", **values))  # type: ignore[arg-type]
    assert labels.tokens() == []


def test_something_else_in_its_place_is_refused_and_untouched(tmp_path: Path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (a)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(MorphoscopeError, match="another program's database; choose a file with --labels"):
        LabelFile(path)
    assert path.read_bytes() == before
    (tmp_path / "text.sqlite").write_text("no database " * 100)
    with pytest.raises(MorphoscopeError, match="cannot be opened"):
        LabelFile(tmp_path / "text.sqlite")


def test_a_newer_file_is_refused(labels: LabelFile):
    labels.add(click(1))
    labels.close()
    with sqlite3.connect(labels.path) as changed:
        changed.execute("PRAGMA user_version = 99")
    changed.close()
    with pytest.raises(MorphoscopeError, match="a newer version"):
        LabelFile(labels.path)


def test_several_people_and_two_servers_write_at_once(labels: LabelFile):
    other = LabelFile(labels.path)  # as of a second process

    def work(file: LabelFile, person: str, first: int) -> None:
        for number in range(first, first + 25):
            file.add(click(number, person))

    writers = [(labels, "Ada"), (other, "Bo"), (labels, "Cy"), (other, "Di")]
    threads = [
        threading.Thread(target=work, args=(file, person, 1000 * number))
        for number, (file, person) in enumerate(writers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(labels.standing("class")) == 100
    assert labels.people() == ["Ada", "Bo", "Cy", "Di"] == other.people()
    other.close()


def test_of_several_that_make_the_file_at_once_none_fails(tmp_path: Path):
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that they meet within the first statements
    try:
        for attempt in range(50):
            files = [LabelFile(tmp_path / f"{attempt}.labels.sqlite") for _ in range(4)]
            with ThreadPoolExecutor(4) as pool:
                kept = list(pool.map(lambda file, number: file.add(click(number)), files, range(4)))
            assert kept == [True] * 4
            assert len(files[0].standing("class")) == 4
            for file in files:
                file.close()
    finally:
        sys.setswitchinterval(before)


CLICKING = """
import sys
from pathlib import Path
from morphoscope.explorer.labels_file import Click, LabelFile
labels = LabelFile(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 10**9):
    added = labels.add(Click(f"token-{number:06d}", "Ada", "class", f"g{number}", "", "answer", "Merging"))
    print(number, int(added), flush=True)
"""


def test_kill_9_ten_times_loses_no_click_and_counts_none_twice(tmp_path: Path):
    path, answered, wait = tmp_path / "killed.sqlite", [], np.random.default_rng(0)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for _ in range(10):
        start = len(answered)  # the one without an answer is sent again with the same token
        process = subprocess.Popen(
            [sys.executable, "-c", CLICKING, str(path), str(start)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        wanted = int(wait.integers(3, 60))
        for line in process.stdout:
            answered.append(int(line.split()[0]))
            if len(answered) >= start + wanted:
                process.send_signal(signal.SIGKILL)
                break
        rest = process.stdout.read().splitlines()
        answered += [int(line.split()[0]) for line in rest if line.endswith(("0", "1")) and " " in line]
        process.wait()
        process.stdout.close()
        labels = LabelFile(path)
        tokens = labels.tokens()
        labels.close()
        assert len(tokens) == len(set(tokens))
        assert tokens[: len(answered)] == [f"token-{number:06d}" for number in answered]
        assert len(tokens) - len(answered) <= 1  # written, and killed before the answer
    assert answered == list(range(len(answered)))
    assert len(answered) > 30
