"""Backbones that timm takes from a model hub or a folder: what they are, and their weights.

``hf-hub:owner/name`` (``hf-hub:owner/name@revision``) and ``local-dir:FOLDER`` are timm's forms; both hold a
``config.json`` with the architecture and ``model.safetensors``. Encoders trained on galaxies come this way,
such as ``hf-hub:mwalmsley/zoobot-encoder-convnext_nano``.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from pydantic import BaseModel, ConfigDict, Field

from morphoscope.errors import MorphoscopeError, UsageError

if TYPE_CHECKING:
    import torch

HUB, FOLDER = "hf-hub:", "local-dir:"


class HubBackbone(BaseModel):
    """What ``config.json`` says of a backbone; a run keeps it, so that it loads without the hub."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    architecture: str = Field(description="timm's name of it")
    model_args: dict[str, Any] = Field(default={}, description="options it is built with")
    pretrained_cfg: dict[str, Any] = Field(default={}, description="timm's words on the weights")


def is_on_hub(name: str) -> bool:
    """Whether a model's name is an address of a hub or a folder."""
    return ":" in name


def portable_name(name: str) -> str:
    """The name without the place of a folder on this machine."""
    return FOLDER + Path(name.removeprefix(FOLDER)).name if name.startswith(FOLDER) else name


def hub_backbone(name: str) -> HubBackbone:
    """Fetch what a backbone's ``config.json`` says.

    Args:
        name: ``hf-hub:owner/name`` or ``local-dir:FOLDER``.

    Raises:
        UsageError: the name has another form, or there is no such folder.
        MorphoscopeError: the hub cannot be reached or has no such model, or the file is no timm model's.
    """
    from timm.models import is_model
    from timm.models._hub import load_model_config_from_hf, load_model_config_from_path

    if name.startswith(FOLDER):
        folder = Path(name.removeprefix(FOLDER))
        if not (folder / "config.json").is_file():
            raise UsageError(f"model.name={name}: {folder} has no config.json, as a timm model's folder has")
        fetch = load_model_config_from_path, folder
    elif name.startswith(HUB):
        fetch = load_model_config_from_hf, name.removeprefix(HUB)
    else:
        raise UsageError(f"model.name={name}: {HUB}owner/name or {FOLDER}FOLDER was expected")
    load, where = fetch
    try:
        with offline_when_unreachable():
            config, architecture, model_args = load(where)  # type: ignore[operator]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise MorphoscopeError(f"model.name={name}: its config.json is not that of a timm model") from error
    except Exception as error:  # timm raises whatever the hub's client raises
        raise MorphoscopeError(f"model.name={name}: {hub_reason(error)}") from error
    if not is_model(architecture):
        raise MorphoscopeError(f"model.name={name}: this timm has no model '{architecture}'")
    local = ("file", "source", "hf_hub_id")  # where the weights are follows from the name
    return HubBackbone(
        architecture=architecture,
        model_args={key: value for key, value in model_args.items() if key != "num_classes"},
        pretrained_cfg={key: value for key, value in config.items() if key not in local},
    )


def hub_weights(name: str) -> dict[str, torch.Tensor]:
    """The tensors of a backbone on a hub or in a folder, by name.

    Raises:
        MorphoscopeError: they cannot be fetched or read.
    """
    from timm.models import load_state_dict_from_hf
    from timm.models._hub import load_state_dict_from_path

    try:
        with offline_when_unreachable():
            if name.startswith(FOLDER):
                return load_state_dict_from_path(Path(name.removeprefix(FOLDER)))
            return load_state_dict_from_hf(name.removeprefix(HUB), weights_only=True)
    except Exception as error:
        raise MorphoscopeError(f"model.name={name}: no weights: {hub_reason(error)}") from error


def hub_reason(error: Exception) -> str:
    """Why the hub gave nothing, in one sentence that says what to do."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "the hub wants you to accept its terms first; do so on its page, then 'hf auth login'"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has no such model, or it is private and needs a token ('hf auth login')"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub's model has no such revision"
    if isinstance(error, errors.HFValidationError):
        return "this is no name of a model on the hub, which has the form owner/name"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled | ConnectionError):
        return (
            "the hub cannot be reached and the model is not in the cache; connect to the network, or copy "
            "its folder from a machine that is connected"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return "the hub's model lacks a file that was expected"
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


@contextlib.contextmanager
def offline_when_unreachable() -> Iterator[None]:
    """Let the hub's client use its cache alone where the hub has no address: it would retry for a minute."""
    from huggingface_hub import constants

    was_offline = constants.HF_HUB_OFFLINE
    try:
        socket.getaddrinfo(urlparse(constants.ENDPOINT).hostname, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline
