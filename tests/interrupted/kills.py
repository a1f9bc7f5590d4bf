"""Stops every command that writes at random moments: is what is left whole, can it be continued.

    python tests/interrupted/kills.py --each 30 [--verb ingest] [--seed 0] [--json FILE]

A process that has imported everything forks a child for each attempt, which runs the command line and gets
SIGKILL, SIGINT or SIGTERM at a random moment of the time that an undisturbed run takes. After it, what has
the name of the result must be whole; the same command, with --resume where there is one, must end with the
same result, and leave nothing hidden beside it. A child that was asked politely must end in one sentence.
"""

from __future__ import annotations

import argparse
import hashlib
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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

IMPORTED = (
    *("astropy.io.votable", "cv2", "lightning.pytorch", "matplotlib.pyplot", "pyarrow.dataset", "timm"),
    *("morphoscope.cli", "morphoscope.api", "morphoscope.catalogue.formats.convert"),
    *("morphoscope.catalogue.predict", "morphoscope.evaluation.evaluate", "morphoscope.data.sources.folder"),
    *("morphoscope.sharing.publish", "morphoscope.training.fit"),
)
FORMATS = ("parquet", "csv", "ecsv", "fits", "vot", "hats")
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
RECIPE = """
augment: {size: 24}
model: {name: test_resnet, pretrained: false}
training: {epochs: 3, batch: 16, workers: 0, precision: fp32}
evaluation: {views: 1}
"""


@dataclass(frozen=True)
class Verb:
    """A command that writes.

    Attributes:
        name: of the row in the table.
        out: what it makes is called.
        command: its words for that path; ``resume`` says that an earlier attempt was stopped.
        content: a digest of what it has made, and an error if that is not whole.
        before: makes what the command changes in place.
    """

    name: str
    out: str
    command: Callable[[Path, bool], list[str]]
    content: Callable[[Path], str]
    before: Callable[[Path], object] = lambda out: None


def digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]


def of_store(out: Path) -> str:
    from morphoscope.data.store import open_store

    store = open_store(out, verify=True)
    return digest(
        store.table.to_pylist(), np.asarray(store.images).tobytes(), (out / "unreadable.csv").exists()
    )


def of_table(out: Path) -> str:
    import pyarrow.parquet as pq

    from morphoscope.catalogue.formats.convert import parquet_parts
    from morphoscope.catalogue.formats.write import read_provenance
    from morphoscope.images.tables import read_table

    if out.suffix != ".csv":
        assert read_provenance(out)
    tables = [pq.read_table(part) for part in parquet_parts(out)] if out.is_dir() else [read_table(out)]
    return digest([table.to_pylist() for table in tables])


def of_run(out: Path) -> str:
    from morphoscope.inference.calibration import read_calibration
    from morphoscope.inference.ood import read_distribution
    from morphoscope.runs.run import open_run

    run = open_run(out)
    run.network()
    history = {name: values.tolist() for name, values in run.history().items() if name != "seconds"}
    reference, metrics = read_distribution(run), run.metrics()
    # Between training and evaluation a run is finished, and --resume evaluates it.
    trained = digest(run.header.weights_sha256, history)
    return f"{trained} " + digest(
        read_calibration(run),
        None if reference is None else reference.mean_D.tolist(),
        metrics.get("test", {}).get("accuracy"),
    )


def of_calibration(out: Path) -> str:
    from morphoscope.inference.calibration import read_calibration
    from morphoscope.inference.ood import read_distribution
    from morphoscope.runs.run import open_run

    run = open_run(out)
    reference = read_distribution(run)
    return digest(read_calibration(run), None if reference is None else reference.mean_D.tolist())


def of_export(out: Path) -> str:
    from morphoscope.inference.engine.graph import open_exported

    return digest(open_exported(out).scheme.output_names)


def of_study(out: Path) -> str:
    results = json.loads((out / "results.json").read_text())
    assert (out / "study.html").is_file()
    return digest(sorted(results))


def verbs(material: Path) -> list[Verb]:
    """The commands on small inputs that lie in a folder: images, store, run, catalogue.parquet."""
    images, store, run = (str(material / name) for name in ("images.csv", "store", "run"))
    catalogue = str(material / "catalogue.parquet")

    def predict(out: Path, resume: bool) -> list[str]:
        return ["predict", run, images, "--out", str(out), "--batch", "4", *(["--resume"] if resume else [])]

    def train(out: Path, resume: bool) -> list[str]:
        begun = ["--resume"] if resume and (out / "run.yaml").is_file() else []
        return [
            "train",
            str(material / "recipe.yaml"),
            "--store",
            store,
            "--out",
            str(out),
            "--no-report",
            *begun,
        ]

    def copy_run(out: Path) -> None:
        shutil.copytree(run, out)
        for name in ("calibration.json", "reference.safetensors"):
            (out / name).unlink(missing_ok=True)

    return [
        Verb(
            "ingest",
            "store",
            lambda out, _: ["data", "ingest", "folder", f"{material / 'classes'}", str(out), "--size", "24"],
            of_store,
        ),
        *(Verb(f"predict {ending}", f"c.{ending}", predict, of_table) for ending in FORMATS),
        *(
            Verb(
                f"convert {ending}",
                f"c.{ending}",
                lambda out, _: ["convert", catalogue, "--out", str(out)],
                of_table,
            )
            for ending in FORMATS[1:]
        ),
        Verb("train", "run", train, of_run),
        Verb(
            "calibrate",
            "run",
            lambda out, _: ["calibrate", str(out), "--store", store, "--no-report"],
            of_calibration,
            copy_run,
        ),
        Verb("publish", "model", lambda out, _: ["publish", run, str(out)], of_run),
        Verb(
            "export", "m.onnx", lambda out, _: ["export", run, "--onnx", str(out), "--overwrite"], of_export
        ),
    ]


# ---------------------------------------------------------------- one attempt


def in_a_child(work: Callable[[], object], said: Path, stop: tuple[float, int] | None = None) -> int:
    """The status with which a child ends that does some work, stopped after some seconds by a signal."""
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
    if stop is not None:
        time.sleep(stop[0])
        os.kill(pid, stop[1])
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def command(words: list[str]) -> Callable[[], None]:
    def run() -> None:
        from morphoscope.__main__ import main

        sys.argv = ["morphoscope", *words]
        main()

    return run


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
    status = in_a_child(command(verb.command(out, False)), said, (draw.uniform(0, seconds), number))
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
    if found == whole:
        return how, f"hidden: {hidden(place)[:3]}" if hidden(place) else ""
    words = verb.command(out, True)
    again = in_a_child(command([*words, *(["--overwrite"] if _needs_overwrite(verb, out) else [])]), said)
    if again != 0:
        return how, f"cannot be continued: {said.read_text(errors='replace').strip()[-160:]}"
    if (found := content_of(verb, out, said)) != whole:
        return how, f"continued, another result ({found[:80]})"
    return how, f"hidden: {hidden(place)[:3]}" if hidden(place) else ""


def _kept(name: str) -> bool:
    """The parts of a catalogue stay for --resume."""
    return Path(name).name.endswith(".partial") or "/" in name


def _needs_overwrite(verb: Verb, out: Path) -> bool:
    return verb.name.startswith(("ingest", "convert", "publish")) and out.exists()


# ---------------------------------------------------------------- all of them


def make_material(material: Path) -> None:
    import cv2

    from morphoscope.__main__ import main

    (material / "recipe.yaml").write_text(RECIPE)
    draw = np.random.default_rng(5)
    for number in range(60):
        image = draw.integers(0, 60, (32, 32, 3))
        image[10:22, 10:22, number % 3] += 150
        for folder in (material / "classes" / "rgb"[number % 3], material / "images"):
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"g{number:02d}.png"), image.astype(np.uint8))
    for words in (
        ["data", "ingest", "folder", str(material / "classes"), str(material / "store"), "--size", "24"],
        [
            *("train", str(material / "recipe.yaml"), "--no-report", "--store", str(material / "store")),
            *("--out", str(material / "run")),
        ],
    ):
        sys.argv = ["morphoscope", *words]
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = [f"images/g{number:02d}.png,{number},0" for number in range(60)]
    (material / "images.csv").write_text("\n".join(["image,ra,dec", *lines]))
    rows = pa.table(
        {
            "id": [f"g{n}" for n in range(20_000)],
            "ra": np.linspace(0, 359, 20_000),
            "dec": np.linspace(-80, 80, 20_000),
        }
    )
    pq.write_table(rows.replace_schema_metadata({"morphoscope.run": "r"}), material / "catalogue.parquet")


def campaign(each: int, wanted: str, seed: int, folder: Path) -> dict[str, dict[str, object]]:
    material, said = folder / "material", folder / "said.txt"
    material.mkdir(parents=True)
    if in_a_child(lambda: make_material(material), said):
        raise SystemExit("the small inputs could not be made:\n" + said.read_text())
    table: dict[str, dict[str, object]] = {}
    for verb in verbs(material):
        if not verb.name.startswith(tuple(wanted.split(","))):
            continue
        place = folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        verb.before(place / verb.out)
        start = time.monotonic()
        if in_a_child(command(verb.command(place / verb.out, False)), said):
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
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    for name in IMPORTED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        table = campaign(options.each, options.verb, options.seed, Path(scratch))
    if options.json:
        options.json.write_text(json.dumps(table, indent=1))
    return 1 if any(row["faults"] for row in table.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
