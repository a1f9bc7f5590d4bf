"""Export of a run's network to ONNX, checked against the network itself.

The graph takes preprocessed images in grey levels 0 to 255; normalisation is part of it. Its outputs are the
probabilities before calibration, the logits, and the pooled features.

Shape letters: N galaxies, C channels, S × S pixels of the network's input, K outputs, D features.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from morphoscope import files
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.extras import need
from morphoscope.inference.engine.interface import INPUT, OUTPUTS
from morphoscope.inference.engine.onnx_engine import OnnxEngine, need_runtime
from morphoscope.inference.engine.preparation import preparation_of, sidecar, write_preparation
from morphoscope.inference.engine.trial import TOLERANCE, largest_difference, trial_images
from morphoscope.progress import note
from morphoscope.version import __version__

if TYPE_CHECKING:
    from torch import nn

    from morphoscope.labels.scheme import Scheme
    from morphoscope.models.network import Network
    from morphoscope.runs.run import Run

_LARGEST = 2 * 10**9  # bytes; limit of protocol buffers


def export_onnx(run: Run, out: Path | str, *, overwrite: bool = False) -> Path:
    """Write ``out`` (.onnx) and, next to it, a JSON file that describes how to preprocess images.

    The exported graph is compared with the network on noise and synthetic galaxies in batches of several
    sizes; the file appears only if every probability agrees to within :data:`TOLERANCE`.

    Args:
        run: a finished run.
        out: the file to write.
        overwrite: replace files that are there.

    Returns:
        ``out``.

    Raises:
        UsageError: ``out`` does not end in .onnx, or exists already.
        MorphoscopeError: a package is missing, the network has a part that ONNX cannot express, or the
            exported graph disagrees with the network.
    """
    need(("onnxscript",), "train", "ONNX export")
    need_runtime()
    out = Path(out)
    if out.suffix.lower() != ".onnx":
        raise UsageError(f"{out}: a name that ends in .onnx was expected")
    for path in (out, sidecar(out)):
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists already; choose another name or pass --overwrite")
    network = run.network()
    side, channels = run.recipe.augment.size, run.header.store.image_shape[2]
    with files.atomic_file(sidecar(out)) as description, files.atomic_file(out) as path:
        write_graph(network, run.scheme, path, side=side, channels=channels)
        parity = compared(network, run.scheme, path, side=side, channels=channels)
        if not parity["largest_difference"] <= TOLERANCE:
            raise MorphoscopeError(
                f"{out}: a probability of the exported network differs from the run's by "
                f"{parity['largest_difference']:.1e}, and {TOLERANCE:.0e} is allowed; nothing was written"
            )
        preparation = preparation_of(
            run,
            out,
            features=parity.pop("features"),
            parity=parity,
            versions=_versions(),
            digest=files.sha256_of(path),
        )
        write_preparation(description, preparation)
    return out


def write_graph(network: Network, scheme: Scheme, path: Path, *, side: int, channels: int = 3) -> None:
    """Write a network in evaluation mode as ONNX, with a dynamic batch size.

    Args:
        network: images (N, C, S, S) in grey levels → (N, K).
        scheme: what the outputs mean.
        path: the file.
        side: S.
        channels: C.

    Raises:
        MorphoscopeError: the network is too large for one file, or has a part that ONNX cannot express.
    """
    import torch
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    if weights > _LARGEST:
        raise MorphoscopeError(
            f"the network's {weights / 1e9:.1f} GB of weights exceed the 2 GB limit of one ONNX file"
        )
    example = torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0)) * 255
    note("exporting the network to ONNX")
    try:
        with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript", "onnx_ir"):
            warnings.simplefilter("ignore")  # about torch's internals, not this network
            program = torch.onnx.export(
                _with_outputs(network, scheme).eval(),
                (example,),
                dynamo=True,
                external_data=False,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: torch.export.Dim("galaxies")},),
                verbose=False,
            )
    except Exception as error:  # whatever the exporter raises
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise MorphoscopeError(f"this network cannot be exported to ONNX: {reason.strip()}") from error
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # the exporter records paths of source files
    program.save(str(path), external_data=False)
    store_in_half(path, network.state_dict())


def store_in_half(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Store weights of a graph in half precision if they were published so, which halves the file.

    The exporter multiplies a convolution's weights by the factors of the following batch normalisation, and
    the products need single precision. So weights and factors are stored separately, and the engine
    multiplies them when it loads the graph; nothing is rounded further. Weights that half precision cannot
    represent exactly are left as they are.

    Args:
        path: the graph, which is replaced.
        state: state of the exported network.
    """
    weights = {name: tensor.numpy() for name, tensor in state.items() if tensor.ndim > 1}
    weights = {name: weight for name, weight in weights.items() if weight.dtype == np.float32}
    if not all(np.array_equal(weight.astype(np.float16), weight) for weight in weights.values()):
        return
    import onnx

    model = onnx.load(str(path))
    nodes, kept = [], []
    for stored in model.graph.initializer:
        weight = weights.get(stored.name.removeprefix("network."))
        values = onnx.numpy_helper.to_array(stored)
        factors = None if weight is None or weight.shape != values.shape else _factors(values, weight)
        if weight is None or factors is None:
            kept.append(stored)
            continue
        half, single, factor = (f"{stored.name}.{what}" for what in ("half", "single", "factor"))
        kept.append(onnx.numpy_helper.from_array(weight.astype(np.float16), half))
        kept.append(onnx.numpy_helper.from_array(factors, factor))
        nodes.append(onnx.helper.make_node("Cast", [half], [single], to=onnx.TensorProto.FLOAT))
        nodes.append(onnx.helper.make_node("Mul", [single, factor], [stored.name]))
    nodes.extend(model.graph.node)
    for field, values in ((model.graph.node, nodes), (model.graph.initializer, kept)):
        del field[:]
        field.extend(values)
    onnx.save(model, str(path))


def _factors(values: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """Factors along the first axis so that ``values`` = ``weight`` · factors; None if there are none."""
    axes = tuple(range(1, weight.ndim))
    flat = weight.reshape(len(weight), -1)
    largest = np.abs(flat).argmax(axis=1)[:, None]
    divisor = np.take_along_axis(flat, largest, 1)
    ratio = np.take_along_axis(values.reshape(len(values), -1), largest, 1) / np.where(divisor, divisor, 1)
    factors = np.expand_dims(ratio[:, 0], axes).astype(np.float32)
    near = np.allclose(weight * factors, values, rtol=1e-6, atol=1e-12)
    return factors if near else None


def compared(network: Network, scheme: Scheme, path: Path, *, side: int, channels: int = 3) -> dict[str, Any]:
    """Compare the predictions of an ONNX file with those of the network, both in fp32.

    Returns:
        ``images``, how many were compared; ``largest_difference`` of a probability or fraction;
        ``features``, D.
    """
    import torch

    exported = OnnxEngine(path)
    largest, count, features = 0.0, 0, 0
    for batch in _trial_values(network, trial_images(side, channels)):
        images = torch.from_numpy(batch).permute(0, 3, 1, 2)
        with torch.inference_mode():
            expected = scheme.probabilities(network(images)).numpy()
        predictions, embedded = exported(batch)
        largest = max(largest, largest_difference(expected, predictions[0], scheme.output_scales))
        count, features = count + len(batch), embedded.shape[1]
    return {"images": count, "largest_difference": largest, "features": features}


def _with_outputs(network: Network, scheme: Scheme) -> nn.Module:
    import torch

    class WithOutputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            features = self.network.embed(images)
            logits = self.network.head(features)
            return scheme.probabilities(logits), logits, self.network.described(features)

    return WithOutputs()


def _trial_values(network: Network, batches: list[np.ndarray]) -> list[np.ndarray]:
    """The same as values for a network with a stretch: level 33 is its sky, and 10 levels its noise."""
    sky, noise = (getattr(network.stretch, name, None) for name in ("sky", "noise"))
    if sky is None or noise is None:
        return batches
    sky_C, noise_C = sky.numpy().ravel(), noise.numpy().ravel()
    values = [(sky_C + noise_C * ((batch.astype(np.float32) - 33) / 10)) for batch in batches]
    return [batch.astype(np.float32) for batch in values]


def _versions() -> dict[str, str]:
    packages = ("torch", "timm", "onnx", "onnxscript", "onnxruntime")
    return {"morphoscope": __version__} | {name: importlib.metadata.version(name) for name in packages}


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Silence the named loggers below errors."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
