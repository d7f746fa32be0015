"""Keep episodes on disk: one folder an episode, made aside and then renamed, so that a kill leaves no half episode.

A sealed folder holds `episode.json` (what and how), `steps.parquet` or `steps.npz` (numbers of every step), a video a
camera, the imagined frames of the plans in `plans.mkv`, and `labels.jsonl` (appended, never rewritten).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Action, Episode, Outcome, PlacedPlan, RecordedFrames, Verdict
from robot.core.errors import SailError
from robot.episodes.description import (
    ABOUT,
    FIRST_SCHEMA,
    Heading,
    Origin,
    begins_from_json,
    check_id,
    measured_rate_hz,
    plan_from_json,
    read_about,
    spec_from_json,
)
from robot.episodes.first_format import read_first_format
from robot.episodes.labels import Label, append_labels, read_labels, verdict_labels, verdicts_of
from robot.episodes.sealing import left_open, set_aside
from robot.episodes.steps import DONE, read_steps, table_in
from robot.episodes.video import Quality, VideoFacts, read_video
from robot.episodes.writer import FLUSH_EVERY, USUAL_RATE_HZ, EpisodeWriter

TEXTS = ("task", "instruction", "spoken", "robot", "seed", "config_hash", "episode_id")


class EpisodeStore:
    """Add, list and load episodes under one folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def add(
        self,
        episode: Episode,
        verdicts: Sequence[Verdict] = (),
        episode_id: str = "",
        origin: Origin = Origin(),  # noqa: B008 (frozen)
        quality: Quality | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> str:
        """Store a whole episode and return its id (given, the episode's own, or made from task, seed and count).

        `quality` is that of `EpisodeWriter`, `more` is added to its description. Storing under an id that exists
        already replaces nothing: it raises SailError, as a full disk does, and neither leaves anything behind.
        """
        name = episode_id or episode.episode_id
        if name and self.path(name).exists():
            raise SailError(f"Episode {name!r} is already stored in {self.folder}; choose another id.")
        rate_hz = episode.spec.action.rate_hz if episode.spec else measured_rate_hz(episode.times_s) or USUAL_RATE_HZ
        writer = EpisodeWriter(self.folder, Heading.of(episode, origin), name, quality, 0, rate_hz)
        try:
            _copy(episode, writer)
            return writer.seal(episode.outcome, verdicts, more)
        except BaseException:
            # Whoever called still has the episode; what is half written of it only takes room.
            writer.leave()
            with contextlib.suppress(OSError):
                shutil.rmtree(writer.folder)
            raise

    def record(self, heading: Heading, episode_id: str, flush_every: int = FLUSH_EVERY) -> EpisodeWriter:
        """Begin to record an episode and return its writer, which is a `robot.core.protocols.Recording`.

        What a process that died left open under this id is moved aside: nobody is going to finish it. Raises SailError
        where the id is taken already or the disk is full.
        """
        if self.path(episode_id).exists():
            raise SailError(f"Episode {episode_id!r} is already stored in {self.folder}; choose another id.")
        for left in left_open(self.folder, episode_id):
            set_aside(left, self.folder)
        writer = EpisodeWriter(self.folder, heading, episode_id, flush_every=flush_every)
        writer.no_actions["success"] = np.zeros(0, np.bool_)
        return writer

    def ids(self, task: str | None = None) -> list[str]:
        """Return the ids of all episodes, sorted; with `task`, of that task only."""
        try:
            with os.scandir(self.folder) as entries:
                names = sorted(entry.name for entry in entries if entry.name[0] != ".")
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = [name for name in names if (self.folder / name / ABOUT).is_file()]
        return names if task is None else [name for name in names if self.about(name)["task"] == task]

    def about(self, name: str) -> dict[str, Any]:
        """Return an episode's description without reading its arrays."""
        return read_about(self.folder, name)

    def load(
        self, name: str, plans: bool = True, cameras: Collection[str] | None = None, at_once: bool = True
    ) -> Episode:
        """Return an episode; raises SailError when it is missing or damaged.

        Decoding is what takes time: without `plans`, and with the pictures of the `cameras` named alone, it is less.
        Unless `at_once`, pictures are decoded when they are asked for (`RecordedFrames`), and found damaged then.
        """
        return read_episode(self.path(name), self.about(name), plans, cameras, at_once)

    def verdicts(self, name: str) -> list[Verdict]:
        """Return an episode's verdicts, oldest first."""
        return verdicts_of(self.labels(name))

    def append_verdict(self, name: str, verdict: Verdict) -> Label:
        """Append a verdict to an episode and return the label of success that it became."""
        return self.append_labels(name, verdict_labels(verdict))[0]

    def labels(self, name: str) -> list[Label]:
        """Return all that was ever said about an episode, oldest first; see `robot.episodes.labels`."""
        return read_labels(self.path(name))

    def append_labels(self, name: str, labels: Sequence[Label]) -> list[Label]:
        """Append labels to an episode and return them as stored; SailError when one does not fit the episode."""
        return append_labels(self.path(name), labels, int(self.about(name)["steps"]))

    def path(self, name: str) -> Path:
        """Return the folder of an episode; raise SailError for what is no id, which nothing outside the store is."""
        return self.folder / check_id(name)


class StoredEpisodes(Sequence[Episode]):
    """Present stored episodes as a sequence that reads each when asked, without plans: all do not fit into memory.

    This is what everything here learns from. An episode comes with its numbers; its pictures are decoded when they are
    asked for, so that what is cached by their mark (`Episode.mark`) is found without decoding. `with_truth`: with what
    a simulator knew of them, or without.
    """

    def __init__(self, store: EpisodeStore, ids: Sequence[str], with_truth: bool = True) -> None:
        self.store = store
        self.ids = tuple(ids)
        self.with_truth = with_truth

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> StoredEpisodes: ...
    def __getitem__(self, index: int | slice) -> Episode | StoredEpisodes:
        if isinstance(index, slice):
            return StoredEpisodes(self.store, self.ids[index], self.with_truth)
        return self._read(self.ids[index])

    def __iter__(self) -> Iterator[Episode]:
        return map(self._read, self.ids)

    def _read(self, name: str) -> Episode:
        episode = self.store.load(name, plans=False, at_once=False)
        return episode if self.with_truth else episode.without_truth()


class VideosOfEpisode(RecordedFrames):
    """Decode the videos of a sealed episode when they are asked for."""

    def __init__(self, folder: Path, facts: Mapping[str, VideoFacts]) -> None:
        self._folder = folder
        self._facts = dict(facts)
        self._read: dict[str, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self._facts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __getitem__(self, camera: str) -> NDArray[np.uint8]:
        if camera not in self._read:
            self._read[camera] = read_video(self._folder, self._facts[camera])
        return self._read[camera]

    def shape(self, camera: str) -> tuple[int, ...]:
        """Return (T+1, H, W, 3) as the episode's description says."""
        facts = self._facts[camera]
        return facts.frames, facts.height, facts.width, 3

    def mark(self, camera: str) -> str:
        """Return the episode's id, the checksum of what was recorded, how it is kept, and the size of the file."""
        facts = self._facts[camera]
        path = self._folder / facts.file
        try:
            size = path.stat().st_size
        except OSError:
            raise SailError(f"{path} is missing.") from None
        kept = (facts.crc32, facts.frames, facts.height, facts.width, facts.codec, facts.crf, size)
        return f"{self._folder.name} {' '.join(map(str, kept))}"


def read_episode(
    folder: Path,
    about: Mapping[str, Any],
    plans: bool = True,
    cameras: Collection[str] | None = None,
    at_once: bool = True,
) -> Episode:
    """Return the episode in `folder` that `about` describes; see `EpisodeStore.load`."""
    if about["schema"] == FIRST_SCHEMA:
        return read_first_format(folder, about, plans)
    try:
        rows = read_steps(table_in(folder))
        wanted = {
            camera: _inside(VideoFacts.from_json(facts))
            for camera, facts in about["cameras"].items()
            if cameras is None or camera in cameras
        }
        videos = VideosOfEpisode(folder, wanted)
        return Episode(
            **{key: about[key] for key in TEXTS},
            frames=dict(videos) if at_once else videos,
            proprio=rows["proprio"],
            requested=rows["requested"],
            sent=rows["sent"],
            times_s=rows["time_s"],
            states=rows.get("state"),
            success=rows.get("success"),
            reward=rows.get("reward"),
            intervention=rows.get("intervention"),
            plans=_read_plans(folder, about) if plans else (),
            outcome=Outcome(about["outcome"]),
            spec=spec_from_json(about["spec"]),
            begins=begins_from_json(about),
            reversed_of=str(about.get("reversed_of", "")),
        )
    except (KeyError, TypeError, ValueError, IndexError) as problem:
        raise SailError(f"The episode in {folder} is damaged: its parts do not fit ({problem}).") from None


def _copy(episode: Episode, writer: EpisodeWriter) -> None:
    """Write an episode that is already whole."""
    done = {name: getattr(episode, name) for name in DONE}
    writer.no_actions = {name: values[:0] for name, values in done.items() if values is not None}
    for placed in episode.plans:
        writer.plan(placed.plan, placed.step)
    writer.observe(episode.observation(0))
    for step in range(len(episode)):
        writer.step(
            Action(episode.requested[step]),
            Action(episode.sent[step]),
            episode.observation(step + 1),
            None if episode.success is None else bool(episode.success[step]),
            None if episode.reward is None else float(episode.reward[step]),
            None if episode.intervention is None else bool(episode.intervention[step]),
        )


def _read_plans(folder: Path, about: Mapping[str, Any]) -> tuple[PlacedPlan, ...]:
    videos = [_inside(VideoFacts.from_json(row)) for row in about["imagined"]]
    frames = {facts.file: read_video(folder, facts) for facts in videos}
    return tuple(
        plan_from_json(row, frames[row["video"]][row["first"] : row["first"] + row["frames"]]) for row in about["plans"]
    )


def _inside(facts: VideoFacts) -> VideoFacts:
    """Return the facts; raise ValueError where they name a file outside the episode's folder."""
    if Path(facts.file).name != facts.file:
        raise ValueError(f"{facts.file!r} lies outside the episode")
    return facts
