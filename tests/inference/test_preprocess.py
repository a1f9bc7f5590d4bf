from __future__ import annotations

import numpy as np
import pytest

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.preprocess import CropResizePlan, check_request, crop_resize_plan, preprocess
from morphoscope.runs.run import StoreFacts


def _facts(side: int = 64, crop: int | None = None) -> StoreFacts:
    return StoreFacts(name="store", path="store", image_shape=(side, side, 3), crop=crop, size=side)


def _image(height: int, width: int | None = None) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width or height, 3), np.uint8)


@pytest.mark.parametrize(
    ("shape", "training_crop", "requested", "expected"),
    [
        ((64, 64), None, None, CropResizePlan("stored")),
        ((64, 64), 212, None, CropResizePlan("stored")),
        ((64, 64), 50, None, CropResizePlan("stored")),
        ((424, 424), 212, None, CropResizePlan("training", 212, 64)),
        ((212, 300), 212, None, CropResizePlan("training", 212, 64)),
        ((211, 300), 212, None, CropResizePlan("scaled", None, 64)),
        ((424, 424), None, None, CropResizePlan("scaled", None, 64)),
        ((32, 48), None, None, CropResizePlan("scaled", None, 64)),
        ((424, 424), 212, 100, CropResizePlan("requested", 100, 64)),
        ((64, 64), None, 40, CropResizePlan("requested", 40, 64)),
    ],
)
def test_the_first_rule_that_applies(
    shape: tuple[int, int], training_crop: int | None, requested: int | None, expected: CropResizePlan
) -> None:
    assert crop_resize_plan(_image(*shape), _facts(crop=training_crop), crop=requested) == expected


def test_fitted_images_have_the_stored_shape_and_the_right_field() -> None:
    image = _image(96)
    image[32:64, 32:64] = 200
    facts = _facts(32, crop=32)
    assert preprocess(_image(32), facts).shape == (32, 32, 3)
    assert (preprocess(image, facts) == 200).all()  # the training's crop
    assert preprocess(image, facts, crop=96).mean() < 190  # as requested: all of it
    assert preprocess(image, facts, crop=192)[0, 0].tolist() == [0, 0, 0]  # black beyond the edge
    assert preprocess(_image(40, 90), _facts(32)).shape == (32, 32, 3)


def test_an_image_of_the_stored_shape_is_not_touched() -> None:
    image = _image(64)
    assert preprocess(image, _facts()) is image


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 1), (64, 64, 4), (0, 64, 3)])
def test_refuses_what_is_no_image_for_this_run(shape: tuple[int, ...]) -> None:
    with pytest.raises(MorphoscopeError, match="as in the training"):
        crop_resize_plan(np.zeros(shape, np.uint8), _facts())


def test_words_say_what_is_done() -> None:
    assert CropResizePlan("stored").description(64, 64) == ""
    assert "the central 212 px are taken and scaled to 64 px, as for the training" in CropResizePlan(
        "training", 212, 64
    ).description(424, 424)
    assert "images of 300×200 px" in CropResizePlan("scaled", None, 64).description(200, 300)
    assert "--crop" in CropResizePlan("scaled", None, 64).description(200, 300)


def test_request_is_checked() -> None:
    check_request(_facts(64), None, None)
    check_request(_facts(64), 100, 64)
    with pytest.raises(UsageError, match="trained on images of 64 px"):
        check_request(_facts(64), None, 96)
    with pytest.raises(UsageError, match="--crop 0"):
        check_request(_facts(64), 0, None)
