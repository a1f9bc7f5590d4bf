"""Masks in a store: which components of a galaxy contribute light to which pixels.

``masks.npy`` is (N, H, W) uint8 beside ``images.npy``; bit k of a pixel is set where the k-th component of
``mask_components`` in ``store.yaml`` contributes. A pixel may have several components, or none. The table's
column ``mask_hash`` has the hash of each mask.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean

NAME = "masks.npy"
MASK_HASH = "mask_hash"  # table column


def open_masks(folder: Path, components: Sequence[str], shape: tuple[int, ...]) -> np.ndarray | None:
    """The masks of a store as a read-only memory map, (N, H, W) uint8; None if it has none.

    Raises:
        ValueError: the shape or type is wrong.
        OSError: the file is missing.
    """
    if not components:
        return None
    masks_NHW = np.lib.format.open_memmap(folder / NAME, mode="r")
    if masks_NHW.shape != shape or masks_NHW.dtype != np.uint8:
        raise ValueError(
            f"store.yaml says masks {shape} uint8, {NAME} has {masks_NHW.shape} {masks_NHW.dtype}"
        )
    return masks_NHW


def component_plane(mask_HW: np.ndarray, component: str, components: Sequence[str]) -> np.ndarray:
    """One component of bit masks, same shape, bool.

    Raises:
        UsageError: ``component`` is not among ``components``.
    """
    if component not in components:
        raise UsageError(f"no mask of '{component}'{did_you_mean(component, components, 'components')}")
    return (mask_HW >> np.uint8(components.index(component))) & np.uint8(1) > 0


def write_npy_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    """Write the header of a uint8 array at the start of a file.

    numpy leaves room for the first axis to grow, so the final header can overwrite the first one.
    """
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


class MaskWriter:
    """Write ``masks.npy`` mask by mask, in the folder of a store that is being written."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.count = 0
        self._file: IO[bytes] | None = None

    def open(self, folder: Path) -> None:
        """Start writing in ``folder``."""
        self._file = (folder / NAME).open("wb")
        write_npy_header(self._file, (0, *self.shape))

    def append(self, mask_HW: np.ndarray) -> None:
        """Add one mask.

        Raises:
            MorphoscopeError: its shape is not the store's, or it is not uint8.
        """
        if mask_HW.shape != self.shape or mask_HW.dtype != np.uint8:
            raise MorphoscopeError(
                f"mask {self.count} is {mask_HW.shape} {mask_HW.dtype}, the store's are {self.shape} uint8"
            )
        self._open_file.write(np.ascontiguousarray(mask_HW).data)
        self.count += 1

    def finish(self) -> None:
        """Write the final header and flush everything to disk."""
        write_npy_header(self._open_file, (self.count, *self.shape))
        self._open_file.flush()
        os.fsync(self._open_file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk once more, while the last bytes are written out
                self._file.close()

    @property
    def _open_file(self) -> IO[bytes]:
        assert self._file is not None, "open() comes first"
        return self._file
