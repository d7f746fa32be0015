"""Text encoders: token states, masks and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from planners.text import CLIPText, MiniLM, TextEncoder, text_encoder_from
from tests.tiny_models import save_tiny_clip


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM()


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(params=["minilm", "clip"])
def encoder(request: pytest.FixtureRequest, minilm: MiniLM, clip_folder: Path) -> TextEncoder:
    return minilm if request.param == "minilm" else CLIPText(clip_folder, length=16)


def test_states_and_mask_have_their_shapes(encoder: TextEncoder) -> None:
    tokens, mask = encoder.encode(["", "go up", "a b c d"])
    assert tokens.shape == (3, 16, encoder.dim)
    assert tokens.dtype == torch.float32
    assert mask.dtype == torch.bool
    assert mask.sum(1).tolist() == sorted(mask.sum(1).tolist())
    assert mask[0].sum() == 2  # the two end marks
    assert not tokens[~mask].any()
    assert tokens[mask].any(dim=1).all()


def test_the_same_text_has_the_same_states_whatever_stands_beside_it(encoder: TextEncoder) -> None:
    alone = encoder.encode(["go up"])[0][0]
    assert torch.equal(encoder.encode(["come down", "go up"])[0][1], alone)
    assert not torch.allclose(encoder.encode(["up go"])[0][0], alone)


def test_a_text_is_encoded_in_full_precision_whoever_asks_first(encoder: TextEncoder) -> None:
    again = text_encoder_from(encoder.config)
    with torch.autocast("cpu", torch.bfloat16):
        states, _ = again.encode(["lift the lid"])
    assert torch.equal(states, encoder.encode(["lift the lid"])[0])


def test_a_config_rebuilds_the_encoder(encoder: TextEncoder) -> None:
    again = text_encoder_from(encoder.config)
    assert torch.equal(again.encode(["go up"])[0], encoder.encode(["go up"])[0])


def test_a_text_that_is_too_long_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(ValueError, match="takes 16; say it shorter"):
        encoder.encode(["a b c d e f g h i j k l m n o p q r s t"])


def test_a_pickled_clip_model_is_not_read(tmp_path: Path, clip_folder: Path) -> None:
    folder = Path(shutil.copytree(clip_folder, tmp_path / "clip"))
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        CLIPText(folder)


def test_impossible_encoders_are_refused(tmp_path: Path, clip_folder: Path) -> None:
    with pytest.raises(ValueError, match="no text encoder of kind 'bert'"):
        text_encoder_from({"kind": "bert"})
    with pytest.raises(ValueError, match="There is no CLIP model at"):
        CLIPText(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="cannot be read"):
        CLIPText(tmp_path)
    with pytest.raises(ValueError, match="and 0123 is needed"):
        CLIPText(clip_folder, identity="0123")
    with pytest.raises(ValueError, match="at most 24 tokens"):
        CLIPText(clip_folder, length=25)
