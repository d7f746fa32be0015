"""Play an episode backwards: a demonstration of opening is one of closing that nobody had to give.

Pictures, proprioception and times run backwards; actions are made anew, for what was sent led the other way. What is
made so says so for ever (`Episode.reversed_of`), and is refused where it would show what no arm can do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Episode, FloatArray, Outcome
from robot.core.errors import SailError

GRIPPER = "gripper"
"""What an action's entry is called that opens and shuts the gripper."""


def reversed_episode(
    episode: Episode,
    instruction: str,
    task: str = "",
    *,
    forbidden: Collection[str] = (),
    first: int = 0,
    last: int | None = None,
) -> Episode:
    """Return observations `last` … `first` of an episode, in this order, as an episode of `instruction`.

    It succeeds at its end where the episode itself succeeded by `last`, for then it ends where the deed was yet to be
    done. `task` is what the opposite is called (empty: the instruction). `forbidden` names tasks that cannot be turned.
    There are no plans, rewards or interventions in it. Raises SailError for a task that is forbidden, an episode that
    is reversed already, and fewer than two observations.
    """
    name = episode.episode_id or episode.task
    last = len(episode) if last is None else last
    if episode.task in forbidden:
        raise SailError(f"Episode {name!r} cannot be played backwards: nothing undoes {episode.task!r}.")
    if episode.reversed_of:
        raise SailError(f"Episode {name!r} is played backwards already: take {episode.reversed_of!r}.")
    if not 0 <= first < last <= len(episode):
        raise SailError(f"Episode {name!r} has observations 0 … {len(episode)}: {first} … {last} are none of it.")
    order = np.arange(last, first - 1, -1)
    proprio = episode.proprio[order]
    actions = _actions(episode, order)
    done = episode.success is not None and bool(episode.success[:last].any())
    success = None
    if episode.success is not None:
        success = np.zeros(len(order) - 1, np.bool_)
        success[-1] = done
    return dataclasses.replace(
        episode,
        task=task or instruction,
        instruction=instruction,
        spoken="",
        frames={camera: frames[order] for camera, frames in episode.frames.items()},
        proprio=proprio,
        requested=actions,
        sent=actions,
        times_s=episode.times_s[last] - episode.times_s[order],
        states=None if episode.states is None else episode.states[order],
        success=success,
        outcome=Outcome.SUCCESS if done else Outcome.TIMEOUT,
        plans=(),
        reward=None,
        intervention=None,
        episode_id="",
        reversed_of=name,
    )


def _actions(episode: Episode, order: NDArray[np.int64]) -> FloatArray:
    """Return the actions, float32 (N − 1, Da), that would have led from each observation of `order` to the next.

    An entry whose name proprioception has, too, goes where it was next: there itself, or, where entries are
    displacements, as far as it moved, in the units of the action, which the episode's own actions tell. A gripper, and
    an entry that nothing is known of, is what it was when the arm was there: the last that had been sent by then.
    """
    spec = episode.spec
    before = np.maximum(order[1:] - 1, 0)
    actions: FloatArray = episode.sent[before].astype(np.float32)
    if spec is None:
        return actions
    for entry, name in enumerate(spec.action.names):
        if name == GRIPPER or name not in spec.proprio_names:
            continue
        place = episode.proprio[:, spec.proprio_names.index(name)].astype(np.float64)
        if spec.action.is_relative:
            scale = _moved_per_unit(place, episode.sent[:, entry])
            actions[:, entry] = np.diff(place[order]) / scale if scale else -episode.sent[order[1:], entry]
        else:
            actions[:, entry] = place[order[1:]]
    clipped: FloatArray = np.clip(actions, spec.action.low, spec.action.high)
    return clipped


def _moved_per_unit(place: NDArray[np.float64], sent: FloatArray) -> float:
    """Return how far an entry moves for one unit of its action, by least squares through 0; 0 where it never moved."""
    weight = float(np.square(sent, dtype=np.float64).sum())
    return float((np.diff(place) * sent).sum()) / weight if weight > 0 else 0.0
