"""Runs every command that writes under bad circumstances, and prints a table of what became of it.

    python tests/interrupted/circumstances.py [--verb train,study] [--json FILE]      (may mount: as root)

- two processes: a second one starts 0.15 s after the first, with the same output;
- full disk: the output lies on a file system with room for a part of it (a tenth, a half, nine tenths);
- read-only: on one that takes no files;
- changed input: the command is killed half-way, then a galaxy changes, then it goes on.

A fault is a traceback, a message of several lines, half a result that opens as whole, or a hidden file.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from kills import IMPORTED, all_verbs, content_of, end_of, hidden, in_a_child, make_all, start_child, work_of
from newer import change_newer, service
from verbs import Verb, hasten, make_changed

PARTS = (0.1, 0.5, 0.9)


def sentence(said: Path, status: int) -> str:
    """What a command that did not succeed has said, or the fault in it."""
    words = said.read_text(errors="replace").strip()
    if "Traceback" in words or "Exception ignored" in words:
        return "FAULT, a traceback: " + words.splitlines()[-1][:120]
    lines = [line for line in words.splitlines() if line.startswith("morphoscope: ")]
    if status and len(lines) != 1:
        return f"FAULT, {len(lines)} messages: {words[-160:]}"
    return lines[0].removeprefix("morphoscope: ") if lines else ""


@contextlib.contextmanager
def small_disk(folder: Path, size: int, *, read_only: bool = False) -> Iterator[Path]:
    """A file system in memory of some bytes."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def judged(verb: Verb, out: Path, whole: str, fresh: str, said: Path, status: int) -> str:
    """What is left of an attempt, in words."""
    words = sentence(said, status)
    found = content_of(verb, out, said.with_name("read.txt"))
    if words.startswith("FAULT"):
        return words
    if found not in ("", whole, fresh) and found.split()[0] != whole.split()[0]:
        return f"FAULT, half a result opens as whole ({found[:80]})"
    left = [name for name in hidden(out.parent) if not name.endswith(".partial")]
    if left:
        return f"FAULT, hidden: {left[:3]}"
    if status == 0:
        return "whole" if found == whole else f"FAULT, success and {found or 'nothing'}"
    return f"{status}: {words}"


def two_processes(verb: Verb, place: Path, whole: str, said: Path) -> str:
    out = place / verb.out
    verb.before(out)
    fresh = content_of(verb, out, said)
    words, second = work_of(verb, out, False), said.with_name("second.txt")
    first = start_child(words, said)
    time.sleep(0.15)
    later = start_child(words, second)
    ends = [(said, end_of(first)), (second, end_of(later))]
    return "; ".join(judged(verb, out, whole, fresh, *each) for each in ends)


def full_disk(verb: Verb, place: Path, whole: str, size: int, said: Path) -> str:
    found = []
    for part in PARTS:
        bare = place.with_name("bare")
        shutil.rmtree(bare, ignore_errors=True)
        bare.mkdir()
        verb.before(bare / verb.out)
        taken = sum(_blocks(path) for path in bare.rglob("*"))
        with small_disk(
            place.with_name("disk"), taken + 4096 + max(4096, int(part * (size - taken)))
        ) as disk:
            out = disk / verb.out
            verb.before(out)
            fresh = content_of(verb, out, said)
            status = in_a_child(work_of(verb, out, False), said)
            found.append(judged(verb, out, whole, fresh, said, status))
    return "; ".join(dict.fromkeys(found))


def _blocks(path: Path) -> int:
    return -(-path.stat().st_size // 4096) * 4096 if path.is_file() else 4096


def read_only(verb: Verb, place: Path, whole: str, said: Path) -> str:
    with small_disk(place.with_name("disk"), 64 << 20) as disk:
        out = disk / verb.out
        verb.before(out)
        fresh = content_of(verb, out, said)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        status = in_a_child(work_of(verb, out, False), said)
        return judged(verb, out, whole, fresh, said, status)


def changed_input(verb: Verb, place: Path, material: Path, seconds: float, said: Path) -> str:
    """Killed half-way and continued with other galaxies: refused, or as if nothing had been before."""
    if verb.no_input:
        return f"none: {verb.no_input}"
    out, kept = place / verb.out, material.with_name("kept")
    verb.before(out)
    in_a_child(work_of(verb, out, False), said, (seconds / 2, signal.SIGKILL))
    os.rename(material, kept)
    try:
        shutil.copytree(material.with_name("changed"), material)
        if verb.name in ("publish", "export onnx"):  # they read nothing but the run
            for name in ("calibration.json", "reference.safetensors"):
                (material / "run" / name).unlink()
        again = in_a_child(work_of(verb, out, True), said)
        words = sentence(said, again)
        found = content_of(verb, out, said)
        shutil.rmtree(place)
        place.mkdir()
        verb.before(out)
        status = in_a_child(work_of(verb, out, False), said)
        wanted = content_of(verb, out, said)
    finally:
        shutil.rmtree(material, ignore_errors=True)
        os.rename(kept, material)
    if words.startswith("FAULT"):
        return words
    if again:
        return f"{again}: {words}"
    return "as begun anew" if found == wanted and status == 0 else f"FAULT, neither ({found} for {wanted})"


def circumstances(wanted: str, folder: Path) -> dict[str, dict[str, str]]:
    material, said = folder / "material", folder / "said.txt"
    changed = folder / "changed"
    for work in (
        lambda: make_all(material),
        lambda: (make_changed(material, changed), change_newer(changed)),
    ):
        if in_a_child(work, said):
            raise SystemExit("the small inputs could not be made:\n" + said.read_text())
    hasten(material)
    table: dict[str, dict[str, str]] = {}
    place = folder / "place"
    for verb in all_verbs(material, wanted):

        def empty() -> Path:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            return place

        out = empty() / verb.out
        verb.before(out)
        start = time.monotonic()
        if in_a_child(work_of(verb, out, False), said):
            raise SystemExit(f"{verb.name} fails undisturbed: {said.read_text()}")
        seconds = time.monotonic() - start
        whole = content_of(verb, out, said)
        size = sum(_blocks(path) for path in place.rglob("*"))
        row = {
            "two processes": two_processes(verb, empty(), whole, said),
            "full disk": full_disk(verb, empty(), whole, size, said),
            "read-only": read_only(verb, empty(), whole, said),
            "changed input": changed_input(verb, empty(), material, seconds, said),
        }
        table[verb.name] = {name: words.replace(str(folder), "…") for name, words in row.items()}
        print(f"{verb.name}: {json.dumps(table[verb.name], indent=1)}", flush=True)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verb", default="", help="only commands whose names begin so, with commas between")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    for name in IMPORTED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="circumstances-") as scratch:
        (Path(scratch) / "material").mkdir()
        with service(Path(scratch) / "material", start_child):
            table = circumstances(options.verb, Path(scratch))
    if options.json:
        options.json.write_text(json.dumps(table, indent=1))
    return 1 if any("FAULT" in words for row in table.values() for words in row.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
