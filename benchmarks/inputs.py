"""How fast galaxies become an augmented batch, beside torchvision's chain; and what the network waits for.

    python benchmarks/inputs.py [--images FOLDER] [--json]

First part: images per second and core. One thread (torch, OpenCV and loader), batches of 64 at 128 pixels,
augmented as `ng` did: any rotation, a random crop of 184 to 351 of 424 pixels about the centre, resized,
mirrored at random. The ways are taken in turns in one run, because a machine drifts by tens of percent
within minutes; medians of several turns. "per core" counts the seconds this process had a core, so other
people's load does not enter; "by the clock" counts all seconds.

- chain:  Pillow opens the JPEG; torchvision RandomRotation(360), CenterCrop, Resize, RandomHorizontalFlip,
          PILToTensor, stacked to a uint8 batch (`ng` used these; normalisation is left out on both sides).
- JPEG:   morphoscope reads the same file and warps once.
- store:  morphoscope warps once from a memory-mapped store, opened anew each turn and read in random
          order; of 424-pixel images, and of their central 256 pixels as Galaxy10 DECaLS has them.

The two crops sample alike: the product's zoom is continuous, the chain's crop a whole number of pixels.

Second part: the share of a training epoch that is not the network: epochs of a ResNet-18 with the real
loader (all cores) over epochs that repeat one batch held in memory, in turns.

Without --images it makes 424-pixel JPEGs of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from morphoscope.augment.cpu import Augmenter
from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.images.decode import crop_and_resize, read_image
from morphoscope.progress import track
from morphoscope.recipes import Augment
from morphoscope.training.batches import Batches

if TYPE_CHECKING:
    import torch

SIZE, CROP, BATCH = 128, 256, 64
CROPS = (184, 352)  # `ng`: rng.integers(184, 352)
NG = Augment(size=SIZE, crop=CROP, zoom=(CROPS[0] / CROP, CROPS[1] / CROP), flip_vertical=False, shift=0.0)


class JpegFiles(Sequence[np.ndarray]):
    """JPEG files as a sequence of images, each read when it is asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> np.ndarray:  # type: ignore[override]
        return read_image(self.paths[row])


def main() -> None:
    options = parsed_options()
    with tempfile.TemporaryDirectory(prefix="morphoscope-bench-") as folder:
        paths = jpeg_paths(options.images, options.count, Path(folder))
        stores = {side: stored(paths, side, Path(folder) / f"store-{side}") for side in (424, CROP)}
        report = {"machine": machine(), "images": len(paths)}
        report["inputs"] = inputs_report(paths, stores, options.turns)
        if options.epoch_images:
            report["epoch"] = epoch_report(stores[CROP], options.epoch_images, options.epoch_turns)
    if options.json:
        json.dump(report, sys.stdout, indent=2)
    else:
        print_report(report)


def parsed_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=Path, help="folder of JPEGs (default: made here)")
    parser.add_argument("--count", type=int, default=384, help="images per turn")
    parser.add_argument("--turns", type=int, default=9, help="turns of the first part")
    parser.add_argument("--epoch-images", type=int, default=1024, help="0 leaves out the second part")
    parser.add_argument("--epoch-turns", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def jpeg_paths(folder: Path | None, count: int, scratch: Path) -> list[Path]:
    if folder is not None:
        paths = sorted(folder.glob("*.jpg"))[:count]
        if len(paths) < BATCH:
            sys.exit(f"{folder} holds {len(paths)} JPEGs (*.jpg); expected at least {BATCH}")
        return paths
    scratch.joinpath("jpegs").mkdir()
    return [made_jpeg(number, scratch / "jpegs" / f"{number}.jpg") for number in range(count)]


def made_jpeg(number: int, path: Path) -> Path:
    """An oval galaxy on grainy sky, 424 pixels, compressed about as Galaxy Zoo's images are."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:424, :424] - 211.5
    turn, long, short = rng.uniform(0, np.pi), rng.uniform(20, 50), rng.uniform(8, 20)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    light = 200 * np.exp(-np.hypot(u / long, v / short))
    grain = cv2.GaussianBlur(rng.normal(0, 8, (424, 424, 3)), (0, 0), 1.0)
    image = np.clip(light[..., None] * [0.8, 0.9, 1.0] + 6 + grain, 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path


def stored(paths: list[Path], side: int, out: Path) -> Store:
    with StoreWriter(out, StoreMeta(crop=side), image_shape=(side, side, 3)) as writer:
        for path in track(paths, f"writing a store at {side} px", unit="images"):
            writer.append(
                crop_and_resize(read_image(path), crop=side), {"id": path.stem, "source": path.name}
            )
    return open_store(out)


def inputs_report(paths: list[Path], stores: dict[int, Store], turns: int) -> dict[str, dict[str, float]]:
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    augmenter = Augmenter(NG, seed=1)

    def warped(images: Sequence[np.ndarray] | np.ndarray, turn: int) -> Iterator[torch.Tensor]:
        rows = np.arange(len(paths))
        prepare = augmenter.training
        batches = Batches(images, rows, None, prepare, batch=BATCH, shuffle=True, seed=1, workers=0)
        batches.set_epoch(turn)
        return (batch.images for batch in batches)

    chain = torchvision_chain(paths)
    ways: dict[str, Callable[[int], Iterator[torch.Tensor]]] = {
        "chain": chain,
        "JPEG": lambda turn: warped(JpegFiles(paths), turn),
        "store of 424 px": lambda turn: warped(mapped(stores[424]), turn),
        "store of 256 px": lambda turn: warped(mapped(stores[CROP]), turn),
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in track(range(turns + 1), "measuring inputs", unit="turns"):
        for name, way in ways.items():
            core, clock = time.process_time(), time.perf_counter()
            count = sum(len(images) for images in way(turn))
            if turn:  # the first turn warms caches and imports
                rates[name].append(
                    (count / (time.process_time() - core), count / (time.perf_counter() - clock))
                )
    torch.set_num_threads(os.cpu_count() or 1)
    base = [core for core, _ in rates["chain"]]
    return {
        name: {
            "per_core": statistics.median(core for core, _ in turns_),
            "by_the_clock": statistics.median(clock for _, clock in turns_),
            "times_the_chain": statistics.median(
                core / chain_core for (core, _), chain_core in zip(turns_, base, strict=True)
            ),
        }
        for name, turns_ in rates.items()
    }


def mapped(store: Store) -> np.ndarray:
    """The store's images mapped anew, so that each turn pays for the first touch of every page."""
    return np.load(store.path / "images.npy", mmap_mode="r")


def torchvision_chain(paths: list[Path]) -> Callable[[int], Iterator[torch.Tensor]]:
    import torch
    from PIL import Image
    from torchvision import transforms
    from torchvision.transforms.functional import center_crop

    resize = transforms.Resize((SIZE, SIZE))
    rotate, flip = transforms.RandomRotation(360), transforms.RandomHorizontalFlip()
    to_tensor = transforms.PILToTensor()

    def one(path: Path, crop: int) -> torch.Tensor:
        with Image.open(path) as image:
            turned = rotate(image.convert("RGB"))
        return to_tensor(flip(resize(center_crop(turned, [crop, crop]))))

    def epoch(turn: int) -> Iterator[torch.Tensor]:
        rng = np.random.default_rng(turn)
        order = rng.permutation(len(paths))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            yield torch.stack([one(paths[row], int(rng.integers(*CROPS))) for row in chosen])

    return epoch


def epoch_report(store: Store, count: int, turns: int) -> dict[str, float]:
    """Seconds of an epoch with the real loader and with one cached batch, and their ratio."""
    import timm
    import torch

    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = timm.create_model("resnet18", num_classes=10).to(device)
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    rows = np.resize(np.arange(len(store)), count)
    augmenter = Augmenter(Augment(size=SIZE), seed=0)
    targets = np.zeros(len(store), np.int64)
    batches = Batches(
        store, rows, targets, augmenter.training, batch=BATCH, shuffle=True, seed=0, drop_last=True
    )
    cached = next(iter(batches))

    def epoch(source: Iterator) -> float:
        start = time.perf_counter()
        loss = torch.zeros(())
        for batch in source:
            images = batch.images.to(device, non_blocking=True).float().div_(127.5).sub_(1)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                outputs = network(images.contiguous(memory_format=torch.channels_last))
            loss = torch.nn.functional.cross_entropy(outputs.float(), batch.targets.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        float(loss)  # waits for a GPU
        return time.perf_counter() - start

    epoch(iter([cached, cached]))  # warm up
    pairs = []
    for turn in track(range(turns), "measuring epochs", unit="turns"):
        batches.set_epoch(turn)
        real, repeated = lambda: epoch(iter(batches)), lambda: epoch(iter([cached] * len(batches)))
        # Whoever comes second may find a warmer machine: they take turns at that, too.
        pairs.append((real(), repeated()) if turn % 2 else (repeated(), real())[::-1])
    return {
        "images": len(batches) * BATCH,
        "seconds_with_loader": statistics.median(real for real, _ in pairs),
        "seconds_on_one_batch": statistics.median(repeated for _, repeated in pairs),
        "ratio": statistics.median(real / repeated for real, repeated in pairs),
        "ratio_low": min(real / repeated for real, repeated in pairs),
        "ratio_high": max(real / repeated for real, repeated in pairs),
    }


def machine() -> dict[str, object]:
    import PIL
    import torch
    import torchvision

    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
    }


def print_report(report: dict) -> None:
    print(", ".join(f"{name} {value}" for name, value in report["machine"].items()))
    print(f"\n{report['images']} JPEGs to augmented batches of {BATCH} at {SIZE} px, images/s")
    print(f"{'from':<18}{'per core':>10}{'by the clock':>14}{'× chain':>9}")
    for name, row in report["inputs"].items():
        print(f"{name:<18}{row['per_core']:>10.0f}{row['by_the_clock']:>14.0f}{row['times_the_chain']:>9.2f}")
    if "epoch" in report:
        epoch = report["epoch"]
        print(
            f"\nan epoch of {epoch['images']} images, ResNet-18 at {SIZE} px: "
            f"{epoch['seconds_with_loader']:.2f} s with the loader, "
            f"{epoch['seconds_on_one_batch']:.2f} s on one cached batch, ratio {epoch['ratio']:.3f} "
            f"({epoch['ratio_low']:.3f} to {epoch['ratio_high']:.3f})"
        )


if __name__ == "__main__":
    main()
