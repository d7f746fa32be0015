"""Low-rank adapters on a denoiser: a few trained weights beside those of a model that stays as it is.

This is what customising a large model to a subject trains. Source: Hu et al. (2021), "LoRA", equation 3, for attention,
and the `peft` library (the extra `lora`), which also puts them on convolutions.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from planners.denoisers import Denoiser
from robot.core.checkpoints import load_model, save_model
from robot.core.errors import CheckpointError, SailError

KIND = "latent-video-adapters"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
CONVOLUTIONS = ("conv1", "conv2")


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Choose adapters: W + (`alpha` / `rank`) B A, of that rank, on the layers whose names end in one of `targets`.

    Where a sequence of layers bears such a name, as for convolutions along time, it is those in it that have weights.
    """

    rank: int = 8
    alpha: float = 8.0
    targets: Sequence[str] = (*ATTENTION, *CONVOLUTIONS)

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0 or not self.targets:
            raise ValueError("Adapters need a rank from 1 up, an alpha above 0 and layers to sit on.")


def with_adapters(denoiser: Denoiser, settings: LoraSettings) -> Denoiser:
    """Return a copy of a denoiser with untrained adapters, which change nothing yet and alone can be trained.

    Raises SailError where the `peft` library is missing, ValueError where no layer has such a name.
    """
    return cast(Denoiser, _tuner(denoiser, settings).model)


def adapter_tensors(denoiser: Denoiser) -> dict[str, Tensor]:
    """Return the weights of a denoiser's adapters by name."""
    return {name: tensor for name, tensor in denoiser.state_dict().items() if ".lora_" in name}


def save_adapters(
    folder: str | Path,
    denoiser: Denoiser,
    settings: LoraSettings,
    base: str,
    card: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> str:
    """Write a denoiser's adapters, safetensors, beside the identity of the planner they sit on; return their own."""
    config = {"lora": {**asdict(settings), "targets": list(settings.targets)}, "base": base}
    return save_model(folder, KIND, config, adapter_tensors(denoiser), card, dtype)


def merged(denoiser: Denoiser, base: str, folder: str | Path) -> Denoiser:
    """Return a denoiser of the plain architecture with the adapters in `folder` added into its weights.

    `base`: the identity of the planner that `denoiser` belongs to. Raises CheckpointError where the adapters are
    missing, damaged or made for another planner, SailError where the `peft` library is missing.
    """
    stored = load_model(folder, KIND)
    if stored.config.get("base") != base:
        raise CheckpointError(
            f"The adapters in {folder} sit on planner {stored.config.get('base')}, not on {base}; give them theirs."
        )
    try:
        settings = LoraSettings(**stored.config["lora"])
    except (KeyError, TypeError, ValueError) as problem:
        raise CheckpointError(
            f"The adapters in {folder} are described in a way nothing here reads ({problem})."
        ) from None
    tuner = _tuner(denoiser, settings)
    own = adapter_tensors(tuner.model)
    if {name: tensor.shape for name, tensor in own.items()} != {name: t.shape for name, t in stored.tensors.items()}:
        raise CheckpointError(f"The adapters in {folder} are for another architecture than this planner's.")
    tuner.model.load_state_dict(stored.tensors, strict=False)
    return cast(Denoiser, tuner.merge_and_unload().eval().requires_grad_(True))


def _tuner(denoiser: Denoiser, settings: LoraSettings) -> Any:
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError:
        raise SailError("Adapters need the `peft` library: install it with `pip install 'sail-stack[lora]'`.") from None
    layers = _layers(denoiser, settings.targets)
    if not layers:
        raise ValueError(
            f"No layer of this denoiser is called {' or '.join(settings.targets)}: name others as targets."
        )
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=layers, lora_dropout=0.0, bias="none"
    )
    return LoraModel(copy.deepcopy(denoiser), config, "default")


def _layers(denoiser: Denoiser, targets: Sequence[str]) -> list[str]:
    """Return the full names of the layers that adapters sit on."""

    def meant(name: str) -> bool:
        return any(f".{name}".endswith(f".{target}") for target in targets)

    return [
        name
        for name, layer in denoiser.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
        and (meant(name) or meant(name.rpartition(".")[0]))
    ]
