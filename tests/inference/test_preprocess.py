from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.central_source import CentralSource
from morphoscope.images.decode import crop_and_resize, read_image
from morphoscope.inference.preprocess import (
    CropResizePlan,
    check_request,
    crop_resize_plan,
    facts_for_fitting,
    fits,
    fitting_plan,
    follow,
    load_and_preprocess,
)
from morphoscope.runs.run import StoreFacts


def _facts(side: int = 64, crop: int | None = None) -> StoreFacts:
    return StoreFacts(name="store", path="store", image_shape=(side, side, 3), crop=crop, size=side)


def preprocessed(image: np.ndarray, facts: StoreFacts, crop: int | None = None) -> np.ndarray:
    return load_and_preprocess(lambda: image, facts, crop=crop)[0]


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
    assert crop_resize_plan(_image(*shape).shape, _facts(crop=training_crop), crop=requested) == expected


def test_fitted_images_have_the_stored_shape_and_the_right_field() -> None:
    image = _image(96)
    image[32:64, 32:64] = 200
    facts = _facts(32, crop=32)
    assert preprocessed(_image(32), facts).shape == (32, 32, 3)
    assert (preprocessed(image, facts) == 200).all()  # the training's crop
    assert preprocessed(image, facts, crop=96).mean() < 190  # as requested: all of it
    assert preprocessed(image, facts, crop=192)[0, 0].tolist() == [0, 0, 0]  # black beyond the edge
    assert preprocessed(_image(40, 90), _facts(32)).shape == (32, 32, 3)


def test_an_image_of_the_stored_shape_is_not_touched() -> None:
    image = _image(64)
    assert preprocessed(image, _facts()) is image


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 1), (64, 64, 4), (0, 64, 3)])
def test_refuses_what_is_no_image_for_this_run(shape: tuple[int, ...]) -> None:
    with pytest.raises(MorphoscopeError, match="as in the training"):
        crop_resize_plan(shape, _facts())


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


def _jpeg(folder: Path, height: int, width: int) -> Path:
    """A galaxy with three clumps on a grainy sky."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    clumps = ((200, height / 2, width / 2, 25), (90, 90, 60, 4), (120, 40, 99, 3))
    light = np.zeros((height, width))
    for peak, row, column, scale in clumps:
        light += peak * np.exp(-np.hypot(x - column, y - row) / scale)
    grain = cv2.GaussianBlur(rng.normal(0, 10, (height, width, 3)), (0, 0), 1.2)
    path = folder / f"{height}x{width}.jpg"
    pixels = np.clip(light[:, :, None] * [0.7, 0.85, 1.0] + 20 + grain, 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path


@pytest.mark.parametrize(
    ("shape", "trained_crop", "crop", "halved"),
    [
        ((256, 256), None, None, True),  # shrunk to a quarter
        ((256, 192), None, None, True),
        ((256, 256), 200, None, True),  # the training's crop, then 200 to 64
        ((256, 256), None, 128, True),  # just to half
        ((126, 126), None, None, False),  # less than that
        ((256, 256), None, 126, False),
        ((255, 255), None, None, False),  # an odd side has no middle at half the scale
        ((256, 258), None, None, False),  # the square begins between two of its pixels
        ((64, 64), None, None, False),  # taken as it is
    ],
)
def test_jpegs_are_decoded_at_half_scale_where_that_is_enough(
    tmp_path: Path, shape: tuple[int, int], trained_crop: int | None, crop: int | None, halved: bool
) -> None:
    facts, path, decoded = _facts(64, crop=trained_crop), _jpeg(tmp_path, *shape), []

    def load() -> np.ndarray:
        decoded.append(read_image(path))
        return decoded[-1]

    image, plan, shape_before = load_and_preprocess(load, facts, crop=crop)
    assert shape_before == (*shape, 3)
    assert (decoded[0].shape == (shape[0] // 2, shape[1] // 2, 3)) == halved
    whole = read_image(path)
    assert whole.shape == (*shape, 3)
    expected = whole if plan.kind == "stored" else crop_and_resize(whole, crop=plan.crop, size=plan.size)
    difference = np.abs(image.astype(int) - expected)
    assert difference.mean() < (1 if halved else 1e-9)
    assert abs((image.astype(int) - expected).mean()) < 0.25  # and not brighter or darker


def _disc(side: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.repeat(np.where(np.hypot(x, y) <= radius, 200, 30).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (60, 40 / (60 + 20)),  # there are ten pixels of sky on each side
        (100, 0.4),
        (130, 40 / 130),  # large enough as it is
        (200, 0.4 / 1.2),
        (400, 0.4 / 1.2),
    ],
)
def test_fitted_to_the_galaxy_every_framing_shows_the_same(side: int, expected: float) -> None:
    """A disc 40 px across, alone on images of any size, comes out as about 40 % of the side."""
    facts = _facts().model_copy(update={"galaxy_size": 0.4})
    image, plan, shape = load_and_preprocess(lambda: _disc(side, 20), facts, fitted=True)
    assert (plan.kind, shape) == ("fitted", (side, side, 3))
    assert plan.unchanged == (side in (100, 130))
    assert image.shape == (64, 64, 3)
    across = np.sqrt((image[..., 0] > 115).sum() * 4 / np.pi) / 64
    assert across == pytest.approx(expected, rel=0.18)  # smoothed, the disc is measured a little larger


@pytest.mark.parametrize("radius", [20, 28, 60, 110])
def test_a_galaxy_as_large_as_the_training_s_is_shown_as_it_is(radius: int, tmp_path: Path) -> None:
    """It looks the same as without fitting, and only another one is decoded again, from what was read."""
    facts = _facts().model_copy(update={"galaxy_size": 0.4})
    path = tmp_path / "disc.jpg"
    cv2.imwrite(str(path), _disc(256, radius), [cv2.IMWRITE_JPEG_QUALITY, 98])
    loaded = []

    def load() -> np.ndarray:
        loaded.append(read_image(path))
        return loaded[-1]

    fitted, plan, shape = load_and_preprocess(load, facts, fitted=True)
    plain, _, _ = load_and_preprocess(load, facts)
    assert (shape, [image.shape for image in loaded]) == ((256, 256, 3), [(128, 128, 3)] * 2)
    assert plan.source is not None
    assert plan.source.size == pytest.approx(2 * radius / 256, rel=0.2)  # of the image, however it is shown
    if radius == 60:
        assert plan.unchanged
        assert np.array_equal(fitted, plain)
        assert plan.seen(256) == plan.source
    else:
        assert not plan.unchanged
        assert not np.array_equal(fitted, plain)
        whole = read_image(path)
        assert np.array_equal(fitted, follow(fitting_plan(plan.source, whole.shape, facts), whole))
        assert plan.seen(256) is None


def test_a_galaxy_in_the_training_s_crop_is_measured_there(tmp_path: Path) -> None:
    facts = _facts(crop=128).model_copy(update={"galaxy_size": 0.4})
    image, plan, _ = load_and_preprocess(lambda: _disc(512, 26), facts, fitted=True)
    assert (plan.crop, plan.unchanged) == (128, True)
    assert np.array_equal(image, load_and_preprocess(lambda: _disc(512, 26), facts)[0])
    assert plan.source is not None
    assert plan.source.size == pytest.approx(52 / 512, rel=0.2)
    seen = plan.seen(512)
    assert seen is not None
    assert seen.size == pytest.approx(52 / 128, rel=0.2)


@pytest.mark.parametrize(
    ("size", "signal", "suits"), [(0.4, 99, True), (0.2, 99, False), (0.7, 99, False), (0.2, 9, True)]
)
def test_only_a_galaxy_that_stands_out_and_is_of_another_size_is_fitted(
    size: float, signal: float, suits: bool
) -> None:
    facts = _facts().model_copy(update={"galaxy_size": 0.4})
    assert fits(CentralSource(size, signal), facts) == suits
    assert fits(None, facts)


def test_a_finer_measurement_of_something_else_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a small and noisy picture of a large image a peak of the noise may stand in the middle."""
    facts = _facts().model_copy(update={"galaxy_size": 0.4})
    for finer, size in ((0.12, 0.12), (0.03, 0.1), (0.5, 0.1), (None, 0.1)):
        sources = iter([CentralSource(0.1, 99), None if finer is None else CentralSource(finer, 99)])
        monkeypatch.setattr("morphoscope.inference.preprocess.central_source", lambda _, s=sources: next(s))
        _, plan, _ = load_and_preprocess(lambda: _disc(300, 15), facts, fitted=True)
        assert plan.source is not None
        assert plan.source.size == size
        assert plan.crop == round(300 * size / (0.4 / 1.2))


def test_beyond_the_edge_lies_the_mirror_image_of_the_sky() -> None:
    facts = _facts().model_copy(update={"galaxy_size": 0.1})
    assert fitting_plan(CentralSource(0.2, 99), (100, 100, 3), facts).crop == 150  # half as much again
    assert fitting_plan(CentralSource(0.7, 99), (100, 120, 3), facts).crop == 130  # fifteen on each side
    image = load_and_preprocess(lambda: _disc(100, 20), facts, fitted=True)[0]
    assert image.min() == 30  # no black border


@pytest.mark.parametrize("noise", [0, 3, 25])
def test_an_image_without_a_source_is_shown_whole(noise: float) -> None:
    """Nor is a peak of the noise taken for a galaxy."""
    facts = _facts().model_copy(update={"galaxy_size": 0.4})
    drawn = np.random.default_rng(1).normal(90, noise, (90, 120, 3))
    empty = np.clip(np.rint(drawn), 0, 255).astype(np.uint8)
    image, plan, _ = load_and_preprocess(lambda: empty, facts, fitted=True)
    assert (plan.kind, plan.crop, plan.unchanged) == ("fitted", 90, True)
    assert np.array_equal(image, load_and_preprocess(lambda: empty, facts)[0])
    assert plan.source is None or plan.source.signal < 10


@pytest.mark.parametrize("side", [5, 19, 20, 21])
def test_small_images_are_measured_as_the_network_sees_them(side: int) -> None:
    facts = _facts().model_copy(update={"galaxy_size": 0.4})
    _, plan, _ = load_and_preprocess(lambda: _disc(side, 0.35 * side), facts, fitted=True)
    assert plan.source is not None
    assert plan.source.size == pytest.approx(0.7, rel=0.3)
    assert plan.crop is not None
    assert plan.crop >= side


def test_a_run_without_sizes_is_measured_by_its_store_or_says_so() -> None:
    class Run:
        name = "old"
        header = type("Header", (), {"store": _facts()})

        def __init__(self, images: list[np.ndarray] | None) -> None:
            self.images = images

        def store(self) -> object:
            if self.images is None:
                raise MorphoscopeError("its store is gone")
            return type("Store", (), {"images": self.images, "__len__": lambda _: len(self.images or ())})()

    measured = facts_for_fitting(Run([_disc(100, 20)]))  # type: ignore[arg-type]
    assert measured.galaxy_size == pytest.approx(0.4, rel=0.1)
    with pytest.raises(UsageError, match=r"'old' does not record .*its store is gone.*--crop"):
        facts_for_fitting(Run(None))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no galaxy stands out"):
        facts_for_fitting(Run([np.full((64, 64, 3), 9, np.uint8)]))  # type: ignore[arg-type]
