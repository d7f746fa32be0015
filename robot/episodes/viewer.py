"""Show an episode in the Rerun viewer: what was seen beside what was imagined, and the numbers below, over time."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robot.core.data import Episode, Verdict

INSTALL_HINT = "The Rerun viewer shows it frame by frame once it is installed: pip install 'sail-stack[rerun]'."


def has_viewer() -> bool:
    """Return whether `rerun-sdk` is installed."""
    return importlib.util.find_spec("rerun") is not None


def has_display() -> bool:
    """Return whether a window can be opened here."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def show(episode: Episode, verdicts: Sequence[Verdict] = (), save: Path | None = None) -> None:
    """Open the viewer with an episode, or write a recording that it opens to `save`. Needs `rerun-sdk`."""
    import rerun

    rerun.init("sail", recording_id=episode.episode_id or None)
    if save is None:
        rerun.spawn()
    else:
        save.parent.mkdir(parents=True, exist_ok=True)
        rerun.save(str(save))
    _log_words(rerun, episode, verdicts)
    _log_steps(rerun, episode)
    _log_plans(rerun, episode)
    rerun.disconnect()


def _log_words(rerun: Any, episode: Episode, verdicts: Sequence[Verdict]) -> None:
    lines = [f"“{episode.instruction}”", f"{episode.task} on {episode.robot}, {episode.outcome.value}"]
    if episode.spoken and episode.spoken != episode.instruction:
        lines.append(f"the planner was told “{episode.spoken}”")
    lines += [f"{one.source}: {one.probability:.2f} {one.rationale}".rstrip() for one in verdicts]
    rerun.log("about", rerun.TextDocument("\n\n".join(lines)), static=True)


def _log_steps(rerun: Any, episode: Episode) -> None:
    spec = episode.spec
    sensed = spec.proprio_names if spec else [f"{number}" for number in range(episode.proprio.shape[1])]
    driven = spec.action.names if spec else [f"{number}" for number in range(episode.sent.shape[1])]
    for step, time_s in enumerate(episode.times_s - episode.times_s[0]):
        rerun.set_time("step", sequence=step)
        rerun.set_time("time", duration=float(time_s))
        for camera, frames in episode.frames.items():
            rerun.log(f"seen/{camera}", rerun.Image(frames[step]))
        for name, value in zip(sensed, episode.proprio[step], strict=True):
            rerun.log(f"proprio/{name}", rerun.Scalars(float(value)))
        if step == len(episode):
            break
        for name, asked, sent in zip(driven, episode.requested[step], episode.sent[step], strict=True):
            rerun.log(f"action/{name}/requested", rerun.Scalars(float(asked)))
            rerun.log(f"action/{name}/sent", rerun.Scalars(float(sent)))
        if episode.success is not None:
            rerun.log("success", rerun.Scalars(float(episode.success[step])))
    rerun.reset_time()


def _log_plans(rerun: Any, episode: Episode) -> None:
    """Log each imagined frame at the time for which it was imagined, until the next plan takes over."""
    times_s = episode.times_s - episode.times_s[0]
    ends_s = [float(times_s[placed.step]) for placed in episode.plans[1:]] + [float(times_s[-1]) + 1.0]
    for placed, end_s in zip(episode.plans, ends_s, strict=True):
        for number, frame in enumerate(placed.plan.frames, start=1):
            time_s = float(times_s[placed.step]) + number * placed.plan.stride_s
            if time_s <= end_s:
                rerun.set_time("time", duration=time_s)
                rerun.log("imagined", rerun.Image(frame))
    rerun.reset_time()
