"""Take in a LeRobotDataset v3.0 as episodes.

N rows of theirs are N observations and N − 1 actions of ours: what followed the last row's action was not recorded.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robot.data import ActionSpec, Episode, Image, Outcome, RobotSpec
from robot.episodes import lerobot_format as form
from robot.episodes.labels import Label
from robot.episodes.lerobot_ours import Ours
from robot.episodes.video import decode
from robot.errors import SailError


class LeRobotSource:
    """Read a data set, one episode at a time and in order. Raises SailError where it is damaged or another version."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.info = self._json(form.INFO)
        version = str(self.info.get("codebase_version", ""))
        if not version.startswith("v3."):
            raise SailError(
                f"{self.folder} is a LeRobot data set of version {version or 'unknown'}; this reads v3: convert it "
                "with LeRobot's own script first."
            )
        try:
            self._features: dict[str, Any] = self.info["features"]
            for name in (form.STATE, form.ACTION):
                if name not in self._features:
                    raise SailError(f"{self.folder} has no {name}, so its episodes cannot be ours.")
            self._tasks = form.task_names(self._table(form.TASKS))
            self._rows = self._episode_rows()
            self._spec = self._robot()
        except (KeyError, TypeError, ValueError) as problem:
            raise SailError(f"The description of {self.folder} is damaged ({problem}).") from None
        self._ours = Ours.read(self.folder)
        self._labels: dict[int, tuple[Label, ...]] = {}

    def __len__(self) -> int:
        """Return how many episodes there are."""
        return len(self._rows)

    def labels(self, number: int) -> tuple[Label, ...]:
        """Return what was said about an episode that has been read, by its number."""
        return self._labels.get(number, ())

    def __iter__(self) -> Iterator[Episode]:
        """Yield the episodes, those of one row alone, which hold no action, among them."""
        frames = {key: _Frames(self.folder) for key in self._cameras("video")}
        data: tuple[str, pa.Table] = ("", None)
        for row in self._rows:
            path = self.info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
            if data[0] != path:
                data = (path, self._table(path))
            yield self._episode(row, data[1], frames)

    def _episode(self, row: Mapping[str, Any], table: pa.Table, videos: Mapping[str, _Frames]) -> Episode:
        number, length = int(row["episode_index"]), int(row["length"])
        try:
            own = table.filter(pa.compute.equal(table["episode_index"], number))
            if len(own) != length:
                raise SailError(f"Episode {number} of {self.folder} has {len(own)} rows instead of {length}.")
            fps = float(self.info["fps"])
            pictures = {
                key.removeprefix(form.IMAGES): video.read(
                    self.info["video_path"].format(
                        video_key=key,
                        chunk_index=row[f"videos/{key}/chunk_index"],
                        file_index=row[f"videos/{key}/file_index"],
                    ),
                    round(row[f"videos/{key}/from_timestamp"] * fps),
                    length + self._ours.has_last(number),
                )
                for key, video in videos.items()
            }
            for key in self._cameras("image"):
                pictures[key.removeprefix(form.IMAGES)] = _stills(own[key])
            return self._put_together(number, own, pictures)
        except (KeyError, TypeError, ValueError, IndexError, pa.ArrowException) as problem:
            raise SailError(f"Episode {number} of {self.folder} is damaged ({problem}).") from None

    def _put_together(self, number: int, own: pa.Table, pictures: Mapping[str, NDArray[np.uint8]]) -> Episode:
        known: Mapping[str, Any] = self._ours.facts[number] if number < len(self._ours.facts) else {}
        instruction = self._tasks[own["task_index"][0].as_py()]
        state, actions = _numbers(own[form.STATE]), _numbers(own[form.ACTION])
        if rest := self._ours.rest(number, state, actions):
            self._labels[number] = rest.labels
            return rest.episode(instruction, state, actions, pictures)
        actions = actions[:-1]
        success = _numbers(own[form.SUCCESS]).reshape(-1)[:-1] > 0.5 if form.SUCCESS in own.column_names else None
        ended = Outcome.TIMEOUT if success is None else Outcome.SUCCESS if success.any() else Outcome.FAILURE
        return Episode(
            task=str(known.get("task", "")) or "-".join(instruction.lower().split())[:40] or "unknown",
            instruction=instruction,
            spoken=str(known.get("spoken", instruction)),
            robot=str(known.get("robot", self._spec.name)),
            seed=int(known.get("seed", number)),
            config_hash=str(known.get("config_hash", "")),
            episode_id=str(known.get("episode_id", "")),
            frames=pictures,
            proprio=state,
            requested=actions,
            sent=actions,
            times_s=own["timestamp"].to_numpy().astype(np.float64),
            success=success,
            reward=_numbers(own[form.REWARD]).reshape(-1)[:-1] if form.REWARD in own.column_names else None,
            outcome=Outcome(known["outcome"]) if "outcome" in known else ended,
            spec=self._spec,
        )

    def _robot(self) -> RobotSpec:
        state, action = self._features[form.STATE], self._features[form.ACTION]
        stats = self._json(form.STATS).get(form.ACTION, {}) if (self.folder / form.STATS).exists() else {}
        size = int(action["shape"][0])
        low = np.asarray(stats.get("min", [-1.0] * size), np.float32).reshape(-1)
        high = np.asarray(stats.get("max", [1.0] * size), np.float32).reshape(-1)
        return RobotSpec(
            name=str(self.info.get("robot_type") or "unknown"),
            action=ActionSpec(
                names=_names(action, "action"),
                units=("unknown",) * size,
                low=low,
                high=np.maximum(high, np.nextafter(low, np.float32(np.inf))),  # one that never moved has limits too
                rate_hz=float(self.info["fps"]),
            ),
            proprio_names=_names(state, "state"),
            proprio_units=("unknown",) * int(state["shape"][0]),
            cameras={
                key.removeprefix(form.IMAGES): (int(shape[0]), int(shape[1]))
                for key in (*self._cameras("video"), *self._cameras("image"))
                for shape in [self._features[key]["shape"]]
            },
        )

    def _cameras(self, kind: str) -> list[str]:
        return [key for key, feature in self._features.items() if feature["dtype"] == kind]

    def _episode_rows(self) -> list[dict[str, Any]]:
        paths = sorted((self.folder / "meta" / "episodes").glob("*/*.parquet"))
        if not paths:
            raise SailError(f"{self.folder} has no table of episodes in meta/episodes.")
        rows: list[dict[str, Any]] = []
        for path in paths:
            table = self._table(str(path.relative_to(self.folder)))
            rows += table.select([name for name in table.column_names if not name.startswith("stats/")]).to_pylist()
        return sorted(rows, key=lambda row: int(row["episode_index"]))

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise SailError(f"{self.folder} is no LeRobot data set: it has no {name}.") from None
        except ValueError:
            raise SailError(f"{path} is damaged: it is not JSON.") from None
        if not isinstance(content, dict):
            raise SailError(f"{path} is damaged: it is no JSON object.")
        return content

    def _table(self, name: str) -> pa.Table:
        path = self._inside(name)
        try:
            return pq.read_table(path, use_threads=False)
        except FileNotFoundError:
            raise SailError(f"{path} is missing.") from None
        except (OSError, pa.ArrowException) as problem:
            raise SailError(f"{path} is damaged ({str(problem).splitlines()[0].rstrip('.')}).") from None

    def _inside(self, name: str) -> Path:
        return _inside(self.folder, name)


class _Frames:
    """Read the frames of one camera in order, opening each file once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = ""
        self._next = 0
        self._frames: Iterator[Image] = iter(())

    def read(self, name: str, first: int, count: int) -> NDArray[np.uint8]:
        """Return `count` frames, uint8 (count, H, W, 3), of a file from frame `first` on."""
        path = _inside(self._folder, name)
        if name != self._name or first < self._next:
            self._name, self._next, self._frames = name, 0, decode(path)
        found: list[Image] = []
        try:
            while len(found) < count:
                frame = next(self._frames)
                if self._next >= first:
                    found.append(frame)
                self._next += 1
        except FileNotFoundError:
            raise SailError(f"{path} is missing.") from None
        except StopIteration:
            raise SailError(f"{path} ends at frame {self._next}, before the end of its episodes.") from None
        except av.error.FFmpegError as problem:
            raise SailError(f"{path} is damaged ({problem.strerror or problem}).") from None
        return np.stack(found)


def _inside(folder: Path, name: str) -> Path:
    """Return a path in `folder`; raise SailError where it would lie outside."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise SailError(f"{folder} names a file outside itself: {name}.")
    return path


def _stills(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return pictures that are kept in the table itself, uint8 (N, H, W, 3)."""
    from PIL import Image as PillowImage

    opened = [PillowImage.open(io.BytesIO(row["bytes"])) for row in column.to_pylist()]
    return np.stack([np.asarray(picture.convert("RGB")) for picture in opened])


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Return a column as float32, (N, D), or (N,) where it holds single numbers."""
    return np.asarray(column.to_pylist(), np.float32)


def _names(feature: Mapping[str, Any], what: str) -> tuple[str, ...]:
    """Return the names of a vector's entries, however they are written down."""
    size, names = int(feature["shape"][0]), feature.get("names")
    if isinstance(names, Mapping):
        names = [name for part in names.values() for name in (part if isinstance(part, list) else [part])]
    if not isinstance(names, list) or len(names) != size:
        return tuple(f"{what}_{number}" for number in range(size))
    return tuple(map(str, names))
