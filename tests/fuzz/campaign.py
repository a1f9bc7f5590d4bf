"""Gives damaged files to every reader, and says what became of them.

    python tests/fuzz/campaign.py --minutes 30            # or: make fuzz MINUTES=30
    python tests/fuzz/campaign.py --inputs 20000 --jobs 2
    python tests/fuzz/campaign.py --reader CSV --seed 4711 --inputs 1 --keep DIR   # one input again

A process that has imported everything forks workers, which read thousands of inputs each. A fault is any
exception but a MorphoscopeError of one line, more than 10 seconds of the processor, more than 1 GiB of
memory, another answer where a file was only written otherwise, or the end of the process. The same seed
gives the same input. Prints a table, and with ``--json`` a document; ends with 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from entry import Reader, check_sentence, digest
from mutations import copied, kind_of, mutated, mutated_folder, rewritten
from readers import READERS

from morphoscope.errors import MorphoscopeError

IMPORTED = (
    *("astropy.io.votable", "astropy.table", "h5py", "onnx", "onnxruntime", "safetensors.torch"),
    *("morphoscope.catalogue.formats.convert", "morphoscope.catalogue.inputs.open"),
    *("morphoscope.catalogue.similar", "morphoscope.data.sources.galaxy10"),
    *("morphoscope.data.sources.galaxy_zoo", "morphoscope.data.sources.table"),
    *("morphoscope.evaluation.compare", "morphoscope.models.build", "morphoscope.sharing.card"),
    *("morphoscope.inference.engine.onnx_engine", "morphoscope.inference.engine.graph"),
    *("morphoscope.studies.results", "morphoscope.training.folder", "statmorph", "duckdb", "sqlite3"),
    *("morphoscope.catalogue.match", "morphoscope.catalogue.measure", "morphoscope.cutouts.download"),
    *(("pyvo.dal.sia2",) if importlib.util.find_spec("pyvo") else ()),
    *("morphoscope.catalogue.active_learning", "morphoscope.evaluation.cross_validate"),
    *("morphoscope.explorer.subject", "morphoscope.explorer.label_queue"),
)
SECONDS, GROWTH = 10.0, 1 << 30
CEILING = 6 << 30  # bytes of address space beyond those of the start, so that the machine survives a fault
SAME, OTHER, REFUSED = "same", "other", "refused"
REWRITTEN = 0.08  # of the inputs


@dataclass
class Tally:
    """What became of one reader's inputs."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[int]] = field(default_factory=dict)  # what happened, in words → seeds

    def add(self, seed: int, outcome: str, fault: str) -> None:
        self.counts["inputs"] += 1
        self.counts[outcome] += 1
        if fault:
            self.faults.setdefault(fault, []).append(seed)


# ---------------------------------------------------------------- in a worker


class Workshop:
    """Whole files of all readers in one folder, made once, and a place to damage copies of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._whole: dict[str, str] = {}

    def template(self, reader: Reader) -> Path:
        return self.folder / "whole" / str(READERS.index(reader)) / reader.file

    def make(self, reader: Reader) -> None:
        place = self.template(reader)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            reader.make(place)

    def input(self, reader: Reader, seed: int) -> tuple[Path, bool]:
        """The damaged file of a seed, and whether it says the same as the whole one."""
        place = self.folder / f"worker-{os.getpid()}" / reader.file
        shutil.rmtree(place.parent, ignore_errors=True)
        place.parent.mkdir(parents=True)
        copied(self.template(reader), place)
        draw = random.Random(f"{reader.name} {seed}")
        same = draw.random() < REWRITTEN
        target = place
        if same and place.is_dir():
            target = draw.choice(sorted(path for path in place.rglob("*") if path.is_file()))
        if same and (content := rewritten(target.read_bytes(), kind_of(target.name), draw)) is not None:
            target.write_bytes(content)
            return place, _means_the_same(reader, target)
        if place.is_dir():
            mutated_folder(place, draw)
        else:
            other = self.template(draw.choice(READERS))
            content = other.read_bytes() if other.is_file() else b""
            place.write_bytes(mutated(place.read_bytes(), kind_of(place.name), draw, content))
        return place, False

    def whole(self, reader: Reader) -> str:
        """The digest of the whole file's content."""
        if reader.name not in self._whole:
            place = self.folder / f"worker-{os.getpid()}" / reader.file
            shutil.rmtree(place.parent, ignore_errors=True)
            place.parent.mkdir(parents=True)
            copied(self.template(reader), place)
            self._whole[reader.name] = digest(reader.read(place))
        return self._whole[reader.name]


def _means_the_same(reader: Reader, file: Path) -> bool:
    """A file whose checksum is kept elsewhere may not even be written otherwise."""
    return file.suffix not in (".onnx", ".ckpt", ".parquet") and reader.name != "journal of a catalogue"


def judged(workshop: Workshop, reader: Reader, seed: int) -> tuple[str, str]:
    """What a reader makes of the input of a seed, and what is wrong with that."""
    whole = workshop.whole(reader)
    place, must_be_same = workshop.input(reader, seed)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # as the command line does
        try:
            found = digest(reader.read(place))
        except MorphoscopeError as error:
            try:
                check_sentence(str(error))
            except AssertionError as fault:
                return REFUSED, str(fault)[:120]
            if must_be_same:
                return REFUSED, "refused, and only written otherwise: " + str(error)[-120:]
            return REFUSED, ""
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            return "fault", _place_of(error)
    outcome = SAME if found == whole else OTHER
    if must_be_same and outcome == OTHER:
        return OTHER, "another answer, and only written otherwise"
    if said:
        return outcome, f"a warning: {said[0].category.__name__}: {str(said[0].message).splitlines()[0][:80]}"
    return outcome, ""


def _place_of(error: BaseException) -> str:
    """Kind of an exception, and where in the program it came out of."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "/morphoscope/" in frame.filename
    ]
    last = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    where = f"{'/'.join(Path(last.filename).parts[-2:])}:{last.lineno}"
    return f"{type(error).__name__} at {where}: {(str(error).splitlines() or [''])[0][:80]}"


def work(workshop: Workshop, orders: int, answers: int) -> None:
    """Read inputs as they are ordered ("READER SEED"), and answer with what became of each."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + CEILING, resource.RLIM_INFINITY))
    with open(orders) as stream, open(answers, "w") as out:
        for line in stream:
            number, seed = map(int, line.split())
            before = _peak(reset=True)
            start = time.process_time()
            try:
                outcome, fault = judged(workshop, READERS[number], seed)
            except Exception as error:
                outcome, fault = "fault", f"the campaign itself: {_place_of(error)}"
            grown, spent = _peak() - before, time.process_time() - start
            if not fault and grown > GROWTH:
                fault = f"memory: {grown / 2**30:.1f} GiB more"
            if not fault and spent > SECONDS:
                fault = f"time: {spent:.0f} s"
            print(json.dumps([number, seed, outcome, fault]), file=out, flush=True)


def _peak(*, reset: bool = False) -> int:
    """The most memory that this process has held since the last reset, bytes."""
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    found = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(found.split()[1]) << 10


# ---------------------------------------------------------------- in the process that orders


@dataclass
class Worker:
    """A forked process that reads inputs."""

    pid: int
    orders: Any
    answers: Any
    now: tuple[int, int] | None = None
    since: float = 0.0
    spent: float = 0.0

    @classmethod
    def start(cls, workshop: Workshop) -> Worker:
        order_out, order_in = os.pipe()
        answer_out, answer_in = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(order_in)
                os.close(answer_out)
                work(workshop, order_out, answer_in)
                status = 0
            finally:
                os._exit(status)
        os.close(order_out)
        os.close(answer_in)
        return cls(pid, os.fdopen(order_in, "w"), os.fdopen(answer_out))

    def order(self, number: int, seed: int) -> None:
        self.now, self.since, self.spent = (number, seed), time.monotonic(), self._cpu()
        with contextlib.suppress(BrokenPipeError):
            print(number, seed, file=self.orders, flush=True)

    def hangs(self) -> bool:
        """Whether the input has taken much too long: of the processor's time, or of anybody's."""
        return self._cpu() - self.spent > SECONDS + 2 or time.monotonic() - self.since > 12 * SECONDS

    def _cpu(self) -> float:
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> int:
        """Kill it; the signal that it had ended with before, or 0."""
        done, status = os.waitpid(self.pid, os.WNOHANG)
        if not done:
            time.sleep(0.05)
            done, status = os.waitpid(self.pid, os.WNOHANG)
        if not done:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.orders.close()
        self.answers.close()
        return os.WTERMSIG(status) if done and os.WIFSIGNALED(status) else 0


_told_to_end: list[int] = []  # the signal: what has been found is printed then


def campaign(
    readers: list[Reader], first: int, *, inputs: int | None, minutes: float | None, jobs: int, folder: Path
) -> dict[str, Tally]:
    """Order inputs in turns until there are enough, or time is up."""
    workshop = Workshop(folder)
    _in_a_child(lambda: [workshop.make(reader) for reader in READERS])
    tallies = {reader.name: Tally() for reader in readers}
    queue = _in_turns(readers, first)
    ends = time.monotonic() + (60 * minutes if minutes is not None else 1e9)
    left = inputs if inputs is not None else 10**12
    workers = [Worker.start(workshop) for _ in range(jobs)]
    try:
        for worker in workers:
            if left > 0:
                worker.order(*next(queue))
                left -= 1
        while any(worker.now for worker in workers) and not _told_to_end:
            busy = [worker for worker in workers if worker.now]
            ready, _, _ = select.select([worker.answers for worker in busy], [], [], 0.5)
            for at, worker in enumerate(workers):
                if worker.now is None:
                    continue
                fault = ""
                if worker.answers in ready and (line := worker.answers.readline()):
                    number, seed, outcome, fault = json.loads(line)
                    tallies[READERS[number].name].add(seed, outcome, fault)
                elif worker.answers in ready or worker.hangs():
                    number, seed = worker.now
                    hung = worker.answers not in ready
                    ended = worker.end()
                    fault = "time: it hangs" if hung else f"the process ended (signal {ended})"
                    tallies[READERS[number].name].add(seed, "fault", fault)
                    workers[at] = worker = Worker.start(workshop)
                else:
                    continue
                worker.now = None
                if fault:
                    print(f"{READERS[number].name}, seed {seed}: {fault}", file=sys.stderr, flush=True)
                if left > 0 and time.monotonic() < ends:
                    worker.order(*next(queue))
                    left -= 1
    finally:
        for worker in workers:
            worker.end()
    return tallies


def _in_turns(readers: list[Reader], first: int) -> Any:
    """Reader and seed, over and over; slow readers in a part of the rounds."""
    seed = first
    while True:
        for reader in readers:
            if len(readers) == 1 or random.Random(f"{reader.name} {seed} share").random() < reader.share:
                yield READERS.index(reader), seed
        seed += 1


def _in_a_child(work: Any) -> None:
    """Do something whose threads must not be in this process when it forks."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("the whole files could not be made")


def import_everything() -> None:
    """Pay for the imports once, before the workers are forked."""
    for name in IMPORTED:
        importlib.import_module(name)


def table(tallies: dict[str, Tally]) -> str:
    """For each reader: inputs, the same, another answer, refused, faults."""
    lines = [
        "| reader | inputs | same answer | another answer | refused | faults |",
        "|---|---|---|---|---|---|",
    ]
    total: Counter[str] = Counter()
    for name, tally in tallies.items():
        counts = tally.counts + Counter(faults=sum(map(len, tally.faults.values())))
        total += counts
        lines.append(
            f"| {name} | "
            + " | ".join(str(counts[key]) for key in ("inputs", SAME, OTHER, REFUSED, "faults"))
            + " |"
        )
    lines.append(
        "| all | " + " | ".join(str(total[key]) for key in ("inputs", SAME, OTHER, REFUSED, "faults")) + " |"
    )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--inputs", type=int)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--reader", help="only readers with this in their names, several with |")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the last input of each worker")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = (options.reader or "").lower().split("|")
    readers = [reader for reader in READERS if any(word in reader.name.lower() for word in wanted)]
    import_everything()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: _told_to_end.append(number))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        minutes = options.minutes if options.minutes is not None or options.inputs is not None else 1.0
        tallies = campaign(
            readers, options.seed, inputs=options.inputs, minutes=minutes, jobs=options.jobs, folder=folder
        )
    print(table(tallies))
    faults = {name: tally.faults for name, tally in tallies.items() if tally.faults}
    for name, found in faults.items():
        for fault, seeds in sorted(found.items(), key=lambda each: -len(each[1])):
            print(f"{name}: {fault} ({len(seeds)} inputs, seeds {seeds[:3]})")
    if options.json:
        document = {name: {"counts": tally.counts, "faults": tally.faults} for name, tally in tallies.items()}
        options.json.write_text(json.dumps(document, indent=1))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
