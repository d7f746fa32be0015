"""`sail train` from recorded episodes: the weights it writes load again, and missing data names the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from planners.autoencoder import FrameAutoencoder
from planners.denoisers import StackedUNet
from planners.diffusion import DiffusionSettings
from planners.imagining import pick_device
from planners.latent_video import LatentVideoPlanner
from planners.text import CLIPText, MiniLM
from planners.windows import LatentEpisode, Source, WindowSampler, clip_spread
from policies.pose_tracking import PoseTracking
from robot.cli.compose import build, compose
from robot.cli.main import main
from robot.cli.train import _diffusion
from robot.core.data import Episode, Observation, Outcome
from robot.core.errors import SailError
from robot.episodes.store import EpisodeStore
from tests.tiny_models import save_tiny_clip, save_tiny_vae

SIZE = 64


def record(
    folder: Path,
    kind: str,
    count: int = 2,
    steps: int = 5,
    step_s: float = 0.025,
    form: str = "",
    first: int = 0,
    instruction: str = "reach the goal",
    spoilt: bool = False,
) -> None:
    rng = np.random.default_rng(0)
    for seed in range(first, first + count):
        episode = Episode(
            task="reach",
            instruction=instruction,
            robot="fake",
            frames={"corner2": rng.integers(0, 256, (steps + 1, SIZE, SIZE, 3), np.uint8)},
            proprio=rng.uniform(0, 1, (steps + 1, 4)).astype(np.float32),
            requested=np.zeros((steps, 4), np.float32),
            sent=np.zeros((steps, 4), np.float32),
            times_s=np.arange(steps + 1) * step_s,
            outcome=Outcome.SUCCESS,
            seed=seed,
            config_hash=form,
        )
        if spoilt:
            episode.proprio[2] = np.nan
        EpisodeStore(folder / kind).add(episode)


def trained(capsys: pytest.CaptureFixture[str], *words: str) -> Path:
    assert main(["train", *words, "--json", "seed=3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert np.isfinite(told["metrics"]["loss"])
    output = Path(told["output"])
    card = json.loads((output / "model.json").read_text(encoding="utf-8"))["card"]
    assert card["seed"] == 3
    assert card["command"].startswith("sail train")
    return output


def test_each_model_trains_on_what_was_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, "demonstrations")
    record(tmp_path, "play")
    common = [f"data={tmp_path}", "steps=2", "batch_size=2", "warmup_steps=1"]
    small = ["widths=16,16,16", f"image_size={SIZE}", "tasks=reach"]
    autoencoder = trained(capsys, "autoencoder", *common, *small, f"output={tmp_path / 'a'}")
    assert FrameAutoencoder.load(autoencoder).image_size == SIZE

    denoiser = ["denoiser.widths=16,16", "denoiser.attention=false,true", f"autoencoder.folder={autoencoder}"]
    planner = trained(capsys, "planner", *common, *denoiser, f"output={tmp_path / 'p'}")
    loaded = LatentVideoPlanner.load(planner, autoencoder)
    assert loaded.stride_s == pytest.approx(0.05)
    assert loaded.settings.guidance_scale == 2.0
    assert loaded.diffusion.scale not in (0.0, 1.0)  # measured

    output = f"output={tmp_path / 'i'}"
    pose = trained(capsys, "inverse_dynamics", *common, f"autoencoder.folder={autoencoder}", output)
    assert PoseTracking.load(pose).identity


def test_a_planner_learns_from_suboptimal_attempts_where_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, "suboptimal")
    FrameAutoencoder(widths=(16, 16, 16), image_size=SIZE).save(tmp_path / "a")
    common = [f"data={tmp_path}", "steps=2", "batch_size=2", "warmup_steps=1", f"autoencoder.folder={tmp_path / 'a'}"]
    words = [*common, "denoiser.widths=16,16", "denoiser.attention=false,true", f"output={tmp_path / 'p'}"]
    planner = trained(capsys, "planner", *words, "episodes=suboptimal")
    card = json.loads((planner / "model.json").read_text(encoding="utf-8"))["card"]
    assert card["data"]["kind"] == "suboptimal"
    assert main(["train", "planner", *words]) == 2
    assert "There are no demonstrations of seen" in capsys.readouterr().err
    assert main(["train", "planner", *words, "episodes=play"]) == 2
    assert "episodes must be demonstrations or suboptimal, got 'play'." in capsys.readouterr().err


def test_missing_episodes_name_the_command_that_records_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "autoencoder", f"data={tmp_path}", "tasks=reach"]) == 2
    assert "sail collect tasks=reach play=10" in capsys.readouterr().err


def test_episodes_recorded_in_several_ways_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path, "demonstrations", form="a")
    record(tmp_path, "demonstrations", form="b", first=2)
    assert main(["train", "planner", f"data={tmp_path}", "tasks=reach"]) == 2
    assert "recorded in 2 ways" in capsys.readouterr().err


def test_a_planner_is_not_trained_at_a_rate_the_episodes_do_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, "demonstrations", step_s=0.05)
    assert main(["train", "planner", f"data={tmp_path}", "tasks=reach"]) == 2
    assert "recorded at 20 robot steps a second, not 40: set rate_hz=20." in capsys.readouterr().err


def test_a_planner_with_clip_and_stable_diffusion_s_autoencoder_loads_again_and_plans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, "demonstrations", instruction="go up")
    clip, vae = save_tiny_clip(tmp_path / "clip"), save_tiny_vae(tmp_path / "vae")
    planner = trained(
        capsys,
        *("planner", f"data={tmp_path}", "steps=1", "batch_size=2", f"output={tmp_path / 'p'}"),
        *("text=clip", f"text.folder={clip}", "text.length=8", "denoiser.widths=16,16"),
        *("denoiser.attention=false,true", "diffusion.scale=0.5"),
        *("autoencoder=stable_diffusion", f"autoencoder.folder={vae}", f"autoencoder.image_size={SIZE}"),
    )
    config = compose(
        "improve", [f"planner.planner={planner}", f"planner.autoencoder={vae}", "planner.settings.steps=2"]
    )
    loaded: LatentVideoPlanner = build(config.planner)
    assert isinstance(loaded.text_encoder, CLIPText)
    assert loaded.autoencoder.identity == FrameAutoencoder.from_diffusers(vae).identity
    assert loaded.diffusion.scale == 0.5
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    (plan,) = loaded.plan([Observation({"corner2": picture}, np.zeros(4, np.float32), 0.0)], ["go up"], [0])
    assert plan.frames.shape == (8, SIZE, SIZE, 3)


def small_planner(folder: Path) -> tuple[str, ...]:
    """Save a small planner and its autoencoder; return the words that fine-tune it on what `record` recorded."""
    torch.manual_seed(0)
    autoencoder = FrameAutoencoder(widths=(8, 8, 8), norm_groups=4, image_size=SIZE).eval()
    autoencoder.save(folder / "autoencoder")
    denoiser = StackedUNet(widths=(16, 16), attention=(False, True), frames=3, heads=2, groups=4)
    torch.nn.init.normal_(denoiser.unet.conv_out.weight, std=0.05)  # adapters learn nothing behind a layer of zeros
    diffusion = DiffusionSettings(prediction="x0", scale=0.7)
    LatentVideoPlanner(denoiser, autoencoder, MiniLM(), diffusion, image_size=(SIZE, SIZE)).save(folder / "base")
    record(folder, "demonstrations")
    return (
        *("planner", f"data={folder}", "tasks=reach", "steps=2", "batch_size=2", "warmup_steps=1", "half=false"),
        *(f"autoencoder.folder={folder / 'autoencoder'}", f"from={folder / 'base'}"),
    )


def test_a_planner_is_fine_tuned_from_another_and_keeps_what_that_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = trained(capsys, *small_planner(tmp_path), f"output={tmp_path / 'tuned'}")
    autoencoder = FrameAutoencoder.load(tmp_path / "autoencoder")
    base, tuned = (LatentVideoPlanner.load(folder, autoencoder) for folder in (tmp_path / "base", output))
    assert tuned.config == base.config
    assert tuned.identity != base.identity
    assert json.loads((output / "model.json").read_text())["card"]["from"] == base.identity


def test_adapters_are_trained_beside_a_planner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("peft")
    output = trained(capsys, *small_planner(tmp_path), f"output={tmp_path / 'adapters'}", "lora_rank=2")
    words = [f"planner.planner={tmp_path / 'base'}", f"planner.autoencoder={tmp_path / 'autoencoder'}"]
    base = build(compose("improve", words).planner)
    tuned = build(compose("improve", [*words, f"+planner.adapters={output}"]).planner)
    assert tuned.identity != base.identity
    assert tuned.config == base.config
    smaller = (output / "model.safetensors").stat().st_size / (tmp_path / "base" / "model.safetensors").stat().st_size
    assert smaller < 0.6


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("diffusion.scale=2",), "is the planner's own that from= names, and is kept: leave 'diffusion.scale=2' out"),
        (("denoiser=space_time",), "denoiser is the planner's own"),
        (("stride=4",), "imagines frames 0.05 s apart and stride=4 gives 0.1 s: set stride=2"),
        (("lora_rank=-1",), "needs a rank from 1 up"),
        (("from=nowhere",), "nowhere holds no model.json"),
    ],
)
def test_fine_tuning_what_does_not_fit_is_one_sentence(
    words: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *small_planner(tmp_path), *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("text=clip", "text.folder=nowhere"), "There is no CLIP model at nowhere"),
        (("autoencoder=stable_diffusion", "autoencoder.folder=nowhere"), "no autoencoder of the diffusers library at"),
        (("autoencoder.folder=nowhere",), "nowhere holds no model.json"),
        (("text=bert",), "There is no text 'bert'"),
    ],
)
def test_weights_that_are_not_there_are_one_sentence(
    words: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "planner", f"data={tmp_path}", *words]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


def test_a_scale_is_a_number_or_auto(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    windows = WindowSampler([Source([LatentEpisode(np.zeros((4, 4, 2, 2), np.float16), "stay")])])
    with pytest.raises(SailError, match="Nothing moves"):
        _diffusion(compose("train_planner"), windows)
    with pytest.raises(SailError, match="a number above 0 or auto, got 'big'"):
        _diffusion(compose("train_planner", ["diffusion.scale=big"]), windows)
    rising = np.broadcast_to(np.arange(40).reshape(-1, 1, 1, 1), (40, 4, 2, 2)).astype(np.float16)
    windows = WindowSampler([Source([LatentEpisode(rising, "rise")])])
    for delta in (True, False):
        scale = _diffusion(compose("train_planner", [f"diffusion.delta={delta}".lower()]), windows).scale
        assert scale == pytest.approx(1 / clip_spread(windows, delta=delta))
    assert clip_spread(windows, delta=False) != clip_spread(windows)


def test_images_of_a_size_that_the_autoencoder_cannot_take_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, "demonstrations")
    record(tmp_path, "play")
    common = [f"data={tmp_path}", "tasks=reach"]
    assert main(["train", "planner", *common]) == 2
    assert "takes images of 128×128 pixels and the episodes have 64×64" in capsys.readouterr().err
    assert main(["train", "autoencoder", *common]) == 2
    assert "image_size=128" in capsys.readouterr().err
    for subject in ("autoencoder", "planner", "inverse_dynamics"):
        assert main(["train", subject, *common, "camera=wrist"]) == 2
        assert "no camera 'wrist', only corner2" in capsys.readouterr().err
    with pytest.raises(ValueError, match="must be a multiple of 8 px, got 100"):
        FrameAutoencoder(widths=(8, 8, 8), norm_groups=4, image_size=100)


def test_numbers_that_are_none_stop_training_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, "demonstrations", spoilt=True)
    words = [f"data={tmp_path}", "steps=2", "batch_size=16", "play_share=0", "reconstructed_share=0"]
    assert main(["train", "inverse_dynamics", *words, f"output={tmp_path / 'i'}"]) == 2
    told = capsys.readouterr().err
    assert "must be finite" in told
    assert "Traceback" not in told


def test_a_batch_that_is_not_finite_stops_training_which_goes_on_when_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, "demonstrations")
    draw, drawn = WindowSampler.draw, [0]

    def spoil(self: WindowSampler, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        batch = draw(self, rng, count)
        drawn[0] += 1
        if drawn[0] == 2:
            batch["first"][0] = np.nan
        return batch

    monkeypatch.setattr(WindowSampler, "draw", spoil)
    words = [
        *("train", "planner", f"data={tmp_path}", f"output={tmp_path / 'p'}", "steps=3", "batch_size=2"),
        *("checkpoint_every=1", "diffusion.scale=1", "denoiser.widths=16,16", "denoiser.attention=false,true"),
        *("autoencoder=stable_diffusion", f"autoencoder.folder={save_tiny_vae(tmp_path / 'vae')}"),
        f"autoencoder.image_size={SIZE}",
    ]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "Training stopped at step 1: the training batch has NaN or infinity in 'first'" in told
    assert "last good checkpoint" in told
    assert "Traceback" not in told
    assert not (tmp_path / "p" / "model.json").exists()
    assert main(words) == 0
    assert drawn[0] == 4  # the first step was not repeated


@pytest.mark.parametrize("device", ["cuda:77", "abacus"])
def test_a_device_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(ValueError, match=f"There is no device '{device}' here"):
        pick_device(device)
