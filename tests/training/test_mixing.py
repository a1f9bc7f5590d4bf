from __future__ import annotations

import torch

from morphoscope.training.batches import mix


def _batch(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Image i is uniformly grey of level 40·i and belongs to class i."""
    levels = torch.arange(count, dtype=torch.uint8) * 40
    return levels.view(-1, 1, 1, 1).expand(count, 3, 16, 16).contiguous(), torch.eye(count)


def test_nothing_is_mixed_when_both_are_off():
    images, targets = _batch()
    mixed, shares = mix(images, targets, mixup=0, cutmix=0, generator=torch.Generator())
    assert torch.equal(mixed, images)
    assert torch.equal(shares, targets)


def test_mixup_mixes_pictures_and_labels_in_the_same_shares():
    images, targets = _batch()
    mixed, shares = mix(images, targets, mixup=1.0, cutmix=0, generator=torch.Generator().manual_seed(1))
    levels = torch.arange(6) * 40.0
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), shares @ levels, atol=1e-3)
    assert torch.allclose(shares.sum(dim=1), torch.ones(6))
    assert not torch.equal(shares, targets)


def test_cutmix_counts_labels_by_area():
    for seed in range(20):
        images, targets = _batch()
        before = images.clone()
        generator = torch.Generator().manual_seed(seed)
        mixed, shares = mix(images, targets, mixup=0, cutmix=1.0, generator=generator)
        assert torch.equal(images, before)  # the stored batch is not written to
        levels = torch.arange(6) * 40.0
        assert torch.allclose(mixed.float().mean(dim=(1, 2, 3)), shares @ levels, atol=1e-3)
        assert mixed.dtype == torch.uint8
        assert set(mixed.unique().tolist()) <= set(range(0, 201, 40))


def test_the_same_generator_state_mixes_the_same():
    images, targets = _batch()
    first = mix(images, targets, mixup=0.4, cutmix=1.0, generator=torch.Generator().manual_seed(5))
    second = mix(images, targets, mixup=0.4, cutmix=1.0, generator=torch.Generator().manual_seed(5))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
