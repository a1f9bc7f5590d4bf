"""What every study here does otherwise than its paper."""

from __future__ import annotations

from morphoscope.studies.published.paper import Deviation

FRAMEWORK = Deviation(
    what="Framework",
    paper="Keras on TensorFlow.",
    here="PyTorch.",
    why="Start values of new layers and the running means of batch normalisation differ by default; layouts, "
    "losses and schedules follow the paper.",
)
ONE_WARP = Deviation(
    what="Geometry of the augmentation",
    paper="Several steps, each of which resamples the image.",
    here="Turn, flip, zoom, shear, shift, crop and scaling are one warp.",
    why="The image is blurred once instead of several times; the ranges are the same.",
)
PRECISION = Deviation(
    what="Precision",
    paper="Not stated; single precision is the frameworks' default.",
    here="bfloat16 where the hardware has it, weights in single precision.",
    why="Speed; training.precision=fp32 switches it off.",
)
SEEDS = Deviation(
    what="Repetition",
    paper="One run of each row.",
    here="As many seeds as --seeds says, mean and standard deviation.",
    why="One run cannot tell a small difference from chance.",
)
