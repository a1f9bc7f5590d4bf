"""What ``predict`` accepts as images: arrays, paths, or a folder of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

import morphoscope as ms
from morphoscope.api.image_inputs import first_readable, framed_images, preprocessed_images
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.recipes import Evaluation
from morphoscope.runs.run import StoreFacts

FACTS = StoreFacts(name="s", path="", image_shape=(8, 8, 3))
RUN: Any = SimpleNamespace(
    header=SimpleNamespace(store=FACTS), recipe=SimpleNamespace(evaluation=Evaluation(scale="auto"))
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    place.mkdir()
    for number in range(4):
        cv2.imwrite(str(place / f"{number}.png"), np.full((16, 16, 3), 40 * number, np.uint8))
    return place


def _levels(images: list[np.ndarray]) -> list[int]:
    assert all(image.shape == (8, 8, 3) for image in images)
    return [int(image.mean()) for image in images]


def test_arrays_and_paths_may_be_mixed(folder: Path):
    array = np.full((20, 30, 3), 7, np.uint8)
    given = [folder / "1.png", array, str(folder / "3.png")]
    assert _levels(preprocessed_images(given, FACTS)) == [40, 7, 120]
    assert _levels(preprocessed_images(np.stack([array, array + 1]), FACTS)) == [7, 8]
    assert _levels(preprocessed_images([], FACTS)) == []


def test_one_image_a_folder_or_a_glob(folder: Path):
    assert _levels(preprocessed_images(folder / "2.png", FACTS)) == [80]
    assert _levels(preprocessed_images(np.full((8, 8, 3), 7, np.uint8), FACTS)) == [7]
    assert _levels(preprocessed_images(str(folder), FACTS)) == [0, 40, 80, 120]
    assert _levels(preprocessed_images(f"{folder}/[12].png", FACTS)) == [40, 80]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([np.zeros((8, 8, 3))], r"image 0: .* not \(8, 8, 3\) float64"),
        ([np.zeros((8, 8), np.uint8)], r"image 0: .* not \(8, 8\) uint8"),
        ([None], "image 0: .* not NoneType"),
        ("nowhere", "nowhere does not exist"),
    ],
)
def test_what_is_no_image_is_one_sentence(given: object, sentence: str):
    with pytest.raises(UsageError, match=sentence):
        preprocessed_images(given, FACTS)  # type: ignore[arg-type]


def test_an_image_that_cannot_be_read_is_named(folder: Path):
    (folder / "2.png").write_bytes(b"")
    with pytest.raises(MorphoscopeError, match=r"2\.png: the file is empty"):
        preprocessed_images(folder, FACTS)
    with pytest.raises(MorphoscopeError, match=r"none\.png: no such file"):
        preprocessed_images([folder / "none.png"], FACTS)
    assert _levels(first_readable(str(folder), 3, RUN)) == [0, 40, 120]
    assert _levels(first_readable(folder, 2, RUN)) == [0, 40]


def _small_galaxy(side: int = 96) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    disc = np.where(np.hypot(x, y) < side / 12, 220, 20).astype(np.uint8)
    return np.repeat(disc[..., None], 3, axis=2)


@pytest.mark.parametrize("kind", ["arrays", "folder"])
def test_what_batch_norm_adapts_to_is_framed_as_what_is_predicted(tmp_path: Path, kind: str):
    facts = FACTS.model_copy(update={"image_shape": (64, 64, 3), "galaxy_size": 0.5})
    run: Any = SimpleNamespace(header=SimpleNamespace(store=facts), recipe=RUN.recipe)
    cv2.imwrite(str(tmp_path / "small.png"), _small_galaxy())
    images: Any = [_small_galaxy()] if kind == "arrays" else tmp_path
    trained, framed = (framed_images(images, run, scale)[0] for scale in ("trained", "auto"))
    assert framed.mean() > trained.mean() + 10
    for scale, expected in ((None, framed), ("auto", framed), ("trained", trained)):
        assert np.array_equal(framed_images(images, run, scale)[0], expected)
        assert np.array_equal(first_readable(images, 1, run, scale=scale)[0], expected)
    if kind == "folder":
        cropped = first_readable(images, 1, run, crop=48)[0]
        assert np.array_equal(cropped, preprocessed_images([_small_galaxy()[24:72, 24:72]], facts)[0])


def test_an_image_is_read_from_a_text_or_a_path(folder: Path):
    assert np.array_equal(ms.read_image(str(folder / "1.png")), ms.read_image(folder / "1.png"))
    with pytest.raises(MorphoscopeError, match=r"nowhere\.jpg: no such file"):
        ms.read_image("nowhere.jpg")
