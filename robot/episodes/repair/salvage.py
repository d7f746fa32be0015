"""Save what can be saved of an episode that was never finished, or of which a part is damaged or no use."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Episode, Outcome, PlacedPlan
from robot.core.errors import SailError
from robot.episodes.description import Heading, Origin, kept, measured_rate_hz, plan_from_json
from robot.episodes.repair.soundness import Weakness, weakness
from robot.episodes.steps import read_stream, stream_in
from robot.episodes.store import read_episode
from robot.episodes.video import VideoFacts, checksum, read_what_is_there
from robot.episodes.writer import CAMERAS, OPENING, PLANS


def salvage_unfinished(path: Path) -> tuple[Episode, Origin, dict[str, Any]] | None:
    """Return the steps that an unfinished folder holds in full, None where there are none.

    With the episode comes its run, and what else its description says of where it comes from.
    """
    try:
        opening = json.loads((path / OPENING).read_bytes())
        heading = Heading.from_json(opening)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    rows = read_stream(stream_in(path))
    names = _camera_files(path)
    frames = {name: np.array(read_what_is_there(file)) for name, file in names.items()}
    length = min([len(rows.get("time_s", ())), *(len(pictures) for pictures in frames.values())])
    if length < 2:
        return None
    steps = length - 1
    episode = Episode(
        task=heading.task,
        instruction=heading.instruction,
        robot=heading.robot,
        seed=heading.seed,
        spoken=heading.spoken,
        config_hash=heading.config_hash,
        begins=heading.begins,
        reversed_of=heading.reversed_of,
        spec=heading.spec,
        frames={name: pictures[:length] for name, pictures in frames.items()},
        proprio=rows["proprio"][:length],
        times_s=rows["time_s"][:length],
        states=rows["state"][:length] if "state" in rows else None,
        requested=rows["requested"][:steps],
        sent=rows["sent"][:steps],
        success=rows["success"][:steps] if "success" in rows else None,
        reward=rows["reward"][:steps] if "reward" in rows else None,
        intervention=rows["intervention"][:steps] if "intervention" in rows else None,
        plans=tuple(placed for placed in _plans_of(path, _lines(path / PLANS)) if placed.step < steps),
        outcome=_outcome(rows.get("success"), steps),
        episode_id=opening.get("episode_id", ""),
    )
    return episode, heading.origin, kept(opening)


def salvage_damaged(path: Path, about: Mapping[str, Any]) -> tuple[Episode, bool] | None:
    """Return what can be kept of a damaged episode and whether all of its steps are; None where nothing can.

    Steps are kept as far as there are pictures of every camera of which anything is left.
    """
    try:
        bare = read_episode(path, about, plans=False, cameras=())
        cameras = {name: VideoFacts.from_json(row) for name, row in about["cameras"].items()}
    except (SailError, KeyError, TypeError):
        return None  # without its numbers there is nothing to keep
    pictures = {name: _sound(path, facts) for name, facts in cameras.items()}
    frames = {name: found for name, found in pictures.items() if len(found) > 1}
    if cameras and not frames:
        return None
    length = min([len(bare) + 1, *(len(found) for found in frames.values())])
    episode = dataclasses.replace(bare, plans=_plans_of(path, about["plans"]))
    return _first(episode, length, frames), length == len(bare) + 1


def salvage_weak(episode: Episode) -> tuple[Episode, str] | None:
    """Return an episode with sound numbers that is left of one with others, and in words what was done; None: nothing.

    Steps before the first that holds no number are kept. Where only its times, or only its rate, are no use, they come
    from the other of the two; times that go back say nothing of the order of the rest.
    """
    done = []
    while (found := weakness(episode)) is not None:
        left = _cured(episode, found)
        if left is None:
            return None
        episode, what = left
        done.append(what)
    return episode, " and ".join(done)


def _cured(episode: Episode, found: Weakness) -> tuple[Episode, str] | None:
    """Return an episode without a weakness, and in words what was done to it; None where nothing can be."""
    asked, measured = episode.spec.action.rate_hz if episode.spec else 0.0, measured_rate_hz(episode.times_s)
    if found.rate and episode.spec is not None and measured is not None:
        action = dataclasses.replace(episode.spec.action, rate_hz=measured)
        spec = dataclasses.replace(episode.spec, action=action)
        return dataclasses.replace(episode, spec=spec), f"its rate is that of its times, {measured:.4g} Hz"
    if found.times and found.ordered and asked > 0 and (measured is None or abs(measured - asked) < 0.05 * asked):
        times_s = episode.times_s[0] + np.arange(len(episode) + 1) / asked
        return dataclasses.replace(episode, times_s=times_s), f"its times are counted anew at {asked:g} Hz"
    if not (found.rate or found.times) and found.steps:
        return _first(episode, found.steps + 1, episode.frames), f"its first {found.steps} steps are kept"
    return None


def _camera_files(path: Path) -> dict[str, Path]:
    rows = _lines(path / CAMERAS)
    return {row["camera"]: path / row["file"] for row in rows if Path(row["file"]).name == row["file"]}


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file of JSON objects, up to the first damaged one."""
    rows: list[dict[str, Any]] = []
    try:
        for line in path.read_bytes().rpartition(b"\n")[0].splitlines():
            rows.append(json.loads(line))
    except (OSError, ValueError):
        pass
    return rows


def _plans_of(path: Path, rows: Sequence[Mapping[str, Any]]) -> tuple[PlacedPlan, ...]:
    """Return the plans whose imagined frames are all there."""
    seen: dict[str, NDArray[np.uint8]] = {}
    plans = []
    for row in rows:
        file = str(row["video"])
        if Path(file).name != file:
            continue
        if file not in seen:
            seen[file] = np.array(read_what_is_there(path / file), np.uint8)
        frames = seen[file][row["first"] : row["first"] + row["frames"]]
        if len(frames) == row["frames"]:
            plans.append(plan_from_json(row, frames))
    return tuple(plans)


def _sound(path: Path, facts: VideoFacts) -> NDArray[np.uint8]:
    """Return the frames of a video up to where it is damaged; none where it is whole but another's."""
    frames = np.array(read_what_is_there(path / facts.file), np.uint8)[: facts.frames]
    if len(frames) == facts.frames and facts.lossless and checksum(frames) != facts.crc32:
        return frames[:0]
    return frames


def _first(episode: Episode, length: int, frames: Mapping[str, NDArray[np.uint8]]) -> Episode:
    """Return the first `length` observations of an episode, with these pictures."""
    steps = length - 1

    def cut(values: Any, count: int) -> Any:
        return None if values is None else values[:count]

    whole = steps == len(episode)
    return dataclasses.replace(
        episode,
        frames={name: pictures[:length] for name, pictures in frames.items()},
        proprio=episode.proprio[:length],
        times_s=episode.times_s[:length],
        states=cut(episode.states, length),
        requested=episode.requested[:steps],
        sent=episode.sent[:steps],
        success=cut(episode.success, steps),
        reward=cut(episode.reward, steps),
        intervention=cut(episode.intervention, steps),
        plans=tuple(placed for placed in episode.plans if whole or placed.step < steps),
        outcome=episode.outcome if whole else _outcome(episode.success, steps),
    )


def _outcome(success: Any, steps: int) -> Outcome:
    """Return how an episode that was cut off ended."""
    worked = success is not None and bool(success[:steps].any())
    return Outcome.SUCCESS if worked else Outcome.INFRASTRUCTURE_FAULT
