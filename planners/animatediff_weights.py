"""Read AnimateDiff from what its library stores, by hub id or local folder, safetensors only.

Where they are looked for says `planners.hub`. Nothing is ever unpickled: every id named in `configs/` has safetensors.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from planners.animatediff import AnimateDiff, Economy
from planners.autoencoder import FrameAutoencoder
from planners.hub import Part, find_all
from planners.imagining import pick_device
from planners.parametrisation import Discrete, Parametrisation
from planners.prompts import CLIPPrompts
from planners.text import quiet_transformers
from robot.core.errors import CheckpointError, SailError
from robot.core.text import tell
from robot.core.training import has_fast_bf16

WEIGHTS = "diffusion_pytorch_model.safetensors"
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
Tell = Callable[[str], None]


BASE_FILES = (
    "unet/config.json",
    f"unet/{WEIGHTS}",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer_config.json",
    "scheduler/scheduler_config.json",
)
TOKENIZER_FILES = ("tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/special_tokens_map.json")
AUTOENCODER_FILES = ("vae/config.json", f"vae/{WEIGHTS}")
NETWORK_FILES = ("config.json", WEIGHTS)


def load_animatediff(
    base: str,
    motion_adapter: str,
    sparsectrl: str,
    lora: str = "",
    lora_file: str = WEIGHTS,
    lora_scale: float = 1.0,
    autoencoder: str = "",
    beta_schedule: str = "linear",
    first_frame: str = "before",
    conditioning_scale: float = 1.0,
    precision: str = "auto",
    attention_slicing: str = "none",
    offload: str = "none",
    clips_at_once: int = 4,
    models: str | Path = "models",
    offline: bool = False,
    device: str = "auto",
    say: Tell | None = tell,
) -> AnimateDiff:
    """Load AnimateDiff, or AnimateLCM, which is the same architecture with a LoRA.

    `base`: a Stable Diffusion 1.5 of any training; `autoencoder`: whose `vae` its latents come from, empty for its own.
    `lora_file` of `lora` is added into the U-Net's weights times `lora_scale`. `beta_schedule` takes the place of the
    base's own, empty keeps that. `say` is told what is being loaded. The others: see `AnimateDiff` and `Economy`.
    Raises CheckpointError, one for all, where weights are missing, and where they cannot be read; ValueError for a
    `lora_file` that is not safetensors.
    """
    if lora and not lora_file.endswith(".safetensors"):
        raise ValueError(f"lora_file names a .safetensors file, not {lora_file!r}: nothing else is read.")
    economy = Economy(precision, attention_slicing, offload, int(clips_at_once))
    target = pick_device(device)
    dtype = dtype_for(precision, target)
    space = autoencoder or base
    files = (*BASE_FILES, *(AUTOENCODER_FILES if space == base else ()))
    parts = [
        Part("base model", "base", base, files, TOKENIZER_FILES),
        Part("motion adapter", "motion_adapter", motion_adapter, NETWORK_FILES),
        Part("SparseCtrl", "sparsectrl", sparsectrl, NETWORK_FILES),
    ]
    if space != base:
        parts.append(Part("autoencoder", "autoencoder", space, AUTOENCODER_FILES))
    if lora:
        parts = with_lora(parts, lora, lora_file)
    folders = find_all(parts, Path(models), offline)
    say = say or (lambda line: None)
    with reading("the base model's text encoder", say):
        prompts = load_prompts(folders[base])
    with reading("the base model's U-Net and motion modules", say):
        unet = load_unet(folders[base] / "unet", folders[motion_adapter], dtype)
    if lora:
        with reading("the LoRA", say):
            add_lora(unet, folders[lora] / lora_file, float(lora_scale))
    with reading("SparseCtrl", say):
        controlnet = load_network("SparseControlNetModel", folders[sparsectrl], dtype)
    with reading("the autoencoder, to know its latents", say):
        latent_space = FrameAutoencoder.from_diffusers(folders[space] / "vae").identity
    with reading("all files again, to name the model", say):
        scaled = [f"{lora_scale:g}"] if lora else []
        identity = identity_of_files([folders[part.source] / file for part in parts for file in part.files], scaled)
    terms = load_terms(folders[base] / "scheduler", beta_schedule)
    made = AnimateDiff(
        unet, controlnet, prompts, terms, identity, latent_space, first_frame, conditioning_scale, economy, target
    )
    say(f"AnimateDiff {identity} is ready on {target}, in {str(dtype).removeprefix('torch.')}.")
    return made


def dtype_for(precision: str, device: torch.device) -> torch.dtype:
    """Return the type of weights for a precision of `Economy` on a device."""
    if precision == "auto":
        precision = "fp16" if device.type != "cpu" else "bf16" if has_fast_bf16() else "fp32"
    return {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[precision]


@contextmanager
def reading(what: str, say: Tell) -> Iterator[None]:
    """Say what is being read, and how long that took."""
    say(f"Reading {what} …")
    began = time.monotonic()
    yield
    say(f"  {time.monotonic() - began:.1f} s")


def with_lora(parts: Sequence[Part], lora: str, file: str) -> list[Part]:
    """Return parts with a LoRA's file among what is needed of its source, which another part may share."""
    if all(part.source != lora for part in parts):
        return [*parts, Part("LoRA", "lora", lora, (file,))]
    return [replace(part, files=(*part.files, file)) if part.source == lora else part for part in parts]


def load_prompts(folder: Path) -> CLIPPrompts:
    """Return the text encoder of a base model, float32."""
    from transformers import CLIPTextModel, CLIPTokenizer

    with readable(folder), quiet_transformers():
        tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
        model = CLIPTextModel.from_pretrained(str(folder / "text_encoder"), local_files_only=True, use_safetensors=True)
    return CLIPPrompts(tokenizer, model.float())


def load_unet(folder: Path, motion_adapter: Path, dtype: torch.dtype) -> Any:
    """Return the U-Net in `folder` with a motion adapter in it."""
    from diffusers import UNetMotionModel

    flat = load_network("UNet2DConditionModel", folder, dtype)
    adapter = load_network("MotionAdapter", motion_adapter, dtype)
    with readable(motion_adapter), quiet_diffusers():
        return UNetMotionModel.from_unet2d(flat, adapter)


def load_network(kind: str, folder: Path, dtype: torch.dtype) -> Any:
    """Return a network of the `diffusers` library by the name of its class."""
    import diffusers

    with readable(folder):
        return getattr(diffusers, kind).from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, torch_dtype=dtype
        )


@contextmanager
def quiet_diffusers() -> Iterator[None]:
    """Keep diffusers from warning of casts that it makes itself."""
    from diffusers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def add_lora(unet: Any, file: Path, scale: float) -> None:
    """Add a LoRA into a U-Net's weights, times `scale`; raise SailError where the `peft` library is missing."""
    try:
        import peft  # noqa: F401
    except ImportError:
        raise SailError("A LoRA needs the `peft` library: install it with `pip install 'sail-stack[lora]'`.") from None
    from diffusers.loaders import StableDiffusionLoraLoaderMixin as Loader

    with readable(file):
        tensors, alphas = Loader.lora_state_dict(
            str(file.parent),
            weight_name=file.name,
            use_safetensors=True,
            local_files_only=True,
            unet_config=unet.config,
        )
        Loader.load_lora_into_unet(tensors, alphas, unet, adapter_name="added")
        if not getattr(unet, "peft_config", None):
            raise CheckpointError(f"The LoRA in {file} fits no layer of this U-Net.")
        unet.fuse_lora(lora_scale=scale)
        unet.unload_lora()


def load_terms(folder: Path, beta_schedule: str) -> Parametrisation:
    """Return what a base model predicts at which noise, by its scheduler's configuration, with another beta schedule.

    AnimateDiff's motion modules were trained with betas in a straight line, Stable Diffusion with such in √β. The clock
    takes fractions: the network sees sines of it.
    """
    from diffusers import DDIMScheduler

    with readable(folder):
        config = DDIMScheduler.load_config(str(folder), local_files_only=True)
        changed = {"beta_schedule": beta_schedule} if beta_schedule else {}
        scheduler = DDIMScheduler.from_config(config, **changed)
    return Parametrisation(_PREDICTIONS[scheduler.config.prediction_type], Discrete(scheduler.alphas_cumprod.float()))


def identity_of_files(files: Sequence[Path], words: Sequence[str] = ()) -> str:
    """Return twelve hexadecimal digits of a hash over the contents of weight files, and over words."""
    digest = hashlib.sha256()
    for file in files:
        if file.suffix == ".safetensors":
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    for word in words:
        digest.update(word.encode())
    return digest.hexdigest()[:12]


@contextmanager
def readable(where: Path) -> Iterator[None]:
    """Turn what the libraries raise about files into one sentence."""
    try:
        yield
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError, AttributeError) as problem:
        raise CheckpointError(f"{where} cannot be read as a part of AnimateDiff: {_first_line(problem)}") from None


def _first_line(problem: Exception) -> str:
    return next((line.strip() for line in str(problem).splitlines() if line.strip()), type(problem).__name__)
