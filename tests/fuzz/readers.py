"""Every reader of files from elsewhere: how a small valid file is made, how it is read, and what it says."""

from __future__ import annotations

import of_images
import of_newer
import of_packed
import of_runs

READERS = (*of_images.READERS, *of_runs.READERS, *of_packed.READERS, *of_newer.READERS)
