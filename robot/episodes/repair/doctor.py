"""Find and mend what a kill, a full disk or a bad one left of a store; nothing is ever deleted, only moved aside.

What cannot be kept as it is goes to `.set-aside` in the store. A mended episode is made anew in `.mending` and takes
the old one's place once it is whole, so that a repair may be killed too.
"""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot.core.data import Episode
from robot.core.errors import SailError
from robot.core.files import write_whole
from robot.episodes.description import (
    ABOUT,
    FIRST_SCHEMA,
    SCHEMA,
    Origin,
    kept,
    measured_rate_hz,
    read_about,
    spec_as_json,
    to_bytes,
)
from robot.episodes.labels import FILE, OLD_FILE, sound_lines
from robot.episodes.repair.salvage import salvage_damaged, salvage_unfinished, salvage_weak
from robot.episodes.repair.soundness import weakness
from robot.episodes.sealing import LOCK, OPEN_PREFIX, SET_ASIDE, is_held, seal, set_aside
from robot.episodes.steps import needs_pyarrow, read_steps, table_in, write_steps
from robot.episodes.store import EpisodeStore, read_episode
from robot.episodes.video import LOSSLESS, checksum
from robot.episodes.writer import UNFINISHED

MENDING = ".mending"
OLD_OPEN_PREFIX = ".writing-"
"""What open folders were called in the first format; nothing in them can be saved."""

NEEDS_PYARROW = 'left alone; to look at it: pip install "sail-stack[parquet]"'


@dataclass(frozen=True, slots=True)
class Finding:
    """Say what is wrong with one part of a store and what was done, or, where nothing was, what `--repair` would do.

    `harmless`: nothing needs to be done about it.
    """

    name: str
    wrong: str
    remedy: str
    done: bool
    harmless: bool = False


def examine(folder: str | Path, repair: bool = False) -> Iterator[Finding]:
    """Look at everything in a store, every frame included, and yield what is found as it is found.

    With `repair` each is mended before it is yielded. Raises SailError where the store does not exist.
    """
    doctor = _Doctor(Path(folder), repair)
    if not doctor.folder.is_dir():
        raise SailError(f"There is no store in {folder}.")
    yield from doctor.look()


def is_begun(folder: Path) -> bool:
    """Return whether a folder holds something that was begun in a store and never brought to its end."""
    return (folder / MENDING).is_dir() or any(folder.glob(f"{OPEN_PREFIX}*/"))


class _Doctor:
    def __init__(self, folder: Path, repair: bool) -> None:
        self.folder = folder
        self.store = EpisodeStore(folder)
        self.repair = repair

    def look(self) -> Iterator[Finding]:
        for path in sorted((self.folder / MENDING).glob("*/")):
            yield from self._half_mended(path)
        for path in sorted(self.folder.iterdir()):
            if not path.is_dir():
                continue
            if needs_pyarrow(path):
                wrong = "holds its steps as Parquet, which nothing here reads"
                yield Finding(path.name.removeprefix(OPEN_PREFIX), wrong, NEEDS_PYARROW, False, harmless=True)
            elif path.name.startswith(OPEN_PREFIX):
                yield self._left_open(path)
            elif path.name.startswith(OLD_OPEN_PREFIX):
                yield self._moved(path, "was never finished, in the first format", "nothing in it can be saved")
            elif path.name[0] != ".":
                yield from self._sealed(path)

    def _half_mended(self, path: Path) -> Iterator[Finding]:
        target = self.folder / path.name
        if path.name.startswith(".") or not (path / ABOUT).exists() or target.exists():
            yield self._moved(path, "was left by a repair that was stopped", "it is made anew where it is needed")
            return
        if self.repair:
            path.rename(target)
        yield self._finding(path.name, "was mended by a repair that was stopped", "put in its place")

    def _left_open(self, path: Path) -> Finding:
        left = path.name.removeprefix(OPEN_PREFIX)
        if is_held(path):
            return Finding(left, "is being recorded by a running process", "left alone", False, harmless=True)
        wrong = "was never sealed"
        try:
            about = json.loads((path / ABOUT).read_bytes())
            assert isinstance(about, dict)
            whole = self._damage(path, about) is None and table_in(path).exists()
        except (OSError, ValueError, AssertionError):
            whole = False
        if whole:
            name = self._free(str(about["episode_id"]))
            if self.repair:
                write_whole(path / ABOUT, to_bytes(about | {"episode_id": name}))
                for leftover in (LOCK, *UNFINISHED):
                    if (path / leftover).exists():
                        set_aside(path / leftover, self.folder)
                seal(path, self.folder / name)
            return self._finding(left, wrong, f"whole, so sealed as {name}")
        saved = salvage_unfinished(path)
        if saved is None:
            return self._moved(path, wrong, "nothing in it can be saved")
        episode, origin, known = saved
        # Never under its own id: a run that goes on begins this very attempt again and seals it under that.
        name = self._free(f"{episode.episode_id or f'{episode.task}-{episode.seed:06d}'}-recovered")
        if self.repair:
            self.store.add(episode, episode_id=name, origin=origin, more=known | {"recovered": wrong})
            set_aside(path, self.folder)
        return self._finding(left, wrong, f"its first {len(episode)} steps are saved as {name}; the rest is set aside")

    def _sealed(self, path: Path) -> Iterator[Finding]:
        name = path.name
        try:
            about = read_about(self.folder, name)
        except SailError as problem:
            yield self._undescribed(path, problem)
            return
        if about["episode_id"] != name:
            if self.repair:
                write_whole(path / ABOUT, to_bytes(about | {"episode_id": name, "renamed_from": about["episode_id"]}))
            yield self._finding(name, f"calls itself {about['episode_id']!r}", "named after its folder")
        if about["schema"] == FIRST_SCHEMA:
            yield self._first_format(path, about)
        elif damage := self._damage(path, about):
            yield self._mend(path, about, damage)
        elif found := weakness(read_episode(path, about, plans=False, cameras=())):
            yield self._strengthen(path, about, found.wrong)
        yield from self._labels(path)

    def _undescribed(self, path: Path, problem: SailError) -> Finding:
        try:
            newer = json.loads((path / ABOUT).read_bytes()).get("schema", SCHEMA) > SCHEMA
        except (OSError, ValueError, TypeError, AttributeError):
            newer = False
        if newer:
            return Finding(path.name, str(problem), "left alone", False, harmless=True)
        wrong = str(problem) if (path / ABOUT).exists() else f"has no {ABOUT}"
        return self._moved(path, wrong, "without its description it is no episode")

    def _damage(self, path: Path, about: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the parts of an episode of the present format, None where nothing is."""
        try:
            episode = read_episode(path, about)
        except SailError as problem:
            return str(problem)
        if len(episode) != about["steps"]:
            return f"{table_in(path)} holds {len(episode)} of {about['steps']} steps."
        for camera, row in about["cameras"].items():
            if row["lossless"] and checksum(episode.frames[camera]) != row["crc32"]:
                return f"The pictures in {path / row['file']} are not those that were recorded."
        return None

    def _first_format(self, path: Path, about: Mapping[str, Any]) -> Finding:
        wrong = "is in the first format"
        try:
            episode = self.store.load(path.name)
        except SailError as problem:
            return self._moved(path, str(problem), "nothing else holds its numbers")
        if self.repair:
            self._replace(path, episode, kept(about) | {"mended": wrong}, whole=True)
        return self._finding(path.name, wrong, "written in the present one", harmless=True)

    def _mend(self, path: Path, about: Mapping[str, Any], damage: str) -> Finding:
        rest = salvage_damaged(path, about)
        if rest is None:
            return self._moved(path, damage, "what is left is no episode")
        episode, whole = rest
        if self.repair:
            self._replace(path, episode, kept(about) | {"mended": damage}, whole, Origin(**about["origin"]))
        left = f"{len(episode)} of {about['steps']} steps, {len(episode.plans)} of {len(about['plans'])} plans"
        cameras = ", ".join(episode.frames)
        return self._finding(path.name, damage, f"{left} and the pictures of {cameras} are kept; all is set aside")

    def _strengthen(self, path: Path, about: Mapping[str, Any], wrong: str) -> Finding:
        """Mend an episode that is whole, of whose numbers some are no use."""
        saved = salvage_weak(self.store.load(path.name))
        if saved is None:
            return self._moved(path, wrong, "nothing says what they should be")
        episode, done = saved
        more = kept(about) | {"mended": wrong}
        if self.repair and len(episode) < about["steps"]:
            self._replace(path, episode, more, False, Origin(**about["origin"]))
        elif self.repair:
            self._rewrite(path, about, episode, more)
        return self._finding(path.name, wrong, f"{done}; what it was is set aside")

    def _rewrite(self, path: Path, about: Mapping[str, Any], episode: Episode, more: Mapping[str, Any]) -> None:
        """Give a whole episode the times and the rate of `episode`; its pictures stay as they are."""
        spec = None if episode.spec is None else spec_as_json(episode.spec)
        rates = {
            "rate_asked_hz": spec and spec["action"]["rate_hz"],
            "rate_measured_hz": measured_rate_hz(episode.times_s),
        }
        table = table_in(path)
        rows = read_steps(table) | {"time_s": episode.times_s}
        for name in (table.name, ABOUT):
            before = path / f"{name}.before"
            shutil.copy2(path / name, before)
            set_aside(before, self.folder)
        write_steps(table, rows, mended := io.BytesIO())
        write_whole(table, mended.getvalue())
        write_whole(path / ABOUT, to_bytes({**about, **more, "spec": spec, **rates}))

    def _replace(
        self,
        path: Path,
        episode: Episode,
        more: Mapping[str, Any],
        whole: bool,
        origin: Origin = Origin(),  # noqa: B008 (frozen)
    ) -> None:
        """Put `episode` in the place of the one in `path`; what was said of a whole one goes with it."""
        name = path.name
        made = EpisodeStore(self.folder / MENDING)
        # What was lossy before is kept as it is now: encoding it again would lose more.
        made.add(dataclasses.replace(episode, episode_id=name), origin=origin, quality=LOSSLESS, more=more)
        if whole:
            for said in path.glob("*.jsonl"):
                shutil.copy2(said, made.path(name) / said.name)
        set_aside(path, self.folder)
        made.path(name).rename(path)

    def _labels(self, path: Path) -> Iterator[Finding]:
        for name in (OLD_FILE, FILE):
            sound, damaged = sound_lines(path / name)
            if not damaged:
                continue
            if self.repair:
                before = path / f"{name}.before"
                shutil.copy2(path / name, before)
                set_aside(before, self.folder)
                write_whole(path / name, "".join(f"{line}\n" for line in sound))
            yield self._finding(path.name, f"has {damaged} damaged lines in {name}", f"the other {len(sound)} are kept")

    def _moved(self, path: Path, wrong: str, why: str) -> Finding:
        where = set_aside(path, self.folder) if self.repair else self.folder / SET_ASIDE
        name = path.name.removeprefix(OPEN_PREFIX).removeprefix(OLD_OPEN_PREFIX)
        return self._finding(name, wrong, f"{why}: moved to {where}" if self.repair else f"{why}: move it to {where}")

    def _finding(self, name: str, wrong: str, remedy: str, harmless: bool = False) -> Finding:
        return Finding(name, wrong, remedy, self.repair, harmless and not self.repair)

    def _free(self, name: str) -> str:
        """Return an id that is not taken: the one given, or one made from it."""
        name = name.lstrip(".") or "episode"
        candidates = (name, *(f"{name}-r{number}" for number in range(1, 1000)))
        return next(one for one in candidates if not (self.folder / one).exists())
