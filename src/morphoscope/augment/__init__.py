"""Augmentation: one warp per galaxy, on the CPU or on a GPU."""
