"""`sail episodes export` and `import`: hand episodes to other tools, and take theirs in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from robot.cli.compose import compose
from robot.cli.episodes import entries_of
from robot.cli.screen import bold, meter, print_json, screen
from robot.cli.verbs import VERBS, Arguments
from robot.data import Episode
from robot.episodes.lerobot_export import export_lerobot
from robot.episodes.lerobot_import import LeRobotSource
from robot.episodes.store import EpisodeStore
from robot.episodes.video import LOSSLESS, Quality
from robot.errors import SailError, UnknownNameError

FORMATS = ("lerobot",)


def export(arguments: Arguments) -> int:
    """Write the episodes that pass the filters as one data set."""
    config = compose(VERBS["episodes"].configs["export"], arguments.overrides)
    _check_format(str(config.format))
    if not config.out:
        raise SailError("Say where to: out=FOLDER, which must not exist yet.")
    rows = [(folder, entry) for folder, entry in entries_of(config) if not entry.problem]
    if not rows:
        raise SailError("No episode passes these filters: `sail episodes list` shows what there is.")
    console = screen(arguments.as_json)

    def loaded() -> Iterator[Episode]:
        for folder, entry in rows:
            yield EpisodeStore(folder).load(entry.id, plans=False)

    with meter(console) as progress:
        progress.begin("exporting", len(rows))
        quality = Quality(int(config.crf))
        info = export_lerobot(loaded(), config.out, quality, lambda one: progress.advance(one.episode_id))
        progress.end()
    if arguments.as_json:
        print_json({"out": str(config.out), "info": info})
    else:
        console.print(
            f"{info['total_episodes']} episodes, {info['total_frames']} frames in ",
            bold(config.out),
            f"; open it with LeRobotDataset('sail/episodes', root='{config.out}').",
            sep="",
        )
    return 0


def take_in(arguments: Arguments) -> int:
    """Add the episodes of a data set to a store, passing over those that are there already."""
    config = compose(VERBS["episodes"].configs["import"], arguments.overrides)
    _check_format(str(config.format))
    if not config.source:
        raise SailError("Say which data set: `sail episodes import FOLDER`.")
    source, store = LeRobotSource(config.source), EpisodeStore(config.store)
    console = screen(arguments.as_json)
    known, added, passed = set(store.ids()), 0, 0
    label = Path(config.source).resolve().name.replace(" ", "_").lstrip(".")
    with meter(console) as progress:
        progress.begin("importing", len(source))
        for number, episode in enumerate(source):
            name = episode.episode_id or f"{label}-{number:06d}"
            if name in known or not len(episode):
                passed += 1
            else:
                # Their pictures have lost what they lose already; ours are kept as they come.
                store.add(replace(episode, episode_id=name), quality=LOSSLESS, more={"source": str(config.source)})
                if labels := source.labels(number):
                    store.append_labels(name, labels)
                added += 1
            progress.advance(name)
        progress.end()
    if arguments.as_json:
        print_json({"store": str(store.folder), "added": added, "passed_over": passed})
    else:
        there = f", {passed} were there already or hold no action" if passed else ""
        console.print(f"{added} episodes added to ", bold(store.folder), f"{there}.", sep="")
    return 0


def _check_format(name: str) -> None:
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
