"""A run as a folder that others can load: weights, recipe, scheme, calibration, metrics, and a model card.

The folder is a run: ``ms.load(folder)`` and every command read it back, with the same answers to the last
bit. Left out is what shows galaxies or names files of this machine: predictions, figures, report, split.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from morphoscope import files
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.sharing.card import Wording, model_card
from morphoscope.sharing.clean import portable_recipe, portable_store
from morphoscope.sharing.hub import is_hub_name, upload
from morphoscope.training.run import write_header

if TYPE_CHECKING:
    from morphoscope.training.run import Run

WEIGHTS = "weights.safetensors"
SHARED = ("calibration.json", "metrics.json", "history.csv", "reference.json", "reference.safetensors")
"""What of a run is published beside its weights, where it is there."""


def publish(
    run: Run,
    to: Path | str,
    *,
    wording: Wording | None = None,
    private: bool = False,
    overwrite: bool = False,
) -> str:
    """Make a folder to share, or put it on the model hub.

    Args:
        run: a finished run.
        to: a folder to make, or ``hf-hub:owner/name``.
        wording: what the card says that the run does not know: licence, its authors.
        private: on the hub: only its owner sees it.
        overwrite: replace a published folder that is there.

    Returns:
        Where it is: the folder, or the address of the hub's page.

    Raises:
        UsageError: something else is there already, or the hub needs a token.
        MorphoscopeError: the weights are not those that the training wrote, or the hub cannot be reached.
    """
    if is_hub_name(str(to)):
        with tempfile.TemporaryDirectory(prefix="morphoscope-") as made:
            folder = Path(made) / "run"
            _write(run, folder, wording or Wording(), name=str(to), overwrite=False)
            return upload(folder, str(to), private=private)
    folder = Path(to)
    if folder.resolve() == run.path.resolve():
        raise UsageError(f"{folder} is the run itself; choose another folder to publish it in")
    _write(run, folder, wording or Wording(), name=folder.name, overwrite=overwrite)
    return str(folder)


def _write(run: Run, folder: Path, wording: Wording, *, name: str, overwrite: bool) -> None:
    weights = run.path / WEIGHTS
    digest = _checked(run, weights)
    header = run.header.model_copy(
        update={"store": portable_store(run.header.store), "weights_sha256": digest}
    )
    with files.atomic_folder(folder, overwrite=overwrite, mark="run.yaml") as place:
        shutil.copyfile(weights, place / WEIGHTS)
        for shared in SHARED:
            if (run.path / shared).is_file():
                shutil.copyfile(run.path / shared, place / shared)
        write_header(place, header)
        (place / "recipe.yaml").write_text(portable_recipe(run.recipe).to_yaml(), encoding="utf-8")
        card = model_card(run, name=name, digest=digest, wording=wording)
        (place / "README.md").write_text(card, encoding="utf-8")


def _checked(run: Run, weights: Path) -> str:
    """The checksum of the weights, if they are the training's."""
    if not weights.is_file():
        raise MorphoscopeError(f"{weights} is missing; the run cannot be published without its weights")
    digest = files.sha256_of(weights)
    if run.header.weights_sha256 not in ("", digest):
        raise MorphoscopeError(
            f"{weights} is not the file that the training wrote (its checksum differs); restore it from a "
            "copy"
        )
    return digest
