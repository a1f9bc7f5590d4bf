"""Attribution maps: class activation maps from a layer, gradient maps at the pixels.

Grad-CAM and Ablation-CAM are a weighted sum of a layer's C channels, with what is negative cut off::

    map = relu(Σ_c w_c A_c)

They differ in the weights. Both explain the network's output before softmax or sigmoid (the logit), so that a
constant added to that output, such as its bias, changes no map but for a positive factor.
Saliency, SmoothGrad and integrated gradients come from captum.

Shape letters: N galaxies, C channels, h × w cells, H × W pixels, K outputs.
"""

from __future__ import annotations

from typing import Any

import torch

from morphoscope.errors import UsageError
from morphoscope.explanation.layers import Layer, output_of
from morphoscope.models.network import Network

ABLATED_AT_ONCE = 64  # copies of a feature map in one pass through the tail
SMOOTH_SAMPLES = 16
SMOOTH_NOISE = 0.1 * 255
"""Grey levels; Smilkov et al. 2017 advise 10 to 20 % of the range."""
INTEGRATION_STEPS = 32


def grad_cam(
    network: Network, layer: Layer, images_NCHW: torch.Tensor, target_N: torch.Tensor
) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al. 2017, equations 1 and 2): w_c is the mean gradient of the output over A_c.

    Nothing before the layer takes part in the backward pass, so that a map costs little more than a
    prediction.

    Args:
        network: in evaluation mode.
        layer: where.
        images_NCHW: in grey levels, at the network's size.
        target_N: the output explained for each galaxy.

    Returns:
        (N, h, w) float32, zero or more.

    Raises:
        UsageError: the layer has no positions, or the output does not depend on it.
    """
    with output_of(layer, leaf=True) as kept, torch.enable_grad():
        outputs = network(images_NCHW)
        if not kept:
            raise UsageError(f"layer '{layer.name}' takes no part in a prediction; choose another")
        features = kept[-1]
        score = outputs.float().gather(1, target_N[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, features, allow_unused=True)
    if gradient is None:
        raise UsageError(f"the outputs do not depend on layer '{layer.name}'; choose another")
    activations, gradients = layer.as_map(features.detach()).float(), layer.as_map(gradient).float()
    weights = gradients.mean((2, 3), keepdim=True)
    return (weights * activations).sum(1).relu()


@torch.no_grad()
def ablation_cam(
    network: Network, layer: Layer, images_NCHW: torch.Tensor, target_N: torch.Tensor
) -> torch.Tensor:
    """Ablation-CAM (Desai & Ramaswamy 2020, equation 3): ``w_c = (y − y without A_c) / |y|``.

    The paper divides by y. For a negative y, as the logit of most vote fractions is, that would turn every
    weight around: the map would show what speaks against the output. Dividing by its absolute value only
    scales the map.

    Only what follows the layer is computed again for each of the C channels, where the network can be cut
    there (always at the default layer); for other layers the whole network runs C times.

    Args:
        network: in evaluation mode.
        layer: where.
        images_NCHW: in grey levels, at the network's size.
        target_N: the output explained for each galaxy.

    Returns:
        (N, h, w) float32, zero or more.
    """
    with output_of(layer, leaf=False) as kept:
        outputs = network(images_NCHW).float()
    if not kept:
        raise UsageError(f"layer '{layer.name}' takes no part in a prediction; choose another")
    features = kept[-1]
    maps = []
    for row, target in enumerate(target_N.tolist()):
        own = features[row : row + 1]
        activations = layer.as_map(own).float()[0]
        scores = _scores_without(network, layer, images_NCHW[row : row + 1], own, len(activations), target)
        full = outputs[row, target]
        size = full.abs()
        weights = (full - scores) / torch.where(size < 1e-12, torch.ones_like(size), size)
        maps.append((weights[:, None, None] * activations).sum(0).relu())
    return torch.stack(maps)


def _scores_without(
    network: Network, layer: Layer, image: torch.Tensor, features: torch.Tensor, count: int, target: int
) -> torch.Tensor:
    """The output with each channel in turn set to zero, (C,)."""
    scores, tail = [], layer.tail
    for channels in torch.arange(count, device=features.device).split(ABLATED_AT_ONCE):
        changed = layer.masked(features, channels)
        if tail is not None:
            outputs = tail(changed)
        else:
            handle = layer.module.register_forward_hook(lambda *_, changed=changed: changed)
            try:
                outputs = network(image.expand(len(channels), *image.shape[1:]))
            finally:
                handle.remove()
        scores.append(outputs[:, target].float())
    return torch.cat(scores)


def saliency(network: Network, images_NCHW: torch.Tensor, target_N: torch.Tensor) -> torch.Tensor:
    """``|∂y/∂x|``, the largest over the channels (Simonyan et al. 2014, section 3.1), (N, H, W) float32."""
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
