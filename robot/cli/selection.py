"""Which recorded episodes a command means: those of a kind in the data folder, or those of any store.

Of a store every task may be named, and words and cameras are the episodes' own. What cannot be learnt from is left out,
with why, and does not keep the rest from being learnt from.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig

from robot.cli.recording import store_of
from robot.cli.screen import Screen
from robot.cli.wording import listed, task_names, tasks_named
from robot.core.data import Episode
from robot.core.errors import SailError
from robot.episodes.catalogue import Catalogue, Filters
from robot.episodes.store import EpisodeStore, StoredEpisodes
from sim.tasks import tasks_of

EXIT_LEFT_OUT = 1
"""What is returned where some of the episodes asked for could not be used."""
BESIDE_STORE = ("episodes", "demonstrations_share", "play_share")
"""Keys that choose among the kinds that `sail collect` records, and mean nothing for any other store."""
T = TypeVar("T")
Prepare = Callable[[Episode], Episode]
"""Returns an episode as it is learnt from, or raises SailError where it cannot be."""


def stored(config: DictConfig, kind: str) -> StoredEpisodes:
    """Return the recorded episodes of a kind that the configuration asks for, read from disk one at a time.

    Raises SailError when there is none, naming the command that records them, and when they were recorded in several
    ways, with other cameras, picture sizes or rates.
    """
    store = store_of(config.data, kind)
    about = {name: store.about(name) for name in store.ids()}
    task_of = {name: str(one["task"]) for name, one in about.items()}
    names = [
        name
        for task in tasks_of(config.tasks)
        for name in [one for one in task_of if task_of[one] == task][: int(config.per_task)]
    ]
    if not names:
        raise SailError(
            f"There are no {kind} of {config.tasks} in {store.folder}: record some with "
            f"`sail collect tasks={config.tasks} {kind}=10`, or take others with store=FOLDER."
        )
    forms = {str(about[name].get("config_hash", "")) for name in names}
    if len(forms) > 1:
        raise SailError(
            f"The {kind} in {store.folder} were recorded in {len(forms)} ways (cameras, image_size, action_repeat), "
            "and one model cannot learn from all: record each in a folder of its own with `sail collect data=…`."
        )
    return StoredEpisodes(store, names)


def refuse_beside_store(overrides: Sequence[str]) -> None:
    """Raise SailError for a key that means nothing where `store=` says which episodes are meant."""
    for pair in overrides:
        if (key := pair.partition("=")[0]) in BESIDE_STORE:
            raise SailError(f"{key} chooses among what `sail collect` recorded: leave {pair!r} out beside store=… .")


@dataclass
class StoreEpisodes:
    """Read chosen episodes of a store one at a time, without plans and with the pictures of `cameras`, None: of all.

    Each is what `prepare` makes of it. `left` says of each that was left out why. Raises SailError, while it is gone
    through, where none remains.
    """

    store: EpisodeStore
    names: Sequence[str]
    tasks: tuple[str, ...]
    cameras: Sequence[str] | None
    instructions: tuple[str, ...]
    prepare: Prepare = lambda episode: episode
    left: dict[str, str] = field(default_factory=dict)

    @property
    def card(self) -> dict[str, object]:
        """Return what a model's card says of them."""
        return {"store": str(self.store.folder), "tasks": list(self.tasks), "episodes": len(self)}

    def __len__(self) -> int:
        """Return how many there are but for those that were left out so far."""
        return sum(name not in self.left for name in self.names)

    def __iter__(self) -> Iterator[Episode]:
        return self.taken(_whole)

    def taken(self, take: Callable[[Episode], T]) -> Iterator[T]:
        """Yield what `take` makes of each prepared episode; one of which it cannot is left out, too.

        Pictures are decoded only where `prepare` or `take` looks at them.
        """
        found = False
        for name in self.names:
            try:
                made = take(self.prepare(self._load(name)))
            except (SailError, OSError) as problem:
                self.left[name] = str(problem)
                continue
            found = True
            yield made
        if not found:
            why = next((self.left[name] for name in self.names if name in self.left), "there are none.")
            raise SailError(f"None of {len(self.names)} episodes in {self.store.folder} can be used: {why}")

    def _load(self, name: str) -> Episode:
        there = self.store.about(name).get("cameras")
        for camera in self.cameras or ():
            if isinstance(there, dict) and camera not in there:
                raise SailError(
                    f"Episode {name!r} has no camera {camera!r}, only {', '.join(sorted(there)) or 'none at all'}: "
                    "say which with camera=… ."
                )
        return self.store.load(name, plans=False, cameras=self.cameras, at_once=False)


def _whole(episode: Episode) -> Episode:
    """Return an episode whose pictures are decoded, so that one that is damaged is found here."""
    return replace(episode, frames=dict(episode.frames))


def chosen(config: DictConfig, selection: str, per_task: int, cameras: Sequence[str] | None = None) -> StoreEpisodes:
    """Return the episodes of `config.store` that a selection of its tasks and the filters mean.

    Of each task `per_task` at most. `cameras`: whose pictures are read with them, and must be there; None: whatever
    there is. Raises SailError where there is no such store or none passes, UnknownNameError, with the nearest of the
    store's own, for an unknown task. What cannot even be described is left out.
    """
    folder = existing_store(config)
    catalogue = Catalogue(folder)
    entries = catalogue.entries()
    known = task_names(entries)
    if not known:
        raise SailError(f"The store {folder} holds no episodes that can be read: `sail episodes doctor` says more.")
    tasks = tasks_named(selection, known)
    filters = Filters(outcome=str(config.outcome), verdict=str(config.verdict))
    passing = [entry for entry in catalogue.entries(filters) if not entry.problem]
    taken = [one for task in tasks for one in [one for one in passing if one.task == task][:per_task]]
    names = _common_first(EpisodeStore(folder), [one.id for one in taken])
    if not names:
        raise SailError(f"No episode of {listed(tasks)} in {folder} passes the filters outcome and verdict.")
    left = {entry.id: entry.problem for entry in entries if entry.problem}
    instructions = tuple(sorted({one.instruction for one in taken}))
    return StoreEpisodes(EpisodeStore(folder), names, tasks, cameras, instructions, left=left)


def existing_store(config: DictConfig) -> Path:
    """Return the folder of the store that is named; raise SailError where there is none."""
    folder = Path(config.store)
    if not folder.is_dir():
        raise SailError(f"There is no store {folder}: name a folder of episodes with store=… .")
    return folder


def _common_first(store: EpisodeStore, names: Sequence[str]) -> list[str]:
    """Return ids in their order, but those of the robot and rate that most episodes have before the others.

    Where one model can learn of one robot alone, the first episode says of which.
    """
    forms = {name: _form(store, name) for name in names}
    counted = Counter(forms.values())
    common = max(counted, key=lambda form: counted[form], default="")
    return sorted(names, key=lambda name: forms[name] != common)


def _form(store: EpisodeStore, name: str) -> str:
    """Return what tells a robot and its rate from others, as a description has it; empty where it does not."""
    try:
        action = (store.about(name).get("spec") or {}).get("action") or {}
    except (SailError, AttributeError):
        return ""
    return json.dumps([action.get("names"), action.get("rate_hz")])


def show_left_out(console: Screen, left: dict[str, str]) -> None:
    """Print a table of what was left out and why, where something was."""
    if left:
        console.print(f"{len(left)} {'episode was' if len(left) == 1 else 'episodes were'} left out:")
        console.table(["episode", "why"], [[name, why] for name, why in left.items()], 2)
