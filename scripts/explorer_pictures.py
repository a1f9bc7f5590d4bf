"""Make the pictures of votes, measurements and comparisons in docs/explorer.md, on simulated galaxies.

    python scripts/explorer_pictures.py [WORK]

WORK is a folder for stores, runs and catalogues, kept if it is named; what is there is not made again. It
needs a Chromium and takes ten minutes of one core. The networks learn from 300 galaxies for a few epochs:
their predictions are to be looked at, and are not good.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

OUT = Path(__file__).resolve().parents[1] / "docs" / "images"
SEED = 20
BASES = {"votes": "small/own-labels", "sizes": "small/regression"}
SCHEMES = {"votes": "vote-counts", "sizes": "measurements"}
EPOCHS = {"first": 6, "second": 3}
PHONE, DESK = (390, 844), (1280, 900)


def morphoscope(work: Path, *arguments: str) -> None:
    """Run a command in a folder, unless what it makes (its last argument) is there."""
    if not (work / arguments[-1]).exists():
        subprocess.run([sys.executable, "-m", "morphoscope", *arguments], cwd=work, check=True)


def make(work: Path, kind: str) -> None:
    """A store, two runs that learned from it, longer and shorter, and their catalogues of other galaxies."""
    simulated = ["--size", "96", "--scheme", SCHEMES[kind]]
    morphoscope(work, "data", "simulate", "--count", "300", "--seed", "1", *simulated, kind)
    shown = f"{kind}-shown"
    morphoscope(work, "data", "simulate", "--count", "150", "--seed", str(SEED), *simulated, shown)
    for name, epochs in EPOCHS.items():
        run = f"{kind}-{name}"
        settings = ["--set", f"training.epochs={epochs}", "--set", "evaluation.views=1"]
        morphoscope(work, "train", BASES[kind], "--store", kind, *settings, "--out", run)
        morphoscope(work, "predict", run, shown, "--embeddings", "--out", f"{run}.parquet")


class Camera:
    """A browser that takes pictures of views."""

    def __init__(self, browser) -> None:
        self.browser = browser

    def picture(
        self, address: str, *, size: tuple[int, int] = DESK, dark: bool = False, wait: str = ".card"
    ) -> Image.Image:
        """One view, when what it waits for is there; as much of it as fits."""
        scheme = "dark" if dark else "light"
        page = self.browser.new_page(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, device_scale_factor=1.5
        )
        page.goto(address)
        page.wait_for_selector(wait)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(800)
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
        phones = []
        for kind in BASES:
            make(work, kind)
            first, second = (work / f"{kind}-{name}.parquet" for name in EPOCHS)
            run, shown = work / f"{kind}-first", ".tree" if kind == "votes" else ".measurements"
            with ms.explore(run, labels=work / "labels.sqlite") as running:  # its test galaxies, with labels
                one = f"{running.address}#galaxy/12"
                save(camera.picture(one, wait=shown), kind)
                phones.append(camera.picture(one, size=PHONE, dark=True, wait=shown))
            with ms.explore(run, catalogue=first, compare=second, labels=work / "labels.sqlite") as running:
                both, plot = f"{running.address}#compare", ".pair svg.plot image"
                save(camera.picture(both, wait=plot, dark=kind == "sizes"), f"compare-{kind}")
                phones.append(camera.picture(both, size=PHONE, dark=kind == "votes", wait=plot))
        save(beside(phones), "phone")


if __name__ == "__main__":
    main(*sys.argv[1:])
