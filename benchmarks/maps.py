"""What maps cost: Grad-CAM beside predicting, Ablation-CAM beside the package grad-cam; ratios in one run.

    python benchmarks/maps.py [--galaxies 1000] [--size 128]

Random weights and random images: cost does not depend on them. Bounds (exit status 1 if passed): Grad-CAM of
N galaxies takes at most 3 times as long as predicting them; Ablation-CAM is at least 50 times faster than the
package (a test dependency) on a ResNet-18 and gives the same map.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from morphoscope.explanation.attribution import ablation_cam, grad_cam
from morphoscope.explanation.layers import find_layer
from morphoscope.models.build import build
from morphoscope.models.network import Network
from morphoscope.models.precision import autocast_type, best_device
from morphoscope.recipes import Model

BATCH = 32


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def batches(images: torch.Tensor, work: Callable[[torch.Tensor], object]) -> None:
    device = best_device()
    with torch.autocast(device.type, autocast_type("auto", device) or torch.float32):
        for part in images.split(BATCH):
            work(part)


def network_of(name: str, size: int) -> Network:
    torch.manual_seed(0)
    network = build(Model(name=name, pretrained=False), 10, image_size=size)[0]
    network = network.eval().to(memory_format=torch.channels_last)
    return network.requires_grad_(False)


def grad_cam_ratio(name: str, galaxies: int, size: int) -> float:
    network = network_of(name, size)
    layer, images = find_layer(network), torch.randint(0, 256, (galaxies, 3, size, size), dtype=torch.uint8)

    @torch.inference_mode()
    def predict(part: torch.Tensor) -> None:
        network(part)

    def explain(part: torch.Tensor) -> None:
        with torch.no_grad():
            target = network(part).argmax(dim=1)
        grad_cam(network, layer, part, target)

    batches(images[: 2 * BATCH], predict)
    batches(images[: 2 * BATCH], explain)
    ratios = []
    for _ in range(3):
        alone = seconds(lambda: batches(images, predict))
        ratios.append(seconds(lambda: batches(images, explain)) / alone)
    print(f"{name:<24} Grad-CAM / predicting: {np.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    return float(np.median(ratios))


def ablation_gain(size: int) -> tuple[float, float]:
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network = network_of("resnet18", size)
    layer, image = find_layer(network), torch.randint(0, 256, (1, 3, size, size)).float()
    target = torch.tensor([2])
    package = AblationCAM(model=network.requires_grad_(True), target_layers=[layer.module])
    package.batch_size = BATCH
    package.get_target_width_height = lambda _: None  # type: ignore[method-assign, assignment]
    wanted: Any = [ClassifierOutputTarget(2)]
    theirs = package(image, targets=wanted)
    slow = min(seconds(lambda: package(image, targets=wanted)) for _ in range(2))
    own = ablation_cam(network, layer, image, target)
    quick = min(seconds(lambda: ablation_cam(network, layer, image, target)) for _ in range(5))
    likeness = float(np.corrcoef(own.numpy().ravel(), theirs.ravel())[0, 1])
    print(
        f"Ablation-CAM, ResNet-18 at {size} px: package {slow:.2f} s, here {quick:.4f} s, "
        f"{slow / quick:.0f} times; correlation {likeness:.5f}"
    )
    return slow / quick, likeness


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=1000)
    parser.add_argument("--size", type=int, default=128)
    asked = parser.parse_args()
    ratios = [
        grad_cam_ratio(name, asked.galaxies, asked.size) for name in ("resnet18", "tf_efficientnet_lite0")
    ]
    gain, likeness = ablation_gain(224)
    return int(max(ratios) > 3 or gain < 50 or likeness < 0.999)


if __name__ == "__main__":
    raise SystemExit(main())
