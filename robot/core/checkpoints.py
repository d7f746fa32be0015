"""Store and load network weights: `model.safetensors` beside a `model.json` that says what they are.

Both are written aside and renamed, so a full disk or a kill leaves the old pair. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from robot.core.errors import CheckpointError
from robot.core.files import write_whole

WEIGHTS, ABOUT = "model.safetensors", "model.json"


@dataclass(frozen=True)
class StoredModel:
    """Hold what a folder of weights contains: its configuration, its tensors and a short hash that names them."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    identity: str
    card: dict[str, Any]


def identity_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the first twelve hexadecimal digits of a hash over names, dtypes, shapes and bytes, in name order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()[:12]


def save_model(
    folder: str | Path,
    kind: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    card: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> str:
    """Write weights of `kind` (such as `latent-video-planner`) to `folder` and return their identity.

    Floating-point tensors are cast to `dtype` when one is given. `config` must be JSON; `card` (data, command,
    hardware, seeds, figures) is kept beside it.
    """
    folder = Path(folder)
    stored = {
        name: (tensor.detach().cpu().to(dtype) if dtype and tensor.is_floating_point() else tensor.detach().cpu())
        .contiguous()
        .clone()
        for name, tensor in tensors.items()
    }
    identity = identity_of(stored)
    about = {"kind": kind, "identity": identity, "config": dict(config), "card": dict(card or {})}
    write_whole(folder / WEIGHTS, save(stored, metadata={"identity": identity}))
    write_whole(folder / ABOUT, json.dumps(about, indent=2))
    return identity


def load_model(folder: str | Path, kind: str) -> StoredModel:
    """Read what `save_model` wrote; half-precision tensors come back as float32.

    Raises CheckpointError when something is missing, truncated, of another kind, or weights and description disagree.
    """
    folder = Path(folder)
    for name in (ABOUT, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} holds no {name}; give the folder of a {kind} checkpoint, or make one (`sail train --help`)."
            )
    try:
        about = json.loads((folder / ABOUT).read_text())
        tensors = load_file(folder / WEIGHTS)
    except (json.JSONDecodeError, SafetensorError, UnicodeDecodeError, ValueError) as problem:
        raise CheckpointError(f"The checkpoint in {folder} is damaged or truncated: {problem}.") from None
    if not isinstance(about, dict) or not isinstance(about.get("config"), dict):
        raise CheckpointError(f"The checkpoint in {folder} is damaged: its {ABOUT} does not describe a model.")
    if about.get("kind") != kind:
        raise CheckpointError(f"{folder} holds a {about.get('kind')!r} checkpoint, but a {kind!r} is needed.")
    if identity_of(tensors) != about.get("identity"):
        raise CheckpointError(f"The weights in {folder} do not belong to its {ABOUT}; restore both from one source.")
    floats = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    return StoredModel(about["config"], floats, about["identity"], about.get("card", {}))


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], where: str | Path) -> None:
    """Copy `tensors` into `module`; raise CheckpointError in one sentence when they are of another architecture."""
    own = module.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if missing or extra or shapes:
        example = (missing or extra or sorted(shapes))[0]
        raise CheckpointError(
            f"The weights in {where} are for another architecture than {type(module).__name__}: {len(missing)} tensors "
            f"missing, {len(extra)} unknown, {len(shapes)} of another shape (for example {example!r})."
        )
    module.load_state_dict(dict(tensors))
