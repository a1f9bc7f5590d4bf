"""The explorer under load: 1,000,000 simulated rows, 20 clients at once; times of each call, memory bounded.

    python benchmarks/explorer.py                       # a million rows, 20 clients, 60 seconds
    python benchmarks/explorer.py --rows 100000 --seconds 10
    python benchmarks/explorer.py --umap --rows 100000  # the map of features by UMAP instead (extra umap)

Rows are drawn from distributions, images from a small store that is asked for again and again (its
thumbnails are made once each, then kept within their bound). A client asks for what the page asks: a page of
60 rows, its 60 thumbnails, one galaxy, a chart, and now and then a filter that nobody asked for before. The
server is a process of its own on the loopback address; the clients are threads of this one, on the same
cores, so that times include their waiting for one another. They ask without a pause, as one, and then all of
them; and then look at each page for a while, as people do.

The features of ``--umap`` are ten overlapping groups, one a class, in 384 dimensions. Somebody asks how far
the map is, and for a page of 60 rows, each second.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.spatial import KDTree

from morphoscope.catalogue.columns import EMBEDDING
from morphoscope.data.store import StoreMeta
from morphoscope.data.store_writer import StoreWriter
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.labels.scheme import probability_column

CLASSES = GALAXY10.classes
IMAGES, SIDE = 20_000, 128
PAGE = 60
FEATURES, SCATTER = 384, 6.0  # scatter of a feature within its group, over that between groups


def make_images(folder: Path) -> None:
    """A store of blobs."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    blobs = [200 * np.exp(-np.hypot(x, y / ratio) / 12) for ratio in np.linspace(0.2, 1, 16)]
    noise = rng.normal(20, 6, (SIDE, SIDE, 3))
    made = [np.clip(blob[:, :, None] + noise, 0, 255).astype(np.uint8) for blob in blobs]
    with StoreWriter(folder, StoreMeta(scheme=None), image_shape=(SIDE, SIDE, 3)) as writer:
        for row in range(IMAGES):
            image = made[row % 16].copy()
            image[0, :4] = row >> np.arange(0, 24, 2)[:12].reshape(4, 3) & 255  # no two are the same
            writer.append(image, {"id": f"g{row}", "source": ""})


def make_catalogue(path: Path, rows: int, *, features: bool = False) -> None:
    """Classes, probabilities, entropy, OOD score, coordinates, labels; also features, if asked for."""
    rng = np.random.default_rng(1)
    with pq.ParquetWriter(path, _piece(rng, 0, 1, features).schema) as writer:
        for start in range(0, rows, 100_000):
            writer.write_table(_piece(rng, start, min(100_000, rows - start), features))


def _piece(rng: np.random.Generator, start: int, count: int, features: bool) -> pa.Table:
    shares_NK = rng.dirichlet(np.full(len(CLASSES), 0.15), count).astype(np.float32)
    names = np.array(CLASSES)
    predicted = names[shares_NK.argmax(axis=1)]
    truth = np.where(
        rng.random(count) < shares_NK.max(axis=1), predicted, names[rng.integers(10, size=count)]
    )
    columns = {
        "id": [f"g{start + k}" for k in range(count)],
        "source": [""] * count,
        "ra": rng.uniform(0, 360, count),
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, count))),
        "predicted": predicted,
        "probability": shares_NK.max(axis=1),
        "truth": truth,
        "correct": truth == predicted,
        "entropy": -(shares_NK * np.log(shares_NK + 1e-12)).sum(axis=1),
        "out_of_distribution": rng.gamma(5, 0.15, count).astype(np.float32),
    }
    columns |= {probability_column(name): shares_NK[:, k] for k, name in enumerate(CLASSES)}
    if features:
        centres_KD = np.random.default_rng(2).standard_normal((len(CLASSES), FEATURES), np.float32)
        features_ND = rng.standard_normal((count, FEATURES), np.float32)
        features_ND *= SCATTER
        features_ND += centres_KD[shares_NK.argmax(axis=1)]
        flat = pa.array(features_ND.astype(np.float16).ravel())
        columns[EMBEDDING] = pa.FixedSizeListArray.from_arrays(flat, FEATURES)
    return pa.table(columns)


class Server:
    """``morphoscope serve`` in a process of its own, whose caches are in a folder."""

    def __init__(self, catalogue: Path, *options: str) -> None:
        command = [sys.executable, "-m", "morphoscope", "serve", str(catalogue), *options, "--port", "0"]
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=os.environ | {"XDG_CACHE_HOME": str(catalogue.parent / "cache")},  # no map is kept there yet
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                self.port = int(found[1])
                break
        else:
            raise SystemExit("the server did not start")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.seconds = time.perf_counter() - began

    def memory(self) -> float:
        """Resident memory of its own, MiB: without the pages of mapped images, which the system may drop."""
        return memory_of(self.process.pid)

    def processor(self) -> float:
        """Seconds that it has used of the processor."""
        return processor_of(self.process.pid)

    def helper(self) -> int | None:
        """The process that it has started, if there is one."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return next((int(pid) for each in children for pid in each.read_text().split()), None)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(timeout=20)


def memory_of(pid: int) -> float:
    """Resident memory of a process, MiB, without mapped files."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def processor_of(pid: int) -> float:
    """Seconds that a process has used of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Client(threading.Thread):
    """Somebody who looks around for a while."""

    def __init__(
        self,
        port: int,
        number: int,
        rows: int,
        until: float,
        times: dict[str, list[float]],
        looking: float = 0.0,
    ) -> None:
        super().__init__(daemon=True)
        self.rng = np.random.default_rng(number)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.rows, self.until, self.times, self.looking = rows, until, times, looking
        self.errors = 0

    def run(self) -> None:
        """Ask until the time is over."""
        while time.perf_counter() < self.until:
            view = self.view()
            total, rows = self.page(view, 0)
            for _ in range(6):
                if total > PAGE:
                    total, rows = self.page(view, int(self.rng.integers(0, total - PAGE)))
                if self.looking:
                    time.sleep(self.rng.exponential(self.looking))
                if rows:
                    # The images repeat; their rows in the store are those of the first twenty thousand.
                    self.ask("60 thumbnails", "thumbnails", rows=",".join(str(r % IMAGES) for r in rows))
            if rows:
                self.ask("one galaxy", f"galaxy/{rows[0]}")
            chart = self.rng.choice(["confusion", "reliability", "sky"])
            self.ask(f"chart: {chart}", f"charts/{chart}", filter=view.get("filter", ""))

    def view(self) -> dict[str, str]:
        """A view; every fourth is a filter that nobody has asked for."""
        if self.rng.random() < 0.25:
            limit = self.rng.uniform(0.2, 0.9)
            return {"filter": f"p_Merging > {limit:.6f} and out_of_distribution < 1", "sort": "p_Merging"}
        known: list[dict[str, str]] = [
            {},
            {"sort": "entropy", "descending": "true"},
            {"filter": "not correct", "sort": "probability", "descending": "true"},
            {"filter": "predicted = 'Merging'"},
        ]
        return known[int(self.rng.integers(len(known)))]

    def page(self, view: dict[str, str], start: int) -> tuple[int, list[int]]:
        """A page of a view: how many galaxies it has, and the rows of this page."""
        new = view.get("filter", "").startswith("p_Merging") and start == 0
        name = "page of 60, new filter" if new else "page of 60"
        found = json.loads(self.ask(name, "page", start=start, count=PAGE, **view) or "{}")
        return found.get("total", 0), [galaxy["row"] for galaxy in found.get("galaxies", [])]

    def ask(self, name: str, path: str, **values: object) -> bytes:
        """One call, timed to its last byte."""
        began = time.perf_counter()
        self.connection.request("GET", f"/api/{path}?{urlencode(values)}")
        answer = self.connection.getresponse()
        content = answer.read()
        self.times[name].append(1000 * (time.perf_counter() - began))
        if answer.status != 200:
            self.errors += 1
            print(answer.status, content[:200], file=sys.stderr)
            return b""
        return content


def loaded(
    server: Server, clients: int, rows: int, seconds: float, looking: float = 0.0
) -> tuple[dict[str, list[float]], list[float]]:
    """Times of each call in ms, and the server's memory each half second in MiB."""
    times: dict[str, list[float]] = defaultdict(list)
    memory: list[float] = []
    until = time.perf_counter() + seconds
    people = [Client(server.port, number, rows, until, times, looking) for number in range(clients)]
    for person in people:
        person.start()
    while any(person.is_alive() for person in people):
        memory.append(server.memory())
        time.sleep(0.5)
    if errors := sum(person.errors for person in people):
        raise SystemExit(f"{errors} calls failed")
    return times, memory


def show(title: str, times: dict[str, list[float]], memory: list[float], seconds: float) -> None:
    """A table of the times."""
    print(f"\n{title}\n{'call':<26}{'n':>7}{'median':>10}{'95 %':>10}   ms")
    for name in sorted(times):
        middle, high = np.percentile(times[name], [50, 95])
        print(f"{name:<26}{len(times[name]):>7}{middle:>10.1f}{high:>10.1f}")
    calls = sum(map(len, times.values()))
    print(f"{calls} calls; the server's processor {1000 * seconds / calls:.1f} ms a call")
    first, most, last = memory[0], max(memory), memory[-1]
    print(f"memory of the server: {first:.0f} MiB at first, {most:.0f} at most, {last:.0f} last")


def draw(
    alone: dict[str, list[float]], together: dict[str, list[float]], memory: list[float], out: Path
) -> None:
    """Median and 95 % of each call, for one client and for many, and the server's memory over the load."""
    from matplotlib.figure import Figure

    from morphoscope.report.figures import style

    names = sorted(together, key=lambda name: np.median(together[name]), reverse=True)
    with style.applied():
        figure = Figure(figsize=(style.WIDTH, 2.7), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        for times, shift, colour, label in (
            (alone, 0.16, style.SERIES[0], "one client"),
            (together, -0.16, style.SERIES[1], "many at once"),
        ):
            for at, name in enumerate(names):
                if name in times:
                    middle, high = np.percentile(times[name], [50, 95])
                    left.plot([middle, high], [at + shift] * 2, color=colour, lw=1.2)
                    left.plot(middle, at + shift, "o", color=colour, ms=4, label=label)
                    left.plot(high, at + shift, "|", color=colour, ms=6)
                    label = "_"
        left.axvline(100, color=style.MUTED, lw=0.7, ls=":")
        left.set(xscale="log", xlabel="ms (dot: median; stroke: 95th percentile)")
        left.set_yticks(range(len(names)), names)
        left.xaxis.set_major_formatter("{x:g}")
        left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
        right.plot(np.arange(len(memory)) * 0.5, memory, color=style.SERIES[0])
        right.set(xlabel="seconds of load", ylabel="server's memory (MiB)", ylim=(0, None))
        right.grid(axis="y")
        style.save(figure, out)


def map_of_features(server: Server) -> None:
    """Wait for the map by UMAP and say what it took, and how the server answered meanwhile."""
    times: dict[str, list[float]] = defaultdict(list)
    client = Client(server.port, 0, 0, 0.0, times)
    began, at, processor, memory, of_server = time.perf_counter(), "", 0.0, 0.0, 0.0
    while True:
        found = json.loads(client.ask("the map", "charts/features", method="umap"))
        now = time.perf_counter() - began
        what = found.get("progress", {}).get("what", "done")
        if what != at:
            print(f"{now:>7.0f} s  {what}", flush=True)
            at = what
        if "progress" not in found:
            break
        with contextlib.suppress(OSError):
            if (pid := server.helper()) is not None:
                processor, memory = processor_of(pid), max(memory, memory_of(pid))
        of_server = max(of_server, server.memory())
        client.ask("page of 60", "page", start=0, count=PAGE, sort="entropy")
        time.sleep(1)
    middle, high = np.percentile(times["page of 60"], [50, 95])
    print(f"the process: {processor:.0f} s of the processor, {memory:.0f} MiB at most")
    print(f"the server: {of_server:.0f} MiB at most; a page of 60 meanwhile {middle:.1f} ms, 95 % {high:.1f}")
    places_N2, classes_N = np.array(found["points"])[:, 1:3], np.array(found["points"])[:, 3]
    _, near_NK = KDTree(places_N2).query(places_N2, 16)
    near_NK = np.asarray(near_NK)[:, 1:]  # without itself
    alike = (classes_N[near_NK] == classes_N[:, None]).mean()
    print(f"of the 15 nearest on the map {100 * alike:.1f} % have the same class (n = {len(classes_N)})")


def load() -> str:
    """How busy the machine was in the last minute."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""


def main() -> None:
    """Make the data, serve them, ask, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--looking", type=float, default=2.0, help="mean seconds at a page, of the third load"
    )
    parser.add_argument("--figure", type=Path, help="also draw times and the server's memory, .png")
    parser.add_argument("--umap", action="store_true", help="the map of features by UMAP instead")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        catalogue, images = Path(folder) / "million.parquet", Path(folder) / "images"
        busy = load()
        if chosen.umap:
            make_catalogue(catalogue, chosen.rows, features=True)
            server = Server(catalogue, "--feature-map", "umap")
            try:
                print(f"{chosen.rows:,} rows; opened in {server.seconds:.1f} s (before all this: {busy})")
                map_of_features(server)
            finally:
                server.stop()
            return
        make_images(images)
        make_catalogue(catalogue, chosen.rows)
        server = Server(catalogue, "--images", str(images))
        try:
            print(f"{chosen.rows:,} rows; opened in {server.seconds:.1f} s")
            before = server.processor()
            alone, memory = loaded(server, 1, chosen.rows, chosen.seconds / 3)
            show(f"one client (before all this: {busy})", alone, memory, server.processor() - before)
            before = server.processor()
            times, memory = loaded(server, chosen.clients, chosen.rows, chosen.seconds)
            show(f"{chosen.clients} clients at once", times, memory, server.processor() - before)
            before = server.processor()
            calm, more = loaded(server, chosen.clients, chosen.rows, chosen.seconds / 2, chosen.looking)
            title = f"{chosen.clients} who look at each page for {chosen.looking:g} s"
            show(title, calm, more, server.processor() - before)
        finally:
            server.stop()
    if chosen.figure is not None:
        draw(alone, times, memory, chosen.figure)


if __name__ == "__main__":
    main()
