"""The Python interface: the same nouns and verbs as the command line.

::

    import morphoscope as ms

    store = ms.open_store("my-galaxies")
    run = ms.train("small/own-labels", store, "my-run")
    probabilities = ms.load("my-run").predict(images)

What a loaded run can do lies by its purpose:

    opened.py      one run or several, and their network
    images.py      answers, features, sets and maps for images in memory
    catalogues.py  of many images, and of a picture of the sky
    results.py     evaluation, calibration, export, publication
    loaded.py      all of it together; loading and training
"""

from __future__ import annotations

from morphoscope.api.loaded import ENGINES, LoadedRun, load, train
from morphoscope.data.store import open_store
from morphoscope.training.run import open_run

__all__ = ["ENGINES", "LoadedRun", "load", "open_run", "open_store", "train"]
