"""`takeover=leader`, end to end over loopback: a leader is found and followed, and its silence stops the arm."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hardware.arms.feetech import FeetechArm
from hardware.arms.franka import FrankaArm
from hardware.arms.kinematic import KinematicArm
from hardware.teleoperation.operator_input import OperatorInput
from robot.cli import deploy, leading
from robot.cli.compose import compose
from robot.cli.main import main
from robot.cli.screen import screen
from robot.core.data import Outcome
from robot.core.errors import SailError
from robot.core.joints import JointState
from robot.episodes.store import EpisodeStore
from robot.rollouts.deploy import DeploySettings
from robot.rollouts.rollout import Attempt
from tests.doubles.benches import calibration_file
from tests.unit.hardware.serving import served
from tests.unit.robot.cli.test_deploy import PATIENT, carried_out


class Scene:
    """A leader and the keyboard beside it, both of which go by how often a person was asked what to do.

    The leader lies still, is moved to the right by 6 cm from the 20th time on, and stays there.
    """

    def __init__(self, succeeds_at: int = 10_000, silent_at: int = 10_000) -> None:
        self.asked, self.succeeds_at, self.silent_at = 0, succeeds_at, silent_at
        self.arm = KinematicArm()
        self.arm.position = self.arm.position + np.array([0.02, 0, 0, 0])

    def driver(self) -> KinematicArm:
        scene = self

        class Led(KinematicArm):
            def read(self) -> JointState:
                state = super().read()
                if scene.asked > scene.silent_at:
                    raise SailError("The leader's cable is out.")
                moved = 0.02 + 0.0025 * min(max(scene.asked - 20, 0), 24)
                return JointState(state.position + np.array([moved, 0, 0, 0]), state.time_s)

        self.arm = Led()
        return self.arm

    def keys(self) -> Scene:
        return self

    def open(self) -> None: ...

    def close(self) -> None: ...

    def read(self) -> OperatorInput:
        self.asked += 1
        return OperatorInput(word="success" if self.asked > self.succeeds_at else "")


def led(monkeypatch: pytest.MonkeyPatch, scene: Scene, folder: Path, address: str) -> int:
    monkeypatch.setattr(leading, "leader_driver", lambda config: scene.driver())
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setitem(deploy.SOURCES, "keyboard", scene.keys)
    words = ["task=slide it to the right", "judge=none", f"store={folder / 'store'}", f"robot.address={address}"]
    config = compose(
        "arm_teleoperate",
        [*words, *PATIENT, "robot.image_size=48", "takeover=leader", "robot.actions=joint_positions"],
    )
    attempt = Attempt(0, "slide", "slide it to the right")
    return deploy.carry_out(config, attempt, DeploySettings(max_steps=400), screen(True), True, None)


class Terminal:
    def isatty(self) -> bool:
        return True


@pytest.mark.slow
def test_an_arm_follows_its_leader_and_the_demonstration_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(succeeds_at=140)
    with served() as server:
        assert led(monkeypatch, scene, tmp_path, server.address) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["outcome"] == "success"
    episode = EpisodeStore(tmp_path / "store").load(content["episode"])
    assert episode.intervention is not None and episode.intervention.all()
    assert episode.sent[0, 0] == pytest.approx(0.0, abs=1e-6)  # it begins where the arm is
    assert episode.proprio[-1, 0] == pytest.approx(0.08, abs=0.004)
    assert scene.arm.written == 0 and scene.arm.stops == 0 and not scene.arm.connected


def test_a_leader_that_falls_silent_ends_it_with_the_arm_at_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with served() as server:
        assert led(monkeypatch, Scene(silent_at=35), tmp_path, server.address) == 2
        assert server.state[0].value == "DISARMED" and server.governor.at_rest
    content = json.loads(capsys.readouterr().out)
    assert content["outcome"] == "infrastructure fault"
    assert "leader has been silent" in content["reason"] and "cable is out" in content["reason"]
    assert content["steps"] > 0
    stored = EpisodeStore(tmp_path / "store").load(content["episode"])
    assert stored.outcome is Outcome.INFRASTRUCTURE_FAULT


def test_a_robot_driven_by_displacements_does_not_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "leader_driver", lambda config: KinematicArm())
    with served() as server, pytest.raises(SailError, match="robot.actions=joint_positions"):
        carried_out(tmp_path, server.address, "takeover=leader", root="arm_teleoperate")


def test_the_live_line_says_what_a_leader_is_to_be_told() -> None:
    class Holding:
        def condition(self) -> str:
            return "HOLDING"

    class Far:
        note = "bring the leader nearer: its elbow is 1.30 rad from the arm's"

    assert deploy.state_of(Holding(), Far()) == f"HOLDING · {Far.note}"  # type: ignore[arg-type]
    assert deploy.state_of(Holding(), None) == "HOLDING"  # type: ignore[arg-type]


def test_any_arm_may_lead(tmp_path: Path) -> None:
    from hardware.arms.feetech import JOINTS

    path = calibration_file(tmp_path, "so101", JOINTS)
    config = compose("arm_teleoperate", ["leader.port=/dev/ttyACM7", f"leader.calibration={path}"])
    driver = leading.leader_driver(config.leader)
    assert isinstance(driver, FeetechArm) and driver.description.serial == "bench"
    words = ["leader.arm=franka", "leader.settings=host=172.16.0.9,model=panda"]
    driver = leading.leader_driver(compose("deploy", words).leader)
    assert isinstance(driver, FrankaArm) and driver.description.name == "franka-panda"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("leader.arm=kinematic", "no arm that a hand can move"),
        ("leader.arm=so102", "Did you mean so101"),
        ("leader.settings=speed=3", "no key 'arm.driver.speed'"),
        ("leader.calibration=nowhere.json", "There is no calibration nowhere.json"),
    ],
)
def test_a_leader_that_cannot_be_made_is_one_sentence(word: str, says: str) -> None:
    with pytest.raises(SailError, match=says):
        leading.leader_driver(compose("arm_teleoperate", [word]).leader)


def test_the_help_shows_how_to_lead(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["arm", "teleoperate", "--help"]) == 0
    said = capsys.readouterr().out
    assert "leader.port=/dev/ttyACM1" in said and "takeover=leader" in said
