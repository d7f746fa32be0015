"""Record an episode while it runs, so that a kill loses at most what has not been flushed of the open one.

While it is open, an episode is a hidden folder with the videos so far, a stream of rows (`robot.episodes.steps`),
`plans.jsonl`, `cameras.jsonl` and `opening.json`. Sealing writes the table of steps and `episode.json`, brings all of
it to the disk and renames it.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from robot.core.data import Action, Image, Observation, Outcome, PlacedPlan, Verdict, VideoPlan
from robot.core.errors import NameTakenError, SailError
from robot.core.provenance.revision import program_revision
from robot.episodes.description import ABOUT, SCHEMA, Heading, check_id, measured_rate_hz, plan_as_json, to_bytes
from robot.episodes.labels import Label, append_labels, verdict_labels
from robot.episodes.sealing import OpenFolder, set_aside
from robot.episodes.steps import STREAMS, StepStream, open_stream, stream_in, table_in, write_steps
from robot.episodes.video import CAMERA, LOSSLESS, Quality, VideoFacts, VideoWriter

OPENING, PLANS, CAMERAS = "opening.json", "plans.jsonl", "cameras.jsonl"
UNFINISHED = (OPENING, PLANS, CAMERAS, *STREAMS)
"""Files of an open episode whose content the finished ones repeat."""
LARGE = (480, 640)
"""Rows and columns from which a camera's pictures are not kept bit for bit."""
LONGEST_STEM = 100
"""Characters of a camera's name that its file is named after."""
FLUSH_EVERY = 1
"""Steps between two flushes: one costs a tenth of a millisecond beside the half that a picture of 128 pixels takes."""
USUAL_RATE_HZ = 30.0


class EpisodeWriter:
    """Write one episode into a store: `observe` once, then `plan` and `step` as they happen, then `seal`.

    `quality` is how pictures of cameras are kept; None: bit for bit, but for cameras of 640×480 and more that are not
    simulated, which lose a little (`CAMERA`). Imagined frames are always kept bit for bit. Every `flush_every` steps
    what is known goes to the system; 0 keeps steps in memory until the end, for an episode that is already whole.
    `no_actions` are the columns of an action, should there be none. Left by an exception, the episode stays
    open for `sail episodes doctor --repair` to save. Every method raises SailError where the disk is full.
    """

    def __init__(
        self,
        store: str | Path,
        heading: Heading,
        episode_id: str = "",
        quality: Quality | None = None,
        flush_every: int = FLUSH_EVERY,
        rate_hz: float = 0.0,
    ) -> None:
        self.heading = heading
        self._store = Path(store)
        size = heading.spec.action.size if heading.spec else 0
        self.no_actions: dict[str, NDArray[Any]] = {
            name: np.zeros((0, size), np.float32) for name in ("requested", "sent")
        }
        self._id = check_id(episode_id) if episode_id else ""
        self._quality = quality
        self._flush_every = flush_every
        self._rate_hz = rate_hz or (heading.spec.action.rate_hz if heading.spec else USUAL_RATE_HZ)
        self._rows: dict[str, list[Any]] = {}
        self._flushed = 0
        self._cameras: dict[str, VideoWriter] = {}
        self._attached: dict[str, VideoFacts] = {}
        self._imagined: dict[tuple[int, int], VideoWriter] = {}
        self._imagined_frames: dict[tuple[int, int], int] = {}
        self._plans: list[dict[str, Any]] = []
        self._stream: StepStream | None = None
        with self._told():
            self._open = OpenFolder(self._store, self._id or _stem(heading))
            try:
                opening = {"episode_id": self._id, **heading.as_json(), **_made_now()}
                (self._open.path / OPENING).write_bytes(to_bytes(opening))
            except BaseException:  # there is nothing in it that anybody could save
                self._open.release()
                shutil.rmtree(self._open.path, ignore_errors=True)
                raise

    @property
    def folder(self) -> Path:
        """Return the hidden folder that holds the episode while it is open."""
        return self._open.path

    @property
    def steps(self) -> int:
        """Return how many steps there are so far."""
        return len(self._rows.get("sent", ()))

    def observe(self, observation: Observation) -> None:
        """Record the first observation."""
        if self._rows:
            raise ValueError("An episode has one first observation; the others come with `step`.")
        self._see(observation)

    def attach(self, camera: str, make: Callable[[Path], VideoFacts | None]) -> bool:
        """Take the video of a camera as a whole, instead of a picture with every observation; return whether it came.

        `make` writes it to the path that it is given, or returns None where it cannot. Raises ValueError for a camera
        that is there already.
        """
        if camera in self._attached or camera in self._cameras:
            raise ValueError(f"An episode has one video of camera {camera!r}.")
        with self._told():
            facts = make(self.folder / self._file_of(camera))
        if facts is not None:
            self._attached[camera] = facts
        return facts is not None

    def plan(self, plan: VideoPlan, step: int | None = None) -> None:
        """Record a plan that begins to be executed now, or began at `step`."""
        with self._told():
            key = (plan.frames.shape[1], plan.frames.shape[2])
            if key not in self._imagined:
                name = f"plans{f'-{len(self._imagined)}' if self._imagined else ''}.mkv"
                self._imagined[key] = VideoWriter(self.folder / name, key[0], key[1], 1.0 / plan.stride_s)
                self._imagined_frames[key] = 0
            video = self._imagined[key]
            placed = PlacedPlan(self.steps if step is None else step, plan)
            row = plan_as_json(placed, video.path.name, self._imagined_frames[key])
            for frame in plan.frames:
                video.append(frame)
            self._imagined_frames[key] += len(plan)
            if self._flush_every:
                # Matroska holds the newest frame back until the next comes; a repeated one costs a few bytes.
                video.append(plan.frames[-1])
                self._imagined_frames[key] += 1
            self._plans.append(row)
            self._write_down(PLANS, row)

    def step(
        self,
        requested: Action,
        sent: Action,
        observation: Observation,
        success: bool | None = None,
        reward: float | None = None,
        intervention: bool | None = None,
    ) -> None:
        """Record an action, as asked for and as sent, what was seen after it, and what is known of it."""
        if not self._rows:
            raise ValueError("An episode begins with an observation; `observe` it before the first step.")
        known = {"success": success, "reward": reward, "intervention": intervention}
        if self.steps:
            odd = [name for name, value in known.items() if (value is not None) != (name in self._rows)]
            if odd:
                raise ValueError(f"{odd[0]} must be given with every step of an episode or with none.")
        self._note("requested", requested.values)
        self._note("sent", sent.values)
        if success is not None:
            self._note("success", np.bool_(success))
        if reward is not None:
            self._note("reward", np.float32(reward))
        if intervention is not None:
            self._note("intervention", np.bool_(intervention))
        self._see(observation)
        if self._flush_every and self.steps - self._flushed >= self._flush_every:
            self.flush()

    def flush(self) -> None:
        """Hand all complete rows to the system now."""
        if self.steps == self._flushed:
            return
        with self._told():
            if self._stream is None:
                self._stream = open_stream(stream_in(self.folder))
            # The newest observation waits for its action.
            self._stream.append(
                {name: np.stack(values[self._flushed : self.steps]) for name, values in self._rows.items()}
            )
            self._flushed = self.steps

    def seal(
        self,
        outcome: Outcome,
        verdicts: Sequence[Verdict] = (),
        more: Mapping[str, Any] | None = None,
        labels: Sequence[Label] = (),
    ) -> str:
        """Finish the episode and return its id; `more` is added to its description, `labels` to its labels.

        Raises NameTakenError where its id is taken already; the episode then stays open.
        """
        if not self._rows:
            raise ValueError("An episode without an observation cannot be sealed.")
        with self._told():
            if self._flush_every:
                self.flush()  # so that a kill from here on loses no step
            cameras = {name: video.close() for name, video in self._cameras.items()}
            imagined = [video.close() for video in self._imagined.values()]
            if self._stream is not None:
                self._stream.close()
            arrays = self._arrays()
            cameras |= self._attached
            if odd := [name for name, facts in self._attached.items() if facts.frames != len(arrays["time_s"])]:
                raise ValueError(f"The video of camera {odd[0]!r} has another number of frames than the episode.")
            write_steps(table_in(self.folder), arrays)
            for said in filter(None, (*map(verdict_labels, verdicts), labels)):
                append_labels(self.folder, said, len(arrays["sent"]))
            about = self._about(outcome, arrays, cameras, imagined) | dict(more or {})
            return self._name_it(about)

    def set_aside(self) -> None:
        """Give the episode up: what there is of it goes to where the store keeps what nobody asks for."""
        self.leave()
        with self._told():
            set_aside(self.folder, self._store)

    def leave(self) -> None:
        """Let go of the episode as it is: it stays open, for the doctor to save. Once it is sealed, do nothing."""
        if self._flush_every and self._open.held:
            with contextlib.suppress(SailError, ValueError):  # the last step may be there in part
                self.flush()
        for video in (*self._cameras.values(), *self._imagined.values()):
            video.abandon()
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()
        self._open.release()

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.leave()

    def _see(self, observation: Observation) -> None:
        if self._cameras and set(observation.images) != set(self._cameras):
            raise ValueError(
                f"An episode keeps its cameras, {sorted(self._cameras)}; got {sorted(observation.images)}."
            )
        with self._told():
            for name, image in observation.images.items():
                if name not in self._cameras:
                    self._cameras[name] = self._camera(name, image, simulated=observation.state is not None)
                self._cameras[name].append(image)
        self._note("time_s", np.float64(observation.time_s))
        self._note("proprio", observation.proprio)
        if observation.state is not None:
            self._note("state", observation.state)

    def _camera(self, name: str, image: Image, simulated: bool) -> VideoWriter:
        height, width = image.shape[:2]
        small = height < LARGE[0] or width < LARGE[1]
        quality = self._quality or (LOSSLESS if simulated or small else CAMERA)
        file = self._file_of(name)
        self._write_down(CAMERAS, {"camera": name, "file": file})
        return VideoWriter(self.folder / file, height, width, self._rate_hz, quality)

    def _file_of(self, camera: str) -> str:
        """Return the name of a camera's file, which no other has."""
        stem = f"camera-{re.sub(r'[^A-Za-z0-9_.-]', '_', camera)[:LONGEST_STEM]}"
        files = [video.path.name for video in self._cameras.values()] + [one.file for one in self._attached.values()]
        names = (f"{stem}.mkv", *(f"{stem}-{n}.mkv" for n in range(len(files) + 1)))
        return next(name for name in names if name not in files)

    def _write_down(self, file: str, row: Mapping[str, Any]) -> None:
        """Append a line to a file of the open episode."""
        if self._flush_every:
            with (self.folder / file).open("ab") as lines:
                lines.write(json.dumps(row).encode() + b"\n")

    def _note(self, name: str, value: Any) -> None:
        self._rows.setdefault(name, []).append(np.array(value))  # a copy: robots use their buffers again

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {name: np.stack(values) for name, values in self._rows.items()}
        if not self.steps:  # ended before its first action: the columns are there all the same
            arrays |= self.no_actions
        return arrays

    def _about(
        self,
        outcome: Outcome,
        arrays: Mapping[str, NDArray[Any]],
        cameras: Mapping[str, VideoFacts],
        imagined: Sequence[VideoFacts],
    ) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "episode_id": self._id,
            **self.heading.as_json(),
            "rate_measured_hz": measured_rate_hz(arrays["time_s"]),
            "outcome": outcome.value,
            "steps": self.steps,
            **_made_now(),
            "cameras": {name: facts.as_json() for name, facts in cameras.items()},
            "imagined": [facts.as_json() for facts in imagined],
            "plans": self._plans,
        }

    def _name_it(self, about: dict[str, Any]) -> str:
        """Seal the folder under its id, or under the first free one made from task and seed."""
        for name in [self._id] if self._id else _numbered(self._store, _stem(self.heading)):
            (self.folder / ABOUT).write_bytes(to_bytes(about | {"episode_id": name}))
            for leftover in UNFINISHED:
                (self.folder / leftover).unlink(missing_ok=True)
            if self._open.seal(self._store / name):
                return name
        raise NameTakenError(f"Episode {self._id!r} is already stored in {self._store}; choose another id.")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the system says of the disk into one sentence."""
        try:
            yield
        except (OSError, av.error.FFmpegError) as problem:
            said = getattr(problem, "strerror", "") or problem
            raise SailError(
                f"An episode could not be written to {self._store} ({said}); all that was stored before is untouched."
            ) from problem


def _made_now() -> dict[str, str]:
    """Return when and by which program an episode is recorded."""
    return {"recorded": datetime.now(UTC).isoformat(timespec="seconds"), "revision": program_revision()}


def _stem(heading: Heading) -> str:
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', heading.task) or 'episode'}-{heading.seed:06d}"


def _numbered(store: Path, stem: str) -> Iterator[str]:
    number = sum(1 for _ in store.glob(f"{stem}-*"))
    while True:
        yield f"{stem}-{number:03d}"
        number += 1
