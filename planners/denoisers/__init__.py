"""Denoisers: networks that tell signal from noise in a clip of latents, one kind a file.

All are called `(latents_BFCHW, timesteps_B, first_BCHW, tokens_BLD, mask_BL) -> prediction_BFCHW` and carry a `config`,
from which `denoiser_from` builds them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planners.denoisers.space_time import SpaceTimeUNet
from planners.denoisers.stacked import StackedUNet

__all__ = ["Denoiser", "SpaceTimeUNet", "StackedUNet", "denoiser_from"]

Denoiser = StackedUNet | SpaceTimeUNet

_KINDS: dict[str, type[StackedUNet] | type[SpaceTimeUNet]] = {
    StackedUNet.kind: StackedUNet,
    SpaceTimeUNet.kind: SpaceTimeUNet,
}


def denoiser_from(config: Mapping[str, Any]) -> Denoiser:
    """Build an untrained denoiser from its `config`: `kind` and that kind's arguments.

    Raises ValueError for a kind nobody knows.
    """
    arguments = dict(config)
    kind = arguments.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"There is no denoiser of kind {kind!r}; known are {', '.join(sorted(_KINDS))}.")
    return _KINDS[kind](**arguments)
