"""Prompts as a Stable Diffusion network attends to them: CLIP's last hidden states of all its places, nothing masked.

This is not what `planners.text.CLIPText` gives our own denoisers: there places without a token are empty and masked.

Axes: B texts, L tokens, D token-state channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from robot.core.errors import SailError


class Prompts(Protocol):
    """Turn texts into what a network of Stable Diffusion attends to."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return token states, float32 (B, L, D)."""
        ...


class CLIPPrompts:
    """Encode with a tokenizer and CLIP text model of the `transformers` library, on the CPU, each text once.

    Every text takes all the places the model has, as `StableDiffusionPipeline` asks it. Raises SailError for a text
    that does not fit into them, which that pipeline would cut off.
    """

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self._tokenizer = tokenizer
        self.model = model.eval().requires_grad_(False)
        self._length = min(int(tokenizer.model_max_length), int(model.config.max_position_embeddings))
        self._cache: dict[str, Tensor] = {}

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return token states, float32 (B, L, D)."""
        for text in texts:
            if text not in self._cache:
                self._cache[text] = self._encode_one(text)
        return torch.stack([self._cache[text] for text in texts])

    @torch.no_grad()
    def _encode_one(self, text: str) -> Tensor:
        encoded = self._tokenizer(text, padding="max_length", max_length=self._length, return_tensors="pt")
        ids = encoded["input_ids"]
        if ids.shape[1] > self._length:
            raise SailError(
                f"The text {text!r} has {ids.shape[1]} tokens and CLIP takes {self._length}; say it shorter."
            )
        with torch.autocast("cpu", enabled=False):
            states: Tensor = self.model(input_ids=ids).last_hidden_state[0].float()
        return states


class RandomPrompts:
    """Give every text random states that depend on the text alone: what a model costs does not depend on them."""

    def __init__(self, dim: int, length: int = 77) -> None:
        self._dim, self._length = dim, length

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return token states, float32 (B, L, D), standard normal."""
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") for text in texts]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return torch.stack([torch.randn(self._length, self._dim, generator=each) for each in generators])
