"""Recipes for a small machine: two CPU cores, no network, minutes.

The numbers to expect are measured; EXPERIMENTS.md has the runs they come from.
"""

from __future__ import annotations

from morphoscope.packaged import DEFAULT
from morphoscope.recipes import Augment, Data, Evaluation, Model, Optimiser, Recipe, Schedule, Training


def default() -> Recipe:
    """How the packaged network began, on simulated galaxies of three surveys.

    ::

        morphoscope data simulate STORE --count 30000 --size 128 --survey decals,decals,sdss,sdss,euclid \
            --seed 1
        morphoscope train default --store STORE --out RUN

    Augmentation varies what differs between simulated and real images, and between surveys: levels, colours,
    sharpness, noise, and the size of a galaxy in its image. The packaged weights were then trained further,
    on more simulated galaxies and on pictures without labels (``scripts/adapt_default_body.py``).
    """
    return Recipe(
        name="default",
        about="ten classes from simulated galaxies of three surveys alone; how 'default' began",
        data=Data(scheme="galaxy10", test=0.05, validation=0.05),
        augment=Augment(
            size=128,
            train_size=(96, 128),
            zoom=(0.6, 1.3),
            border="reflect",
            brightness=0.25,
            contrast=0.25,
            channel_shift=20.0,
            channel_gain=0.15,
            gamma=0.3,
            saturation=0.6,
            blur=1.0,
            noise=10.0,
        ),
        model=Model(name="regnetx_004", pretrained=False),
        optimiser=Optimiser(name="adamw", lr=2e-3, weight_decay=0.05),
        schedule=Schedule(name="one-cycle", warmup=0.2),
        training=Training(epochs=20, batch=64, label_smoothing=0.05, ema=0.999, restore_best=False),
        evaluation=Evaluation(views=8, scale="auto"),
    )


def five_class() -> Recipe:
    """Five classes of the Galaxy Zoo votes, from ImageNet weights in a package.

    ::

        morphoscope data ingest galaxy-zoo KAGGLE STORE --scheme five-class --crop 300 --size 200
        morphoscope train small/five-class --store STORE --out RUN

    The network sees the central 216 of 424 pixels; the rest of the stored image fills the corners of rotated
    crops with real sky.
    """
    return Recipe(
        name="small/five-class",
        about="EfficientNet-Lite0 from its ImageNet weights, fine-tuned at 160 px",
        data=Data(validation=0.05),
        augment=Augment(size=160, crop=144, zoom=(0.85, 1.2), shift=0.03),
        model=Model(name="tf_efficientnet_lite0", dropout=0.2),
        optimiser=Optimiser(name="adamw", lr=1e-3, weight_decay=0.05),
        schedule=Schedule(name="one-cycle", warmup=0.2),
        training=Training(epochs=18, batch=32, label_smoothing=0.05, restore_best=False, ema=0.98),
        evaluation=Evaluation(views=16),
    )


def five_class_scratch() -> Recipe:
    """The same galaxies, from random weights."""
    return Recipe(
        name="small/five-class-scratch",
        about="ResNet-18 from scratch at 112 px",
        data=Data(validation=0.05, balance="square-root"),
        augment=Augment(size=112, crop=144, zoom=(0.8, 1.25), shift=0.04),
        model=Model(name="resnet18", pretrained=False),
        optimiser=Optimiser(name="adamw", lr=2e-3, weight_decay=0.05),
        schedule=Schedule(name="one-cycle", warmup=0.25),
        training=Training(epochs=40, batch=32, label_smoothing=0.05, restore_best=False, ema=0.98),
        evaluation=Evaluation(views=16),
    )


def own_labels() -> Recipe:
    """For a few hundred labels of your own: starts from the packaged network.

    ``model.start=none`` and ``model.name=tf_efficientnet_lite0`` start from ImageNet weights instead. With
    thousands of labels a third of the epochs is enough; with a hundred ``model.last_blocks=8`` takes half
    the time and is as good or better.
    """
    return five_class().changed(
        name="small/own-labels",
        about="fine-tune on your own classes or votes; a hundred images are enough to begin",
        model={"name": "regnetx_004", "start": DEFAULT},
        data={"validation": 0.1},
        augment={"size": 128, "crop": None, "border": "reflect"},
        training={"epochs": 30},
        evaluation={"views": 8},  # rotations only: mirror images are wrong where handedness is a label
    )


def linear_probe() -> Recipe:
    """For a hundred labels and seconds: a linear head on the features of the packaged network.

    It needs no torch. ``model.start=RUN`` takes the features of another run, ``model.start=none`` those of
    ``model.name`` with its pretrained weights.
    """
    return own_labels().changed(
        name="small/linear-probe",
        about="a linear classifier on the packaged network's features, in seconds and without torch",
        data={"folds": 5},
        training={"linear_probe": True, "epochs": 1, "label_smoothing": 0.0, "ema": 0.0},
    )


def simulated() -> Recipe:
    """Ten classes of simulated galaxies in a few minutes.

    Brightness, contrast, black level and noise vary widely, so that images of another telescope with another
    stretch are less far out of distribution.
    """
    return Recipe(
        name="small/simulated",
        about="ten classes of simulated galaxies with a ResNet-18 from scratch",
        augment=Augment(
            size=64,
            zoom=(0.85, 1.15),
            shift=0.03,
            border="reflect",
            brightness=0.3,
            contrast=0.3,
            channel_shift=25.0,
            noise=10.0,
        ),
        model=Model(name="resnet18", pretrained=False),
        optimiser=Optimiser(name="adamw", lr=2e-3, weight_decay=0.02),
        schedule=Schedule(name="one-cycle", warmup=0.3),
        training=Training(epochs=26, batch=64, label_smoothing=0.05, ema=0.98),
    )


def votes() -> Recipe:
    """Vote fractions by squared error, from ImageNet weights in a package."""
    return five_class().changed(
        name="small/votes",
        about="the 37 vote fractions of the Galaxy Challenge by regression",
        augment={"size": 128, "crop": None},
        training={"epochs": 14, "label_smoothing": 0.0},
    )


def vote_counts() -> Recipe:
    """Vote counts by their Dirichlet-multinomial likelihood, from ImageNet weights in a package."""
    return votes().changed(
        name="small/vote-counts",
        about="how many volunteers give each answer, with intervals, for any decision tree",
    )


def regression() -> Recipe:
    """Measured numbers of each galaxy with predicted errors, from the packaged network.

    No zoom: it would change every size and distance on the sky. A position angle cannot be learned while
    images are rotated (``augment.rotation``). Student-t rather than Gaussian: its intervals held better on
    simulated galaxies, and tables have wild values.

    1,600 simulated galaxies, six epochs at 64 px, Gaussian: R² 0.79 (bulge fraction) to 0.96 (magnitude).
    """
    return own_labels().changed(
        name="small/regression",
        about="any measured numbers (redshift, bar length, Sérsic index), each with a predicted error",
        model={"likelihood": "student-t"},
        augment={"zoom": (1.0, 1.0)},
        training={"label_smoothing": 0.0},
    )


RECIPES = (
    default,
    five_class,
    five_class_scratch,
    linear_probe,
    own_labels,
    simulated,
    votes,
    vote_counts,
    regression,
)
