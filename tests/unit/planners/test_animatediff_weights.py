"""Where AnimateDiff's weights come from: local folders, safetensors only, and one sentence for all that is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from planners.animatediff import AnimateDiff
from planners.animatediff_weights import dtype_for, load_animatediff
from planners.autoencoder import FrameAutoencoder
from robot.core.errors import CheckpointError
from tests.tiny_models import save_tiny_animatediff

IDS = {
    "base": "sd-legacy/stable-diffusion-v1-5",
    "motion_adapter": "guoyww/animatediff-motion-adapter-v1-5-3",
    "sparsectrl": "guoyww/animatediff-sparsectrl-rgb",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_animatediff(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Return a copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


def load(folder: Path, **options: Any) -> AnimateDiff:
    sources = {name: str(folder / name) for name in IDS}
    return load_animatediff(**{**sources, "precision": "fp32", "device": "cpu", "say": None, **options})


def prediction(model: AnimateDiff) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    noisy, first = (torch.randn(1, *size, 4, 8, 8, generator=generator) for size in ((3,), ()))
    return model.conditioned(first, ["push it"])(noisy, 600)


def test_what_is_in_folders_is_loaded_and_told(made: Path) -> None:
    said: list[str] = []
    model = load(made, say=said.append)
    assert model.latent_space == FrameAutoencoder.from_diffusers(made / "base" / "vae").identity
    assert [line for line in said if line.startswith("Reading")] != []
    assert said[-1] == f"AnimateDiff {model.identity} is ready on cpu, in float32."
    assert load(made).identity == model.identity
    torch.testing.assert_close(prediction(load(made)), prediction(model))
    assert model.parametrisation.prediction == "epsilon"
    linear = torch.cumprod(1 - torch.linspace(0.00085, 0.012, 1000), 0)
    torch.testing.assert_close(model.parametrisation.schedule.bars, linear)  # type: ignore[union-attr]
    own = load(made, beta_schedule="").parametrisation.schedule
    assert (own.bars - linear).abs().max() > 0.01  # type: ignore[union-attr]


def test_a_lora_is_added_in_proportion(made: Path) -> None:
    plain = load(made)
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    weights, identities = {}, {plain.identity}
    for scale in (0.0, 0.4, 0.8):
        model = load(made, lora=str(made / "lora"), lora_scale=scale)
        weights[scale] = model.unet.state_dict()[layer] - plain.unet.state_dict()[layer]
        identities.add(model.identity)
        assert model.unet.state_dict().keys() == plain.unet.state_dict().keys()
    assert len(identities) == 4
    assert (weights[0.0] == 0).all()
    assert weights[0.4].abs().max() > 0.1
    torch.testing.assert_close(weights[0.8], 2 * weights[0.4])


def test_weights_and_lora_may_share_a_source_as_animatelcm_s_do(folder: Path) -> None:
    shutil.move(folder / "lora" / "diffusion_pytorch_model.safetensors", folder / "motion_adapter" / "lcm.safetensors")
    with_lora = load(folder, lora=str(folder / "motion_adapter"), lora_file="lcm.safetensors", lora_scale=0.8)
    assert (prediction(with_lora) - prediction(load(folder))).abs().max() > 1e-4
    with pytest.raises(CheckpointError, match=r"no other\.safetensors in .*motion_adapter"):
        load(folder, lora=str(folder / "motion_adapter"), lora_file="other.safetensors")


def test_an_id_is_looked_for_in_the_folder_of_downloads(folder: Path) -> None:
    models = folder.parent / "models"
    for name, source in IDS.items():
        shutil.move(folder / name, models / Path(source).name)
    found = load_animatediff(**IDS, precision="fp32", device="cpu", models=models, offline=True, say=None)
    assert found.unet is not None
    with pytest.raises(CheckpointError, match="the autoencoder runwayml/other"):
        load_animatediff(**IDS, autoencoder="runwayml/other", models=models, offline=True, device="cpu", say=None)


def test_a_folder_that_is_not_there_is_not_replaced_by_another_of_its_name(folder: Path) -> None:
    models = folder.parent / "models"
    shutil.copytree(folder / "base", models / "base")
    mistyped = folder.parent / "mistyped" / "base"
    with pytest.raises(CheckpointError) as caught:
        load(folder, base=str(mistyped), models=models)
    assert f"no unet/config.json in {mistyped}" in str(caught.value)
    assert "hf download" not in str(caught.value)


@pytest.mark.parametrize("offline", [True, False])
def test_all_that_is_missing_is_one_sentence_with_sizes_and_commands(made: Path, offline: bool) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_animatediff(**{**IDS, "sparsectrl": str(made / "sparsectrl")}, offline=offline, device="cpu", say=None)
    said = str(caught.value)
    assert said.startswith("AnimateDiff's weights are not all here, missing is the base model sd-legacy/")
    assert "sd-legacy/stable-diffusion-v1-5 (4.3 GB)" in said
    assert "guoyww/animatediff-motion-adapter-v1-5-3 (1.7 GB)" in said
    assert (
        "`hf download guoyww/animatediff-motion-adapter-v1-5-3 config.json diffusion_pytorch_model.safetensors" in said
    )
    assert "--local-dir models/animatediff-motion-adapter-v1-5-3`" in said
    assert "tokenizer/vocab.json" in said and "vae/config.json" in said
    assert "planner.general.base=FOLDER planner.general.motion_adapter=FOLDER (inside best_of_n " in said
    assert "sparsectrl" not in said
    assert "\n" not in said


def test_a_folder_that_lacks_a_file_says_which_and_pickles_are_not_read(folder: Path) -> None:
    weights = folder / "sparsectrl" / "diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(
        CheckpointError, match=r"no diffusion_pytorch_model\.safetensors in .*sparsectrl\): name folders"
    ):
        load(folder)


def test_a_pickled_lora_is_not_read(folder: Path) -> None:
    torch.save({}, folder / "lora" / "lora.bin")
    with pytest.raises(ValueError, match=r"a \.safetensors file, not 'lora\.bin'"):
        load(folder, lora=str(folder / "lora"), lora_file="lora.bin")


def test_damaged_or_foreign_weights_are_one_sentence(folder: Path) -> None:
    weights = folder / "motion_adapter" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"motion_adapter cannot be read as a part of AnimateDiff"):
        load(folder)
    with pytest.raises(CheckpointError, match="cannot be read as a part of AnimateDiff"):
        load(folder, motion_adapter=str(folder / "sparsectrl"))


@pytest.mark.parametrize("file", ["lora/diffusion_pytorch_model.safetensors", "base/text_encoder/model.safetensors"])
def test_a_file_cut_short_is_one_sentence_whichever_library_reads_it(folder: Path, file: str) -> None:
    weights = folder / file
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=rf"{Path(file).parts[0]}.* cannot be read as a part of"):
        load(folder, lora=str(folder / "lora"))


def test_precision_follows_the_device() -> None:
    assert dtype_for("auto", torch.device("cuda")) == torch.float16
    assert dtype_for("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)
    assert dtype_for("bf16", torch.device("cuda")) == torch.bfloat16
