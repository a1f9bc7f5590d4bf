from __future__ import annotations

import io
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.decode import (
    check_crop_and_size,
    crop_and_resize,
    is_fits_name,
    is_image_name,
    read_image,
)

RNG = np.random.default_rng(5)
COLOURS = RNG.integers(0, 256, (20, 30, 3), np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_lossless_files_keep_every_pixel(tmp_path: Path, kind: str):
    path = tmp_path / "galaxy.bin"  # the content decides, not the name
    path.write_bytes(encoded(Image.fromarray(COLOURS), kind))
    assert np.array_equal(read_image(path), COLOURS)
    assert np.array_equal(read_image(path.read_bytes()), COLOURS)


def test_jpeg_has_the_pixels_that_pillow_gives():
    content = encoded(Image.fromarray(COLOURS), "JPEG", quality=80)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    image = read_image(content)
    assert image.shape == (20, 30, 3)
    assert np.abs(image - expected).max() <= 1  # decoders may round differently


def test_real_jpeg_has_the_pixels_that_pillow_gives(shared_data: Path):
    path = min((shared_data / "galaxy_zoo_challenge" / "images_training_rev1").iterdir())
    expected = np.asarray(Image.open(path)).astype(int)
    assert np.abs(read_image(path) - expected).max() <= 1


def test_jpeg_orientation_tag_moves_nothing():
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by a quarter"
    content = encoded(Image.fromarray(COLOURS), "JPEG", exif=exif)
    assert read_image(content).shape == (20, 30, 3)


def test_jpeg_with_bytes_behind_its_end_is_read_too():
    content = encoded(Image.fromarray(COLOURS), "JPEG")
    assert np.array_equal(read_image(content + b"\0" * 7), read_image(content))


def test_a_jpeg_whose_segments_do_not_follow_each_other_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch):
    content = encoded(Image.fromarray(COLOURS), "JPEG", quality=95)
    expected = read_image(content).astype(int)
    padded = content[:2] + b"\xff\xff" + content[2:]  # which a marker may have before it
    assert np.array_equal(read_image(padded), expected)
    asked: list[int] = []
    monkeypatch.setattr(cv2, "imdecode", lambda *_: asked.append(1))
    stray = content[:20] + b"\0\0" + content[20:]  # between two segments
    assert np.array_equal(read_image(stray), np.asarray(Image.open(io.BytesIO(stray)).convert("RGB")))
    with pytest.raises(MorphoscopeError, match=r"a\.jpg: is "):
        read_image(content[:2] + b"\xff\xda\0\2" + content[2:], name="a.jpg")  # pixels before their number
    assert not asked


def test_grey_images_get_three_equal_channels():
    grey = COLOURS[:, :, 0]
    for image in (
        read_image(encoded(Image.fromarray(grey))),
        read_image(encoded(Image.fromarray(grey), "JPEG")),
    ):
        assert image.shape == (20, 30, 3)
        assert np.array_equal(image[:, :, 0], image[:, :, 1])
        assert np.array_equal(image[:, :, 0], image[:, :, 2])
    assert np.array_equal(read_image(encoded(Image.fromarray(grey)))[:, :, 0], grey)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_their_full_range(kind: str):
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert read_image(encoded(Image.fromarray(deep), kind))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_colours_are_scaled_by_their_full_range():
    deep = RNG.integers(0, 65536, (4, 5, 3), np.uint16)
    image = read_image(cv2.imencode(".png", deep[:, :, ::-1])[1].tobytes())
    assert np.abs(image.astype(int) - deep / 257.0).max() <= 1


def test_transparent_pixels_are_black_sky():
    colours = np.dstack([COLOURS, np.full((20, 30), 255, np.uint8)])
    colours[:5, :, 3] = 0
    image = read_image(encoded(Image.fromarray(colours)))
    assert not image[:5].any()
    assert np.array_equal(image[5:], COLOURS[5:])


def test_palette_becomes_its_colours():
    image = Image.fromarray(COLOURS).quantize(16)
    assert np.array_equal(read_image(encoded(image)), np.asarray(image.convert("RGB")))


def test_measured_tiff_is_stretched():
    flux = RNG.normal(100, 5, (32, 32)).astype(np.float32)
    flux[16, 16] = 5000
    image = read_image(encoded(Image.fromarray(flux), "TIFF"), stretch="lupton")
    assert image[16, 16, 0] == 255
    assert 20 < np.median(image) < 45
    with pytest.raises(MorphoscopeError, match="as-served needs grey levels"):
        read_image(encoded(Image.fromarray(flux), "TIFF"), stretch="as-served")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_file_that_was_cut_off_is_named(tmp_path: Path, kind: str, share: float):
    large = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    whole = encoded(Image.fromarray(large), kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(MorphoscopeError, match=r"cut\.jpg: is (damaged|not an image)"):
        read_image(path)


def test_what_is_no_image_is_named(tmp_path: Path):
    empty, words = tmp_path / "empty.png", tmp_path / "words.png"
    empty.touch()
    words.write_text("galaxy")
    with pytest.raises(MorphoscopeError, match=r"empty\.png: the file is empty"):
        read_image(empty)
    with pytest.raises(MorphoscopeError, match=r"words\.png: is not an image"):
        read_image(words)
    with pytest.raises(MorphoscopeError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(MorphoscopeError, match=r"cannot be read"):
        read_image(tmp_path)
    with pytest.raises(MorphoscopeError, match=r"a\.jpg: "):
        read_image(b"\xff\xd8\xff" + RNG.bytes(300) + b"\xff\xd9", name="a.jpg")


def test_names_of_images():
    assert is_image_name("a/b.JPG")
    assert is_image_name("b.fits.gz")
    assert not is_image_name("a/._b.jpg")
    assert not is_image_name("Thumbs.db")
    assert is_fits_name("b.fits.fz")
    assert not is_fits_name("b.png")


def test_fit_leaves_a_square_image_as_it_is():
    image = RNG.integers(0, 256, (21, 21, 3), np.uint8)
    assert np.array_equal(crop_and_resize(image), image)


def test_fit_takes_the_centre():
    assert np.array_equal(crop_and_resize(COLOURS), COLOURS[:, 5:25])
    assert np.array_equal(crop_and_resize(COLOURS, crop=10), COLOURS[5:15, 10:20])
    assert np.array_equal(crop_and_resize(COLOURS.transpose(1, 0, 2)), COLOURS.transpose(1, 0, 2)[5:25])


def test_fit_adds_black_where_the_crop_is_larger():
    framed = crop_and_resize(COLOURS, crop=40)
    assert framed.shape == (40, 40, 3)
    assert np.array_equal(framed[10:30, 5:35], COLOURS)
    assert framed.sum(dtype=int) == COLOURS.sum(dtype=int)
    tall = crop_and_resize(COLOURS, crop=24)  # higher than the image, narrower than it
    assert np.array_equal(tall[2:22], COLOURS[:, 3:27])
    assert not tall[:2].any()
    assert not tall[22:].any()


def test_fit_averages_areas_when_it_shrinks():
    image = RNG.integers(0, 256, (16, 16, 3), np.uint8)
    means = image.reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
    assert np.abs(crop_and_resize(image, size=8) - means).max() <= 0.5
    assert crop_and_resize(image, crop=8, size=32).shape == (32, 32, 3)


def test_fit_of_an_even_image_keeps_it_even():
    assert np.array_equal(np.unique(crop_and_resize(np.full((33, 33, 3), 77, np.uint8), size=20)), [77])


def test_a_side_of_no_pixel_is_refused():
    with pytest.raises(UsageError, match="--crop 0"):
        check_crop_and_size(0, None)
    with pytest.raises(UsageError, match="--size -3"):
        check_crop_and_size(None, -3)
    check_crop_and_size(1, 1)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_fewer_bits_in_a_sixteen_bit_image_are_not_nearly_black(bits: int, channels: int, ending: str):
    if (channels, ending) == (4, ".tif"):
        ending = ".png"  # OpenCV writes none that it reads without a warning
    deep = RNG.integers(0, 1 << bits, (20, 30, min(channels, 3)), np.uint16)
    deep.flat[0] = (1 << bits) - 1
    written, expected = deep[..., ::-1], deep * (255 / ((1 << bits) - 1))
    if channels == 4:  # the right half is transparent
        opaque = np.where(np.arange(30) < 15, 65535, 0).astype(np.uint16)
        written = np.dstack([written, np.broadcast_to(opaque, (20, 30))])
        expected[:, 15:] = 0
    image = read_image(cv2.imencode(ending, written)[1].tobytes())
    assert np.abs(image - expected).max() <= 0.51


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_webp_and_avif_are_read(kind: str):
    smooth = cv2.resize(COLOURS[:4, :6], (60, 40))
    image = read_image(encoded(Image.fromarray(smooth), kind, quality=95))
    assert np.abs(image.astype(int) - smooth).mean() < 12
    assert is_image_name(f"a.{kind.lower()}")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_an_image_is_refused_by_the_size_it_declares(monkeypatch: pytest.MonkeyPatch, kind: str):
    content = encoded(Image.fromarray(COLOURS), kind)
    monkeypatch.setenv("MORPHOSCOPE_MOST_PIXELS", "599")
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("pixels were decoded"))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("pixels were decoded"))
    message = r"x: declares 30 × 20 pixels, more than the 599 .* set MORPHOSCOPE_MOST_PIXELS"
    with pytest.raises(MorphoscopeError, match=message):
        read_image(content, name="x")
    monkeypatch.undo()
    monkeypatch.setenv("MORPHOSCOPE_MOST_PIXELS", "600")
    assert read_image(content, name="x").shape == (20, 30, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_few_bytes_that_declare_gigabytes_are_refused_unasked(kind: str):
    side = (40_000).to_bytes(4 if kind == "PNG" else 2)
    content = encoded(Image.fromarray(COLOURS), kind)
    if kind == "PNG":
        head = content[12:16] + side + side + content[24:29]
        content = content[:12] + head + zlib.crc32(head).to_bytes(4) + content[33:]
    else:
        at = content.index(b"\xff\xc0") + 5
        content = content[:at] + side + side + content[at + 4 :]
    with pytest.raises(MorphoscopeError, match=r"x: declares .*pixels.* set MORPHOSCOPE_MOST_PIXELS"):
        read_image(content, name="x")


def test_a_setting_that_is_no_number_of_pixels_is_refused(monkeypatch: pytest.MonkeyPatch):
    for text in ("many", "0", "-1", "²"):
        monkeypatch.setenv("MORPHOSCOPE_MOST_PIXELS", text)
        with pytest.raises(UsageError, match=r"MORPHOSCOPE_MOST_PIXELS=.*: a number of pixels was expected"):
            read_image(encoded(Image.fromarray(COLOURS)))


def test_images_that_take_more_memory_a_pixel_may_have_fewer(monkeypatch: pytest.MonkeyPatch):
    """At the default bound an image takes a gigabyte at most, whatever its kind."""
    plain = encoded(Image.fromarray(COLOURS), "PNG")
    transparent = encoded(Image.fromarray(COLOURS).convert("RGBA"), "PNG")
    deep = cv2.imencode(".png", COLOURS.astype(np.uint16) * 256)[1].tobytes()
    floats = encoded(Image.fromarray(COLOURS[:, :, 0].astype(np.float32)), "TIFF")
    for content, memory in ((plain, 16), (transparent, 22), (deep, 34), (floats, 48)):
        least = -(-600 * memory // 16)  # pixels of the setting
        monkeypatch.setenv("MORPHOSCOPE_MOST_PIXELS", str(least))
        assert read_image(content, name="x").shape == (20, 30, 3)
        monkeypatch.setenv("MORPHOSCOPE_MOST_PIXELS", str(least - 1))
        with pytest.raises(MorphoscopeError, match="x: declares 30 × 20 pixels, more than the 59"):
            read_image(content, name="x")
