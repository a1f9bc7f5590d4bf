"""Backbones that timm loads from a model hub or a folder: their configuration and weights.

``hf-hub:owner/name`` (``hf-hub:owner/name@revision``) and ``local-dir:FOLDER`` are timm's names for them;
both hold a ``config.json`` with the architecture and ``model.safetensors``. Encoders trained on galaxies are
published this way, such as ``hf-hub:mwalmsley/zoobot-encoder-convnext_nano``.

A configuration, from a hub or in somebody's run, is not trusted: of its options only numbers, flags and names
reach timm (:data:`OPTIONS`), never an address or a file.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.versioned import first_fault

if TYPE_CHECKING:
    import torch

HUB, FOLDER = "hf-hub:", "local-dir:"
OPTIONS = frozenset(
    """
    act_layer attn_drop_rate attn_pool_fc bottle_ratio channels class_token conv_bias conv_mlp cross_attn
    depth depths dims drop_block_rate drop_path_rate drop_rate dynamic_img_pad dynamic_img_size embed_dim
    final_norm fc_norm global_pool group_size head_dropout head_hidden_size head_init_scale head_norm_first
    img_size in_chans init_values kernel_sizes layer_scale_init_value layers ls_init_value mlp_ratio
    mlp_ratios no_embed_class norm_layer num_features num_heads num_reg_tokens output_stride patch_size
    patch_stride pos_drop_rate pos_embed pre_norm proj_bias proj_drop_rate qk_norm qkv_bias reg_tokens
    rope_type se_ratio stem_chs stem_kernel stem_size stem_type stem_width use_abs_pos_emb use_grn
    use_rel_pos_bias use_rot_pos_emb use_shared_rel_pos_bias weight_init width_factor window_size
    """.split()  # noqa: SIM905 - a list would be sixty lines
)
"""Options of timm's models that a configuration may set; none of them names a file or an address."""
CONFIG = frozenset(
    """
    classifier crop_mode crop_pct first_conv fixed_input_size input_size interpolation license mean
    min_input_size num_classes pool_size std tag test_crop_pct test_input_size
    """.split()  # noqa: SIM905 - a list would be sixty lines
)
"""What is kept of timm's description of the weights."""
LARGEST_OPTION = 1 << 16


class HubBackbone(BaseModel):
    """The configuration of a backbone; a run keeps it, so that it loads without the hub."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    architecture: str = Field(description="timm's name for it")
    model_args: dict[str, Any] = Field(default={}, description="options for building it")
    pretrained_cfg: dict[str, Any] = Field(default={}, description="timm's description of the weights")

    @field_validator("architecture")
    @classmethod
    def _is_a_name(cls, architecture: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?", architecture):  # not hf-hub:owner/name
            raise ValueError(f"'{architecture[:60]}' is not the name of a timm model")
        return architecture

    @field_validator("model_args")
    @classmethod
    def _only_known_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name, value in options.items():
            if name not in OPTIONS:
                raise ValueError(
                    f"the option '{name[:60]}' of a model is not one that a configuration may set"
                )
            items = value if isinstance(value, list | tuple) else [value]
            if len(items) > 16 or not all(map(_is_plain, items)):
                raise ValueError(
                    f"the option '{name}' must be a number below {LARGEST_OPTION}, a flag or a name"
                )
        return options

    @field_validator("pretrained_cfg")
    @classmethod
    def _only_known_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        for name in ("mean", "std"):
            values = config.get(name, (1.0,))
            numbers = (
                isinstance(values, list | tuple) and 1 <= len(values) <= 4 and all(map(_is_plain, values))
            )
            if not numbers or any(isinstance(value, str | bool | None) for value in values):
                raise ValueError(f"'{name}' must be one number for each channel")
            if name == "std" and min(values) <= 0:
                raise ValueError("'std' must be positive")
        return {name: value for name, value in config.items() if name in CONFIG}


def _is_plain(value: Any) -> bool:
    """Whether a value is a flag, a number of ordinary size, or a name: nothing that can be opened."""
    if isinstance(value, str):
        return re.fullmatch(r"[A-Za-z0-9_]{0,40}", value) is not None
    return value is None or (isinstance(value, bool | int | float) and abs(value) <= LARGEST_OPTION)


def is_on_hub(name: str) -> bool:
    """Whether a model's name is that of a hub or a folder."""
    return ":" in name


def takes_unit_range(name: str) -> bool:
    """Whether a backbone was trained on grey levels from 0 to 1, whatever its ``config.json`` says.

    Zoobot's encoders were: zoobot 2.9 shows them images as galaxy-datasets 0.0.25 prepares them, scaled to
    0..1 with ``normalize=False`` in every view. Their ``config.json`` is timm's, with ImageNet's mean and
    standard deviation. They are known by their name, ``zoobot-encoder-...``, which a copied folder keeps.

    >>> takes_unit_range("hf-hub:mwalmsley/zoobot-encoder-convnext_nano@main"), takes_unit_range("resnet18")
    (True, False)
    """
    last = name.partition("@")[0].replace("\\", "/").rstrip("/").rpartition("/")[2]
    return is_on_hub(name) and "zoobot-encoder" in last.rpartition(":")[2].lower()


def portable_name(name: str) -> str:
    """The name, of a folder without its path on this machine."""
    return FOLDER + Path(name.removeprefix(FOLDER)).name if name.startswith(FOLDER) else name


def hub_backbone(name: str) -> HubBackbone:
    """Fetch a backbone's ``config.json``.

    Args:
        name: ``hf-hub:owner/name`` or ``local-dir:FOLDER``.

    Raises:
        UsageError: the name has another form, or there is no such folder.
        MorphoscopeError: the hub cannot be reached or has no such model, or the file is not a timm model's or
            sets options that it may not.
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
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise MorphoscopeError(f"model.name={name}: its config.json is not that of a timm model") from error
    except Exception as error:  # timm raises whatever the hub's client raises
        raise MorphoscopeError(f"model.name={name}: {hub_reason(error)}") from error
    if not isinstance(architecture, str) or not isinstance(model_args, dict) or not isinstance(config, dict):
        raise MorphoscopeError(f"model.name={name}: its config.json is not that of a timm model")
    if not is_model(architecture):
        raise MorphoscopeError(f"model.name={name}: this timm has no model '{architecture}'")
    try:
        return HubBackbone(
            architecture=architecture,
            model_args={key: value for key, value in model_args.items() if key != "num_classes"},
            pretrained_cfg=config,
        )
    except ValidationError as error:
        raise MorphoscopeError(f"model.name={name}: {first_fault(error)}") from error


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
                return load_state_dict_from_path(Path(name.removeprefix(FOLDER)), weights_only=True)
            return load_state_dict_from_hf(name.removeprefix(HUB), weights_only=True)
    except Exception as error:
        raise MorphoscopeError(f"model.name={name}: no weights: {hub_reason(error)}") from error


def hub_reason(error: Exception) -> str:
    """Why the hub request failed, in one sentence that says what to do."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "the hub wants you to accept its terms first; do so on its page, then 'hf auth login'"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has no such model, or it is private and needs a token ('hf auth login')"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub's model has no such revision"
    if isinstance(error, errors.HFValidationError):
        return "this is not the name of a model on the hub, which has the form owner/name"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled | ConnectionError):
        return (
            "the hub cannot be reached and the model is not in the cache; connect to the network, or copy "
            "its folder from a machine that is connected"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return "the hub's model lacks a file that was expected"
    return reason_of(error)


@contextlib.contextmanager
def offline_when_unreachable() -> Iterator[None]:
    """Restrict the hub's client to its cache if the hub cannot be resolved: it would retry for a minute."""
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
