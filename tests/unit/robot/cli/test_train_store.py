"""`sail train … store=FOLDER`: any store, any task in it, its own words and cameras; what cannot be used is said."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from planners.autoencoder import FrameAutoencoder
from planners.denoisers import StackedUNet
from planners.diffusion import DiffusionSettings
from planners.latent_video import LatentVideoPlanner
from planners.text import MiniLM
from policies.frame_pair import FramePair
from policies.frame_set import FrameSet
from policies.pose_tracking import PoseTracking
from robot.cli.main import main
from robot.core.data import ActionSpec, Episode, Outcome, RobotSpec, Verdict
from robot.core.files import FolderLock
from robot.episodes.store import EpisodeStore

SIZE = 64
NAMES = ("base", "elbow", "wrist")
PLACES = ("gripper_x", "gripper_y", "gripper_z", "gripper_opening")
MATRIX = np.array([[10.0, 0.0, 0.0, 20.0], [0.0, 10.0, 0.0, 30.0], [0.0, 0.0, 0.0, 1.0]])


def spec(names: tuple[str, ...] = NAMES, rate_hz: float = 30.0, **changes: Any) -> RobotSpec:
    size = len(names)
    limit, unknown = np.full(size, 3, np.float32), ("unknown",) * size
    action = ActionSpec(names, unknown, -limit, limit, rate_hz)
    made = RobotSpec("so101", action, names, unknown, {"front": (SIZE, SIZE)})
    return dataclasses.replace(made, **changes)


def moved(
    task: str = "pick",
    steps: int = 6,
    size: tuple[int, int] = (SIZE, SIZE),
    of: RobotSpec | None = None,
    **changes: Any,
) -> Episode:
    """Return an episode of an imported kind: no simulator, three joints in units that nobody knows, 30 a second."""
    of = of or spec()
    rng = np.random.default_rng(len(task) + steps)
    joints = len(of.action.names)
    acted = rng.uniform(-2.5, 2.5, (steps, joints)).astype(np.float32)
    values: dict[str, Any] = {
        "task": task,
        "instruction": f"{task} it",
        "robot": of.name,
        "frames": {"front": rng.integers(0, 256, (steps + 1, *size, 3), np.uint8)},
        "proprio": rng.uniform(0.0, 1.0, (steps + 1, len(of.proprio_names))).astype(np.float32),
        "requested": acted,
        "sent": acted,
        "times_s": np.arange(steps + 1) / of.action.rate_hz,
        "outcome": Outcome.TIMEOUT,
        "seed": 0,
        "spec": of,
    }
    return Episode(**{**values, **changes})


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EpisodeStore:
    """Work in a folder with a store of three episodes of two tasks, and a small autoencoder."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.chdir(tmp_path)
    made = EpisodeStore("imported")
    made.add(moved(), episode_id="pick-0")
    made.add(moved(steps=8), episode_id="pick-1")
    made.add(moved("place, then rest", steps=7), episode_id="place-0")
    torch.manual_seed(0)
    FrameAutoencoder(widths=(8, 8, 8), norm_groups=4, image_size=SIZE).save("a")
    return made


QUICK = ("store=imported", "camera=front", "steps=2", "batch_size=2", "warmup_steps=1", "output=out")
AUTOENCODER = ("autoencoder", *QUICK, "widths=16,16,16", f"image_size={SIZE}")
PLANNER = (
    *("planner", *QUICK, "rate_hz=30", "autoencoder.folder=a"),
    *("denoiser.widths=16,16", "denoiser.attention=false,true"),
)
PAIR = ("inverse_dynamics", "kind=frame_pair", *QUICK, "autoencoder.folder=a")


def train(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Any]:
    shutil.rmtree("out", ignore_errors=True)  # else a training that was finished there would only be read again
    assert main(["train", *words, "--json"]) == status
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert np.isfinite(told["metrics"]["loss"])
    return told


def card() -> dict[str, Any]:
    about: dict[str, Any] = json.loads(Path("out/model.json").read_text())["card"]["data"]
    return about


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["train", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("sail: ")
    return said


def test_an_autoencoder_learns_from_a_task_of_a_store(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(capsys, *AUTOENCODER, "tasks=pick")["left_out"] == {}
    assert card() == {"store": "imported", "tasks": ["pick"], "episodes": 2}
    assert FrameAutoencoder.load("out").image_size == SIZE


def test_a_planner_learns_all_tasks_of_a_store_in_its_own_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    encode = MiniLM.encode
    monkeypatch.setattr(MiniLM, "encode", lambda self, texts: said.extend(texts) or encode(self, texts))
    train(capsys, *PLANNER)
    assert card() == {"store": "imported", "tasks": ["pick", "place, then rest"], "episodes": 3}
    assert {"pick it", "place, then rest it"} <= set(said)
    planner = LatentVideoPlanner.load("out", "a")
    assert planner.camera == "front" and planner.stride_s == pytest.approx(2 / 30)
    train(capsys, *PLANNER, "tasks=place, then rest,pick", "per_task=1")  # a name may hold commas itself
    assert card() == {"store": "imported", "tasks": ["place, then rest", "pick"], "episodes": 2}


def test_a_frame_pair_learns_the_actions_of_a_store_s_robot(capsys: pytest.CaptureFixture[str]) -> None:
    train(capsys, *PAIR, "stride=3", "half=false")
    shape = FramePair.load("out", step_s=1 / 30).network.shape
    assert (shape.action_size, shape.chunk) == (3, 3) and shape.step_s == pytest.approx(1 / 30, abs=1e-6)
    assert shape.low == (-3.0,) * 3 and shape.high == (3.0,) * 3


def test_pose_tracking_asks_what_proprioception_means(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("inverse_dynamics", *QUICK, "autoencoder.folder=a")
    said = complaint(capsys, *words)
    assert "senses base (unknown), elbow (unknown), wrist (unknown): take kind=frame_pair" in said
    assert "assume_pose" in complaint(capsys, *words, "assume_pose=true")  # three numbers cannot be four
    for name, units in (("placed", ("unknown",) * 4), ("measured", ("m", "m", "m", "1"))):
        posed = spec(PLACES, proprio_units=units)
        EpisodeStore(name).add(moved(of=posed))
    assert "gripper_x (unknown)" in complaint(capsys, *words, "store=placed")
    for more in (("store=placed", "assume_pose=true"), ("store=measured",)):
        train(capsys, *words, *more)
        assert PoseTracking.load("out").identity


def test_the_camera_matrix_is_each_episode_s_own(
    store: EpisodeStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_simulator(*_: object, **__: object) -> None:
        raise AssertionError("a simulator was built for a matrix that the episodes carry")

    gathered: list[FrameSet] = []

    def keep(sources: Any, *_: object, **__: object) -> dict[str, float]:
        gathered.extend(source.frames for source in sources)
        return {"loss": 0.0}

    monkeypatch.setattr("sim.metaworld.MetaWorldRobot", no_simulator)
    monkeypatch.setattr("robot.cli.train.train_pose_network", keep)
    simulated = EpisodeStore("simulated")
    for number, shift in enumerate((0.0, 16.0)):
        matrix = MATRIX.copy()
        matrix[0, 3] += shift
        posed = spec(PLACES, proprio_units=("m", "m", "m", "1"), camera_matrices={"front": matrix})
        proprio = np.zeros((7, 4), np.float32)
        simulated.add(moved(of=posed, robot="metaworld/reach", proprio=proprio), episode_id=f"at-{number}")
    train(capsys, "inverse_dynamics", *QUICK, "store=simulated", "reconstructed_share=0")
    (frames,) = gathered
    expected = [[20 / SIZE, 30 / SIZE]] * 7 + [[36 / SIZE, 30 / SIZE]] * 7
    np.testing.assert_allclose(frames.pixels, expected, atol=1e-6)


def test_pictures_of_another_size_are_refused_or_made_square(
    store: EpisodeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = EpisodeStore("wide")
    wide.add(moved(size=(96, 128)), episode_id="wide-0")
    for words in (AUTOENCODER, PLANNER, PAIR):
        said = complaint(capsys, *words, "store=wide")
        assert "takes images of 64×64 pixels and the episodes have 96×128: square=true takes the middle square" in said
    train(capsys, *PLANNER, "store=wide", "square=true")
    assert LatentVideoPlanner.load("out", "a").image_size == (SIZE, SIZE)
    wide.add(moved(size=(48, 48)), episode_id="small")
    left = train(capsys, *AUTOENCODER, "store=wide", "square=true", status=1)["left_out"]
    assert list(left) == ["small"] and "cannot be shrunk to 64×64" in left["small"]


def test_what_is_damaged_or_unlike_is_left_out_and_said(
    store: EpisodeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    (store.path("pick-0") / "camera-front.mkv").write_bytes(b"no video")
    store.add(moved(of=spec(rate_hz=10.0)), episode_id="slow")
    store.add(moved(frames={"wrist": np.zeros((7, SIZE, SIZE, 3), np.uint8)}), episode_id="elsewhere")
    spoilt = moved()
    spoilt.sent[2, 1] = np.nan
    store.add(spoilt, episode_id="spoilt")
    store.path("foul").mkdir()
    (store.path("foul") / "episode.json").write_text("{")
    left = train(capsys, *PLANNER, status=1)["left_out"]
    assert set(left) == {"pick-0", "slow", "elsewhere", "foul"}
    assert "damaged" in left["pick-0"] and "10 robot steps a second, not 30" in left["slow"]
    assert "no camera 'front', only wrist: say which with camera=" in left["elsewhere"]
    assert card()["episodes"] == 3  # the spoilt one's pictures are sound
    left = train(capsys, *PAIR, status=1)["left_out"]
    assert set(left) == {"pick-0", "slow", "elsewhere", "foul", "spoilt"}
    assert "The action of step 2 of episode 'spoilt' is not finite" in left["spoilt"]
    shutil.rmtree("out")
    assert main(["train", *AUTOENCODER, "per_task=9"]) == 1
    shown = capsys.readouterr().out
    assert "6 episodes of pick, place, then rest in imported" in shown and "3 episodes were left out:" in shown
    assert any(line.startswith("elsewhere") and "no camera" in line for line in shown.splitlines())


def test_where_none_can_be_used_one_sentence_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, *PLANNER, "camera=corner2")
    assert "None of 3 episodes in imported can be used: Episode 'pick-0' has no camera 'corner2', only front" in said
    said = complaint(capsys, *PLANNER, "rate_hz=40")
    assert "recorded at 30 robot steps a second, not 40: set rate_hz=30" in said


def test_only_episodes_that_pass_are_learnt_from(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.append_verdict("pick-1", Verdict(1.0, "person"))
    store.add(moved(outcome=Outcome.SUCCESS), episode_id="pick-2")
    train(capsys, *AUTOENCODER, "verdict=success")
    assert card()["episodes"] == 1
    train(capsys, *AUTOENCODER, "outcome=success")
    assert card()["episodes"] == 1
    assert "No episode of pick in imported passes" in complaint(capsys, *AUTOENCODER, "tasks=pick", "verdict=failure")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*AUTOENCODER, "tasks=pikc"), "There is no task 'pikc'. Did you mean pick?"),
        ((*AUTOENCODER, "tasks=door-open"), "There is no task 'door-open'. Known: pick, place, then rest."),
        ((*AUTOENCODER, "store=nowhere"), "There is no store nowhere"),
        ((*AUTOENCODER, "store=a"), "holds no episodes that can be read"),
        ((*AUTOENCODER, "episodes=play"), "leave 'episodes=play' out beside store="),
        ((*PAIR, "play_share=0"), "leave 'play_share=0' out beside store="),
        ((*PAIR, "verdict=fine"), "verdict must be"),
        ((*PLANNER, "text.length=4"), "set text.length higher"),
    ],
)
def test_every_mistake_is_one_sentence(words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in complaint(capsys, *words)


def test_two_robots_are_not_learnt_as_one(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.add(moved(of=spec(("base", "elbow"))), episode_id="a-pick")  # read first by name, but the odd one
    store.add(moved(of=spec(("elbow", "base", "wrist"))), episode_id="pick-3")
    store.add(moved(times_s=np.arange(7) / 10.0), episode_id="pick-4")
    left = train(capsys, *PAIR, status=1)["left_out"]
    assert set(left) == {"a-pick", "pick-3", "pick-4"}
    assert "has the actions base, elbow, and 'pick-0' the actions base, elbow, wrist" in left["a-pick"]
    assert "says 30 steps a second, and its times are those of 10" in left["pick-4"]


def test_a_second_training_decodes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, store: EpisodeStore
) -> None:
    weights = {}
    for words in (PLANNER, (*PAIR, "reconstructed_share=0")):
        train(capsys, *words)
        weights[words] = Path("out/model.safetensors").read_bytes()

    def no_video(*_: object) -> None:
        raise AssertionError("a video was decoded")

    monkeypatch.setattr("robot.episodes.store.read_video", no_video)
    for words, before in weights.items():
        train(capsys, *words)
        assert Path("out/model.safetensors").read_bytes() == before


def test_a_model_s_folder_that_another_process_trains_into_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    train(capsys, *PAIR)
    before = Path("out/model.json").read_bytes()
    with FolderLock("out"):
        said = complaint(capsys, *PAIR)
    assert f"out is in use by process {os.getpid()}" in said and "output=" in said
    assert Path("out/model.json").read_bytes() == before


def test_a_training_on_other_episodes_is_not_taken_for_this_one(
    store: EpisodeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    train(capsys, *AUTOENCODER, "tasks=pick")
    assert main(["train", *AUTOENCODER, "tasks=pick"]) == 0  # the same command goes on
    capsys.readouterr()
    EpisodeStore("data/play").add(moved("reach"))
    other = [word for word in AUTOENCODER if word != "store=imported"]
    for words in ((*AUTOENCODER, "square=true"), AUTOENCODER, (*other, "tasks=reach", "episodes=play")):
        assert "out holds a training on other episodes" in complaint(capsys, *words)
    shutil.rmtree("out")
    assert main(["train", *other, "tasks=reach", "episodes=play"]) == 0
    capsys.readouterr()
    assert "out holds a training on other episodes" in complaint(capsys, *AUTOENCODER)


def small_planner() -> None:
    """Save a planner that looks through another camera, at the store's rate."""
    denoiser = StackedUNet(widths=(16, 16), attention=(False, True), frames=3, heads=2, groups=4)
    LatentVideoPlanner(
        denoiser,
        FrameAutoencoder.load("a"),
        MiniLM(),
        DiffusionSettings(prediction="x0", scale=0.7),
        image_size=(SIZE, SIZE),
        stride_s=2 / 30,
    ).save("base")


def test_a_planner_that_is_fine_tuned_looks_through_the_store_s_camera(capsys: pytest.CaptureFixture[str]) -> None:
    small_planner()
    words = ("planner", *QUICK, "rate_hz=30", "autoencoder.folder=a", "from=base")
    said = complaint(capsys, *words, "lora_rank=2")
    assert "looks through camera 'corner2', and adapters leave it at that" in said
    train(capsys, *words)
    assert LatentVideoPlanner.load("out", "a").camera == "front"
