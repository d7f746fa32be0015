"""`sail deploy`: carry out an instruction on an arm, with a person at hand, and record it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from hardware.teleoperation.following import Following
from hardware.teleoperation.keyboard import Keyboard
from hardware.teleoperation.operator_input import InputDevice
from hardware.teleoperation.spacemouse import SpaceMouse
from hardware.teleoperation.takeover import Takeover
from robot.cli.compose import build, compose, config_hash
from robot.cli.leading import LEADER, following
from robot.cli.screen import Screen, bold, print_json, screen
from robot.cli.stopping import OperatorStop
from robot.cli.verbs import Arguments
from robot.cli.wording import told
from robot.core.data import Observation, Outcome, RobotSpec, Verdict
from robot.core.errors import SailError, UnknownNameError
from robot.core.protocols import (
    Ageing,
    MadeOfModels,
    Policy,
    Previewing,
    Recording,
    RewardModel,
    Robot,
    RobotPool,
    SaysCondition,
    SaysNote,
)
from robot.episodes.description import Heading
from robot.episodes.store import EpisodeStore
from robot.judges import asking
from robot.judges.person import WORDS, verdict_of
from robot.rollouts.deploy import STOPPED, Chooser, Deployed, Deployment, DeploySettings, Telemetry
from robot.rollouts.rollout import Attempt, ending_by

if TYPE_CHECKING:
    from robot.cli.assembly import Models

SOURCES: dict[str, Callable[[], InputDevice]] = {"keyboard": Keyboard, "spacemouse": SpaceMouse}
NOBODY = "none"
LINE_EVERY_S = 2.0
"""How often a screen that is no terminal gets a line."""


def run(arguments: Arguments) -> int:
    """Deploy on one robot for one episode; return 0, or 2 where it ended by an infrastructure fault."""
    config = compose("deploy", arguments.overrides)
    task, instruction = told(str(config.task), str(config.instruction))
    console = screen(arguments.as_json)
    from robot.cli.assembly import models_of  # brings torch along, which a person who drives does without

    with console.status("loading the policy"):
        models = models_of(config)
    attempt = Attempt(int(config.seed), task, instruction)
    settings = DeploySettings(**{str(key): value for key, value in config.deploy.items()})
    return carry_out(config, attempt, settings, console, arguments.as_json, models)


def carry_out(
    config: DictConfig,
    attempt: Attempt,
    settings: DeploySettings,
    console: Screen,
    as_json: bool,
    models: Models | None,
) -> int:
    """Carry out one attempt as a configuration says, record it, have it judged, and say how it went.

    Without `models` there is no policy: a person drives.
    """
    judge: RewardModel = build(config.judge)
    settings = dataclasses.replace(settings, ends_by=ending_by(judge))
    with console.status("connecting the robot"):
        robot: Robot = build(config.robot, task=attempt.task)
    if isinstance(robot, RobotPool) or not isinstance(robot, Robot):
        raise SailError("`sail deploy` drives one robot: choose robot=arm or robot=metaworld_zmq.")
    keyboard = SOURCES["keyboard"]()
    try:
        policy = None
        if models is not None:
            from robot.cli.assembly import policy_of

            policy = policy_of(config, models, robot.spec)
        with (
            OperatorStop(robot, keyboard, halts=not settings.dry_run) as stop,
            device(config, robot, keyboard) as takeover,
        ):
            console.print(f"“{attempt.instruction}” on", bold(robot.spec.name))
            if stop.hears_keys:
                console.print("Space stops, and so does Ctrl-C.", style="dim")
            first = begin(robot, attempt.seed, settings.dry_run, console)
            store = EpisodeStore(Path(config.store))
            recording, name = None, ""
            if not settings.dry_run:
                name = f"{attempt.task}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
                recording = store.record(heading(attempt, robot.spec, config), name)
            with live(console, robot, settings.dry_run) as show:
                deployment = Deployment(
                    robot=robot,
                    policy=policy,
                    settings=settings,
                    recording=recording,
                    takeover=takeover,
                    is_stopped=stop.is_asked,
                    state=lambda: state_of(robot, takeover),
                    age_s=lambda observation: age_of(robot, observation),
                    on_tick=show,
                )
                ended = conclude(deployment, attempt, first, recording, stop)
    finally:
        robot.close()
    verdict = None
    if recording is not None:
        verdict = judged(judge, store, name, ended, console)
    return report(console, as_json, ended, name, store.folder, verdict, policy, settings.dry_run)


def begin(robot: Robot, seed: int, dry_run: bool, console: Screen) -> Observation:
    """Bring the robot to its start, or, in a dry run, only look."""
    if dry_run:
        with console.status("looking"):
            return looked(robot)
    with console.status("homing the arm"):
        return robot.reset(seed)


def looked(robot: Robot, timeout_s: float = 10.0) -> Observation:
    """Return what a robot observes, waiting for the first of it; nothing moves."""
    until_s = time.monotonic() + timeout_s
    while True:
        try:
            return robot.observe()
        except SailError:
            if time.monotonic() > until_s:
                raise


def conclude(
    deployment: Deployment, attempt: Attempt, first: Observation, recording: Recording | None, stop: OperatorStop
) -> Deployed:
    """Run a deployment to its end; whatever happens, bring the robot to rest and seal what was recorded.

    A second Ctrl-C ends it at once, and yet seals; a third leaves the episode open as it is.
    """
    ended = Deployed(Outcome.OPERATOR_STOP, STOPPED, deployment.telemetry)
    stop.bears = 1
    try:
        ended = deployment.run(attempt, first)
    except Exception as problem:
        ended = Deployed(Outcome.INFRASTRUCTURE_FAULT, f"a defect of the program: {problem!r}", deployment.telemetry)
        raise
    finally:
        stop.bears = 2
        stop.rest()
        if recording is not None:
            seal(recording, None if deployment.has_begun else first, ended.outcome)
    if stop.is_hurried:
        raise KeyboardInterrupt
    return ended


def seal(recording: Recording, first: Observation | None, outcome: Outcome) -> None:
    """Seal a recording, of nothing but a first observation where none was recorded yet; leave it where that fails."""
    try:
        if first is not None:
            recording.observe(first)
        recording.seal(outcome)
    except BaseException:
        recording.leave()
        raise


def age_of(robot: Robot, observation: Observation) -> float:
    """Return how old, in s, the oldest part of what a robot senses is; of a simulator at rest nothing ages."""
    return max(robot.ages().values(), default=0.0) if isinstance(robot, Ageing) else 0.0


def condition_of(robot: Robot) -> str:
    """Return what state a robot says it is in, nothing where it does not say."""
    return robot.condition() if isinstance(robot, SaysCondition) else ""


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
def device(config: DictConfig, robot: Robot, keyboard: InputDevice) -> Iterator[Chooser | None]:
    """Lend what lets a person take over by the device that `takeover` names, open, or nothing for `none`.

    There is one `keyboard`, which may be open already: two would take keys from each other. `leader` describes the arm
    that the robot follows with `leader`.
    """
    name = str(config.takeover)
    if name == NOBODY:
        yield None
        return
    if name not in (*SOURCES, LEADER):
        raise UnknownNameError("device to take over with", name, [NOBODY, *SOURCES, LEADER])
    source: Following | InputDevice
    takeover: Chooser
    if name == LEADER:
        source = takeover = following(config.leader, robot, keyboard)
    else:
        source = keyboard if name == "keyboard" else SOURCES[name]()
        takeover = Takeover(source, robot.spec.action, float(config.takeover_share))
    try:
        source.open()
        yield takeover
    finally:
        source.close()


def state_of(robot: Robot, takeover: Chooser | None) -> str:
    """Return the state that a robot is in, where it has one, and what a leader is to be told."""
    note = takeover.note if isinstance(takeover, SaysNote) else ""
    return " · ".join(filter(None, (condition_of(robot), note)))


@contextmanager
def live(console: Screen, robot: Robot, dry_run: bool) -> Iterator[Callable[[Telemetry], None]]:
    """Lend what shows how an episode goes: one line that changes, or now and then a line where there is no terminal."""
    next_s = [0.0]
    with console.status() as status:

        def show(telemetry: Telemetry) -> None:
            with contextlib.suppress(OSError):  # a screen that is gone ends nothing
                put(telemetry)

        def put(telemetry: Telemetry) -> None:
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

    latency = f"{milliseconds(telemetry.latency_p50_s)}/{milliseconds(telemetry.latency_p95_s)} ms"
    parts = [
        telemetry.state or "running",
        f"{telemetry.driver} drives",
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
    if isinstance(robot, Previewing):
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
            [verdict] = asking.judged(judge, [store.load(name, plans=False)])
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
    policy: Policy | None,
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
                "policy": None if policy is None else policy.identity,
                "planner": policy.models.get("planner") if isinstance(policy, MadeOfModels) else None,
                **telemetry.as_json(),
            }
        )
    else:
        console.print(live_line(telemetry), style="dim")
        console.print(bold(ended.outcome.value), f": {ended.reason}", sep="")
        if name:
            console.print(f"The episode is {name} in ", bold(folder), f": `sail episodes show {name}`.", sep="")
    return 2 if faulty else 0
