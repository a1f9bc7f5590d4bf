"""Make the pictures of votes, measurements and comparisons in docs/explorer.md, on simulated galaxies.

    python scripts/explorer_pictures.py [WORK]

WORK is a folder for stores, runs and catalogues, kept if it is named; what is there is not made again. It
needs a Chromium and takes five minutes of one core. The votes are predicted by a network that learned from
300 galaxies for six epochs, which is to be looked at, and is not good; the measurements are the simulator's
own values with the errors that are shown added.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OUT = Path(__file__).resolve().parents[1] / "docs" / "images"
SEED = 20
QUANTITIES = {"half_light_radius": "arcsec", "axis_ratio": "", "sersic_index": "", "r_mag": "mag"}
PHONE, DESK = (390, 844), (1280, 900)


def morphoscope(work: Path, *arguments: str) -> None:
    """Run a command in a folder, unless what it makes (its last argument) is there."""
    if not (work / arguments[-1]).exists():
        subprocess.run([sys.executable, "-m", "morphoscope", *arguments], cwd=work, check=True)


def votes(work: Path) -> None:
    """A run that learned votes, and its catalogues of other galaxies from eight views and from one."""
    simulated = ["--size", "96", "--scheme", "vote-counts"]
    morphoscope(work, "data", "simulate", "--count", "300", "--seed", "1", *simulated, "votes")
    morphoscope(work, "data", "simulate", "--count", "150", "--seed", str(SEED), *simulated, "shown")
    settings = ["--set", "training.epochs=6", "--set", "evaluation.views=1"]
    morphoscope(work, "train", "small/own-labels", "--store", "votes", *settings, "--out", "run")
    for name, views in (("first", 8), ("second", 1)):
        out = f"votes-{name}.parquet"
        morphoscope(work, "predict", "run", "shown", "--views", str(views), "--embeddings", "--out", out)


def sizes(work: Path) -> None:
    """Two catalogues of the simulator's own values with errors of a tenth and of a fifth."""
    import morphoscope as ms

    table = ms.open_store(work / "shown").table
    for name, relative in (("first", 0.1), ("second", 0.2)):
        rng = np.random.default_rng(len(name))
        columns = {name: table[name] for name in ("id", "source", "ra", "dec")}
        fields = [pa.field(name, table[name].type) for name in columns]
        for quantity, unit in QUANTITIES.items():
            true = table[quantity].to_numpy()
            error = relative * np.nanstd(true) * rng.gamma(9, 1 / 9, len(true))
            columns[quantity] = pa.array(true + rng.normal(0, 1, len(true)) * error, from_pandas=True)
            columns[f"{quantity}_error"] = pa.array(error)
            kept = {"unit": unit} if unit else None
            fields += [
                pa.field(quantity, pa.float64(), metadata=kept),
                pa.field(f"{quantity}_error", pa.float64()),
            ]
        pq.write_table(pa.table(columns, schema=pa.schema(fields)), work / f"sizes-{name}.parquet")


class Camera:
    """A browser that takes pictures of views."""

    def __init__(self, browser) -> None:
        self.browser = browser

    def picture(
        self, address: str, *, size: tuple[int, int] = DESK, dark: bool = False, wait: str = ".card"
    ) -> Image.Image:
        """One view, when what it waits for is there; on a phone from that on."""
        scheme = "dark" if dark else "light"
        page = self.browser.new_page(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, device_scale_factor=1.5
        )
        page.goto(address)
        page.wait_for_selector(wait)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(800)
        if size == PHONE:
            page.locator(wait).first.evaluate("(it) => it.closest('.card').scrollIntoView()")
            page.wait_for_timeout(300)
        image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        page.close()
        return image


def beside(images: list[Image.Image], gap: int = 24) -> Image.Image:
    """Pictures of one height beside each other."""
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    whole = Image.new("RGB", (width, max(image.height for image in images)), "white")
    at = 0
    for image in images:
        whole.paste(image, (at, 0))
        at += image.width + gap
    return whole


def save(image: Image.Image, name: str) -> None:
    """Into docs/images."""
    if image.width > 1600:
        image = image.resize((1600, round(image.height * 1600 / image.width)), Image.Resampling.LANCZOS)
    image.save(OUT / f"explorer-{name}.webp", quality=80, method=6)


def main(folder: str | None = None) -> None:
    """Make the data, serve them, and take the pictures."""
    from playwright.sync_api import sync_playwright

    import morphoscope as ms

    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as play:
        work = Path(folder or temporary).resolve()
        work.mkdir(parents=True, exist_ok=True)
        camera = Camera(play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]))
        votes(work)
        sizes(work)
        phones, labels = [], work / "labels.sqlite"
        with ms.explore(work / "run", labels=labels) as running:  # its test galaxies, with their votes
            one = f"{running.address}#galaxy/12"
            save(camera.picture(one, wait=".tree"), "votes")
            phones.append(camera.picture(one, size=PHONE, dark=True, wait=".tree"))
        for kind in ("votes", "sizes"):
            first, second = (work / f"{kind}-{name}.parquet" for name in ("first", "second"))
            with ms.explore(first, compare=second, images=work / "shown", labels=labels) as running:
                one, both = f"{running.address}#galaxy/12", f"{running.address}#compare"
                plot, dark = ".pair svg.plot image", kind == "sizes"
                save(camera.picture(both, wait=plot, dark=dark), f"compare-{kind}")
                phones.append(camera.picture(both, size=PHONE, dark=not dark, wait=plot))
                if kind == "sizes":
                    save(camera.picture(one, wait=".measurements", dark=True), "measurements")
                    phones.append(camera.picture(one, size=PHONE, wait=".measurements"))
        save(beside(phones), "phone")


if __name__ == "__main__":
    main(*sys.argv[1:])
