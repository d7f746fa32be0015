"""Keep episodes on disk: one folder an episode, written aside and then renamed, so a kill leaves no half episode.

An episode's folder holds `episode.json` (what and how), `steps.npz` (arrays, no pickled objects), `verdicts.jsonl`
(appended, never rewritten) and, when it was planned, `plans.npz`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot.data import Episode, Outcome, PlacedPlan, SamplerSettings, Verdict, VideoPlan
from robot.errors import SailError

SCHEMA = 1
TEXT_FIELDS = ("task", "instruction", "spoken", "robot", "seed", "config_hash", "episode_id")
ARRAY_FIELDS = ("proprio", "requested", "sent", "times_s", "states", "success")


class EpisodeStore:
    """Add, list and load episodes under one folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def add(self, episode: Episode, verdicts: Sequence[Verdict] = (), episode_id: str = "") -> str:
        """Store an episode and return its id (given, the episode's own, or made from task, seed and count).

        Storing under an id that exists already replaces nothing: it raises SailError.
        """
        name = episode_id or episode.episode_id or self._new_id(episode)
        target = self._path(name)
        if target.exists():
            raise SailError(f"Episode {name!r} is already stored in {self.folder}; choose another id.")
        aside = self.folder / f".writing-{name}-{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        episode = dataclasses.replace(episode, episode_id=name)
        _write(aside, episode)
        for verdict in verdicts:
            _append(aside / "verdicts.jsonl", verdict)
        aside.rename(target)
        return name

    def ids(self, task: str | None = None) -> list[str]:
        """Return the ids of all episodes, sorted; with `task`, of that task only."""
        if not self.folder.is_dir():
            return []
        names = sorted(path.parent.name for path in self.folder.glob("*/episode.json") if path.parent.name[0] != ".")
        return names if task is None else [name for name in names if self.about(name)["task"] == task]

    def about(self, name: str) -> dict[str, Any]:
        """Return an episode's description without reading its arrays."""
        path = self._path(name) / "episode.json"
        try:
            about: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            raise SailError(f"There is no episode {name!r} in {self.folder}.") from None
        except json.JSONDecodeError:
            raise SailError(f"{path} is damaged: it is not JSON.") from None
        if about.get("schema") != SCHEMA:
            raise SailError(f"{path} has schema {about.get('schema')}, this version reads {SCHEMA}.")
        return about

    def load(self, name: str) -> Episode:
        """Return an episode; raises SailError when it is missing or damaged."""
        about = self.about(name)
        folder = self._path(name)
        try:
            with (folder / "steps.npz").open("rb") as file, np.load(file, allow_pickle=False) as steps:
                arrays: dict[str, Any] = {key: steps[key] for key in ARRAY_FIELDS if key in steps}
                frames = {key.removeprefix("frames/"): steps[key] for key in steps if key.startswith("frames/")}
            plans = _read_plans(folder / "plans.npz", about["plans"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
            raise SailError(f"The arrays of episode {name!r} in {self.folder} are damaged: {problem}.") from None
        texts = {key: about[key] for key in TEXT_FIELDS}
        return Episode(**texts, **arrays, frames=frames, plans=plans, outcome=Outcome(about["outcome"]))

    def verdicts(self, name: str) -> list[Verdict]:
        """Return an episode's verdicts, oldest first."""
        path = self._path(name) / "verdicts.jsonl"
        if not path.exists():
            return []
        whole = path.read_text().rpartition("\n")[0]  # a line that was cut off while it was written does not count
        rows = [json.loads(line) for line in whole.splitlines() if line]
        for row in rows:
            row["progress"] = None if row["progress"] is None else np.asarray(row["progress"], np.float32)
        return [Verdict(**row) for row in rows]

    def append_verdict(self, name: str, verdict: Verdict) -> None:
        """Append a verdict to an episode."""
        self.about(name)
        _append(self._path(name) / "verdicts.jsonl", verdict)

    def _path(self, name: str) -> Path:
        if not name or name in {".", ".."} or name.startswith(".") or Path(name).name != name:
            raise SailError(f"{name!r} is not an episode's id.")
        return self.folder / name

    def _new_id(self, episode: Episode) -> str:
        stem = f"{episode.task}-{episode.seed:06d}"
        count = sum(1 for _ in self.folder.glob(f"{stem}-*"))
        return f"{stem}-{count:03d}"


def _write(folder: Path, episode: Episode) -> None:
    arrays = {f"frames/{camera}": frames for camera, frames in episode.frames.items()}
    arrays |= {key: getattr(episode, key) for key in ARRAY_FIELDS if getattr(episode, key) is not None}
    np.savez_compressed(folder / "steps.npz", **arrays)  # type: ignore[arg-type]
    if episode.plans:
        frames = {f"frames/{index}": placed.plan.frames for index, placed in enumerate(episode.plans)}
        np.savez_compressed(folder / "plans.npz", **frames)  # type: ignore[arg-type]
    about: dict[str, Any] = {key: getattr(episode, key) for key in TEXT_FIELDS}
    about |= {"schema": SCHEMA, "outcome": episode.outcome.value, "steps": len(episode)}
    about["plans"] = [_describe(placed) for placed in episode.plans]
    (folder / "episode.json").write_text(json.dumps(about, indent=1))


def _describe(placed: PlacedPlan) -> dict[str, Any]:
    plan = placed.plan
    return {
        "step": placed.step,
        "stride_s": plan.stride_s,
        "instruction": plan.instruction,
        "seed": plan.seed,
        "planner": plan.planner,
        "settings": dataclasses.asdict(plan.settings),
    }


def _read_plans(path: Path, rows: list[dict[str, Any]]) -> tuple[PlacedPlan, ...]:
    if not rows:
        return ()
    plans = []
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        for index, row in enumerate(rows):
            row = dict(row)
            step, settings = row.pop("step"), SamplerSettings(**row.pop("settings"))
            plans.append(PlacedPlan(step, VideoPlan(frames=stored[f"frames/{index}"], settings=settings, **row)))
    return tuple(plans)


def _append(path: Path, verdict: Verdict) -> None:
    row = dataclasses.asdict(verdict)
    row["progress"] = None if verdict.progress is None else verdict.progress.tolist()
    with path.open("a+b") as file:
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        file.write(json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
