"""The network whose features a linear probe uses: that of a run, or of a name with pretrained weights."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from morphoscope import files
from morphoscope.data.splits.file import Split
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.extras import TRAINING, need
from morphoscope.images.bands import band_label
from morphoscope.images.planes import kind_of
from morphoscope.inference.head_fit import over_positions
from morphoscope.metrics.linear_models import LinearModel
from morphoscope.packaged import NETWORKS
from morphoscope.recipes import Recipe
from morphoscope.runs.run import Header, Run, open_run, store_facts, write_header

WEIGHTS = "weights.safetensors"
_HEAD = "head."


@contextlib.contextmanager
def encoder_of(recipe: Recipe, store: Store, split: Split) -> Iterator[Run]:
    """The encoder as a run: of ``model.start``, or built from ``model.name`` for as long as the block lasts.

    Raises:
        UsageError: there is no such run, or its images have other channels.
        MorphoscopeError: pretrained weights cannot be fetched, or torch, which builds a network from a name,
            is not installed.
    """
    if recipe.model.start:
        run = open_run(recipe.model.start)
        taken, found = (
            (facts.image_shape[2], facts.dtype, [band_label(band) for band in facts.bands])
            for facts in (run.header.store, store.meta)
        )
        if taken != found:
            raise UsageError(
                f"model.start={recipe.model.start} takes {kind_of(run.header.store)}, and the images of "
                f"{store.path} are {kind_of(store.meta)}"
            )
        yield run
        return
    need((*TRAINING, "onnxscript"), "train", f"a linear probe of {recipe.model.name}")
    folder = Path(tempfile.mkdtemp(prefix="morphoscope-"))
    try:
        yield _built(recipe, store, split, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _built(recipe: Recipe, store: Store, split: Split, folder: Path) -> Run:
    """A run of the named network with an untrained head."""
    from morphoscope.models.build import seeded
    from morphoscope.models.network import parameter_count
    from morphoscope.models.pretrained import save_weights
    from morphoscope.training.start import network_of

    scheme = store.need_scheme()
    with seeded(recipe.seed):
        started = network_of(recipe.changed(augment={"train_size": ()}), store, split, scheme)
    save_weights(
        {name: tensor.contiguous() for name, tensor in started.network.state_dict().items()},
        folder / WEIGHTS,
    )
    header = Header(
        state="finished",
        scheme=scheme,
        store=store_facts(store),
        parameters=parameter_count(started.network),
        start=started.origin,
        backbone=started.hub,
        weights_sha256=files.sha256_of(folder / WEIGHTS),
    )
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    write_header(folder, header)
    return open_run(folder)


def origin_of(encoder: Run, recipe: Recipe) -> str:
    """Where the features come from, for people."""
    if not recipe.model.start:
        return encoder.header.start
    if encoder.path.parent == NETWORKS:
        return f"the packaged network '{encoder.name}', which learned from simulated galaxies"
    return f"the run {encoder.name}"


def with_head(encoder: Run, head: LinearModel) -> dict[str, np.ndarray]:
    """The encoder's tensors by name, with another head.

    Raises:
        MorphoscopeError: its weights are missing, damaged, or not those that its training wrote.
    """
    tensors = _tensors(encoder)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(_HEAD)}
    kept[f"{_HEAD}1.weight"] = over_positions(head.weight_KD, head_width(tensors)).astype(np.float32)
    kept[f"{_HEAD}1.bias"] = head.bias_K.astype(np.float32)
    return kept


def head_width(tensors: Mapping[str, np.ndarray]) -> int:
    """The number of features that the first layer of a network's head receives."""
    layers = sorted(
        (int(name.split(".")[1]), tensor.shape[1])
        for name, tensor in tensors.items()
        if name.startswith(_HEAD) and name.endswith(".weight") and tensor.ndim == 2
    )
    return layers[0][1]


def head_parameters(encoder: Run) -> int:
    """Number of parameters of the encoder's own head."""
    return sum(tensor.size for name, tensor in _tensors(encoder).items() if name.startswith(_HEAD))


def _tensors(encoder: Run) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = encoder.path / WEIGHTS
    if not path.is_file():
        raise MorphoscopeError(f"{path} is missing; the run cannot be used without its weights")
    if encoder.header.weights_sha256 and files.sha256_of(path) != encoder.header.weights_sha256:
        raise MorphoscopeError(
            f"{path} is not the file that the training wrote (its checksum differs); restore it from a copy"
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise MorphoscopeError(f"{path} is damaged ({reason_of(error)})") from error
