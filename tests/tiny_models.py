"""Tiny random models of the architectures whose weights a user brings, saved as their libraries save them."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def save_tiny_clip(folder: Path) -> Path:
    """Save a CLIP text model with random weights and a tokenizer that knows single letters."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=24, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    CLIPTextModel(config).save_pretrained(folder)
    return folder


def save_tiny_vae(folder: Path) -> Path:
    """Save an AutoencoderKL with random weights: Stable Diffusion's four levels, of eight channels each."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.18215,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def save_tiny_animatediff(folder: Path, seed: int = 0) -> Path:
    """Save what AnimateDiff is loaded from, with random weights: base/, motion_adapter/, sparsectrl/ and lora/.

    SparseCtrl counts, unlike one that the library has just begun; the autoencoder's posterior has next to no spread.
    """
    from diffusers import DDIMScheduler
    from safetensors.torch import save_file
    from transformers import CLIPTokenizer

    from planners.animatediff_untrained import BETAS, SHAPES, build_autoencoder, build_parts

    torch.manual_seed(seed)
    flat, adapter, sparse = build_parts(SHAPES["tiny"])
    for module in (sparse.controlnet_cond_embedding, sparse.controlnet_mid_block, *sparse.controlnet_down_blocks):
        torch.nn.init.normal_(module.weight, std=0.3)
    for name, weight in adapter.named_parameters():
        if name.endswith("proj_out.weight"):
            torch.nn.init.normal_(weight, std=0.3)  # motion that shows
    vae = build_autoencoder(SHAPES["tiny"])
    with torch.no_grad():
        vae.quant_conv.weight[4:] = 0.0
        vae.quant_conv.bias[4:] = -30.0
    base = folder / "base"
    save_tiny_clip(base / "text_encoder")
    CLIPTokenizer.from_pretrained(base / "text_encoder", model_max_length=24).save_pretrained(base / "tokenizer")
    flat.save_pretrained(base / "unet")
    vae.save_pretrained(base / "vae")
    DDIMScheduler(**BETAS, beta_schedule="scaled_linear").save_pretrained(base / "scheduler")
    adapter.save_pretrained(folder / "motion_adapter")
    sparse.save_pretrained(folder / "sparsectrl")
    (folder / "lora").mkdir()
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {f"{layer}.lora_A.weight": torch.randn(4, 32), f"{layer}.lora_B.weight": torch.randn(32, 4)}
    save_file(tensors, folder / "lora" / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    return folder
