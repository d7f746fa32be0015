"""`sail deploy` and `sail arm teleoperate`, end to end over loopback: what is sent, recorded, said and judged."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardware.arms.kinematic import KinematicArm, PaintedCamera, cartesian
from hardware.client.client import ArmClient
from hardware.client.stopping import send_stop
from hardware.teleoperation.operator_input import OperatorInput
from hardware.wire.clocks import now
from robot.cli import assembly, deploy
from robot.cli.assembly import Models
from robot.cli.compose import compose
from robot.cli.main import main
from robot.cli.screen import Screen, screen
from robot.cli.wording import told
from robot.core.data import Action, Observation, Outcome, SamplerSettings, VideoPlan
from robot.core.errors import SailError
from robot.core.text import visible
from robot.episodes.store import EpisodeStore
from robot.learn.finetuning import InverseDynamicsInForce, PlannerInForce
from robot.rollouts.deploy import DeploySettings, Telemetry
from robot.rollouts.rollout import Attempt
from tests.hostile import obeyed, unstyled
from tests.unit.hardware.serving import served, until

PATIENT = [
    "robot.camera_age_s=1.0",
    "robot.state_age_s=1.0",
    "robot.lost_s=3.0",
    "robot.timeout_s=10.0",
    "robot.known=",
]


class Still:
    """A planner of pictures that are all alike."""

    identity = "still"

    def plan(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[VideoPlan]:
        return [VideoPlan(np.zeros((8, 48, 48, 3), np.uint8), 0.05, instructions[0], seeds[0], self.identity)]


class Sideways:
    """An inverse dynamics that goes to the right, whatever the plan."""

    identity = "sideways"

    def begin(self, observations: Sequence[Observation], plans: Sequence[VideoPlan]) -> list[object]:
        return [None] * len(plans)

    def act(self, observations: Sequence[Observation], handles: Sequence[object], steps: Sequence[int]) -> list[Action]:
        return [Action(np.array([0.5, 0, 0, -1], np.float32))]


def carried_out(
    tmp_path: Path,
    address: str,
    *words: str,
    planner: Any = None,
    as_json: bool = True,
    root: str = "deploy",
    console: Screen | None = None,
    instruction: str = "slide it to the right",
) -> int:
    settings = [f"robot.address={address}", f"store={tmp_path / 'store'}", "robot.image_size=48", *PATIENT]
    config = compose(root, ["judge=none", *settings, *words])
    task, instruction = told(instruction, "")
    options = {str(key): value for key, value in config.get("deploy", {"max_steps": 30}).items()}
    drives = planner if planner is not None else Still() if root == "deploy" else None
    return deploy.carry_out(
        config,
        Attempt(0, task, instruction),
        DeploySettings(**options),
        console or screen(as_json),
        as_json,
        None if drives is None else Models(PlannerInForce(drives), InverseDynamicsInForce(Sideways())),
    )


def test_an_arm_is_driven_through_the_wire_and_the_episode_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served() as server:
        assert carried_out(tmp_path, server.address, "deploy.max_steps=12") == 0
        assert server.state[0].value == "DISARMED"
        content = json.loads(capsys.readouterr().out)
        assert content["outcome"] == "timeout" and content["planner"] == "still" and content["steps"] == 12
        assert content["verdict"] == {"source": "none", "probability": 1.0}
        assert content["latency_p50_s"] is not None
        store = EpisodeStore(tmp_path / "store")
        episode = store.load(content["episode"])
        assert episode.task == "slide-it-to-the-right" and episode.instruction == "slide it to the right"
        assert len(episode) == 12 and episode.plans and episode.frames["front"].shape[1:] == (48, 48, 3)
        assert episode.success is None and episode.intervention is None
        assert episode.proprio[-1, 0] > episode.proprio[0, 0] + 0.01


def test_a_dry_run_arms_nothing_moves_nothing_and_records_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arm = KinematicArm()
    with served(arm) as server:
        written = arm.written
        before = arm.position.copy()
        assert carried_out(tmp_path, server.address, "deploy.max_steps=8", "deploy.dry_run=true", as_json=False) == 0
        told = capsys.readouterr().out
        assert "would send dx +0.50" in told and "x 0.005" in told
        assert arm.written == written and np.array_equal(arm.position, before)
        assert server.requests.lease.holder(0.0) == "" and server.state[0].value == "DISARMED"
        assert not (tmp_path / "store").exists()


def test_a_camera_that_hangs_ends_it_as_a_fault_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arm = KinematicArm()
    camera = PaintedCamera(arm)

    class Freezing(Still):
        def plan(self, *words: Any) -> list[VideoPlan]:  # type: ignore[override]
            camera.frozen = True
            return super().plan(*words)

    with served(arm, cameras=[camera]) as server:
        code = carried_out(tmp_path, server.address, "robot.lost_s=1.0", "robot.camera_age_s=0.5", planner=Freezing())
        assert code == 2
        content = json.loads(capsys.readouterr().out)
        assert content["outcome"] == "infrastructure fault" and "camera 'front'" in content["reason"]
        assert content["verdict"] is None
        store = EpisodeStore(tmp_path / "store")
        assert store.load(content["episode"]).outcome is Outcome.INFRASTRUCTURE_FAULT
        camera.frozen = False


def test_a_server_that_is_gone_ends_it_as_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served() as server:
        ending = threading.Thread(target=server.close)

        class Ending(Still):
            def plan(self, *words: Any) -> list[VideoPlan]:  # type: ignore[override]
                if not ending.is_alive() and ending.ident is None:
                    ending.start()
                return super().plan(*words)

        assert carried_out(tmp_path, server.address, "robot.timeout_s=1.0", planner=Ending()) == 2
        ending.join(30)
    content = json.loads(capsys.readouterr().out)
    assert content["outcome"] == "infrastructure fault" and content["reason"].endswith(".")


def test_a_lost_lease_ends_it_as_a_fault_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served() as server:

        class Losing(Still):
            asked = 0

            def plan(self, *words: Any) -> list[VideoPlan]:  # type: ignore[override]
                self.asked += 1
                if self.asked == 2:
                    # As after a silence that was too long: the lease is over, and another client takes it.
                    server.requests.lease.release()
                    assert server.requests.lease.acquire("somebody else", now())[0]
                return super().plan(*words)

        assert carried_out(tmp_path, server.address, planner=Losing()) == 2
        content = json.loads(capsys.readouterr().out)
        assert content["outcome"] == "infrastructure fault"
        assert "somebody else holds the lease" in content["reason"] and content["reason"].count(".") == 1
        assert content["verdict"] is None and content["steps"] > 0
        store = EpisodeStore(tmp_path / "store")
        assert store.load(content["episode"]).outcome is Outcome.INFRASTRUCTURE_FAULT


def test_sail_arm_stop_from_another_terminal_is_the_operator_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served() as server:
        address = server.address

        class Stopping(Still):
            def plan(self, *words: Any) -> list[VideoPlan]:  # type: ignore[override]
                with ArmClient(address, timeout_s=10.0, watch=False) as client:
                    client.stop("`sail arm stop`")
                return super().plan(*words)

        assert carried_out(tmp_path, address, planner=Stopping()) == 0
        content = json.loads(capsys.readouterr().out)
        assert content["outcome"] == "operator stop" and "sail arm clear" in content["reason"]


def test_ctrl_c_brings_the_arm_to_rest_and_seals_the_episode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served() as server:
        arm = server

        class Interrupting(Still):
            asked = 0

            def plan(self, *words: Any) -> list[VideoPlan]:  # type: ignore[override]
                self.asked += 1
                if self.asked == 2:
                    os.kill(os.getpid(), signal.SIGINT)
                return super().plan(*words)

        before = signal.getsignal(signal.SIGINT)
        assert carried_out(tmp_path, server.address, planner=Interrupting()) == 0
        assert signal.getsignal(signal.SIGINT) is before
        assert arm.state[0].value == "DISARMED" and arm.governor.at_rest
        content = json.loads(capsys.readouterr().out)
        assert content["outcome"] == "operator stop" and content["steps"] > 0
        assert EpisodeStore(tmp_path / "store").load(content["episode"]).outcome is Outcome.OPERATOR_STOP


def test_a_demonstration_by_hand_is_recorded_with_what_the_person_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    push = OperatorInput(motion=(0.0, 1.0, 0.0, 0.0, 0.0, 0.0))
    inputs = [OperatorInput(), *[push] * 8, OperatorInput(word="success")]

    class Hands:
        def open(self) -> None: ...

        def close(self) -> None: ...

        def read(self) -> OperatorInput:
            return inputs.pop(0)

    monkeypatch.setitem(deploy.SOURCES, "keyboard", Hands)
    with served() as server:
        assert carried_out(tmp_path, server.address, root="arm_teleoperate") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["verdict"] == {"source": "person", "probability": 1.0} and content["planner"] is None
    store = EpisodeStore(tmp_path / "store")
    episode = store.load(content["episode"])
    assert len(episode) == 8 and episode.intervention is not None and episode.intervention.all()
    assert episode.outcome is Outcome.SUCCESS and not episode.plans
    assert [verdict.source for verdict in store.verdicts(content["episode"])] == ["person"]


def test_a_task_is_a_name_or_words() -> None:
    def read(*words: str) -> tuple[str, str]:
        config = compose("deploy", list(words))
        return told(str(config.task), str(config.instruction))

    assert read("task=drawer-close") == ("drawer-close", "close the drawer")
    assert read("task=close the drawer") == ("drawer-close", "close the drawer")
    assert read("task=drawer-close", "instruction=push it shut") == ("drawer-close", "push it shut")
    assert read("task=Fold the towel!") == ("fold-the-towel", "Fold the towel!")
    assert read("instruction=fold it") == ("fold-it", "fold it")
    with pytest.raises(SailError, match="Say what to do"):
        read()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("deploy",), "Say what to do"),
        (("deploy", "task=reach", "takeover=telepathy"), "no device to take over with"),
        (("deploy", "task=reach", "robot.actions=telepathy"), "displacement"),
        (("deploy", "task=reach", "deploy.max_steps=0"), "max_steps"),
        (("arm", "teleoperate", "task=reach", "takeover=none"), "Somebody must drive"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "build", _building(assembly.build))
    with served() as server:
        mine = [f"robot.address={server.address}", "robot.known="] if words[0] == "deploy" else []
        assert main([*words, *mine]) == 2
    told = capsys.readouterr().err
    assert reason in told and told.count("\n") == 1


def _building(build: Any) -> Any:
    """Build everything but models, which take seconds to load."""

    def built(config: Any, **extra: Any) -> Any:
        if "planners." in config.get("_target_", ""):
            return Still()
        return Sideways() if "policies.pose" in config.get("_target_", "") else build(config, **extra)

    return built


def test_the_live_line_says_what_matters() -> None:
    telemetry = Telemetry(steps=7, plans=2, starved=1, latency_p50_s=0.21, latency_p95_s=0.4, observation_age_s=0.03)
    telemetry.state = "RUNNING"
    line = deploy.live_line(telemetry)
    for part in ("RUNNING", "step 7", "210/400 ms", "30 ms old", "1 starved"):
        assert part in line
    assert "–/– ms" in deploy.live_line(Telemetry())
    assert "nobody drives" in line
    for driver in ("person", "policy"):
        assert f"{driver} drives" in deploy.live_line(Telemetry(driver=driver))


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "--help"]) == 0
    told = capsys.readouterr().out
    for part in ("deploy.dry_run=false", "takeover=none", "robot=arm", "metaworld_zmq", "person"):
        assert part in told


def test_a_server_of_its_own_ends_with_the_program_that_started_it() -> None:
    program = (
        "import os, sys\nfrom hardware.client.remote_arm import ServerProcess\n"
        "server = ServerProcess(['arm=kinematic', 'realtime=false'])\n"
        "print(server.pid, server.address, flush=True)\nsys.stdin.read()\nos._exit(1)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, address = parent.stdout.readline().split()
        with ArmClient(address, timeout_s=20.0, watch=False) as client:
            assert client.status()["state"] == "DISARMED"
        parent.kill()

    def is_gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    until(is_gone, 60.0)


def test_a_server_that_cannot_begin_says_why() -> None:
    from hardware.client.remote_arm import ServerProcess

    with pytest.raises(SailError, match=r"ended before it served: There is no arm 'nonsense'"):
        ServerProcess(["arm=nonsense"])


@pytest.mark.parametrize("is_terminal", [False, True], ids=["pipe", "terminal"])
def test_what_others_call_things_is_shown_as_text_while_it_runs_and_afterwards(
    is_terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    instruction, name, reason = "move [/x] \x1b[2J", "lab [/dev/arm0]\u202e", "[/x] \x1b]0;title\x07 \x9b2J"
    file = io.StringIO()
    with served(KinematicArm(dataclasses.replace(cartesian(), name=name))) as server:
        address = server.address

        class Stopped(Still):
            def plan(self, *words: Any) -> list[VideoPlan]:  # type: ignore[override]
                send_stop(address, reason, timeout_s=10.0)
                return super().plan(*words)

        console = Screen(file, width=300, is_terminal=is_terminal)
        options = {"planner": Stopped(), "as_json": False, "console": console, "instruction": instruction}
        carried_out(tmp_path, address, **options)
    shown = unstyled(file.getvalue())
    assert not obeyed(shown)
    assert f"“{visible(instruction)}” on {visible(name)}" in shown
    assert visible(reason) in shown


def test_a_dry_run_shows_the_names_of_joints_as_text(tmp_path: Path) -> None:
    file = io.StringIO()
    names = ("[/x]", "\x1b[2J", "\u202e", "gripper")
    with served(KinematicArm(dataclasses.replace(cartesian(), joint_names=names))) as server:
        words = ("deploy.max_steps=4", "deploy.dry_run=true", "robot.actions=joint_positions")
        console = Screen(file, width=300, is_terminal=False)
        carried_out(tmp_path, server.address, *words, planner=Still(), as_json=False, console=console)
    shown = file.getvalue()
    assert "would send [/x] +" in shown and r"\x1b[2J" in shown and r"\u202e" in shown and not obeyed(shown)
