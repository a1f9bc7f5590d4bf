from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from morphoscope import files
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean, listed, reason_of


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def break_off_a_file(target: Path, error: BaseException) -> None:
    with files.atomic_file(target) as partial:
        partial.write_text("half")
        raise error


def break_off_a_folder(target: Path, error: BaseException) -> None:
    with files.atomic_folder(target, overwrite=True) as partial:
        (partial / "new").write_text("half")
        raise error


def explained(target: Path, error: OSError) -> None:
    with files.explained_os_errors(target):
        raise error


@pytest.fixture
def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_exit_statuses():
    assert MorphoscopeError.exit_status == 1
    assert UsageError.exit_status == 2
    assert issubclass(UsageError, MorphoscopeError)


def test_did_you_mean():
    assert did_you_mean("optimizer", ["optimiser", "schedule"]) == " (did you mean 'optimiser'?)"
    assert did_you_mean("xyz", ["b", "a"], "columns") == " (columns: a, b)"
    assert did_you_mean("xyz", []) == ""
    assert len(did_you_mean("xyz", ["[" * 2000, *"abc"], "columns")) < 100


def test_a_list_of_names_is_no_page():
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(1000))).endswith("28, 29, and 970 more")
    assert len(listed("x" * number for number in range(1, 2000))) < 1500
    assert did_you_mean("xyz", map(str, range(31))) == ""


def test_a_file_appears_when_the_block_ends_well(tmp_path):
    target = tmp_path / "new" / "folder" / "a.txt"
    with files.atomic_file(target) as partial:
        partial.write_text("whole")
        assert not target.exists()
        assert partial.parent == target.parent  # one file system, so that the rename is atomic
    assert target.read_text() == "whole"
    assert hidden(target.parent) == []


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_a_broken_block_leaves_the_old_file(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(type(error)):
        break_off_a_file(target, error)
    assert target.read_text() == "old"
    assert hidden(tmp_path) == []


def test_a_folder_where_a_file_should_be_written_is_refused(tmp_path):
    with (
        pytest.raises(UsageError, match="is a folder; a file to write was expected"),
        files.atomic_file(tmp_path),
    ):
        pass


def test_a_folder_appears_when_the_block_ends_well(tmp_path):
    target = tmp_path / "deep" / "store"
    with files.atomic_folder(target) as partial:
        (partial / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert hidden(target.parent) == []


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_broken_block_leaves_the_old_folder(tmp_path, error):
    target = tmp_path / "store"
    target.mkdir()
    (target / "old").write_text("1")
    with pytest.raises(type(error)):
        break_off_a_folder(target, error)
    assert [path.name for path in target.iterdir()] == ["old"]
    assert hidden(tmp_path) == []


def test_an_existing_folder_is_replaced_only_on_request(tmp_path):
    target = tmp_path / "store"
    target.mkdir()
    with files.atomic_folder(target) as partial:  # an empty folder may be filled
        (partial / "first").write_text("1")
    with (
        pytest.raises(UsageError, match=r"store exists already; .* --overwrite"),
        files.atomic_folder(target),
    ):
        pass
    with files.atomic_folder(target, overwrite=True) as partial:
        (partial / "second").write_text("2")
    assert [path.name for path in target.iterdir()] == ["second"]
    assert hidden(tmp_path) == []


def test_overwrite_does_not_delete_a_folder_of_something_else(tmp_path):
    (tmp_path / "galaxy.jpg").write_text("precious")
    with pytest.raises(UsageError, match=r"has no store\.yaml, so it is something else"):
        files.refuse_existing(tmp_path, overwrite=True, mark="store.yaml")
    (tmp_path / "store.yaml").write_text("")
    files.refuse_existing(tmp_path, overwrite=True, mark="store.yaml")


def test_files_and_links_are_not_folders(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="file is a file; a folder"):
        files.refuse_existing(tmp_path / "file", overwrite=True)
    with pytest.raises(UsageError, match="link is a link; a folder"):
        files.refuse_existing(tmp_path / "link", overwrite=True)


def test_a_path_through_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "store", tmp_path / "file" / "deep" / "store"):
        with pytest.raises(UsageError, match="a part of this path is a file"), files.atomic_folder(target):
            pass


def test_a_failed_replacement_puts_the_old_folder_back(tmp_path, monkeypatch):
    target, partial = tmp_path / "store", tmp_path / "partial"
    target.mkdir()
    (target / "old").write_text("1")
    with pytest.raises(FileNotFoundError):
        files.put_in_place(partial, target)  # there is no new folder
    assert (target / "old").read_text() == "1"
    assert hidden(tmp_path) == []


def test_what_dead_writers_left_is_removed_and_living_writers_are_spared(tmp_path, dead_pid):
    target = tmp_path / "a[1].txt"  # a name that is a pattern to glob
    names = {
        "dead file": f".a[1].txt.partial-{dead_pid}-abcdef",
        "dead folder": f".a[1].txt.partial-{dead_pid}-123456",
        "living": f".a[1].txt.partial-{os.getpid()}-abcdef",
        "of another target": f".a1.txt.partial-{dead_pid}-abcdef",
        "of nobody": ".a[1].txt.partial-backup",
    }
    for what, name in names.items():
        if "folder" in what:
            (tmp_path / name).mkdir()
            (tmp_path / name / "images.npy").write_text("half")
        else:
            (tmp_path / name).write_text("half")
    files.remove_stale_partials(target)
    assert hidden(tmp_path) == sorted(names[what] for what in ("living", "of another target", "of nobody"))


def test_a_folder_lost_between_two_renames_comes_back(tmp_path, dead_pid):
    target = tmp_path / "store"
    replaced = tmp_path / f".store.replaced-{dead_pid}-abcdef"
    replaced.mkdir()
    (replaced / "old").write_text("1")
    files.remove_stale_partials(target)
    assert (target / "old").read_text() == "1"
    replaced.mkdir()  # and where the new one is in place, the old one goes
    files.remove_stale_partials(target)
    assert (target / "old").read_text() == "1"
    assert hidden(tmp_path) == []


def write_together(folder, fail):
    with files.atomic_files(folder, last="a.txt") as partial:
        for name in ("a.txt", "b.txt"):
            (partial / name).write_text("new")
        if fail is not None:
            raise fail


def test_files_that_belong_together_come_together(tmp_path, monkeypatch):
    (tmp_path / "b.txt").write_text("old")
    for fail in (KeyboardInterrupt(), RuntimeError()):
        with pytest.raises(type(fail)):
            write_together(tmp_path, fail)
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"b.txt": "old"}
    with pytest.raises(MorphoscopeError, match="the disk is full; nothing was kept"):
        write_together(tmp_path, OSError(errno.ENOSPC, "full"))
    moved, replace = [], os.replace
    monkeypatch.setattr(files.os, "replace", lambda a, b: (moved.append(b.name), replace(a, b)))
    write_together(tmp_path, None)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "new", "b.txt": "new"}
    assert moved == ["b.txt", "a.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_explained_and_nothing_stays(tmp_path, code):
    with pytest.raises(MorphoscopeError, match=r"big\.npy: the disk is full; nothing was kept\. Free"):
        break_off_a_file(tmp_path / "big.npy", OSError(code, os.strerror(code)))
    with pytest.raises(MorphoscopeError, match=r"store: the disk is full; nothing was kept\. Free"):
        break_off_a_folder(tmp_path / "store", OSError(code, os.strerror(code)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_refused_permission_is_explained(tmp_path, code):
    target = tmp_path / "sub" / "a.txt"
    for name in (str(tmp_path), str(target), str(target.parent / ".a.txt.partial-1-a"), None):
        with pytest.raises(MorphoscopeError, match="no permission to write here"):
            explained(target, OSError(code, os.strerror(code), name))


def test_an_unreadable_source_is_not_called_an_unwritable_target(tmp_path):
    for name in ("/data/galaxy.jpg", str(tmp_path / "galaxy.jpg"), str(tmp_path / "a.txt.jpg")):
        with pytest.raises(PermissionError):
            explained(tmp_path / "a.txt", PermissionError(errno.EACCES, "refused", name))


def test_the_whole_result_is_named_not_a_hidden_part_of_it(tmp_path):
    def fill(folder):
        with files.atomic_file(folder / "metrics.json"):
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(MorphoscopeError, match=r"run: the disk is full"):  # noqa: SIM117
        with files.atomic_folder(tmp_path / "run") as folder:
            fill(folder)
    (tmp_path / "run").mkdir()
    with pytest.raises(MorphoscopeError, match=r"run: the disk is full"):  # noqa: SIM117
        with files.atomic_files(tmp_path / "run", last="metrics.json") as folder:
            fill(folder)


def test_a_full_disk_is_the_culprit_in_a_copy_too(tmp_path):
    full = OSError(
        errno.ENOSPC, "full", "/runs/weights.safetensors", None, str(tmp_path / ".run.partial-1-a")
    )
    with pytest.raises(MorphoscopeError, match=r"run: the disk is full"):
        explained(tmp_path / "run", full)


class SafetensorError(Exception):
    """Called as that of the library, which gives the system's error as text."""


def test_safetensors_errors_are_the_systems(tmp_path):
    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(MorphoscopeError, match="the disk is full"):
        explained(tmp_path / "run", full)
    with pytest.raises(SafetensorError):
        explained(tmp_path / "run", SafetensorError("invalid header"))


def test_astropys_errors_of_a_full_disk_are_the_systems(tmp_path):
    with pytest.raises(MorphoscopeError, match="the disk is full"):
        explained(tmp_path / "c.hats", OSError("Not enough space on disk: requested 27824, available 0."))
    with pytest.raises(OSError, match="Empty or corrupt"):
        explained(tmp_path / "c.hats", OSError("Empty or corrupt FITS file"))


def test_nothing_is_written_through_a_link_inside_a_run(tmp_path):
    theirs, run = tmp_path / "theirs", tmp_path / "run"
    theirs.mkdir()
    run.mkdir()
    (run / "run.yaml").write_text("")
    for name in ("onnx", "figures"):
        (run / name).symlink_to(theirs)
    for target in (run / "onnx" / "network.onnx", run / "figures" / "deep" / "a.png"):
        with pytest.raises(UsageError, match="is a link; a run keeps its files"), files.atomic_file(target):
            pass
        with pytest.raises(UsageError, match="is a link; a run keeps its files"), files.atomic_folder(target):
            pass
    assert not list(theirs.iterdir())
    (tmp_path / "latest").symlink_to(run)  # a person's own link to a run is fine
    files.write_json(tmp_path / "latest" / "metrics.json", {})
    assert (run / "metrics.json").is_file()


def test_a_null_character_is_no_part_of_a_name(tmp_path):
    with pytest.raises(MorphoscopeError, match="contains a null character"):
        files.read_bytes(Path("a\0b"), "a\0b")
    for writing in (files.atomic_file, files.atomic_folder):
        with pytest.raises(UsageError, match="contains a null character"), writing(tmp_path / "a\0b"):
            pass


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError):
        explained(tmp_path / "a.txt", FileNotFoundError(errno.ENOENT, "gone", str(tmp_path / "a.txt")))


def test_room_is_asked_for_where_the_folder_will_be(tmp_path):
    files.ensure_room(tmp_path / "not" / "yet", 1)
    with pytest.raises(MorphoscopeError, match=r"yet: 1\.00 PB are needed and [\d.]+ \wB are free"):
        files.ensure_room(tmp_path / "not" / "yet", 10**15)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (9_996, "10.0 kB"),
        (65_536, "65.5 kB"),
        (999_600, "1.00 MB"),
        (12_000_000, "12.0 MB"),
        (2_736_573_104, "2.74 GB"),
        (10**18, "1,000 PB"),
    ],
)
def test_a_size_has_a_unit_that_suits_it(count: int, words: str):
    assert files.in_bytes(count) == words


def test_a_small_disk_is_said_in_small_units(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=65_536))
    with pytest.raises(MorphoscopeError, match=r"12\.3 MB are needed and 65\.5 kB are free"):
        files.ensure_room(tmp_path, 12_345_678)


def test_sha256(tmp_path):
    place = tmp_path / "abc"
    place.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert files.sha256_of(place) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_pipe_or_a_device_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        with pytest.raises(MorphoscopeError, match=r"cannot be read \(a pipe or a device, not a file\)"):
            files.read_bytes(path, path.name)
    with pytest.raises(MorphoscopeError, match=r"cannot be read \(Is a directory\)"):
        files.read_bytes(tmp_path, "folder")


def test_a_reason_is_one_short_line():
    assert reason_of(ValueError("no digit\nin line 1")) == "no digit"
    assert reason_of(EOFError()) == "EOFError"
    assert reason_of(ValueError("x" * 5000)) == "x" * 199 + "…"
