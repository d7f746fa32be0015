"""`sail episodes`: list, show, count, mend, replay and hand on what was recorded."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from robot.cli.choosing import choose, none_passes
from robot.cli.compose import compose
from robot.cli.screen import Screen, Styled, bold, print_json, screen
from robot.cli.verbs import VERBS, Arguments
from robot.core.data import Verdict
from robot.core.errors import SailError, UnknownNameError
from robot.core.text import visible
from robot.episodes import viewer
from robot.episodes.catalogue import Entry, as_json, stores_in, summary
from robot.episodes.repair.doctor import examine, is_begun
from robot.episodes.store import EpisodeStore

EXIT_UNSOUND = 1
"""What `doctor` returns when something is left to be mended."""
EXIT_NOT_SAVED = 1
"""What `show` returns when a recording was asked for and there is none."""

COLUMNS = ("episode", "task", "outcome", "verdict", "recorded", "iteration", "steps", "plans")
WORDS = COLUMNS[:5]
FIRST_TO_GO = ("plans", "iteration", "recorded", "task", "steps", "verdict")
"""Columns of the table that a narrow terminal does without, in this order."""


def run(arguments: Arguments) -> int:
    """Carry out the subject named: a table of episodes where there is none."""
    subject = arguments.subject or "list"
    if subject in ELSEWHERE:
        module, function = ELSEWHERE[subject]
        status: int = getattr(importlib.import_module(module), function)(arguments)
        return status
    config = compose(VERBS["episodes"].configs[arguments.subject], arguments.overrides)
    return {"list": _list, "stats": _stats, "show": _show, "doctor": _doctor}[subject](config, arguments)


ELSEWHERE = {
    "replay": ("robot.cli.replaying", "replay"),
    "export": ("robot.cli.exporting", "export"),
    "import": ("robot.cli.importing", "take_in"),
}


def stores_of(config: DictConfig) -> list[Path]:
    """Return the stores that a configuration means: the one named, or all in its folders of data and runs.

    Raises SailError where the one named is none, or there are none at all.
    """
    if config.store:
        folder = Path(config.store)
        if not folder.is_dir():
            raise SailError(f"There is no store in {folder}.")
        return [folder]
    found = stores_in(_candidates(config))
    if not found:
        raise SailError(
            f"There are no episodes in {config.data} or {config.runs} yet: name their folder with store=… ."
        )
    return found


def _candidates(config: DictConfig) -> list[Path]:
    """Return the folders of data and runs that may be stores."""
    data, runs = Path(config.data), Path(config.runs)
    candidates = [*sorted(data.glob("*/")), *sorted(data.glob("*/*/")), *sorted(runs.glob("*/episodes"))]
    return [folder for folder in candidates if folder.name[0] != "." and folder.is_dir()]


def find(config: DictConfig) -> tuple[EpisodeStore, str]:
    """Return the store that holds the episode asked for, and its id; raise SailError where none or several do."""
    name = str(config.id)
    if not name:
        raise SailError("Say which episode: its id comes from `sail episodes list`.")
    folders = stores_of(config)
    stores = [store for store in map(EpisodeStore, folders) if store.path(name).is_dir()]
    if not stores:
        known = [entry for folder in folders for entry in EpisodeStore(folder).ids()]
        if not difflib.get_close_matches(name, known, cutoff=0.4):
            raise SailError(
                f"There is no episode {name!r}: `sail episodes list` shows the {len(set(known))} there are."
            )
        raise UnknownNameError("episode", name, known)
    if len(stores) > 1:
        where = " and ".join(str(store.folder) for store in stores)
        raise SailError(f"There is an episode {name!r} in {where}: say which with store=… .")
    return stores[0], name


def entries_of(config: DictConfig) -> list[tuple[Path, Entry]]:
    """Return what passes the filters of a configuration, each with its store."""
    return choose(config, stores_of(config))


def _list(config: DictConfig, arguments: Arguments) -> int:
    rows = entries_of(config)
    if arguments.as_json:
        print_json([{"store": str(folder), **as_json(entry)} for folder, entry in rows])
        return 0
    console = screen(False)
    if not rows:
        console.print(none_passes(config, stores_of(config)))
        return 0
    shown = rows[: int(config.limit)] if int(config.limit) > 0 else rows
    columns = _fitting({name: [_cell(name, entry) for _, entry in shown] for name in COLUMNS}, console)
    several = len({folder for folder, _ in rows}) > 1
    for folder, numbered in groupby(enumerate(shown), lambda row: row[1][0]):
        if several:
            console.print(bold(folder))
        lines = [number for number, _ in numbered]
        left = sum(name in WORDS for name in columns)
        cells = [[cells[line] for cells in columns.values()] for line in lines]
        console.table(list(columns), cells, left)
    if len(shown) < len(rows):
        console.print(f"… and {len(rows) - len(shown)} more: limit=0 lists all, or filter them.", style="dim")
    console.print(f"{len(rows)} episodes, {sum(entry.steps for _, entry in rows)} steps")
    _complain(console, [entry for _, entry in rows])
    return 0


def _cell(column: str, entry: Entry) -> str:
    """Return what the table of episodes says of one in a column."""
    said = {
        "episode": entry.id,
        "outcome": entry.outcome or "cannot be read",
        "verdict": f"{entry.judge}: {entry.verdict}" if entry.judge else "",
        "recorded": entry.recorded[:16].replace("T", " "),
        "iteration": "" if entry.iteration < 0 else str(entry.iteration),
    }
    return visible(said[column] if column in said else str(getattr(entry, column)))


def _fitting(columns: dict[str, list[str]], console: Screen) -> dict[str, list[str]]:
    """Return the columns for which there is room, all cells of one as wide as the widest; a pipe has room for all."""
    widths = {name: max(map(len, [name, *cells])) for name, cells in columns.items()}
    for name in FIRST_TO_GO:
        if console.is_terminal and sum(widths.values()) + 4 * (len(widths) - 1) > console.width:
            del widths[name]
    return {
        name: [cell.ljust(width) if name in WORDS else cell.rjust(width) for cell in columns[name]]
        for name, width in widths.items()
    }


def _stats(config: DictConfig, arguments: Arguments) -> int:
    entries = [entry for _, entry in entries_of(config)]
    lines = summary(entries)
    if arguments.as_json:
        print_json({"episodes": len(entries), "tasks": lines})
        return 0
    console = screen(False)
    if not entries:
        console.print(none_passes(config, stores_of(config)))
        return 0
    outcomes = sorted({outcome for entry in entries if (outcome := entry.outcome)})
    columns = ["task", "episodes", "steps", *outcomes, "judged", "judged success", "plans"]
    cells = [
        [str(line["task"]), str(line["episodes"]), str(line["steps"])]
        + [str(line["outcomes"].get(outcome, "")) for outcome in outcomes]  # type: ignore[attr-defined]
        + [str(line[name]) for name in ("judged", "judged success", "plans")]
        for line in lines
    ]
    console.table(columns, cells)
    _complain(console, entries)
    return 0


def _show(config: DictConfig, arguments: Arguments) -> int:
    store, name = find(config)
    about, verdicts = store.about(name), store.verdicts(name)
    console = screen(arguments.as_json)
    if not arguments.as_json:
        _describe(console, store, name, about, verdicts)
    save = Path(config.save) if config.save else None
    missing = _look(console, store, name, verdicts, save) if save or not arguments.as_json else ""
    if arguments.as_json:
        spoken = {key: value for key, value in about.items() if key not in ("plans", "spec")}
        said = [{"source": one.source, "probability": one.probability, "model": one.model} for one in verdicts]
        saved = str(save) if save and not missing else None
        whole = {"store": str(store.folder), **spoken, "plans": about["plans"], "verdicts": said, "saved": saved}
        print_json(whole)
    return EXIT_NOT_SAVED if missing else 0


def _look(console: Screen, store: EpisodeStore, name: str, verdicts: Sequence[Verdict], save: Path | None) -> str:
    """Open the viewer with an episode, or write a recording to `save`, and return what went wrong, if anything."""
    if not viewer.has_viewer():
        missing = f"{save} was not written: that takes the Rerun viewer." if save else ""
        console.print(f"{missing} {viewer.INSTALL_HINT}".strip(), style="yellow" if missing else "dim")
        return missing
    if save is None and not viewer.has_display():
        save = Path(f"{name}.rrd")
    viewer.show(store.load(name), verdicts, save)
    missing = f"{save} was not written: Rerun did not say why." if save and not save.is_file() else ""
    opened = f"A recording is in {save}: open it with `rerun {save}`." if save else "Opened in the Rerun viewer."
    console.print(missing or opened)
    return missing


def _describe(
    console: Screen, store: EpisodeStore, name: str, about: dict[str, Any], verdicts: Sequence[Verdict]
) -> None:
    console.print(bold(name), "in", store.folder)
    for label, value in _facts(about):
        console.print(f"{label:<12} {value}")
    for one in verdicts:
        console.print(f"{'verdict':<12} {one.source}: {one.probability:.2f} {one.rationale}".rstrip())


def _facts(about: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what there is to say of an episode, in words."""
    asked, measured = about.get("rate_asked_hz"), about.get("rate_measured_hz")
    rates = f"{asked:g} Hz asked for" if asked else ""
    rates += f"{', ' if rates else ''}{measured:.2f} Hz measured" if measured else ""
    facts = [("instruction", f"“{about['instruction']}”")]
    if about["spoken"] and about["spoken"] != about["instruction"]:
        facts.append(("told", f"“{about['spoken']}”"))
    facts += [
        ("robot", f"{about['robot']}, seed {about['seed']}"),
        ("outcome", f"{about['outcome']} after {about['steps']} steps"),
        ("plans", f"{len(about['plans'])}, begun at steps {', '.join(str(plan['step']) for plan in about['plans'])}"),
        ("rates", rates or "unknown"),
        ("recorded", f"{about.get('recorded', 'unknown')}, program {about.get('revision', 'unknown')}"),
    ]
    for camera, video in about.get("cameras", {}).items():
        quality = f"crf {video['crf']}" if video["crf"] >= 0 else "as it came"
        kept = "bit for bit" if video["lossless"] else f"{video['codec']}, {quality}"
        facts.append(("camera", f"{camera}: {video['frames']} frames of {video['width']}×{video['height']}, {kept}"))
    for key in ("calibration", "config_hash", "source", "recovered", "mended"):
        if about.get(key):
            facts.append((key.replace("_", " "), str(about[key])))
    facts += [("note", str(note)) for note in about.get("notes") or ()]
    if (about.get("origin") or {}).get("run"):
        facts.append(("run", f"{about['origin']['run']}, iteration {about['origin']['iteration']}"))
    return [(label, value) for label, value in facts if not (label == "plans" and not about["plans"])]


def _doctor(config: DictConfig, arguments: Arguments) -> int:
    repair = "--repair" in arguments.flags
    console = screen(arguments.as_json)
    found: list[dict[str, Any]] = []
    for folder in _stores_to_examine(config):
        for finding in examine(folder, repair):
            found.append({"store": str(folder), **asdict(finding)})
            mark = Styled("·", "yellow") if finding.harmless else Styled("✗", "red")
            mark = Styled("✓", "green") if finding.done else mark
            console.print(mark, f"{finding.name} {finding.wrong.rstrip('.')}: {finding.remedy}.")
    left = [row for row in found if not row["done"] and not row["harmless"]]
    if arguments.as_json:
        print_json({"sound": not left, "findings": found})
    elif left:
        console.print(f"{len(left)} to mend: `sail episodes doctor --repair` does what is said above.")
    else:
        console.print("All episodes are sound." if not found else "All that could be mended is.")
    return EXIT_UNSOUND if left else 0


def _stores_to_examine(config: DictConfig) -> list[Path]:
    """Return the stores to look at, those with nothing but open or half mended episodes among them."""
    if config.store:
        return stores_of(config)
    started = [folder for folder in _candidates(config) if is_begun(folder)]
    try:
        return sorted({*stores_of(config), *started})
    except SailError:
        if not started:
            raise
        return started


def _complain(console: Screen, entries: Sequence[Entry]) -> None:
    broken = [entry for entry in entries if entry.problem]
    if broken:
        why = broken[0].problem.rstrip(".")
        console.print(f"{len(broken)} cannot be read ({why}): `sail episodes doctor` says more.")
