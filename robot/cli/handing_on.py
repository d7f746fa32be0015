"""`sail episodes import`: take in what other tools recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from robot.cli.compose import compose
from robot.cli.screen import bold, meter, print_json, screen
from robot.cli.verbs import VERBS, Arguments
from robot.episodes.lerobot_import import LeRobotSource
from robot.episodes.store import EpisodeStore
from robot.episodes.video import LOSSLESS
from robot.errors import SailError, UnknownNameError

FORMATS = ("lerobot",)


def take_in(arguments: Arguments) -> int:
    """Add the episodes of a data set to a store, passing over those that are there already."""
    config = compose(VERBS["episodes"].configs["import"], arguments.overrides)
    check_format(str(config.format))
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


def check_format(name: str) -> None:
    """Raise SailError for a format of data sets that is not known."""
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
