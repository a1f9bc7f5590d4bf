"""What a map explains: a class, a vote column, or each galaxy's own predicted class.

Shape letters: N galaxies, K outputs.
"""

from __future__ import annotations

import torch

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.labels.scheme import Classes, VoteFractions

PREDICTED = "predicted"


def target_indices(
    scheme: Classes | VoteFractions, target: str | int, outputs_NK: torch.Tensor
) -> torch.Tensor:
    """The output that is explained for each galaxy, (N,) int64.

    Args:
        scheme: what the outputs mean.
        target: name of a class or vote column, its number, or "predicted": the largest output.
        outputs_NK: of the network.

    Raises:
        UsageError: the scheme has no such target.
    """
    if target == PREDICTED:
        return outputs_NK.argmax(dim=1)
    index = target_index(scheme, target)
    return torch.full((len(outputs_NK),), index, dtype=torch.int64, device=outputs_NK.device)


def target_index(scheme: Classes | VoteFractions, target: str | int) -> int:
    """The number of an output by its name.

    Raises:
        UsageError: the scheme has none of that name or number.
    """
    names = scheme.output_names
    if isinstance(target, str) and target in names:
        return names.index(target)
    if str(target).isdigit() and int(target) < len(names):
        return int(target)
    raise UsageError(f"scheme '{scheme.name}' has no output '{target}'{did_you_mean(str(target), names)}")
