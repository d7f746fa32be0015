"""`sail episodes export`: hand episodes to other tools."""

from __future__ import annotations

from collections.abc import Iterator

from robot.cli.compose import compose
from robot.cli.episodes import entries_of
from robot.cli.screen import bold, meter, print_json, screen
from robot.cli.verbs import VERBS, Arguments
from robot.data import Episode
from robot.episodes.lerobot_export import export_lerobot
from robot.episodes.store import EpisodeStore
from robot.episodes.video import Quality
from robot.errors import SailError, UnknownNameError

FORMATS = ("lerobot",)


def export(arguments: Arguments) -> int:
    """Write the episodes that pass the filters as one data set."""
    config = compose(VERBS["episodes"].configs["export"], arguments.overrides)
    check_format(str(config.format))
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


def check_format(name: str) -> None:
    """Raise SailError for a format of data sets that is not known."""
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
