"""Augmentation: one warp a galaxy, on the CPU or on a GPU."""
