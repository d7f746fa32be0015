"""`sail evaluate store=FOLDER`: judges and models against what was recorded, and a store's words on an arm."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from planners.autoencoder import FrameAutoencoder
from planners.denoisers import StackedUNet
from planners.diffusion import DiffusionSettings
from planners.latent_video import LatentVideoPlanner
from planners.text import MiniLM
from policies.frame_pair_network import FramePairNetwork, FramePairShape, save_frame_pair
from robot.cli import evaluate
from robot.cli.compose import compose
from robot.cli.main import main
from robot.core.data import Verdict
from robot.core.errors import SailError, UnknownNameError
from robot.episodes.store import EpisodeStore
from tests.unit.robot.cli.test_train_store import SIZE, moved, spec, store

__all__ = ["store"]  # the fixture, and a folder to work in

PLANNER = ("planner.planner=p", "planner.autoencoder=a", "planner.precision=fp32")
PAIR = ("inverse_dynamics=frame_pair", "inverse_dynamics.folder=i", "inverse_dynamics.precision=float32")


@pytest.fixture
def models(store: EpisodeStore) -> None:
    """Save a planner and a frame pair as `sail train … store=imported` would."""
    torch.manual_seed(0)
    denoiser = StackedUNet(widths=(16, 16), attention=(False, True), frames=2, heads=2, groups=4)
    LatentVideoPlanner(
        denoiser,
        FrameAutoencoder.load("a"),
        MiniLM(),
        DiffusionSettings(),
        camera="front",
        stride_s=2 / 30,
        image_size=(SIZE, SIZE),
    ).save("p")
    shape = FramePairShape(
        size=32, action_size=3, widths=(8, 8, 8, 8), hidden=8, step_s=0.033333, low=(-3.0,) * 3, high=(3.0,) * 3
    )
    network = FramePairNetwork(shape)
    with torch.no_grad():
        network.head[-1].weight.zero_()
        network.head[-1].bias.zero_()  # always the middle of the limits: 0
    save_frame_pair("i", network)


def measure(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Any]:
    assert main(["evaluate", "store=imported", *words, "--json"]) == status
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["evaluate", "store=imported", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("sail: ")
    return said


@pytest.mark.usefixtures("models")
def test_models_are_measured_against_what_was_recorded(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    told = measure(capsys, *PLANNER, *PAIR, "judge=none", "windows=2")
    assert [one["task"] for one in told["records"]] == ["pick", "place, then rest"] and not told["left_out"]
    pick = told["records"][0]
    assert pick["episodes"] == 2 and pick["imagined_rmse"] > 0 and pick["standing_still_rmse"] > 0
    sent = []  # of windows of four steps: from step 0 and 2 of six, from 0 and 4 of eight
    for name, starts in (("pick-0", (0, 2)), ("pick-1", (0, 4))):
        whole = store.load(name)
        sent += [whole.sent[start : start + 4] for start in starts]
    acted = np.concatenate(sent).astype(np.float64)
    rmse = [pick["action_rmse"][name] for name in ("base", "elbow", "wrist")]
    np.testing.assert_allclose(rmse, np.sqrt((acted**2).mean(axis=0)), rtol=1e-5)  # it always says 0
    np.testing.assert_allclose(list(pick["action_spread"].values()), acted.std(axis=0), rtol=1e-5)
    assert pick["action_error"] == pytest.approx(float((np.array(rmse) / acted.std(axis=0)).mean()), rel=1e-5)
    assert main(["evaluate", "store=imported", "tasks=pick", *PAIR, "judge=none", "camera=front"]) == 0
    shown = capsys.readouterr().out
    assert "actions" in shown and "imagined" not in shown and "success" not in shown and "place" not in shown


def test_a_judge_is_measured_and_set_beside_the_verdict_that_counts(
    store: EpisodeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, success in enumerate((True, True, False)):
        name = store.add(moved("push", success=np.array([False] * 5 + [success])), episode_id=f"push-{number}")
        store.append_verdict(name, Verdict(float(success), "truth"))
    store.append_verdict("push-0", Verdict(0.0, "person"))
    store.append_verdict("push-2", Verdict(0.0, "person"))
    told = measure(capsys)
    push = told["records"][-1]
    assert (push["task"], push["successes"], push["judged"]) == ("push", 2, 3)
    assert (push["agreeing"], push["labelled"]) == (1, 2) and push["wilson"][0] == pytest.approx(0.208, abs=1e-3)
    assert push["imagined_rmse"] is None and push["action_rmse"] is None
    assert set(told["unjudged"]) == {"pick-0", "pick-1", "place-0"}
    assert main(["evaluate", "store=imported"]) == 0
    shown = capsys.readouterr().out
    assert "2/3" in shown and "1/2" in shown and "3 were not judged, such as pick-0" in shown
    assert measure(capsys, "task=push", "rollouts=1")["records"][0]["judged"] == 1


@pytest.mark.usefixtures("models")
def test_what_cannot_be_measured_is_left_out_and_said(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.add(moved(size=(96, 128)), episode_id="wide")
    store.add(moved(of=spec(("base",))), episode_id="other")
    (store.path("pick-0") / "camera-front.mkv").write_bytes(b"no video")
    left = measure(capsys, *PLANNER, *PAIR, "judge=none", status=1)["left_out"]
    assert set(left) == {"wide", "other", "pick-0"}
    assert "64×64 pixels and episode 'wide' has 96×128: square=true" in left["wide"]
    assert "they are of two robots" in left["other"]  # most are of the other one, though this is read first by name
    left = measure(capsys, *PLANNER, "judge=none", "square=true", status=1)["left_out"]
    assert set(left) == {"pick-0"}  # a planner sees pictures alone
    assert main(["evaluate", "store=imported", *PLANNER]) == 1
    assert "2 episodes were left out:" in capsys.readouterr().out


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tasks=pikc",), "There is no task 'pikc'. Did you mean pick?"),
        (("task=door-open",), "There is no task 'door-open'. Known: pick, place, then rest."),
        (("task=pick", "tasks=pick"), "either task=NAME or tasks="),
        (("judge=none",), "There is nothing to measure"),
        (("judge=person",), "sail label store=imported"),
        (("save=x.json",), "leave save= out"),
        (("instruction=go",), "leave instruction= out"),
        (("rollouts=0",), "rollouts must be at least 1"),
        (("store=nowhere",), "There is no store nowhere"),
        ((*PLANNER, "camera=wrist"), "has no camera 'wrist', only front"),
        (("planner.settings.steps=3",), "has no camera 'corner2', only front: say which with camera="),
        ((*PAIR, "stride=3", "camera=front"), "predicts 2 actions a frame"),
    ],
)
def test_every_mistake_is_one_sentence(words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in complaint(capsys, *words)


def test_on_an_arm_a_task_of_a_store_asks_what_its_episodes_say(store: EpisodeStore) -> None:
    words = ["robot=arm", "store=imported"]
    assert evaluate.tasks_asked(compose("evaluate", [*words, "task=pick"])) == {"pick": "pick it"}
    asked = evaluate.tasks_asked(compose("evaluate", [*words, "task=place, then rest"]))
    assert asked == {"place-then-rest": "place, then rest it"}  # a file may be called after it
    said = evaluate.tasks_asked(compose("evaluate", [*words, "task=pick", "instruction=take it"]))
    assert said == {"pick": "take it"}
    with pytest.raises(UnknownNameError, match="There is no task 'pikc'. Did you mean pick"):
        evaluate.tasks_asked(compose("evaluate", [*words, "task=pikc"]))
    store.add(moved(instruction="pick something else"))
    with pytest.raises(SailError, match="say it with instruction='…'"):
        evaluate.tasks_asked(compose("evaluate", [*words, "task=pick"]))
