"""Maps from the gradient at the pixels: saliency, SmoothGrad, integrated gradients (captum's).

Shape letters: N galaxies, C channels, H × W pixels.
"""

from __future__ import annotations

from typing import Any

import torch

from morphoscope.models.network import Network

SMOOTH_SAMPLES = 16
SMOOTH_NOISE = 0.1 * 255
"""Grey levels; Smilkov et al. 2017 advise 10 to 20 % of the range."""
INTEGRATION_STEPS = 32


def saliency(network: Network, images_NCHW: torch.Tensor, target_N: torch.Tensor) -> torch.Tensor:
    """|∂y/∂x|, the largest over the channels (Simonyan et al. 2014, section 3.1), (N, H, W) float32."""
    from captum.attr import Saliency

    found: Any = Saliency(network).attribute(_leaf(images_NCHW), target=target_N)
    return found.detach().amax(1)


def smoothgrad(network: Network, images_NCHW: torch.Tensor, target_N: torch.Tensor) -> torch.Tensor:
    """The mean saliency of noisy copies (Smilkov et al. 2017, section 3), (N, H, W) float32.

    The noise is the same for every call, so that a picture can be made again.
    """
    from captum.attr import NoiseTunnel, Saliency

    with torch.random.fork_rng(devices=[images_NCHW.device] if images_NCHW.is_cuda else []):
        torch.manual_seed(0)
        found: Any = NoiseTunnel(Saliency(network)).attribute(
            _leaf(images_NCHW),
            target=target_N,
            nt_type="smoothgrad",
            nt_samples=SMOOTH_SAMPLES,
            nt_samples_batch_size=4,
            stdevs=SMOOTH_NOISE,
        )
    return found.detach().amax(1)


def integrated(network: Network, images_NCHW: torch.Tensor, target_N: torch.Tensor) -> torch.Tensor:
    """Integrated gradients from a black sky (Sundararajan et al. 2017, equation 1), (N, H, W) float32.

    The absolute value of the sum over the channels.
    """
    from captum.attr import IntegratedGradients

    found: Any = IntegratedGradients(network).attribute(
        _leaf(images_NCHW),
        baselines=torch.zeros_like(images_NCHW),
        target=target_N,
        n_steps=INTEGRATION_STEPS,
        internal_batch_size=max(len(images_NCHW), 32),
    )
    return found.detach().float().sum(1).abs()


def _leaf(images_NCHW: torch.Tensor) -> torch.Tensor:
    return images_NCHW.detach().float().clone().requires_grad_()
