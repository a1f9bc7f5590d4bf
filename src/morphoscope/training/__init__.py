"""Training: from a recipe and a store to a run."""

from morphoscope.extras import TRAINING, need

need(TRAINING, "train", "training")
