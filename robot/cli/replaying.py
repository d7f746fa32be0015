"""`sail episodes replay`: show what was recorded, or carry it out again and report how far the two differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig

from robot.cli.compose import build, compose
from robot.cli.episodes import find
from robot.cli.screen import Screen, Styled, bold, print_json, screen
from robot.cli.verbs import VERBS, Arguments
from robot.core.data import Episode, Image, Observation
from robot.core.errors import SailError, UnknownNameError
from robot.core.protocols import Robot, RobotPool
from robot.episodes.clips import Window, side_by_side, write_clip
from robot.episodes.description import measured_rate_hz
from robot.episodes.easing import Easing
from robot.episodes.fit import Told
from robot.episodes.pace import HELP, Controls, Pace, TerminalKeys
from robot.episodes.replay import FirstOfPool, Report, replay_actions, replay_on, replay_states
from robot.episodes.viewer import has_display
from robot.episodes.writer import USUAL_RATE_HZ

MODES = ("video", "states", "actions", "robot")
EXIT_FAILED = 1
"""What is returned when a replay does not pass."""


class Canvas(Protocol):
    """Where pictures go."""

    def show(self, picture: Image) -> None:
        """Show one."""
        ...


class Pictures:
    """Keep pictures for a file."""

    def __init__(self) -> None:
        self.shown: list[Image] = []

    def show(self, picture: Image) -> None:
        """Keep one."""
        self.shown.append(picture)


def replay(arguments: Arguments) -> int:
    """Replay the episode asked for; return 0 when it passes (or was only shown), 1 when it does not."""
    config = compose(VERBS["episodes"].configs["replay"], arguments.overrides)
    if config.mode not in MODES:
        raise UnknownNameError("mode", str(config.mode), MODES)
    if not float(config.speed) >= 0:
        raise SailError(f"speed must be 0 (as fast as it goes) or more, got {config.speed}.")
    store, name = find(config)
    episode = store.load(name, plans=False)
    console = screen(arguments.as_json)
    with _shown(config, name, arguments.as_json, console) as (picture, controls):
        pace = Pace(
            rate_of(episode),
            0.0 if config.mode == "video" and isinstance(picture, Pictures) else float(config.speed),
            controls,
        )
        if config.mode == "video":
            _show_recorded(episode, pace, picture)
            report = None
        else:
            report = _carry_out(config, episode, pace, picture, console)
    saved = _saved(config, name, picture, pace.rate_hz)
    if arguments.as_json:
        print_json({"episode": name, "file": saved, "report": report.as_json() if report else None})
    elif report is not None:
        _print(console, report)
    if saved:
        console.print("The pictures are in", bold(saved))
    return EXIT_FAILED if report is not None and not report.passed else 0


def rate_of(episode: Episode) -> float:
    """Return how many steps a second an episode was asked to run at, or ran at where nobody wrote that down."""
    if episode.spec is not None:
        return episode.spec.action.rate_hz
    return measured_rate_hz(episode.times_s) or USUAL_RATE_HZ


@contextmanager
def _shown(config: DictConfig, name: str, quiet: bool, console: Screen) -> Iterator[tuple[Canvas, Controls]]:
    """Lend where pictures go and what a person can ask for."""
    if not config.save and has_display() and Window.is_possible() and not quiet:
        window = Window(name)
        console.print(f"In the window, {HELP}.")
        with closing(window):
            yield window, window
        return
    with TerminalKeys() as keys:
        if keys.attended and config.mode != "video":
            console.print(f"While it runs, {HELP}.")
        yield Pictures(), keys


def _show_recorded(episode: Episode, pace: Pace, picture: Canvas) -> None:
    for step in range(len(episode) + 1):
        picture.show(side_by_side(episode.observation(step).images))
        if not pace.wait():
            return


def _carry_out(config: DictConfig, episode: Episode, pace: Pace, picture: Canvas, console: Screen) -> Report:
    keep = isinstance(picture, Window) or bool(config.save)

    def watch(_: int, observation: Observation) -> None:
        if keep and observation.images:
            picture.show(side_by_side(observation.images))

    if config.mode == "robot":
        told = told_of(config)
        with closing(_robot(config, episode)) as robot:
            return replay_on(
                episode,
                robot,
                pace,
                float(config.tolerance),
                float(config.ease_speed),
                watch,
                told=told,
                announce=lambda easing: console.print(easing_in_words(easing, float(config.ease_speed))),
                longest_easing_s=float(config.ease_longest_s),
            )
    with closing(_simulator(episode, keep)) as scene:
        carry_out = replay_states if config.mode == "states" else replay_actions
        return carry_out(episode, scene, pace, watch)


def told_of(config: DictConfig) -> Told:
    """Return what the person at the command line says of an episode; raise SailError for a rate that is none."""
    rate_hz = config.rate_hz
    if rate_hz is not None and (isinstance(rate_hz, bool | str) or not 0 < float(rate_hz) < math.inf):
        raise SailError(f"rate_hz must be a number above 0, got {rate_hz!r}.")
    return Told(
        names=bool(config.assume_names),
        units=bool(config.assume_units),
        rate_hz=None if rate_hz is None else float(rate_hz),
        resample=bool(config.resample),
    )


def easing_in_words(easing: Easing, fastest: float) -> str:
    """Return what is said before a robot is eased into the first pose."""
    unit = "" if easing.unit == "1" else f" {easing.unit}"
    return (
        f"Easing into the first pose takes {easing.duration_s:.1f} s: {easing.entry} goes farthest, "
        f"{easing.distance:.4g}{unit}, at no more than {fastest:g}{unit} a second."
    )


def _simulator(episode: Episode, draw: bool) -> Any:
    """Return the simulator that an episode was recorded in."""
    from sim.metaworld import PHYSICS_HZ, MetaWorldRobot

    if not episode.robot.startswith("metaworld/"):
        raise SailError(f"Episode {episode.episode_id!r} was recorded on {episode.robot!r}, no simulator here.")
    cameras = tuple(episode.frames) if draw else ()
    size = next((frames.shape[1:3] for frames in episode.frames.values()), (128, 128))
    repeat = max(1, round(PHYSICS_HZ / rate_of(episode)))
    return MetaWorldRobot(episode.robot.removeprefix("metaworld/"), cameras, (size[0], size[1]), repeat)


def _robot(config: DictConfig, episode: Episode) -> Robot:
    """Return the robot that the configuration names, one of a pool where it names a pool."""
    options: dict[str, Any] = {"task": episode.task}
    if "size" in config.robot:
        options["size"] = 1
    made = build(config.robot, **options)
    return FirstOfPool(made) if isinstance(made, RobotPool) else made


def _saved(config: DictConfig, name: str, picture: Canvas, rate_hz: float) -> str:
    """Write what was kept, and return where."""
    if not isinstance(picture, Pictures) or not picture.shown:
        return ""
    path = Path(config.save) if config.save else Path(f"{name}.mp4")
    return str(write_clip(path, picture.shown, rate_hz * (float(config.speed) or 1.0)))


def _print(console: Screen, report: Report) -> None:
    rows = [
        [name, *(f"{values[name]:.3g}" for values in (report.rms, report.largest, report.end))] for name in report.rms
    ]
    console.table(["entry", "RMS error", "largest", "at the end"], rows)
    clamped = [f"{name} {count} times" for name, count in report.clamped.items() if count]
    console.print(f"clamped: {', '.join(clamped) or 'nothing'}")
    if report.eased:
        console.print(f"eased into the first pose in {report.eased} steps")
    console.print(f"{report.steps} of {report.total} steps, 95 % of them less than {report.late_ms:.1f} ms late")
    mark = Styled("passed", "green") if report.passed else Styled("failed", "red")
    console.print(mark, f": {report.why}", sep="")
