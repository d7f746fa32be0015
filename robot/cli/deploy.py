"""`sail deploy`: carry out an instruction on an arm, with a person at hand, and record it."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from omegaconf import DictConfig

from hardware.remote import RemoteRobot
from hardware.teleoperation.following import Following
from hardware.teleoperation.keyboard import Keyboard
from hardware.teleoperation.spacemouse import SpaceMouse
from hardware.teleoperation.takeover import Takeover
from hardware.teleoperation.wishes import WishSource
from robot.cli.assembly import check_fit
from robot.cli.compose import build, compose, config_hash
from robot.cli.leading import LEADER, following
from robot.cli.screen import Screen, bold, print_json, screen
from robot.cli.verbs import Arguments
from robot.cli.wording import told
from robot.data import Observation, Outcome, RobotSpec, Verdict
from robot.deploy import Chooser, Deployed, Deployment, DeploySettings, Telemetry
from robot.episodes.description import Heading
from robot.episodes.store import EpisodeStore
from robot.errors import SailError, UnknownNameError
from robot.judges.person import WORDS, verdict_of
from robot.protocols import InverseDynamics, Planner, Recording, RewardModel, Robot
from robot.rollout import Attempt

SOURCES: dict[str, Callable[[], WishSource]] = {"keyboard": Keyboard, "spacemouse": SpaceMouse}
NOBODY = "none"
LINE_EVERY_S = 2.0
"""How often a screen that is no terminal gets a line."""


def run(arguments: Arguments) -> int:
    """Deploy on one robot for one episode; return 0, or 2 where it ended by an infrastructure fault."""
    config = compose("deploy", arguments.overrides)
    task, instruction = told(str(config.task), str(config.instruction))
    console = screen(arguments.as_json)
    torch.manual_seed(int(config.seed))  # untrained weights, where a planner has such, are the same again
    with console.status("loading the planner"):
        planner: Planner = build(config.planner)
        inverse_dynamics: InverseDynamics = build(config.inverse_dynamics)
    attempt = Attempt(int(config.seed), task, instruction)
    settings = DeploySettings(**{str(key): value for key, value in config.deploy.items()})
    return carry_out(config, attempt, settings, console, arguments.as_json, planner, inverse_dynamics)


def carry_out(
    config: DictConfig,
    attempt: Attempt,
    settings: DeploySettings,
    console: Screen,
    as_json: bool,
    planner: Planner | None,
    inverse_dynamics: InverseDynamics | None,
) -> int:
    """Carry out one attempt as a configuration says, record it, have it judged, and say how it went."""
    judge: RewardModel = build(config.judge)
    with console.status("connecting the robot"):
        robot: Robot = build(config.robot, task=attempt.task)
    if not isinstance(robot, Robot):
        raise SailError("`sail deploy` drives one robot: choose robot=arm or robot=metaworld_zmq.")
    try:
        if planner is not None:
            check_fit(planner, robot.spec)
        with device(str(config.takeover), robot.spec, float(config.takeover_share), config.leader, robot) as takeover:
            console.print(f"“{attempt.instruction}” on", bold(robot.spec.name))
            first = begin(robot, attempt.seed, settings.dry_run, console)
            store = EpisodeStore(Path(config.store))
            recording, name = None, ""
            if not settings.dry_run:
                name = f"{attempt.task}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
                recording = store.record(heading(attempt, robot.spec, config), name)
            with operator_stop() as stopped, live(console, robot, settings.dry_run) as show:
                deployment = Deployment(
                    robot=robot,
                    planner=planner,
                    inverse_dynamics=inverse_dynamics,
                    settings=settings,
                    recording=recording,
                    takeover=takeover,
                    is_stopped=stopped,
                    state=lambda: state_of(robot, takeover),
                    age_s=lambda observation: age_of(robot, observation),
                    on_tick=show,
                )
                ended = conclude(deployment, attempt, first, recording)
    finally:
        robot.close()
    verdict = None
    if recording is not None:
        verdict = judged(judge, store, name, ended, console)
    return report(console, as_json, ended, name, store.folder, verdict, planner, settings.dry_run)


def begin(robot: Robot, seed: int, dry_run: bool, console: Screen) -> Observation:
    """Bring the robot to its start, or, in a dry run, only look; Ctrl-C then holds it and ends the command."""
    if dry_run:
        with console.status("looking"):
            return looked(robot)
    try:
        with console.status("homing the arm"):
            return robot.reset(seed)
    except BaseException:
        halt(robot)
        raise


def looked(robot: Robot, timeout_s: float = 10.0) -> Observation:
    """Return what a robot observes, waiting for the first of it; nothing moves."""
    until_s = time.monotonic() + timeout_s
    while True:
        try:
            return robot.observe()
        except SailError:
            if time.monotonic() > until_s:
                raise


def conclude(deployment: Deployment, attempt: Attempt, first: Observation, recording: Recording | None) -> Deployed:
    """Run a deployment to its end; whatever happens, bring the robot to rest and seal what was recorded."""
    ended = Deployed(Outcome.OPERATOR_STOP, "the operator stopped it", deployment.telemetry)
    try:
        ended = deployment.run(attempt, first)
    except Exception as problem:
        ended = Deployed(Outcome.INFRASTRUCTURE_FAULT, f"a defect of the program: {problem!r}", deployment.telemetry)
        raise
    finally:
        if not deployment.settings.dry_run:
            halt(deployment.robot)
        if recording is not None:
            if not deployment.has_begun:
                recording.observe(first)
            recording.seal(ended.outcome)
    return ended


def halt(robot: Robot) -> None:
    """Bring a robot to rest that knows how; others stand still when nothing is sent."""
    if isinstance(robot, RemoteRobot):
        robot.halt()


def age_of(robot: Robot, observation: Observation) -> float:
    """Return how old, in s, the oldest part of what a robot senses is; of a simulator at rest nothing ages."""
    return max(robot.ages().values()) if isinstance(robot, RemoteRobot) else 0.0


def heading(attempt: Attempt, spec: RobotSpec, config: DictConfig) -> Heading:
    """Return what is known of an episode before its first step."""
    return Heading(
        attempt.task,
        attempt.instruction,
        spec.name,
        attempt.seed,
        spoken=attempt.words,
        config_hash=config_hash(config),
        spec=spec,
    )


@contextmanager
def device(name: str, spec: RobotSpec, share: float, leader: DictConfig, robot: Robot) -> Iterator[Chooser | None]:
    """Lend what lets a person take over by the device named, open, or nothing for `none`.

    `leader` describes the arm that the robot follows with `leader`.
    """
    if name == NOBODY:
        yield None
        return
    if name not in (*SOURCES, LEADER):
        raise UnknownNameError("device to take over with", name, [NOBODY, *SOURCES, LEADER])
    source: Following | WishSource
    takeover: Chooser
    if name == LEADER:
        source = takeover = following(leader, robot, SOURCES["keyboard"]())
    else:
        source = SOURCES[name]()
        takeover = Takeover(source, spec.action, share)
    try:
        source.open()
        yield takeover
    finally:
        source.close()


def state_of(robot: Robot, takeover: Chooser | None) -> str:
    """Return the state that a robot is in, where it has one, and what a leader is to be told."""
    return " · ".join(filter(None, (str(getattr(robot, "state", "")), str(getattr(takeover, "note", "")))))


@contextmanager
def operator_stop() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into an operator's stop, which the loop asks about; a second one interrupts at once."""
    asked = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def live(console: Screen, robot: Robot, dry_run: bool) -> Iterator[Callable[[Telemetry], None]]:
    """Lend what shows how an episode goes: one line that changes, or now and then a line where there is no terminal."""
    next_s = [0.0]
    with console.status() as status:

        def show(telemetry: Telemetry) -> None:
            lines = [live_line(telemetry)]
            if dry_run and telemetry.action is not None:
                lines.append(f"  would send {would_send(robot, telemetry)}")
            if console.is_terminal:
                status.update(*lines)
            elif telemetry.elapsed_s >= next_s[0] and (telemetry.action is not None or not dry_run):
                next_s[0] = telemetry.elapsed_s + LINE_EVERY_S
                for place, line in enumerate(lines):
                    console.print(line if place else f"  {line}")

        yield show


def live_line(telemetry: Telemetry) -> str:
    """Return an episode's telemetry in one line."""

    def milliseconds(value_s: float) -> str:
        return f"{1e3 * value_s:.0f}" if math.isfinite(value_s) else "–"

    who = "person" if telemetry.is_person else "policy"
    latency = f"{milliseconds(telemetry.latency_p50_s)}/{milliseconds(telemetry.latency_p95_s)} ms"
    parts = [
        telemetry.state or "running",
        f"{who} drives",
        f"step {telemetry.steps}",
        f"plan {telemetry.plans}, p50/p95 {latency}",
        f"observation {milliseconds(telemetry.observation_age_s)} ms old",
        f"{telemetry.starved} starved",
    ]
    return " · ".join(parts)


def would_send(robot: Robot, telemetry: Telemetry) -> str:
    """Return the action that a dry run has chosen, with where it would send each joint."""
    action = telemetry.action
    assert action is not None
    said = ", ".join(f"{name} {value:+.2f}" for name, value in zip(robot.spec.action.names, action.values, strict=True))
    if isinstance(robot, RemoteRobot):
        joints = ", ".join(f"{name} {value:.3f}" for name, value in robot.preview(action).items())
        said += f" → {joints}"
    return said


def judged(judge: RewardModel, store: EpisodeStore, name: str, ended: Deployed, console: Screen) -> Verdict | None:
    """Return what is said of a recorded episode, and append it there; None where nobody says anything now.

    What a person said while it ran counts; an infrastructure fault is asked nothing.
    """
    if ended.said in WORDS.values():
        verdict = verdict_of(next(key for key, word in WORDS.items() if word == ended.said))
    elif ended.outcome is Outcome.INFRASTRUCTURE_FAULT:
        return None
    else:
        try:
            [verdict] = judge.judge([store.load(name, plans=False)])
        except (SailError, KeyboardInterrupt) as problem:
            said = str(problem) or "Nobody was asked: say it later with `sail label`."
            console.print(said, style="yellow")
            return None
    store.append_verdict(name, verdict)
    return verdict


def report(
    console: Screen,
    as_json: bool,
    ended: Deployed,
    name: str,
    folder: Path,
    verdict: Verdict | None,
    planner: Planner | None,
    dry_run: bool,
) -> int:
    """Say how an episode went and return the exit code."""
    faulty = ended.outcome is Outcome.INFRASTRUCTURE_FAULT
    telemetry = ended.telemetry
    if as_json:
        print_json(
            {
                "episode": name or None,
                "store": None if dry_run else str(folder),
                "dry_run": dry_run,
                "outcome": ended.outcome.value,
                "reason": ended.reason,
                "verdict": None if verdict is None else {"source": verdict.source, "probability": verdict.probability},
                "planner": None if planner is None else planner.identity,
                **telemetry.as_json(),
            }
        )
    else:
        console.print(live_line(telemetry), style="dim")
        console.print(bold(ended.outcome.value), f": {ended.reason}", sep="")
        if name:
            console.print(f"The episode is {name} in ", bold(folder), f": `sail episodes show {name}`.", sep="")
    return 2 if faulty else 0
