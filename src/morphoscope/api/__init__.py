"""The Python interface: the same nouns and verbs as the command line.

::

    import morphoscope as ms

    store = ms.open_store("my-galaxies")
    run = ms.train("small/own-labels", store, "my-run")
    probabilities = ms.load("my-run").predict(images)
"""

from __future__ import annotations

from morphoscope.api.load_and_train import ENGINES, load, train
from morphoscope.api.loaded_run import LoadedRun
from morphoscope.data.store import open_store
from morphoscope.runs.run import open_run

__all__ = ["ENGINES", "LoadedRun", "load", "open_run", "open_store", "train"]
