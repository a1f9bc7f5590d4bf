"""The explorer under load: 1,000,000 simulated rows, 20 clients at once; times of each call, memory bounded.

    python benchmarks/explorer.py                       # a million rows, 20 clients, 60 seconds
    python benchmarks/explorer.py --rows 100000 --seconds 10

Rows are drawn from distributions, images from a small store that is asked for again and again (its
thumbnails are made once each, then kept within their bound). A client asks for what the page asks: a page of
60 rows, its 60 thumbnails, one galaxy, a chart, and now and then a filter that nobody asked for before. The
server is a process of its own on the loopback address; the clients are threads of this one, on the same
cores, so that times include their waiting for one another.
"""

from __future__ import annotations

import argparse
import http.client
import json
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

from morphoscope.data.store import StoreMeta
from morphoscope.data.store_writer import StoreWriter
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.labels.scheme import probability_column

CLASSES = GALAXY10.classes
IMAGES, SIDE = 20_000, 128
PAGE = 60


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


def make_catalogue(path: Path, rows: int) -> None:
    """Classes, probabilities, entropy, OOD score, coordinates, labels of a tenth."""
    rng = np.random.default_rng(1)
    with pq.ParquetWriter(path, _piece(rng, 0, 1).schema) as writer:
        for start in range(0, rows, 100_000):
            writer.write_table(_piece(rng, start, min(100_000, rows - start)))


def _piece(rng: np.random.Generator, start: int, count: int) -> pa.Table:
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
    return pa.table(columns)


class Server:
    """``morphoscope serve`` in a process of its own."""

    def __init__(self, catalogue: Path, images: Path) -> None:
        command = [sys.executable, "-m", "morphoscope", "serve", str(catalogue), "--images", str(images)]
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, "--port", "0"], stderr=subprocess.PIPE, text=True, encoding="utf-8"
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
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"RssAnon:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else float("nan")

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(timeout=20)


class Client(threading.Thread):
    """Somebody who looks around for a while."""

    def __init__(
        self, port: int, number: int, rows: int, until: float, times: dict[str, list[float]]
    ) -> None:
        super().__init__(daemon=True)
        self.rng = np.random.default_rng(number)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.rows, self.until, self.times = rows, until, times
        self.errors = 0

    def run(self) -> None:
        """Ask until the time is over."""
        while time.perf_counter() < self.until:
            view = self.view()
            total, rows = self.page(view, 0)
            for _ in range(6):
                if total > PAGE:
                    total, rows = self.page(view, int(self.rng.integers(0, total - PAGE)))
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
    server: Server, clients: int, rows: int, seconds: float
) -> tuple[dict[str, list[float]], list[float]]:
    """Times of each call in ms, and the server's memory each half second in MiB."""
    times: dict[str, list[float]] = defaultdict(list)
    memory: list[float] = []
    until = time.perf_counter() + seconds
    people = [Client(server.port, number, rows, until, times) for number in range(clients)]
    for person in people:
        person.start()
    while any(person.is_alive() for person in people):
        memory.append(server.memory())
        time.sleep(0.5)
    if errors := sum(person.errors for person in people):
        raise SystemExit(f"{errors} calls failed")
    return times, memory


def show(title: str, times: dict[str, list[float]], memory: list[float]) -> None:
    """A table of the times."""
    print(f"\n{title}\n{'call':<26}{'n':>7}{'median':>10}{'95 %':>10}   ms")
    for name in sorted(times):
        middle, high = np.percentile(times[name], [50, 95])
        print(f"{name:<26}{len(times[name]):>7}{middle:>10.1f}{high:>10.1f}")
    first, most, last = memory[0], max(memory), memory[-1]
    print(f"memory of the server: {first:.0f} MiB at first, {most:.0f} at most, {last:.0f} last")


def draw(memory: list[float], out: Path) -> None:
    """The server's memory over the time of the load."""
    from matplotlib.figure import Figure

    from morphoscope.report.figures import style

    with style.applied():
        figure = Figure(figsize=(style.COLUMN, 2.1), layout="constrained")
        axes = figure.subplots()
        axes.plot(np.arange(len(memory)) * 0.5, memory, color=style.SERIES[0])
        axes.set(xlabel="seconds of load", ylabel="server's memory (MiB)", ylim=(0, None))
        axes.grid(axis="y")
        style.save(figure, out)


def main() -> None:
    """Make the data, serve them, ask, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--figure", type=Path, help="also draw the server's memory, .png")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        catalogue, images = Path(folder) / "million.parquet", Path(folder) / "images"
        make_images(images)
        make_catalogue(catalogue, chosen.rows)
        server = Server(catalogue, images)
        try:
            print(f"{chosen.rows:,} rows; opened in {server.seconds:.1f} s")
            show("one client", *loaded(server, 1, chosen.rows, chosen.seconds / 3))
            times, memory = loaded(server, chosen.clients, chosen.rows, chosen.seconds)
            show(f"{chosen.clients} clients at once", times, memory)
        finally:
            server.stop()
    if chosen.figure is not None:
        draw(memory, chosen.figure)


if __name__ == "__main__":
    main()
