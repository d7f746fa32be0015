"""Collect episodes from the simulator, on every core, and record those that a store does not hold yet.

They are demonstrations, failures, suboptimal attempts and play.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from robot.core.data import Action, Episode, Observation, Outcome
from robot.core.errors import SailError
from robot.core.files import FolderLock
from robot.episodes.store import EpisodeStore
from sim.appearance import Appearance
from sim.experts import FAILURE_KINDS, Driver, FailureKind, Play, ScriptedExpert, Suboptimal
from sim.metaworld import MetaWorldRobot
from sim.pool import single_threaded_children

DataKind = Literal["demonstrations", "failures", "suboptimal", "play"]
STEPS_AFTER_SUCCESS = 3
ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Request:
    """Ask for one episode of `kind` of `task` started from `seed`, at most `max_steps` long.

    `appearance`: how the scene looks in its pictures; None is its own look.
    """

    task: str
    kind: DataKind
    seed: int
    noise: float = 0.1
    max_steps: int = 200
    image_size: int = 128
    action_repeat: int = 2
    cameras: tuple[str, ...] = ("corner2",)
    appearance: Appearance | None = None

    @property
    def form(self) -> str:
        """Return a name for what episodes must share to be learnt from together: cameras, picture size and rate."""
        return digest({name: getattr(self, name) for name in ("cameras", "image_size", "action_repeat")})

    def as_json(self) -> dict[str, Any]:
        """Return what is asked for as JSON has it."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


def digest(options: Mapping[str, object]) -> str:
    """Return eight hexadecimal digits that name options by their values."""
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:8]


def record(robot: MetaWorldRobot, driver: Driver, seed: int, max_steps: int, stop_on_success: bool) -> Episode:
    """Drive `robot` from the start `seed` gives until success (and a few steps more) or for `max_steps`."""
    observations: list[Observation] = [robot.reset(seed)]
    requested: list[Action] = []
    sent: list[Action] = []
    success: list[bool] = []
    while len(sent) < max_steps:
        action = driver.act(robot)
        requested.append(action)
        sent.append(robot.act(action))
        success.append(robot.succeeded())
        observations.append(robot.observe())
        if stop_on_success and sum(success) > STEPS_AFTER_SUCCESS:
            break
    states = [observation.state for observation in observations if observation.state is not None]
    return Episode(
        task=robot.task,
        instruction=robot.instruction,
        spoken=robot.instruction,
        robot=robot.spec.name,
        frames={name: np.stack([o.images[name] for o in observations]) for name in robot.spec.cameras},
        proprio=np.stack([o.proprio for o in observations]),
        requested=np.stack([a.values for a in requested]),
        sent=np.stack([a.values for a in sent]),
        times_s=np.array([o.time_s for o in observations]),
        states=np.stack(states),
        success=np.array(success),
        outcome=Outcome.SUCCESS if any(success) else Outcome.TIMEOUT,
        seed=seed,
        spec=robot.spec,
    )


def collect_one(request: Request) -> Episode:
    """Record what `request` asks for.

    A demonstration is an expert's success: starts at which the noisy expert fails are passed over, up to twenty times,
    with new seeds. What is suboptimal is kept whether it succeeds or not. Raises SailError when it never succeeds.
    """
    robot = _robot(request)
    if request.kind == "play":
        return record(robot, Play(request.seed), request.seed, request.max_steps, stop_on_success=False)
    if request.kind == "failures":
        kind: FailureKind = FAILURE_KINDS[request.seed % len(FAILURE_KINDS)]
        expert = ScriptedExpert(request.task, request.seed, request.noise, kind)
        return record(robot, expert, request.seed, request.max_steps, stop_on_success=True)
    if request.kind == "suboptimal":
        driver = Suboptimal(request.task, request.seed, request.noise)
        return record(robot, driver, request.seed, request.max_steps, stop_on_success=True)
    for attempt in range(ATTEMPTS):
        seed = request.seed + 1_000_000 * attempt
        expert = ScriptedExpert(request.task, seed, request.noise)
        episode = record(robot, expert, seed, request.max_steps, stop_on_success=True)
        if episode.outcome is Outcome.SUCCESS:
            return episode
    raise SailError(
        f"The scripted expert of {request.task} failed {ATTEMPTS} times from seed {request.seed} with noise "
        f"{request.noise}; lower the noise or raise max_steps."
    )


def collect(requests: Sequence[Request], workers: int | None = None) -> Generator[Episode, None, None]:
    """Yield the episodes asked for, in order, made by worker processes (one a core by default).

    Raises SailError when a worker dies; the episodes yielded before are complete.
    """
    ordered = list(requests)
    count = min(workers or os.cpu_count() or 1, len(ordered))
    if count <= 1:
        yield from map(collect_one, ordered)
        return
    executor = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _leave_ctrl_c_to_the_parent)
    try:
        with single_threaded_children():
            episodes = executor.map(collect_one, ordered, chunksize=2)
        yield from episodes
    except BrokenProcessPool:
        raise SailError("A process that collected episodes died; run the same command again.") from None
    finally:
        executor.shutdown(cancel_futures=True)


def missing_of(store: EpisodeStore, wanted: Mapping[str, Request]) -> dict[str, Request]:
    """Return those of the episodes wanted, by their ids, that a store does not hold yet."""
    known = set(store.ids())
    return {name: request for name, request in wanted.items() if name not in known}


def record_missing(
    store: EpisodeStore,
    wanted: Mapping[str, Request],
    workers: int | None = None,
    begun: Callable[[int], object] = lambda missing: None,
    recorded: Callable[[Request, Episode], object] = lambda request, episode: None,
    out_of_time: Callable[[], bool] = lambda: False,
    waiting: Callable[[str], object] | None = None,
) -> int:
    """Record the episodes wanted, by their ids, that a store does not hold yet, and return how many those were.

    Each says in its description what was asked for (`request`), and as `config_hash` its form. `begun` is called with
    how many are missing, where some are, and `recorded` after each; `out_of_time` is asked before each and ends it.
    Where another process records into the store, HeldError is raised; or `waiting` is called with a sentence about it,
    and what it left undone is recorded when it has ended.
    """
    if not missing_of(store, wanted):
        return 0
    done = 0
    with FolderLock(store.folder, "record into another folder with data=…", waiting):
        missing = missing_of(store, wanted)
        if missing:
            begun(len(missing))
        with contextlib.closing(collect(list(missing.values()), workers)) as episodes:
            for name, request in missing.items():
                if out_of_time():
                    break
                episode = next(episodes)
                formed = dataclasses.replace(episode, config_hash=request.form)
                store.add(formed, episode_id=name, more={"request": request.as_json()})
                done += 1
                recorded(request, episode)
    return done


def _leave_ctrl_c_to_the_parent() -> None:
    """Let a worker end the episode it is at when Ctrl-C reaches all processes; the parent asks for no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


_cached: dict[tuple[object, ...], MetaWorldRobot] = {}


def _robot(request: Request) -> MetaWorldRobot:
    key = (request.task, bool(request.cameras), request.image_size, request.action_repeat)
    if key not in _cached:
        for robot in _cached.values():
            robot.close()
        _cached.clear()
        _cached[key] = MetaWorldRobot(request.task, request.cameras, request.image_size, request.action_repeat)
    robot = _cached[key]
    if request.cameras:
        robot.look_from(request.cameras)
    robot.set_appearance(request.appearance)
    return robot
