"""Read what a LeRobotDataset v3.0 says of itself: rate, features, tasks, and where each episode lies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from robot.core.errors import SailError
from robot.core.text import visible
from robot.episodes.arrival import Refusal, UnfitError
from robot.episodes.lerobot import form
from robot.episodes.lerobot.ours import Ours
from robot.episodes.lerobot.rows import brief, open_table

DAMAGE = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, pa.ArrowException)
"""What reading somebody else's JSON or tables raises where they are not what they should be."""
KNOWN = (form.TIME, form.ROW, form.EPISODE, form.INDEX, form.TASK, form.SUBTASK, form.STATE, form.ACTION)
USED = (*KNOWN, form.REWARD, form.SUCCESS, form.DONE, form.INTERVENTION)
FASTEST_HZ = 1e5
LONGEST_WORD = 60
"""Characters of a word of theirs that a sentence shows, at most."""
WIDEST = 10_000
"""Numbers in a row, at most: what claims more is damaged."""


@dataclass(frozen=True, slots=True)
class Feature:
    """Describe one column: its `dtype`, and the shape of what stands in a row of it."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    names: Any = None
    info: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, key: str, row: Any) -> Feature:
        """Return the feature that a row of `info.json` describes; raise what `DAMAGE` names where it is damaged."""
        info = row.get("info") or row.get("video_info") or {}
        return cls(key, str(row["dtype"]), tuple(int(side) for side in row.get("shape") or ()), row.get("names"), info)

    @property
    def size(self) -> int:
        """Return how many numbers there are in a row."""
        return math.prod(self.shape) if self.shape else 1

    def entries(self, what: str) -> tuple[str, ...]:
        """Return the names of a row's numbers, however they are written down, or else `what` and a number."""
        names = _flat(self.names)
        if len(names) != self.size or len(set(names)) != len(names):
            return tuple(f"{what}_{number}" for number in range(self.size))
        return names


class Description:
    """Hold what the metadata of a data set says. Raises SailError where it is missing, damaged or of another version.

    What is wrong with a part of it only is kept in `refusals` and `notes`.
    """

    def __init__(self, folder: Path, fps: float | None = None) -> None:
        self.folder = folder
        self.refusals: list[Refusal] = []
        self.notes: list[Refusal] = []
        info = _json(folder, form.INFO)
        version = visible(str(info.get("codebase_version", "")), LONGEST_WORD)
        if not version.startswith("v3."):
            raise SailError(
                f"{folder} is a LeRobot data set of version {version or 'unknown'}; this reads v3: convert it "
                "with LeRobot's own script first."
            )
        try:
            self.features = self._features(info["features"])
            self.robot = str(info.get("robot_type") or "unknown")
            self.fps = _rate(fps if fps else info.get("fps"), folder)
            self.data_path, self.video_path = info.get("data_path"), info.get("video_path")
            promised = int(info.get("total_episodes") or 0)
        except DAMAGE as problem:
            raise SailError(f"{folder / form.INFO} is damaged ({brief(problem)}).") from None
        for key in (form.STATE, form.ACTION):
            if key not in self.features:
                raise SailError(f"{folder} has no {key}, so its episodes cannot be ours.")
            if not 0 < self.features[key].size <= WIDEST:
                raise SailError(
                    f"{folder} has a {key} of shape {self.features[key].shape}, so its episodes cannot be ours."
                )
        self.tasks = self._words(form.TASKS)
        self.subtasks = self._words(form.SUBTASKS) if form.SUBTASK in self.features else {}
        self.rows = self._episode_rows(promised)
        self.ours = self._own_words()
        self.is_ours = (folder / form.OURS).exists()

    def cameras(self, kind: str) -> list[str]:
        """Return the features that hold pictures of a kind, `video` or `image`."""
        return [key for key, feature in self.features.items() if feature.dtype == kind]

    def camera_name(self, key: str) -> str:
        """Return what a camera is called here: the end of its feature's name, where that is its own."""
        short = key.removeprefix(form.IMAGES)
        return key if not short or (short != key and short in self.features) else short

    def left_over(self) -> list[str]:
        """Return the features of numbers that an episode of ours has no place for."""
        kept = {*USED, *self.cameras("video"), *self.cameras("image")}
        return [key for key in self.features if key not in kept]

    def _features(self, rows: Mapping[str, Any]) -> dict[str, Feature]:
        features: dict[str, Feature] = {}
        for key, row in rows.items():
            try:
                features[key] = Feature.of(key, row)
            except DAMAGE as problem:
                self.refusals.append(Refusal(key, f"{form.INFO} does not say what it is ({brief(problem)})"))
        return features

    def _words(self, name: str) -> dict[int, str]:
        try:
            return form.task_names(open_table(self.folder / name).read(use_threads=False))
        except (*DAMAGE, OSError, SailError) as problem:
            self.notes.append(Refusal(name, f"it cannot be used ({brief(problem)})"))
            return {}

    def _episode_rows(self, promised: int) -> list[dict[str, Any]]:
        paths = sorted((self.folder / "meta" / "episodes").glob("*/*.parquet"))
        rows: list[dict[str, Any]] = []
        for path in paths:
            try:
                rows += _rows(path)
            except (*DAMAGE, OSError, SailError) as problem:
                name = path.relative_to(self.folder)
                self.refusals.append(Refusal(str(name), f"the episodes it lists are not known ({brief(problem)})"))
        if not rows:
            why = self.refusals[0].why if self.refusals else "there is none"
            raise SailError(f"{self.folder} has no table of episodes in meta/episodes that can be read: {why}.")
        if len(rows) < promised and not self.refusals:
            self.refusals.append(
                Refusal(
                    form.INFO, f"it speaks of {promised} episodes, meta/episodes of {len(rows)}: the others are lost"
                )
            )
        return sorted(rows, key=_number)

    def _own_words(self) -> Ours:
        """Return what an export of ours says beside the rows, nothing where it is somebody else's."""
        try:
            return Ours.read(self.folder)
        except SailError as problem:
            self.notes.append(Refusal(form.OURS, f"it cannot be used ({brief(problem)})"))
            return Ours(self.folder)


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table of episodes, without the statistics in it."""
    file = open_table(path)
    names = [name for name in file.schema_arrow.names if not name.startswith("stats/")]
    rows: list[dict[str, Any]] = file.read(columns=names, use_threads=False).select(names).to_pylist()
    return rows


def _number(row: Mapping[str, Any]) -> float:
    """Return an episode's number to sort by, those without one last."""
    number = row.get("episode_index")
    return float(number) if isinstance(number, int | float) and math.isfinite(number) else math.inf


def _rate(value: Any, folder: Path) -> float:
    rate_hz = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < rate_hz < FASTEST_HZ:
        stated = visible(repr(value), LONGEST_WORD)
        raise SailError(
            f"{folder} states a rate of {stated} frames a second, which none is: give the right one as fps=… ."
        )
    return float(rate_hz)


def _json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        content = json.loads(form.there(path).read_bytes())
        json.dumps(content, ensure_ascii=False).encode()  # half a character, which JSON can spell, is no text
    except (FileNotFoundError, NotADirectoryError):
        raise SailError(f"{folder} is no LeRobot data set: it has no {name}.") from None
    except OSError as problem:
        raise SailError(f"{path} cannot be read ({problem.strerror or problem}).") from None
    except (ValueError, RecursionError):
        raise SailError(f"{path} is damaged: it is not JSON.") from None
    if not isinstance(content, dict):
        raise SailError(f"{path} is damaged: it is no JSON object.")
    return content


def _flat(names: Any) -> tuple[str, ...]:
    """Return names that stand in a list, in lists by a motor's or an axis's group, or each with its place."""
    if isinstance(names, Mapping):
        if names and all(isinstance(place, int) for place in names.values()):
            return tuple(str(name) for name, _ in sorted(names.items(), key=lambda pair: pair[1]))
        names = list(names.values())
    if not isinstance(names, list):
        return ()
    return tuple(name for part in names for name in (_flat(part) if isinstance(part, list | Mapping) else (str(part),)))


def table_number(row: Mapping[str, Any], name: str) -> int:
    """Return a whole number out of a row of a table of episodes; raise UnfitError where there is none."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise UnfitError(f"its {name} is {value!r} in meta/episodes")
    return int(value)
