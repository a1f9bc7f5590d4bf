"""More commands that write: cutouts, shapes, matches, lists to label, cross-validation, probes, clicks."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from verbs import Verb, digest, of_run, of_table, run_command

CLICKS = 120
PROBE = """
data: {validation: 0.4, test: 0.2}
augment: {size: 24}
model: {name: test_resnet, pretrained: false}
training: {linear_probe: true, epochs: 1, batch: 16, precision: fp32, label_smoothing: 0.0, ema: 0.0}
evaluation: {views: 1}
"""


def of_cutouts(out: Path) -> str:
    """Rows and images of a folder of cutouts that is complete."""
    import pyarrow.parquet as pq

    from morphoscope.errors import MorphoscopeError

    if not (out / "manifest.parquet").is_file():
        raise MorphoscopeError(f"{out} is unfinished")
    rows = pq.read_table(out / "manifest.parquet").drop_columns("fetched_at").to_pylist()
    if {row["status"] for row in rows} != {"fetched"}:  # which each row says of itself
        raise MorphoscopeError(f"{out} is unfinished")
    return digest(rows, [(out / row["file"]).read_bytes() for row in rows])


def of_folds(out: Path) -> str:
    from morphoscope.runs.run import open_run

    found, metrics = of_run(out), open_run(out).metrics()
    assert not metrics or not (out / "folds").exists(), "the folds stayed"
    return f"{found} {digest(metrics.get('folds'))}"


def of_labels(out: Path) -> str:
    """All clicks; fewer are no fault, and no finished work either."""
    from morphoscope.errors import MorphoscopeError
    from morphoscope.explorer.labels_file import LabelFile

    labels = LabelFile(out)
    tokens, standing = labels.tokens(), labels.standing("class")
    labels.close()
    if len(tokens) < CLICKS:
        raise MorphoscopeError(f"{out}: {len(tokens)} clicks")
    return digest(tokens, standing)


def label(out: Path) -> None:
    """What the explorer does with the clicks of a page that sends each until it is answered."""
    from morphoscope import interruption
    from morphoscope.errors import MorphoscopeError
    from morphoscope.explorer.labels_file import Click, LabelFile

    try:
        with interruption.heeded():
            labels = LabelFile(out)
            for number in range(CLICKS):
                labels.add(Click(f"token-{number:05d}", "Ada", "class", f"g{number}", "s", "answer", "round"))
            labels.close()
    except MorphoscopeError as error:
        print(f"morphoscope: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(1)


def newer_verbs(material: Path) -> list[Verb]:
    """The commands on the inputs of :func:`make_newer`."""
    store, positions = str(material / "store"), str(material / "positions.csv")

    def simple(words: list[str]) -> Callable[[Path, bool], list[str]]:
        return lambda out, _: [*words, "--out", str(out)]

    def resumed(words: list[str]) -> Callable[[Path, bool], list[str]]:
        return lambda out, resume: [*words, "--out", str(out), *(["--resume"] if resume else [])]

    def trained(recipe: str, *more: str) -> Callable[[Path, bool], list[str]]:
        def words(out: Path, resume: bool) -> list[str]:
            begun = ["--resume"] if resume and (out / "run.yaml").is_file() else []
            named = ["train", str(material / recipe), "--store", store, "--out", str(out)]
            return [*named, "--no-report", *more, *begun]

        return words

    def fetch(out: Path, _: bool) -> list[str]:
        named = ["data", "cutouts", positions, str(out), "--service", str(material / "services.yaml")]
        return [*named, "--survey", "legacy-dr10", "--pixels", "64"]

    match = ["match", str(material / "catalogue.parquet"), str(material / "other.csv"), "--match", "nearest"]
    choose = ["label-next", str(material / "predicted.parquet"), "--count", "9", "--by", "entropy"]
    measure = ["measure", str(material / "fits"), "--workers", "1"]
    return [
        Verb("train --folds", "run", trained("recipe.yaml", "--folds", "2"), of_folds),
        Verb("train probe", "run", trained("probe.yaml"), of_run),
        Verb("cutouts", "cutouts", fetch, of_cutouts),
        *(Verb(f"match {end}", f"c.{end}", simple(match), of_table) for end in ("parquet", "fits", "hats")),
        Verb("measure", "c.parquet", resumed(measure), of_table),
        Verb("label-next", "c.csv", simple(choose), of_table),
        Verb(
            "labels",
            "c.labels.sqlite",
            lambda out, _: [],
            of_labels,
            work=label,
            no_input="each click names its galaxy",
        ),
    ]


# ---------------------------------------------------------------- the inputs


def make_newer(material: Path) -> None:
    """Beside what :func:`verbs.make_material` has made."""
    from astropy.io import fits

    (material / "probe.yaml").write_text(PROBE)
    (material / "fits").mkdir()
    for number in range(3):
        fits.writeto(material / "fits" / f"{number}.fits", _galaxy(number, 5.0))
    places = [f"p{row},{150 + row / 100:.2f},2.5" for row in range(24)]
    (material / "positions.csv").write_text("\n".join(["id,ra,dec", *places]))
    ra, dec = np.linspace(0, 359, 20_000), np.linspace(-80, 80, 20_000)
    lines = [f"{a:.7f},{d:.7f},{n}" for n, (a, d) in enumerate(zip(ra, dec + 1e-4, strict=True))]
    (material / "other.csv").write_text("\n".join(["ra,dec,name", *lines]))
    predicted = str(material / "predicted.parquet")
    run_command("predict", str(material / "run"), str(material / "images.csv"), "--out", predicted)


def change_newer(changed: Path) -> None:
    """Another galaxy in each of the inputs."""
    from astropy.io import fits

    fits.writeto(changed / "fits" / "1.fits", _galaxy(1, 8.0), overwrite=True)
    for name in ("positions.csv", "other.csv"):
        lines = (changed / name).read_text().splitlines()
        (changed / name).write_text("\n".join([*lines[:1], *lines[2:]]))
    predicted = str(changed / "predicted.parquet")
    run_command(
        *("predict", str(changed / "run"), str(changed / "images.csv"), "--out", predicted, "--overwrite")
    )


def _galaxy(seed: int, scale: float) -> np.ndarray:
    y, x = np.mgrid[:72, :72] - 35.5
    noise = np.random.default_rng(seed).normal(1.0, 0.05, (72, 72))
    return (50 * np.exp(-np.hypot(x, 1.2 * y) / scale) + noise).astype(np.float32)


@contextmanager
def service(material: Path, start: Callable[[Callable[[], Any], Path], int]) -> Iterator[None]:
    """A service of cutouts in a process of its own, whose table is ``services.yaml``."""
    import os

    table = material / "services.yaml"

    def serve() -> None:
        sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
        from cutout_server import Sky, serving

        with serving(Sky(seconds=0.05)) as served:
            served.table(table.with_suffix(".part"), connections=2)
            table.with_suffix(".part").rename(table)
            signal.pause()

    child = start(serve, material.with_name("service.txt"))
    try:
        while not table.is_file():
            time.sleep(0.05)
            if os.waitpid(child, os.WNOHANG)[0]:
                raise SystemExit(material.with_name("service.txt").read_text())
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
