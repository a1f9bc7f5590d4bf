from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from morphoscope.errors import MorphoscopeError
from morphoscope.training.folder import NEEDED, AtomicCheckpoints

WHOLE = dict.fromkeys(sorted(NEEDED), 0) | {"state_dict": {"weight": torch.arange(3000.0)}}


def test_a_checkpoint_that_changed_or_is_of_something_else_is_damaged(tmp_path: Path):
    place, checkpoints = tmp_path / "last.ckpt", AtomicCheckpoints()
    checkpoints.save_checkpoint(WHOLE, place)
    assert torch.equal(checkpoints.load_checkpoint(place)["state_dict"]["weight"], torch.arange(3000.0))
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1  # a bit of the weights
    place.write_bytes(content)
    with pytest.raises(MorphoscopeError, match=r"is damaged \(the checksum of .* differs\); delete it"):
        checkpoints.load_checkpoint(place)
    torch.save({"weight": torch.zeros(3)}, place)
    with pytest.raises(MorphoscopeError, match="not the checkpoint of a training"):
        checkpoints.load_checkpoint(place)


@pytest.mark.parametrize(
    ("free", "error", "words"),
    [(10, MorphoscopeError, "the disk is full"), (2**40, RuntimeError, "unexpected pos")],
)
def test_a_checkpoint_that_could_not_be_written_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, error: type[Exception], words: str
):
    """torch says of a full disk only that the stream failed."""

    def failing(checkpoint: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise RuntimeError("unexpected pos 64 vs 0")

    (tmp_path / "last.ckpt").write_bytes(b"the last one")
    monkeypatch.setattr(torch, "save", failing)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=free))
    with pytest.raises(error, match=words):
        AtomicCheckpoints().save_checkpoint(WHOLE, tmp_path / "last.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert (tmp_path / "last.ckpt").read_bytes() == b"the last one"
