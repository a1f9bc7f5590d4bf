"""Published runs on a model hub: ``hf-hub:owner/name``, or ``hf-hub:owner/name@revision``."""

from __future__ import annotations

from pathlib import Path

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.extras import need
from morphoscope.models.hub import HUB, hub_reason, offline_when_unreachable
from morphoscope.progress import note

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
