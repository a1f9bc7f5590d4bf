"""Preprocess images of any size like a run's training images.

Shape letters: H × W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.bands import band_label, by_number, reddest_first
from morphoscope.images.central_source import CentralSource, central_source
from morphoscope.images.decode import check_crop_and_size, crop_and_resize, half_scale
from morphoscope.images.planes import Reordered, kind_of, order_of, picture_of
from morphoscope.images.source_quality import LEAST_SIGNAL
from morphoscope.images.stretch import PLANES, STRETCHES
from morphoscope.runs.run import Run, galaxy_size

if TYPE_CHECKING:
    from morphoscope.data.store import Store
    from morphoscope.runs.run import StoreFacts

WIDEST = 1.5  # of an image's shorter side
ALIKE = 1.5  # galaxies up to so many times smaller or larger than the training's are shown as they are,
NEAR = 1.2  # others so many times smaller or larger, which keeps most of what surrounds them
AGREE = 2.0  # measured finer, a galaxy is no more times smaller or larger; if so, something else was measured


@dataclass(frozen=True)
class CropResizePlan:
    """A centre crop (None: the largest square) and a resize, or nothing."""

    kind: str  # "stored", "requested", "training", "scaled" or "fitted"
    crop: int | None = None
    size: int | None = None
    source: CentralSource | None = None  # measured to fit it; sizes are shares of the image's shorter side
    unchanged: bool = False  # whether it already fits

    def seen(self, shorter: int) -> CentralSource | None:
        """What was measured, if the network sees just that: sizes are shares of the side that it sees.

        Args:
            shorter: side of the image, pixels.
        """
        if not self.unchanged or self.source is None or self.crop is None:
            return None
        return replace(self.source, size=self.source.size * shorter / self.crop)

    def description(self, height: int, width: int) -> str:
        """One sentence for the user; empty if nothing is done."""
        if self.kind == "stored":
            return ""
        if self.kind == "fitted":
            return (
                f"images of {width}×{height} px: scaled to {self.size} px; where the central galaxy is more "
                f"than {ALIKE:g} times smaller or larger than the training's, cropped or padded first to "
                f"{NEAR:g} times, as far as its sky reaches; see columns galaxy_size and shown_side (--scale "
                "trained: as they are)"
            )
        what = f"the central {self.crop} px are taken" if self.crop else "the largest centred square is taken"
        why = {
            "requested": "as requested",
            "training": "as for the training",
            "scaled": "which assumes that they show as much sky as the training's; pass --crop if not",
        }[self.kind]
        return f"images of {width}×{height} px: {what} and scaled to {self.size} px, {why}"


def check_request(facts: StoreFacts, crop: int | None, size: int | None) -> None:
    """Refuse a crop or size that does not fit the run.

    Raises:
        UsageError: a side is less than 1 pixel, or ``size`` is not the side of the training's images.
    """
    check_crop_and_size(crop, size)
    side = facts.image_shape[0]
    if size is not None and size != side:
        raise UsageError(
            f"--size {size}: the run was trained on images of {side} px and takes no others; leave --size "
            "out, and choose with --crop how much of each image is shown to it"
        )


def crop_resize_plan(shape: tuple[int, ...], facts: StoreFacts, *, crop: int | None = None) -> CropResizePlan:
    """How to crop and resize an image of shape (H, W, C) like the training's stored images.

    The first that applies:

    1. ``crop`` is given: that centre crop (black beyond the edge), scaled to the stored side.
    2. The image has the stored shape: used as it is.
    3. The training's images were cropped and this one is at least as large as that crop: the same crop,
       scaled to the stored side, so that originals of the same survey are treated as in the training.
    4. Else: the largest centred square, scaled to the stored side.

    Raises:
        MorphoscopeError: the image is empty or has another number of channels than the training's.
    """
    side, _, channels = facts.image_shape
    if len(shape) != 3 or shape[2] != channels or 0 in shape:
        raise MorphoscopeError(
            f"the image is {shape}; (height, width, {channels}) was expected, as in the training"
            + (f", whose images are {kind_of(facts)}" if not facts.pictures else "")
        )
    if crop is not None:
        return CropResizePlan("requested", crop, side)
    if tuple(shape) == tuple(facts.image_shape):
        return CropResizePlan("stored")
    if facts.crop is not None and min(shape[:2]) >= facts.crop:
        return CropResizePlan("training", facts.crop, side)
    return CropResizePlan("scaled", None, side)


def frames_by_itself(run: Run) -> bool:
    """Whether a run wants images framed by the sizes of their galaxies, unless told otherwise."""
    return run.header.store.galaxy_size is not None and run.recipe.evaluation.scale == "auto"


def fitting_description(facts: StoreFacts) -> str:
    """How images are fitted, for a catalogue's provenance; it begins with "auto"."""
    size = facts.galaxy_size or 0.0
    return (
        f"auto: central sources smaller than {size / ALIKE:.3f} or larger than {size * ALIKE:.3f} of the "
        f"side are brought to {size / NEAR:.3f} and {size * NEAR:.3f}, as far as their sky reaches (in "
        f"training {size:.3f})"
    )


def framing_of(provenance: Mapping[str, str]) -> str:
    """How the images of a catalogue were framed, "auto" or "trained", by its provenance."""
    return "auto" if provenance.get("scale", "").startswith("auto") else "trained"


def facts_for_fitting(run: Run) -> StoreFacts:
    """The facts of a run's training store, with the size of its galaxies.

    Raises:
        UsageError: the run does not record it, as those of earlier builds, and its store is not there.
    """
    facts = run.header.store
    if facts.galaxy_size is not None:
        return facts
    try:
        size = galaxy_size(run.store())
    except MorphoscopeError as error:
        raise UsageError(
            f"--scale auto: run '{run.name}' does not record how large its training galaxies are, and its "
            f"store cannot be measured ({error}); choose with --crop how much of each image is shown to it"
        ) from error
    if size is None:
        raise UsageError(
            f"--scale auto: no galaxy stands out in the training images of run '{run.name}'; leave it out"
        )
    return facts.model_copy(update={"galaxy_size": size})


def framing(run: Run, scale: str | None) -> tuple[StoreFacts, bool]:
    """The facts to preprocess a run's images with, and whether by the sizes of their galaxies.

    Args:
        run: that the images are for.
        scale: "auto", "trained", or None: as the run wants it.

    Raises:
        UsageError: as :func:`facts_for_fitting`.
    """
    fitted = frames_by_itself(run) if scale is None else scale == "auto"
    return facts_for_fitting(run) if fitted else run.header.store, fitted


def fits(source: CentralSource | None, facts: StoreFacts) -> bool:
    """Whether an image needs no fitting: its galaxy is as large as the training's, or cannot be measured.

    Args:
        source: in the middle of the image, as shown to the network; None if there is none.
        facts: of the training's store, with ``galaxy_size``.
    """
    if source is None or source.signal < LEAST_SIGNAL or facts.galaxy_size is None:
        return True
    return facts.galaxy_size / ALIKE <= source.size <= facts.galaxy_size * ALIKE


def fitting_plan(source: CentralSource, shape: tuple[int, ...], facts: StoreFacts) -> CropResizePlan:
    """A centre crop, or a border, that makes an image's central galaxy about as large as the training's.

    It is brought to :data:`NEAR` times smaller or larger, whichever is less change: tails and companions lie
    around a galaxy. Beyond the edge lies the image's mirror image, so at most as much is added as there is
    sky between the galaxy and the edge, and at most :data:`WIDEST` times the image is shown.

    Args:
        source: the galaxy; its size is a share of the image's shorter side.
        shape: of the image, (H, W, C).
        facts: of the training's store, with ``galaxy_size``.
    """
    shorter, typical = min(shape[:2]), facts.galaxy_size or source.size
    widest = min(WIDEST, max(1.0, 2.0 - source.size))
    wanted = min(max(source.size, typical / NEAR), typical * NEAR)
    shown = shorter * min(source.size / wanted, widest)
    return CropResizePlan("fitted", max(round(shown), 1), facts.image_shape[0], source)


def _with_border(image_HWC: np.ndarray, side: int) -> np.ndarray:
    """The image in the middle of its mirror images, at least ``side`` pixels high and wide."""
    down, right = (max(0, -(-(side - length) // 2)) for length in image_HWC.shape[:2])
    if not (down or right):
        return image_HWC
    framed = cv2.copyMakeBorder(image_HWC, down, down, right, right, cv2.BORDER_REFLECT_101)
    return framed.reshape(*framed.shape[:2], image_HWC.shape[2])  # OpenCV drops a single channel


def follow(plan: CropResizePlan, image_HWC: np.ndarray) -> np.ndarray:
    """Crop and resize an image as planned."""
    if plan.kind == "stored":
        return image_HWC
    if plan.kind == "fitted" and plan.crop is not None:
        image_HWC = _with_border(image_HWC, plan.crop)
    return crop_and_resize(image_HWC, crop=plan.crop, size=plan.size)


def _of_type(image_HWC: np.ndarray, facts: StoreFacts) -> np.ndarray:
    if image_HWC.dtype != np.dtype(facts.dtype):
        raise MorphoscopeError(
            f"the image is {image_HWC.dtype}; {facts.dtype} was expected, as in the training, whose images "
            f"are {kind_of(facts)}"
        )
    return image_HWC


def bands_asked(asked: Sequence[str], facts: StoreFacts) -> tuple[str, ...]:
    """The bands to read, in the order of planes that have no names; reading sorts them by wavelength.

    Args:
        asked: by the user, by name or by the numbers of planes; none: as for the training.
        facts: of the training's store.

    Raises:
        UsageError: one of the training's is missing, or they are of unknown wavelengths and in another order.
    """
    if not facts.bands or not asked:
        return tuple(asked or facts.bands_given or facts.bands)
    if by_number(asked) and len(asked) == len(facts.bands):
        return tuple(asked)
    order = order_of(asked, facts.bands, f"--bands {','.join(asked)}")
    kept = tuple(asked[band] for band in sorted(order))
    read = [band_label(kept[band]) for band in reddest_first(kept)]
    if read != [band_label(band) for band in facts.bands]:
        raise UsageError(
            f"--bands {','.join(asked)}: the run was trained on {','.join(facts.bands)}; name bands of "
            "unknown wavelengths in this order"
        )
    return kept


def stretch_asked(asked: str | None, facts: StoreFacts) -> str:
    """How images are read: as asked, else as for the training.

    Raises:
        UsageError: pictures are asked for a run that takes planes of bands, or the other way round.
    """
    if asked is None:
        return stretch_like(facts.stretch)
    if (asked in PLANES or bool(facts.bands)) and asked != facts.stretch:
        raise UsageError(f"--stretch {asked}: the run was trained on {kind_of(facts)}; leave --stretch out")
    return asked


def stretch_like(training: str) -> str:
    """The stretch that renders FITS images like a run's training images.

    The training's own if that is a stretch of FITS images; otherwise "lupton", also for "sdss", which
    stores of simulated SDSS images record.
    """
    if training in PLANES:
        return training
    return training if training in STRETCHES and training not in ("as-served", "sdss") else "lupton"


def store_in_order(store: Store, facts: StoreFacts) -> Store:
    """A store whose planes are in the order of a run's training; one of pictures as it is.

    Raises:
        UsageError: bands are missing, or its images are of another kind.
    """
    meta = store.meta
    if bool(meta.bands) != bool(facts.bands) or meta.dtype != facts.dtype:
        raise UsageError(
            f"the images of {store.path} are {kind_of(meta)}, and the run was trained on {kind_of(facts)}"
        )
    order = order_of(meta.bands, facts.bands, str(store.path))
    if order == list(range(len(meta.bands))):
        return store
    bands = tuple(meta.bands[band] for band in order)
    shape = (*meta.image_shape[:2], len(order))
    changed: Any = Reordered(store.images, order)
    return replace(store, images=changed, meta=meta.model_copy(update={"bands": bands, "image_shape": shape}))


def load_and_preprocess(
    load: Callable[[], np.ndarray], facts: StoreFacts, *, crop: int | None = None, fitted: bool = False
) -> tuple[np.ndarray, CropResizePlan, tuple[int, ...]]:
    """Read an image and preprocess it; a JPEG that is shrunk to half or less is decoded at half its scale.

    Args:
        load: reads the image, (H, W, C), of the training's type.
        facts: of the training's store.
        crop: as for :func:`crop_resize_plan`.
        fitted: by :func:`fitting_plan`, unless the galaxy :func:`fits` as it is. It is measured in the image
            as the network would see it, so that only those that do not fit take longer.

    Returns:
        The image (S, S, C), the plan that was applied, and the original shape (H, W, C).

    Raises:
        MorphoscopeError: as ``load`` and :func:`crop_resize_plan`.
    """
    channels = facts.image_shape[2]

    def suits(height: int, width: int) -> bool:
        plan = crop_resize_plan((height, width, channels), facts, crop=crop)
        side = plan.crop or min(height, width)
        # The crop must start between the same pixels at both scales.
        even = side % 2 == 0 and (height - side) % 4 == (width - side) % 4 == 0
        return plan.size is not None and side >= 2 * plan.size and even

    with half_scale(suits) as halved:
        read_HWC = _of_type(load(), facts)
    shape = read_HWC.shape if halved.shape is None else (*halved.shape, channels)
    plan = crop_resize_plan(shape, facts, crop=crop)
    scale = 1 if halved.shape is None else 2
    side = None if plan.crop is None else plan.crop // scale
    image_HWC = follow(replace(plan, crop=side), read_HWC)
    if not fitted:
        return image_HWC, plan, shape
    source, shorter = central_source(picture_of(image_HWC)), min(shape[:2])
    shown, suited = plan.crop or shorter, fits(source, facts)
    if source is not None:
        source = replace(source, size=source.size * shown / shorter)
    if source is None or suited:
        return image_HWC, CropResizePlan("fitted", shown, facts.image_shape[0], source, unchanged=True), shape
    whole_HWC = read_HWC if halved.whole is None else _of_type(halved.whole(), facts)
    finer = central_source(picture_of(whole_HWC))
    if finer is not None and 1 / AGREE <= finer.size / source.size <= AGREE:
        source = finer
    plan = fitting_plan(source, whole_HWC.shape, facts)
    return follow(plan, whole_HWC), plan, shape
