"""Stops every command that writes at random moments: is what is left whole, can it be continued.

    python tests/interrupted/kills.py --each 30 [--verb ingest] [--seed 0] [--json FILE]

A process that has imported everything forks a child for each attempt, which runs the command line and gets
SIGKILL, SIGINT or SIGTERM at a random moment of the time that an undisturbed run takes. After it, what has
the name of the result must be whole; the same command, with --resume where there is one, must end with the
same result, and leave nothing hidden beside it. A child that was asked politely must end in one sentence.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from newer import make_newer, newer_verbs, service
from verbs import Verb, hasten, make_material, verbs

IMPORTED = (
    *("astropy.io.votable", "cv2", "lightning.pytorch", "matplotlib.pyplot", "pyarrow.dataset", "timm"),
    *("morphoscope.cli", "morphoscope.api", "morphoscope.catalogue.formats.convert"),
    *("morphoscope.catalogue.predict", "morphoscope.evaluation.evaluate", "morphoscope.data.sources.folder"),
    *("morphoscope.sharing.publish", "morphoscope.training.fit", "morphoscope.studies.reproduce", "h5py"),
    *("morphoscope.inference.engine.export", "morphoscope.data.export", "onnxscript", "onnx"),
    *("morphoscope.cutouts.download", "morphoscope.catalogue.match", "morphoscope.catalogue.measure"),
    *("morphoscope.catalogue.active_learning", "morphoscope.explorer.labels_file", "statmorph"),
    *("morphoscope.evaluation.cross_validate", "morphoscope.probe.run"),
)
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)


# ---------------------------------------------------------------- one attempt


def in_a_child(work: Callable[[], object], said: Path, stop: tuple[float, int] | None = None) -> int:
    """The status with which a child ends that does some work, stopped after some seconds by a signal."""
    pid = start_child(work, said)
    if stop is not None:
        time.sleep(stop[0])
        os.kill(pid, stop[1])
    return end_of(pid)


def end_of(child: int) -> int:
    """The status with which a child ends."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def start_child(work: Callable[[], object], said: Path) -> int:
    """The number of a child process that does some work and writes what it says to a file."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            words = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(words, 1)
            os.dup2(words, 2)
            try:
                work()
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)
    return pid


def command(words: list[str]) -> Callable[[], None]:
    def run() -> None:
        from morphoscope.__main__ import main

        sys.argv = ["morphoscope", *words]
        main()

    return run


def work_of(verb: Verb, out: Path, resume: bool, *more: str) -> Callable[[], object]:
    """What a child does for a verb."""
    work = verb.work
    return command([*verb.command(out, resume), *more]) if work is None else lambda: work(out)


def all_verbs(material: Path, wanted: str) -> list[Verb]:
    """Those whose names begin as wanted, with commas between."""
    names = tuple(wanted.split(","))
    return [verb for verb in (*verbs(material), *newer_verbs(material)) if verb.name.startswith(names)]


def make_all(material: Path) -> None:
    """The small inputs."""
    make_material(material)
    make_newer(material)


def content_of(verb: Verb, out: Path, said: Path) -> str:
    """The digest of what is there; "" if nothing is, or what is there is refused as unfinished."""

    def read() -> None:
        from morphoscope.errors import MorphoscopeError

        try:
            print("content", verb.content(out))
        except MorphoscopeError as error:
            print("refused", error)

    if not out.exists():
        return ""
    in_a_child(read, said)
    lines = said.read_text().strip().splitlines()
    if lines and lines[-1].startswith("content "):
        return lines[-1].removeprefix("content ")
    if lines and any(line.startswith("refused ") for line in lines):
        return ""
    return "broken: " + (lines[-1] if lines else "")


def hidden(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))


def attempt(
    verb: Verb, place: Path, whole: str, seconds: float, draw: random.Random, number: int
) -> tuple[str, str]:
    """What became of one stopped run: how it ended, and what is wrong with that."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    out, said = place / verb.out, place.parent / "said.txt"
    verb.before(out)
    fresh = content_of(verb, out, said)
    status = in_a_child(work_of(verb, out, False), said, (draw.uniform(0, seconds), number))
    words = said.read_text(errors="replace")
    how = "had ended" if status == 0 else "stopped"
    if "Traceback" in words or "Exception ignored" in words:
        return how, "a traceback: " + words.strip().splitlines()[-1][:100]
    # A polite kill before the command line has begun, or after it has ended, ends the process as it is.
    if number != signal.SIGKILL and status not in (0, 1, -signal.SIGTERM):
        return how, f"ended with {status}: {words.strip()[-100:]}"
    found = content_of(verb, out, said)
    if found not in ("", whole, fresh) and found.split()[0] != whole.split()[0]:
        return how, f"half a result opens as whole ({found[:100]})"
    if number != signal.SIGKILL and (
        left := [name for name in hidden(place) if ".partial" in name and not _kept(name)]
    ):
        return how, f"left behind: {left[:3]}"
    in_place = number == signal.SIGKILL and hidden(
        place
    )  # and killed before it had cleaned up: --resume does
    if found == whole and not in_place:
        return how, f"hidden: {hidden(place)[:3]}" if hidden(place) else ""
    more = ["--overwrite"] if _needs_overwrite(verb, out) else []
    again = in_a_child(work_of(verb, out, True, *more), said)
    if again != 0:
        return how, f"cannot be continued: {said.read_text(errors='replace').strip()[-160:]}"
    if (found := content_of(verb, out, said)) != whole:
        return how, f"continued, another result ({found[:80]})"
    return how, f"hidden: {hidden(place)[:3]}" if hidden(place) else ""


def _kept(name: str) -> bool:
    """The parts of a catalogue stay for --resume."""
    return Path(name).name.endswith(".partial") or "/" in name


def _needs_overwrite(verb: Verb, out: Path) -> bool:
    again = ("ingest", "convert", "publish", "match", "label-next")
    return verb.name.startswith(again) and out.exists()


# ---------------------------------------------------------------- all of them


def campaign(each: int, wanted: str, seed: int, folder: Path) -> dict[str, dict[str, object]]:
    material, said = folder / "material", folder / "said.txt"
    made = (material / "predicted.parquet").exists()
    if not made and in_a_child(lambda: make_all(material), said):
        raise SystemExit("the small inputs could not be made:\n" + said.read_text())
    if not wanted or any(verb.startswith(("export", "study")) for verb in wanted.split(",")):
        hasten(material)
    table: dict[str, dict[str, object]] = {}
    for verb in all_verbs(material, wanted):
        place = folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        verb.before(place / verb.out)
        start = time.monotonic()
        if in_a_child(work_of(verb, place / verb.out, False), said):
            table[verb.name] = {"faults": {"it fails undisturbed: " + said.read_text()[-200:]: 1}}
            print(f"{verb.name}: {table[verb.name]}", flush=True)
            continue
        seconds = time.monotonic() - start
        whole = content_of(verb, place / verb.out, folder / "whole.txt")
        counts: Counter[str] = Counter()
        faults: Counter[str] = Counter()
        for number in range(2 * each):
            kind = SIGNALS[0] if number < each else SIGNALS[1 + number % 2]
            draw = random.Random(f"{verb.name} {seed} {number}")
            how, fault = attempt(verb, place, whole, seconds, draw, kind)
            counts[f"{kind.name} {how}"] += 1
            if fault:
                faults[f"{kind.name}: {fault}"] += 1
        table[verb.name] = {"seconds": round(seconds, 2), **counts, "faults": dict(faults)}
        print(f"{verb.name}: {json.dumps(table[verb.name])}", flush=True)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=30, help="kills of a command, and as many polite signals")
    parser.add_argument("--verb", default="", help="only commands whose names begin so, with commas between")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the inputs, which a later call uses again")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    for name in IMPORTED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        folder = options.keep or Path(scratch)
        (folder / "material").mkdir(parents=True, exist_ok=True)
        with service(folder / "material", start_child):
            table = campaign(options.each, options.verb, options.seed, folder)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1))
    return 1 if any(row["faults"] for row in table.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
