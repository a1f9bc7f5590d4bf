"""Galaxies per second from image files to a Parquet catalogue, beside what this machine could do at most.

    python benchmarks/predict.py [--images FOLDER] [--count 1024] [--turns 5] [--memory 10000] [--json]

A ResNet-18 with random weights at 128 pixels (or any run: --run RUN) answers

- JPEG:  424-pixel JPEGs as Galaxy Zoo's (--images FOLDER; else made here), the central 300 pixels taken,
- FITS:  the same pictures as one-band FITS of 256 pixels, float32, stretched.

Three things are timed in turns in one run, because a machine drifts by tens of percent within minutes:
decoding and fitting alone (all cores), the network alone (preparation, network, probabilities; the precision
and memory format that predict uses), and predict_catalogue. On a processor decoding and network share the
cores, so no program can pass 1 / (1/decode + 1/network); on a GPU the slower of the two is the limit. The
medians of the turns are printed, and the median of the turns' ratios. "s/1000" is processor time, which other
people's load does not enter as much.

Then: how far bf16 changes probabilities from fp32's; the peak memory for N and 10 N galaxies (the folder's
files linked again and again) in processes of their own; and how long one galaxy takes from the shell
(start-up). Exit status 1 if 10 N galaxies need more than 1.05 times the memory of N.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from inputs import machine, made_jpeg
from memory import Peak
from morphoscope.catalogue.inputs.open import open_input
from morphoscope.catalogue.pipeline import preprocess_item
from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.images.decode import read_image
from morphoscope.images.stream import in_order
from morphoscope.inference.preprocess import load_and_preprocess, stretch_like
from morphoscope.progress import note, track

SIZE, CROP, FITS_SIDE = 128, 300, 256
CLASSES = tuple(f"class {letter}" for letter in "ABCDEFGHIJ")


def main() -> int:
    asked = parsed_options()
    if asked.peak_of:
        return one_peak(asked)
    with tempfile.TemporaryDirectory(prefix="morphoscope-bench-") as name:
        scratch = Path(name)
        run = asked.run or random_run(scratch / "run")
        folders = inputs(asked.images, asked.count, scratch)
        report: dict[str, Any] = {"machine": machine(), "count": asked.count, "batch": asked.batch}
        report["rates"] = rates(run, folders, scratch, asked)
        report["bf16"] = bf16(run, folders["JPEG"])
        report["start_up_seconds"] = start_up(run, folders["JPEG"], scratch)
        if asked.memory:
            report["memory"] = memory(run, folders["JPEG"], scratch, asked.memory)
    json.dump(report, sys.stdout, indent=2) if asked.json else print_report(report)
    return int(report.get("memory", {}).get("ratio", 1.0) > 1.05)


def parsed_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of 424-pixel JPEGs (default: made here)")
    parser.add_argument("--run", type=Path, help="a run (default: ResNet-18 with random weights)")
    parser.add_argument("--count", type=int, default=1024, help="galaxies of each turn")
    parser.add_argument("--batch", type=int, default=256, help="as predict's --batch")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--memory", type=int, default=10_000, help="N of the memory test; 0: leave it out")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def random_run(place: Path) -> Path:
    """A finished run of a network that has learned nothing."""
    import torch
    from safetensors.torch import save_file

    from morphoscope import files
    from morphoscope.labels.scheme import Classes
    from morphoscope.models.build import build
    from morphoscope.recipes import Augment, Model, Recipe
    from morphoscope.runs.run import Header, StoreFacts, write_header

    torch.manual_seed(0)
    recipe = Recipe(
        name="benchmark", model=Model(name="resnet18", pretrained=False), augment=Augment(size=SIZE)
    )
    network, _ = build(recipe.model, len(CLASSES), image_size=SIZE)
    place.mkdir()
    (place / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, place / "weights.safetensors")
    facts = StoreFacts(name="none", path="none", image_shape=(SIZE, SIZE, 3), crop=CROP, size=SIZE)
    scheme = Classes(name="letters", classes=CLASSES)
    digest = files.sha256_of(place / "weights.safetensors")
    write_header(place, Header(state="finished", scheme=scheme, store=facts, weights_sha256=digest))
    return place


def inputs(images: Path | None, count: int, scratch: Path) -> dict[str, Path]:
    """Folders with ``count`` files each; fewer pictures are linked again and again."""
    from astropy.io import fits

    if images is None:
        (scratch / "made").mkdir()
        found = [made_jpeg(number, scratch / "made" / f"{number}.jpg") for number in range(min(count, 256))]
    else:
        found = sorted(images.rglob("*.jpg"))[:count]
        if not found:
            sys.exit(f"{images}: no *.jpg there")
    linked(found, count, scratch / "jpeg")
    (scratch / "pictures").mkdir()
    pictures = []
    for number, path in enumerate(found[:256]):
        grey = read_image(path).mean(axis=2, dtype=np.float32)
        grey = cv2.resize(grey, (FITS_SIDE, FITS_SIDE), interpolation=cv2.INTER_AREA)
        pictures.append(scratch / "pictures" / f"{number}.fits")
        fits.PrimaryHDU(grey).writeto(pictures[-1])
    linked(pictures, count, scratch / "fits")
    return {"JPEG": scratch / "jpeg", "FITS": scratch / "fits"}


def linked(paths: list[Path], count: int, folder: Path) -> Path:
    folder.mkdir()
    for number in range(count):
        path = paths[number % len(paths)].resolve()
        (folder / f"{number:07d}{path.suffix}").symlink_to(path)
    return folder


def rates(
    run: Path, folders: dict[str, Path], scratch: Path, asked: argparse.Namespace
) -> dict[str, dict[str, float]]:
    from morphoscope import api

    predictor = api.load(run).predictor
    report = {}
    for kind, folder in folders.items():
        prepare = partial(preprocess_item, facts=predictor.run.header.store, crop=None)
        stretch = stretch_like(predictor.run.header.store.stretch)
        some = [
            load_and_preprocess(partial(read_image, path), predictor.run.header.store)[0]
            for path in files_of(folder, asked.batch)
        ]

        def decode(prepare: Any = prepare, folder: Path = folder, stretch: str = stretch) -> None:
            with closing(in_order(prepare, open_input(folder, stretch=stretch).items)) as images:
                for image in images:
                    assert image.image is not None, image.reason

        def network(some: list[np.ndarray] = some) -> None:
            # In a thread of its own as in predict: there the OpenMP library spins less at its barriers,
            # which on a busy machine is three times faster than in the main thread.
            with ThreadPoolExecutor(1) as thread:
                for start in range(0, asked.count, len(some)):
                    thread.submit(predictor.probabilities, some[: asked.count - start]).result()

        def pipeline(folder: Path = folder) -> None:
            out = scratch / "catalogue.parquet"
            predict_catalogue(predictor, CatalogueRequest(folder, out, batch=asked.batch, overwrite=True))

        report[kind] = turns(
            {"decode": decode, "network": network, "predict": pipeline},
            asked.count,
            asked.turns,
            shared=predictor.precision_description.endswith("cpu"),
        )
        report[kind]["number_format"] = predictor.precision_description
    return report


def turns(ways: dict[str, Callable[[], None]], count: int, number: int, *, shared: bool) -> dict[str, Any]:
    """Galaxies per second of each way, the limit, and the ratio of predict to the limit of its own turn."""
    clock: dict[str, list[float]] = {name: [] for name in ways}
    cores: dict[str, list[float]] = {name: [] for name in ways}
    for turn in track(range(number + 1), "measuring", unit="turns"):
        for name, way in ways.items():
            wall, core = time.perf_counter(), time.process_time()
            way()
            if turn:  # the first one warms up
                clock[name].append((time.perf_counter() - wall) / count)
                cores[name].append((time.process_time() - core) / count)
    together = (lambda d, n: d + n) if shared else max
    limits = [together(d, n) for d, n in zip(clock["decode"], clock["network"], strict=True)]
    ratios = [limit / made for limit, made in zip(limits, clock["predict"], strict=True)]
    core_ratios = [
        (d + n) / p for d, n, p in zip(cores["decode"], cores["network"], cores["predict"], strict=True)
    ]
    return {
        **{f"{name}_per_second": 1 / statistics.median(values) for name, values in clock.items()},
        **{f"{name}_core_seconds_per_1000": 1000 * statistics.median(v) for name, v in cores.items()},
        "limit_per_second": 1 / statistics.median(limits),
        "share_of_limit": statistics.median(ratios),
        "share_of_limit_low": min(ratios),
        "share_of_limit_high": max(ratios),
        "share_of_core_time": statistics.median(core_ratios),
    }


def files_of(folder: Path, count: int) -> list[Path]:
    return sorted(folder.iterdir())[:count]


def bf16(run: Path, folder: Path) -> dict[str, float]:
    """How far the probabilities in bf16 lie from those in fp32, over 256 galaxies."""
    import torch

    from morphoscope import api

    predictor = api.load(run, calibrated=False, engine="torch").predictor
    network, store = predictor.torch_engine(), predictor.run.header.store
    images = [load_and_preprocess(partial(read_image, path), store)[0] for path in files_of(folder, 256)]
    answers = {}
    for name, kind in (("fp32", None), ("bf16", torch.bfloat16)):
        network.precision = kind
        answers[name] = predictor.probabilities(images).astype(np.float64)
    difference = np.abs(answers["bf16"] - answers["fp32"])
    changed = answers["bf16"].argmax(axis=1) != answers["fp32"].argmax(axis=1)
    return {
        "galaxies": len(images),
        "largest": float(difference.max()),
        "mean": float(difference.mean()),
        "other_class": float(changed.mean()),
    }


def start_up(run: Path, folder: Path, scratch: Path) -> float:
    """Seconds from the shell's call to the catalogue of one galaxy, median of three."""
    one = scratch / "one"
    linked(files_of(folder, 1), 1, one)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        words = ["predict", str(run), str(one), "--out", str(scratch / "one.parquet"), "--overwrite"]
        subprocess.run([sys.executable, "-m", "morphoscope", *words], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def memory(run: Path, folder: Path, scratch: Path, count: int) -> dict[str, float]:
    """Peaks of anonymous and of all resident memory for ``count`` and ten times as many galaxies, MB."""
    pictures = files_of(folder, count)
    report: dict[str, float] = {}
    for name, number in (("n", count), ("ten_n", 10 * count)):
        place = linked(pictures, number, scratch / f"many-{number}")
        note(f"memory: {number} galaxies")
        done = subprocess.run(
            [sys.executable, __file__, "--peak-of", str(place), "--run", str(run)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(done.stderr)
        peak = json.loads(done.stdout.splitlines()[-1])
        report |= {name: number, f"own_mb_{name}": peak["own"] / 1e6}
        report[f"resident_mb_{name}"] = peak["resident"] / 1e6
    return report | {"ratio": report["own_mb_ten_n"] / report["own_mb_n"]}


def one_peak(asked: argparse.Namespace) -> int:
    from morphoscope import api

    with Peak() as peak:
        api.load(asked.run).catalogue(asked.peak_of, asked.peak_of.with_suffix(".parquet"))
    print(json.dumps({"own": peak.own, "resident": peak.resident}))
    return 0


def print_report(report: dict[str, Any]) -> None:
    print(", ".join(f"{name} {value}" for name, value in report["machine"].items()))
    print(f"\n{report['count']} galaxies a turn, batches of {report['batch']}; galaxies/s")
    print(f"{'':<6}{'decode':>9}{'network':>9}{'limit':>9}{'predict':>9}{'of limit':>20}{'s/1000':>9}")
    for kind, row in report["rates"].items():
        low, high = row["share_of_limit_low"], row["share_of_limit_high"]
        share = f"{row['share_of_limit']:.2f} ({low:.2f}-{high:.2f})"
        print(
            f"{kind:<6}{row['decode_per_second']:>9.0f}{row['network_per_second']:>9.0f}"
            f"{row['limit_per_second']:>9.0f}{row['predict_per_second']:>9.0f}{share:>20}"
            f"{row['predict_core_seconds_per_1000']:>9.2f}"
        )
        print(
            f"      processor time of decode + network over predict's: {row['share_of_core_time']:.2f}; "
            f"network in {row['number_format']}"
        )
    change = report["bf16"]
    print(
        f"\nbf16 against fp32, {change['galaxies']} galaxies: probabilities differ by "
        f"{change['largest']:.1e} at most, {change['mean']:.1e} on average; {change['other_class']:.1%} get "
        "another class"
    )
    print(f"start-up: one galaxy after {report['start_up_seconds']:.1f} s")
    if "memory" in report:
        peak = report["memory"]
        print(
            f"peak memory of {peak['n']:.0f} and {peak['ten_n']:.0f} galaxies: own "
            f"{peak['own_mb_n']:.0f} and {peak['own_mb_ten_n']:.0f} MB (ratio {peak['ratio']:.3f}), resident "
            f"{peak['resident_mb_n']:.0f} and {peak['resident_mb_ten_n']:.0f} MB"
        )


if __name__ == "__main__":
    sys.exit(main())
