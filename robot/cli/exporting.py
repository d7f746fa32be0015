"""`sail episodes export`: hand episodes to other tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import DictConfig

from robot.cli.choosing import Chosen, none_passes
from robot.cli.compose import compose
from robot.cli.episodes import entries_of, stores_of
from robot.cli.importing import check_format
from robot.cli.screen import Screen, bold, meter, print_json, screen
from robot.cli.verbs import VERBS, Arguments
from robot.core.errors import SailError
from robot.episodes.catalogue import names_in
from robot.episodes.lerobot.exporting import Exported, Exporter
from robot.episodes.lerobot.layout import Layout, MisfitError, check_one_kind
from robot.episodes.store import EpisodeStore
from robot.episodes.video import Quality

EXIT_INCOMPLETE = 1
"""What `export` returns when an episode that was chosen is not in the data set."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Say why an episode is not in the data set; `damaged`: the doctor has a say in it."""

    store: str
    episode: str
    why: str
    damaged: bool


def export(arguments: Arguments) -> int:
    """Write the episodes that pass the filters as one data set, but for those that cannot be, and say which."""
    config = compose(VERBS["episodes"].configs["export"], arguments.overrides)
    check_format(str(config.format))
    if not config.out:
        raise SailError("Say where to: out=FOLDER, which must not exist yet.")
    chosen = entries_of(config)
    if not chosen:
        raise SailError(none_passes(config, stores_of(config)))
    fps, cameras = _rate(config), names_in(str(config.camera))
    left_out = [LeftOut(str(folder), entry.id, entry.problem, True) for folder, entry in chosen if entry.problem]
    sound = [one for one in chosen if not one[1].problem]
    layouts = [Layout.described(EpisodeStore(folder).about(entry.id), cameras, fps) for folder, entry in sound]
    check_one_kind([layout for layout in layouts if layout is not None])
    console = screen(arguments.as_json)
    with Exporter(config.out, Quality(int(config.crf)), fps) as exporter:
        left_out += _add(exporter, sound, cameras, console)
        exported = exporter.finish() if len(left_out) < len(chosen) else None
    if arguments.as_json:
        rows = [asdict(one) for one in left_out]
        info, notices = (exported.info, exported.notices) if exported else (None, ())
        print_json({"out": str(config.out), "info": info, "notices": notices, "left_out": rows})
    else:
        _tell(console, config, exported, left_out)
    return EXIT_INCOMPLETE if left_out else 0


def _rate(config: DictConfig) -> float | None:
    try:
        return None if config.fps is None else float(config.fps)
    except ValueError:
        raise SailError(f"fps must be a number of rows a second, got {config.fps!r}.") from None


def _add(exporter: Exporter, chosen: Sequence[Chosen], cameras: list[str], console: Screen) -> list[LeftOut]:
    """Add the episodes to the data set, and return those that do not belong into it."""
    left_out: list[LeftOut] = []
    with meter(console) as progress:
        progress.begin("exporting", len(chosen))
        for folder, entry in chosen:
            problem = _add_one(exporter, EpisodeStore(folder), entry.id, cameras)
            if problem is not None:
                left_out.append(LeftOut(str(folder), entry.id, str(problem).rstrip("."), problem.damaged))
            progress.advance(entry.id)
    return left_out


def _add_one(exporter: Exporter, store: EpisodeStore, name: str, cameras: list[str]) -> MisfitError | None:
    """Add an episode to the data set, or return why it does not belong into it."""
    try:
        labels = store.labels(name)
        episode = store.load(name, plans=False, cameras=cameras or None)
    except SailError as problem:
        return MisfitError(str(problem), damaged=True)
    try:
        exporter.add(episode, labels)
    except MisfitError as problem:
        return problem
    return None


def _tell(console: Screen, config: DictConfig, exported: Exported | None, left_out: Sequence[LeftOut]) -> None:
    if exported is not None:
        info = exported.info
        console.print(
            f"{info['total_episodes']} episodes, {info['total_frames']} frames in ",
            bold(config.out),
            f"; open it with LeRobotDataset('sail/episodes', root='{config.out}').",
            sep="",
        )
        for notice in exported.notices:
            console.print(notice, style="yellow")
    if not left_out:
        return
    what = f"{len(left_out)} left out" if exported else f"Nothing was written to {Path(config.out)}: all were left out"
    console.print(f"{what}:", style="yellow")
    console.table(["episode", "store", "why"], [[one.episode, one.store, one.why] for one in left_out], left=3)
    if any(one.damaged for one in left_out):
        console.print("`sail episodes doctor` says more about what is damaged, and `--repair` mends what can be.")
