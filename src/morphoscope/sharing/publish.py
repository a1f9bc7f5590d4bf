"""Publish a run: a folder that others can load, with weights, recipe, label scheme, calibration, feature
distribution, metrics and a model card; on a model hub as ``hf-hub:owner/name`` or
``hf-hub:owner/name@revision``.

``ms.load(folder)`` and every command read it like any run; predictions are identical to the last bit unless
the weights are halved. Predictions, figures, report and split are left out, since they show galaxies or
name files on this machine.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from morphoscope import files
from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.extras import need
from morphoscope.files import write_json
from morphoscope.inference.calibration import FILE as CALIBRATION
from morphoscope.inference.calibration import read_calibration
from morphoscope.inference.engine.graph import GRAPH, INT8, kept_graph
from morphoscope.inference.engine.int8 import kept_int8
from morphoscope.inference.engine.preparation import sidecar
from morphoscope.inference.ood import read_distribution, write_distribution
from morphoscope.models.hub import HUB, hub_reason, offline_when_unreachable
from morphoscope.progress import note
from morphoscope.runs.run import (
    Run,
    portable_recipe,
    portable_store,
    portable_values,
    write_header,
    write_history,
)
from morphoscope.sharing.card import CardDetails, model_card

if TYPE_CHECKING:
    import torch

WEIGHTS = "weights.safetensors"


def publish(
    run: Run,
    to: Path | str,
    *,
    details: CardDetails | None = None,
    half: bool = False,
    private: bool = False,
    overwrite: bool = False,
) -> str:
    """Make a folder to share, or put it on the model hub.

    Args:
        run: a finished run.
        to: a folder to make, or ``hf-hub:owner/name``.
        details: licence and authors, which the run does not record.
        half: store weights of two or more dimensions in half precision, which halves the folder's size; the
            network computes in the same precision as before.
        private: on the hub: only its owner sees it.
        overwrite: replace a published folder that is there.

    Returns:
        Where it is: the folder, or the address of the hub's page.

    Raises:
        UsageError: something else is there already, or the hub needs a token.
        MorphoscopeError: the weights are not those that the training wrote or do not fit half precision, or
            the hub cannot be reached.
    """
    if half:
        need(("torch", "timm"), "train", "--half")
    if is_hub_name(str(to)):
        with tempfile.TemporaryDirectory(prefix="morphoscope-") as made:
            folder = Path(made) / "run"
            _write(run, folder, details or CardDetails(), name=str(to), half=half, overwrite=False)
            return upload(folder, str(to), private=private)
    folder = Path(to)
    if folder.resolve() == run.path.resolve():
        raise UsageError(f"{folder} is the run itself; choose another folder to publish it in")
    _write(run, folder, details or CardDetails(), name=folder.name, half=half, overwrite=overwrite)
    return str(folder)


def _write(run: Run, folder: Path, details: CardDetails, *, name: str, half: bool, overwrite: bool) -> None:
    weights = run.path / WEIGHTS
    _check(run, weights)
    with files.atomic_folder(folder, overwrite=overwrite, mark="run.yaml") as staging:
        if half:
            _write_halved(weights, staging / WEIGHTS)
        else:
            shutil.copyfile(weights, staging / WEIGHTS)
        digest = files.sha256_of(staging / WEIGHTS)
        header = run.header.model_copy(
            update={"store": portable_store(run.header.store), "weights_sha256": digest}
        )
        recipe = portable_recipe(run.recipe)
        write_header(staging, header)
        (staging / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        _share_measured(run, Run(staging, recipe, header))
        quantised = kept_int8(run)
        graphs = {GRAPH: kept_graph(run), INT8: None if quantised is None else quantised[0]}
        for place, graph in graphs.items():
            if graph is not None and not half:  # halved weights are others
                (staging / place).parent.mkdir(exist_ok=True)
                shutil.copyfile(graph, staging / place)
                shutil.copyfile(sidecar(graph), sidecar(staging / place))
        card = model_card(run, name=name, digest=digest, details=details, half=half)
        (staging / "README.md").write_text(card, encoding="utf-8")


def _share_measured(run: Run, published: Run) -> None:
    """Write calibration and feature distribution, which name the weights they belong to, and metrics."""
    calibration, distribution, metrics = read_calibration(run), read_distribution(run), run.metrics()
    if calibration is not None:
        own = calibration.model_copy(update={"weights_sha256": published.header.weights_sha256})
        write_json(published.path / CALIBRATION, own.model_dump(mode="json"))
    if distribution is not None:
        write_distribution(published, distribution)
    if metrics:
        write_json(published.path / "metrics.json", portable_values(metrics))
    history = run.history()
    if len(history["epoch"]):  # written anew: in a stranger's run the file may be a link to a private one
        rows = [dict(zip(history, row, strict=True)) for row in zip(*history.values(), strict=True)]
        write_history(published.path / "history.csv", rows)


def _write_halved(weights: Path, path: Path) -> None:
    """The weights of two or more dimensions in half precision: they are nearly all of them.

    The others, biases and the statistics of normalisation, can be larger than half precision's 65504.

    Raises:
        MorphoscopeError: a weight is larger.
    """
    from safetensors.torch import load_file

    from morphoscope.models.pretrained import save_weights

    save_weights({name: _halved(name, tensor) for name, tensor in load_file(weights).items()}, path)


def _halved(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not half.isfinite().all():
        raise MorphoscopeError(
            f"--half: the weights {name} reach {tensor.abs().max():.3g}, more than half precision holds; "
            "publish without --half"
        )
    return half


def _check(run: Run, weights: Path) -> None:
    """Refuse weights that are not the training's."""
    if not weights.is_file():
        raise MorphoscopeError(f"{weights} is missing; the run cannot be published without its weights")
    digest = files.sha256_of(weights)
    if run.header.weights_sha256 not in ("", digest):
        raise MorphoscopeError(
            f"{weights} is not the file that the training wrote (its checksum differs); restore it from a "
            "copy"
        )
    if not run.header.weights_sha256:
        _check_kind(weights)


def _check_kind(weights: Path) -> None:
    """Refuse a file that holds anything but weights: a stranger's run may have a link to a private one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="numpy"):
            pass
    except SafetensorError as error:
        raise MorphoscopeError(f"{weights} is not a file of weights ({reason_of(error)})") from error


WANTED = ("*.yaml", "*.json", "*.safetensors", "*.md", "*.npz", "*.parquet")
"""Files of a published run; anything else in the repository is not downloaded."""


def is_hub_name(name: Path | str) -> bool:
    """Whether this is the address of a run on a hub."""
    return str(name).startswith(HUB)


def fetch(name: str) -> Path:
    """The folder of a published run; downloaded once, then read from the hub client's cache.

    Args:
        name: ``hf-hub:owner/name``, with ``@revision`` for a branch, tag or commit.

    Raises:
        MorphoscopeError: the hub cannot be reached, has no such run, or needs a token.
    """
    need(("huggingface_hub",), "hub", name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    repository, _, revision = name.removeprefix(HUB).partition("@")
    disable_progress_bars()
    note(f"fetching {name}")
    try:
        with offline_when_unreachable():
            return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(WANTED)))
    except Exception as error:  # whatever the hub's client raises
        raise MorphoscopeError(f"{name}: {hub_reason(error)}") from error


def upload(folder: Path, name: str, *, private: bool = False) -> str:
    """Upload a published folder to the hub with the user's own token.

    Args:
        folder: as :func:`morphoscope.sharing.publish.publish` makes it.
        name: ``hf-hub:owner/name``.
        private: a repository created here is visible to its owner only.

    Returns:
        The address of its page.

    Raises:
        UsageError: no token, or a revision in the name.
        MorphoscopeError: the hub cannot be reached or refuses.
    """
    need(("huggingface_hub",), "hub", name)
    from huggingface_hub import HfApi, get_token

    repository = name.removeprefix(HUB)
    if "@" in repository:
        raise UsageError(f"{name}: a name without @revision was expected; publishing creates a new revision")
    if get_token() is None:
        raise UsageError(
            f"{name}: publishing on the hub needs your token; run 'hf auth login' or set HF_TOKEN, or give a "
            "folder instead"
        )
    api = HfApi()
    try:
        with offline_when_unreachable():
            page = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=str(page.repo_id), folder_path=folder, commit_message="Publish with morphoscope"
            )
    except Exception as error:
        raise MorphoscopeError(f"{name}: {hub_reason(error)}") from error
    return str(page)
