from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from morphoscope.inference.calibration import Calibration
from morphoscope.labels.scheme import Classes, VoteFractions
from morphoscope.recipes import Evaluation
from morphoscope.runs.run import StoreFacts

CLASSES = Classes(name="brightness", classes=("Dark Sky", "Grey", "In-between Bright"))


class BrightnessPredictor:
    """Stands in for a run's network: the mean grey level decides, so every answer can be foretold."""

    def __init__(self, scheme: Classes | VoteFractions = CLASSES, side: int = 32, **store: object) -> None:
        facts = StoreFacts.model_validate(
            {"name": "s", "path": "s", "image_shape": (side, side, 3), "size": side, **store}
        )
        self.scheme, self.views = scheme, 1
        self.run = SimpleNamespace(
            name="run-7",
            path=Path("run-7"),
            recipe=SimpleNamespace(name="small/brightness", evaluation=Evaluation()),
            header=SimpleNamespace(store=facts, weights_sha256="f" * 64),
        )
        self.calibration: Calibration | None = None
        self.sizes: list[int] = []

    precision_description = "fp32 on cpu"
    engine_description = "a stand-in"
    quantisation_description = ""
    has_ood_score, member_count, dropout, distribution, sure = False, 1, None, None, None
    feature_views = 1

    @property
    def calibration_description(self) -> str:
        return "none: not tried" if self.calibration is None else self.calibration.description

    @property
    def input_side(self) -> int:
        return self.run.header.store.image_shape[0]

    def predict(self, images: Sequence[np.ndarray]) -> SimpleNamespace:
        return SimpleNamespace(predictions_NK=self.probabilities(images))

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.sizes.append(len(images))
        assert all(image.shape == self.run.header.store.image_shape for image in images)
        level = np.array([image.mean() / 255 for image in images])
        if isinstance(self.scheme, VoteFractions):
            return np.stack([level, 1 - level], axis=1).astype(np.float32)
        distances = np.abs(level[:, None] - np.array([0.0, 0.5, 1.0]))
        weights = np.exp(-8 * distances)
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def predictor() -> BrightnessPredictor:
    return BrightnessPredictor()


@pytest.fixture
def make_predictor() -> type[BrightnessPredictor]:
    return BrightnessPredictor


def write_image(path: Path, level: int, height: int = 32, width: int | None = None) -> Path:
    """A file of one grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width or height, 3), level, np.uint8))
    return path


@pytest.fixture
def save() -> Callable[..., Path]:
    return write_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images in three folders, dark, grey and bright in turn; something else lies among them."""
    place = tmp_path / "images"
    for number, level in enumerate((10, 130, 245, 5, 120, 250)):
        write_image(place / ("b" if number % 2 else "a") / f"{number}.png", level)
    write_image(place / "7.jpg", 128)
    (place / "a" / "notes.txt").write_text("no image")
    write_image(place / ".hidden" / "8.png", 1)
    write_image(place / "a" / "._9.png", 1)
    return place
