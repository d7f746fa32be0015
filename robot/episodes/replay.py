"""Carry an episode out again and say how far what happened is from what was recorded.

The simulator can be put back to each recorded state, or to the first alone and fed the recorded actions: both must give
the recorded states again bit for bit. Any other robot is eased into the first pose and must stay within a tolerance.
Before anything moves, the episode must fit the robot (`robot.episodes.fit`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Action, Episode, FloatArray, Observation, RobotSpec
from robot.core.errors import SailError
from robot.core.protocols import Robot, RobotPool
from robot.episodes.easing import Easing, ease, plan_easing
from robot.episodes.fit import Told, check_scene, fitted
from robot.episodes.pace import Pace

Watch = Callable[[int, Observation], None]
"""Called with each step's number and what is seen then."""
Announce = Callable[[Easing], None]
"""Called with how a robot is going to be eased into the first pose, before it is."""
LONGEST_EASING_S = 120.0


class Restorable(Robot, Protocol):
    """A simulator: a robot that can be put back to a state."""

    def restore(self, state: NDArray[np.float64]) -> Observation:
        """Put the scene back to a recorded state and return what is seen."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """Say how a replay went.

    `steps` of `total` were carried out. `rms`, `largest` and `end` are errors of proprioception by the entry's name,
    each in its unit; `clamped` counts, by the action's name, how often the robot sent something else than it was asked
    for. `exact`: whether every simulator state was the recorded one bit for bit, None where there was no simulator.
    `late_ms`: the 95th percentile of how late steps were. `why` says in words what `passed` rests on.
    """

    mode: str
    steps: int
    total: int
    eased: int
    rms: Mapping[str, float]
    largest: Mapping[str, float]
    end: Mapping[str, float]
    clamped: Mapping[str, int]
    exact: bool | None
    late_ms: float
    passed: bool
    why: str

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return asdict(self)


class FirstOfPool:
    """Present robot 0 of a pool as a robot."""

    def __init__(self, pool: RobotPool) -> None:
        self._pool = pool
        self._seen: Observation | None = None

    @property
    def spec(self) -> RobotSpec:
        """Return the pool's spec."""
        return self._pool.spec

    def reset(self, seed: int | None = None) -> Observation:
        """Reset robot 0."""
        self._seen = self._pool.reset({0: seed or 0})[0]
        return self._seen

    def observe(self) -> Observation:
        """Return what robot 0 saw last."""
        return self._seen if self._seen is not None else self.reset()

    def act(self, action: Action) -> Action:
        """Let robot 0 act; raise SailError where it does not answer."""
        answer = self._pool.act({0: action}).get(0)
        if answer is None:
            raise SailError(f"{self.spec.name} does not answer any more.")
        self._seen = answer.observation
        return answer.sent

    def close(self) -> None:
        """Close the pool."""
        self._pool.close()


class _Trace:
    """Collect what happens in a replay."""

    def __init__(self, episode: Episode, mode: str, pace: Pace, watch: Watch | None) -> None:
        self.episode, self.mode, self.pace = episode, mode, pace
        self._watch = watch
        self.seen: list[Observation] = []
        self.sent: list[FloatArray] = []

    def see(self, observation: Observation) -> None:
        if self._watch is not None:
            self._watch(len(self.seen), observation)
        self.seen.append(observation)

    def report(self, tolerance: float | None, eased: int = 0) -> Report:
        """Compare with what was recorded; without a `tolerance` states must be equal bit for bit."""
        episode, count = self.episode, len(self.seen)
        names = _names(episode.spec.proprio_names if episode.spec else (), episode.proprio.shape[1])
        happened = np.stack([one.proprio for one in self.seen]).astype(np.float64)
        error = np.abs(happened - episode.proprio[:count])
        rms = np.sqrt(np.mean(error**2, axis=0))
        asked = episode.sent[: len(self.sent)]
        sent = np.array(self.sent, np.float32).reshape(len(self.sent), episode.sent.shape[1])
        clamped = np.sum(sent != asked, axis=0)
        actions = _names(episode.spec.action.names if episode.spec else (), episode.sent.shape[1])
        exact = self._exact()
        whole = count == len(episode) + 1
        passed, why = _verdict(whole, exact, float(rms.max(initial=0.0)), tolerance)
        return Report(
            self.mode,
            count - 1,
            len(episode),
            eased,
            _by_name(names, rms),
            _by_name(names, error.max(axis=0)),
            _by_name(names, error[-1]),
            {name: int(value) for name, value in zip(actions, clamped, strict=True)},
            exact,
            1000.0 * float(np.percentile(self.pace.late_s, 95)) if self.pace.late_s else 0.0,
            passed,
            why,
        )

    def _exact(self) -> bool | None:
        recorded = self.episode.states
        if recorded is None or any(one.state is None for one in self.seen):
            return None
        return all(
            one.state is not None and one.state.tobytes() == state.tobytes()
            for one, state in zip(self.seen, recorded, strict=False)
        )


def replay_states(episode: Episode, scene: Restorable, pace: Pace, watch: Watch | None = None) -> Report:
    """Put the simulator back to every recorded state in turn."""
    states = _states(episode)
    check_scene(episode, scene.spec)
    trace = _Trace(episode, "states", pace, watch)
    pace.restart()
    for state in states:
        if trace.seen and not pace.wait():
            break
        trace.see(scene.restore(state))
    return trace.report(None)


def replay_actions(episode: Episode, scene: Restorable, pace: Pace, watch: Watch | None = None) -> Report:
    """Put the simulator back to the first recorded state and feed it the actions that were sent."""
    states = _states(episode)
    check_scene(episode, scene.spec)
    trace = _Trace(episode, "actions", pace, watch)
    trace.see(scene.restore(states[0]))
    pace.restart()
    _feed(trace, scene)
    return trace.report(None)


def replay_on(
    episode: Episode,
    robot: Robot,
    pace: Pace,
    tolerance: float,
    ease_speed: float,
    watch: Watch | None = None,
    *,
    told: Told = Told(),  # noqa: B008 (frozen)
    announce: Announce | None = None,
    longest_easing_s: float = LONGEST_EASING_S,
) -> Report:
    """Reset a robot to the episode's seed, ease it into the first pose and feed it the actions that were sent.

    It passes when no entry of proprioception has an RMS error above `tolerance`, in its own unit. `told`: what somebody
    says of the episode beside what it says itself. `announce` is called before the robot is eased. Raises SailError
    where the episode does not fit the robot, which has not moved then, or it cannot be brought to the first pose within
    `longest_easing_s`; ValueError for a tolerance or speed not above 0.
    """
    if not tolerance > 0 or not ease_speed > 0 or not longest_easing_s >= 0:
        raise ValueError(f"tolerance and ease_speed must be above 0, got {tolerance} and {ease_speed}.")
    spec = robot.spec
    episode = fitted(episode, spec, tolerance, told)
    start = robot.reset(episode.seed).proprio
    easing = plan_easing(spec, start, episode.proprio[0], ease_speed, tolerance, pace.speed)
    pace.restart(spec.action.rate_hz)
    eased = 0
    if easing is not None:
        _check_easing(easing, longest_easing_s)
        if announce is not None:
            announce(easing)
        held = episode.sent[0] if len(episode) else np.zeros(spec.action.size, np.float32)
        pace.restart()
        eased = ease(robot, episode.proprio[0], held, pace, easing, tolerance)
    trace = _Trace(episode, "robot", pace, watch)
    trace.see(robot.observe())
    pace.restart()
    _feed(trace, robot)
    return trace.report(tolerance, eased)


def _check_easing(easing: Easing, longest_s: float) -> None:
    if easing.duration_s > longest_s:
        raise SailError(
            f"Easing into the first pose would take {easing.duration_s:.0f} s: {easing.entry} is {easing.distance:.4g} "
            f"{easing.unit} away. Is it the right robot, and the right unit? Then give it ease_longest_s="
            f"{math.ceil(easing.duration_s)}, or a higher ease_speed."
        )


def _feed(trace: _Trace, robot: Robot) -> None:
    for values in trace.episode.sent:
        if not trace.pace.wait():
            return
        trace.sent.append(robot.act(Action(values)).values)
        trace.see(robot.observe())


def _states(episode: Episode) -> NDArray[np.float64]:
    if episode.states is None:
        raise SailError(
            f"Episode {episode.episode_id!r} holds no simulator states: replay it with mode=video or mode=robot."
        )
    return episode.states


def _verdict(whole: bool, exact: bool | None, rms: float, tolerance: float | None) -> tuple[bool, str]:
    """Return whether a replay passes, and why."""
    if not whole:
        return False, "it was stopped before its end"
    if tolerance is None:
        return bool(
            exact
        ), "every state is the recorded one bit for bit" if exact else "the states are not the recorded ones"
    if rms <= tolerance:
        return True, f"the largest RMS error, {rms:.4g}, is within the tolerance of {tolerance:g}"
    return False, f"the largest RMS error, {rms:.4g}, is beyond the tolerance of {tolerance:g}"


def _names(known: Sequence[str], count: int) -> list[str]:
    return list(known) if len(known) == count else [str(number) for number in range(count)]


def _by_name(names: Sequence[str], values: NDArray[Any]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
