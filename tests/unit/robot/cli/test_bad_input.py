"""Bad input to the verbs: one clear sentence, a status that is not zero, and a state from which the command goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from policies.pose_network import PoseNetwork, PoseNetworkShape, save_pose_network
from robot.cli.main import main
from robot.core.data import Episode
from robot.episodes.store import EpisodeStore
from sim import rendering
from sim.collect import Request
from sim.rendering import INSTALL_HINT
from tests.fakes import toy_episode

COLLECT = ("collect", "task=reach", "demonstrations=3")


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one sentence with which a command is refused."""
    assert main(words) == 2
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if line.startswith("sail: ")]
    assert len(said) == 1
    assert "Traceback" not in captured.err
    return said[0]


@pytest.fixture
def pose_network(tmp_path: Path) -> Path:
    save_pose_network(tmp_path / "pose", PoseNetwork(PoseNetworkShape(widths=(8, 8, 16, 16), keypoints=8, hidden=16)))
    return tmp_path / "pose"


@pytest.mark.parametrize(
    "words",
    [
        ("improve", "task=dor-open"),
        ("evaluate", "task=dor-open"),
        ("collect", "task=dor-open"),
        ("collect", "play_tasks=dor-open", "play=1"),
        ("train", "planner", "tasks=dor-open"),
    ],
)
def test_an_unknown_task_is_answered_with_the_nearest(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean door-open" in complaint(capsys, *words)


@pytest.mark.parametrize(
    "words",
    [("evaluate", "task=reach", "planner=oracle", "inverse_dynamics=tiny"), (*COLLECT, "workers=1")],
)
def test_without_a_rendering_backend_it_says_what_to_install(
    words: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rendering, "backend_works", lambda name: False)
    for name in ("MUJOCO_GL", "SAIL_RENDERER_PROBED"):
        monkeypatch.delenv(name, raising=False)
    data = (f"data={tmp_path}",) if words[0] == "collect" else ()
    assert INSTALL_HINT in complaint(capsys, *words, *data)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("instruction=" + "very " * 200 + "slowly",), "say it shorter"),
        (("iterations=-1",), "iterations must be at least 0, got -1"),
        (("robot.workers=0",), "at least one worker, got workers=0"),
    ],
)
def test_settings_that_are_refused_leave_no_folder(
    words: Sequence[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in complaint(capsys, "improve", "task=reach", f"runs={tmp_path / 'runs'}", f"data={tmp_path}", *words)
    assert not (tmp_path / "runs").exists()


def test_a_checkpoint_of_another_kind_is_named(pose_network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = complaint(capsys, "evaluate", "task=reach", f"planner.planner={pose_network}")
    assert "holds a 'pose-network' checkpoint, but a 'latent-video-planner' is needed" in told


def test_truncated_weights_are_named(pose_network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = pose_network / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    words = ("evaluate", "task=reach", "planner=oracle", f"inverse_dynamics.folder={pose_network}")
    assert f"The checkpoint in {pose_network} is damaged or truncated" in complaint(capsys, *words)


def test_a_description_of_nothing_is_named(pose_network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pose_network / "model.json").write_text(json.dumps({"kind": "pose-network"}))
    words = ("evaluate", "task=reach", "planner=oracle", f"inverse_dynamics.folder={pose_network}")
    assert "does not describe a model" in complaint(capsys, *words)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """Record toy episodes, and raise what the list holds in place of the third one, once."""
    problems: list[BaseException | None] = []

    def collect(requests: Sequence[Request], workers: int | None = None) -> Iterator[Episode]:
        for number, request in enumerate(requests):
            if number == 2 and problems:
                raise problems.pop()  # type: ignore[misc]
            yield toy_episode([True], request.task, request.seed)

    monkeypatch.setattr("sim.collect.collect", collect)
    return problems


@pytest.mark.parametrize(
    ("problem", "status", "says"),
    [
        (KeyboardInterrupt(), 130, "Stopped; continue with: sail collect"),
        (OSError(28, "No space left on device", "data/x.npz"), 2, "The disk is full (writing data/x.npz)"),
        (PermissionError(13, "Permission denied", "data/x.npz"), 2, "data/x.npz: Permission denied."),
    ],
)
def test_collecting_that_was_stopped_keeps_what_it_has_and_goes_on(
    problem: BaseException,
    status: int,
    says: str,
    tmp_path: Path,
    recorder: list[BaseException | None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorder.append(problem)
    words = (*COLLECT, f"data={tmp_path}")
    assert main(words) == status
    assert says in capsys.readouterr().err
    assert len(EpisodeStore(tmp_path / "demonstrations").ids()) == 2
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["demonstrations"]["recorded"] == 1


def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = f"inverse_dynamics.folder={tmp_path / 'nowhere'}"
    assert "nowhere" in complaint(capsys, "improve", "task=reach", "planner=tiny", folder, f"runs={tmp_path / 'runs'}")
    assert not (tmp_path / "runs").exists()
