"""`sail episodes import`: take in a data set of another tool, and say what of it was left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from robot.cli.compose import compose
from robot.cli.screen import Screen, bold, meter, print_json, screen
from robot.cli.verbs import VERBS, Arguments
from robot.core.data import Outcome
from robot.core.errors import SailError, UnknownNameError
from robot.episodes import intake
from robot.episodes.arrival import Arrival, Refusal, UnfitError
from robot.episodes.catalogue import names_in
from robot.episodes.lerobot.importing import LeRobotSource
from robot.episodes.store import EpisodeStore
from robot.episodes.video import Quality

FORMATS = ("lerobot",)
EXIT_INCOMPLETE = 1
"""What `import` returns when something was left out."""
MOST_NAMED = 5
"""Runs of episodes that one row of the table names, at most."""


@dataclass
class Tally:
    """Count what came of each episode, and keep what is to be said of them."""

    added: int = 0
    passed_over: int = 0
    unjudged: int = 0
    left_out: list[Refusal] = field(default_factory=list)
    notes: list[Refusal] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def refuse(self, refusals: Iterable[Refusal]) -> None:
        """Keep what is left out, each thing once."""
        self.left_out += [one for one in refusals if one not in self.left_out]

    def as_json(self, store: EpisodeStore) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "store": str(store.folder),
            "added": self.added,
            "passed_over": self.passed_over,
            "left_out": [{"what": one.what, "why": one.why} for one in self.left_out],
            "notes": [{"what": one.what, "note": one.why} for one in self.notes],
        }


def take_in(arguments: Arguments) -> int:
    """Add the episodes of a data set to a store, passing over those that are there; 1 where something was left out."""
    config = compose(VERBS["episodes"].configs["import"], arguments.overrides)
    check_format(str(config.format))
    if not config.source:
        raise SailError("Say which data set: `sail episodes import FOLDER`.")
    source = LeRobotSource(
        config.source, _rate(config.fps), _outcome(str(config.outcome)), names_in(str(config.camera))
    )
    store, console = EpisodeStore(config.store), screen(arguments.as_json)
    tally = Tally(left_out=list(source.refusals), notes=list(source.notes))
    with meter(console) as progress:
        progress.begin("importing", len(source))
        for one in source:
            progress.advance(_take(one, store, config, tally))
        progress.end()
    if arguments.as_json:
        print_json(tally.as_json(store))
    else:
        _tell(console, store, tally)
    return EXIT_INCOMPLETE if tally.left_out else 0


def _take(one: Arrival | Refusal, store: EpisodeStore, config: DictConfig, tally: Tally) -> str:
    """Store what arrives, or note why it is not, and return what it is called."""
    if isinstance(one, Refusal):
        tally.refuse([one])
        return one.what
    what = f"episode {one.number}"
    try:
        stored = intake.take_in(
            store, one, _quality(config.crf), {"source": str(config.source), "source_episode": one.number}
        )
    except UnfitError as problem:
        tally.refuse([Refusal(what, str(problem))])
        return what
    tally.refuse(one.left_out)
    tally.notes += [Refusal(what, note) for note in one.notes]
    if stored.labels:
        tally.notes.append(Refusal(what, f"{stored.labels} labels were added to it, which is there as {stored.name}"))
    if stored.name in tally.names:
        tally.notes.append(Refusal(what, f"it is the same as {tally.names[stored.name]}, and kept once"))
    tally.names[stored.name] = what
    tally.added += stored.is_new
    tally.passed_over += not stored.is_new
    tally.unjudged += stored.is_new and one.bare.success is None and not config.outcome
    return stored.name


def _tell(console: Screen, store: EpisodeStore, tally: Tally) -> None:
    there = f", {tally.passed_over} were there already" if tally.passed_over else ""
    console.print(f"{tally.added} episodes added to ", bold(store.folder), f"{there}.", sep="")
    if tally.unjudged:
        console.print(
            f"{tally.unjudged} of them carry no success flags and are listed as timeout: where a person showed what to "
            "do, import them with outcome=success."
        )
    for head, found in (("left out", tally.left_out), ("mended or assumed", tally.notes)):
        if found:
            console.table((head, "why"), [(what, why) for what, why in _grouped(found)], left=2)


def _grouped(found: Sequence[Refusal]) -> list[tuple[str, str]]:
    """Return what is said, each reason once, with all that it is said of."""
    named: dict[str, list[str]] = {}
    for one in found:
        named.setdefault(one.why, []).append(one.what)
    return [(_listed(whats), why) for why, whats in named.items()]


def _listed(whats: Sequence[str]) -> str:
    """Return several things as one: `episodes 3, 5–9`."""
    words = [what.removeprefix("episode ") for what in whats]
    numbers = [int(word) for word in words if word.isdecimal()]
    if len(whats) == 1 or len(numbers) < len(whats):
        return ", ".join(whats)
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    more = f" and {len(runs) - MOST_NAMED} more" if len(runs) > MOST_NAMED else ""
    return f"episodes {', '.join('–'.join(map(str, run)) for run in runs[:MOST_NAMED])}{more}"


def _outcome(name: str) -> Outcome:
    if name and name not in set(Outcome):
        raise UnknownNameError("outcome", name, list(Outcome))
    return Outcome(name) if name else Outcome.TIMEOUT


def _rate(value: Any) -> float | None:
    if value is None:
        return None
    try:
        rate_hz = float(value)
    except (TypeError, ValueError):
        rate_hz = 0.0
    if not 0 < rate_hz < float("inf"):
        raise SailError(f"fps must be a number above 0, got {value!r}.")
    return rate_hz


def _quality(value: Any) -> Quality | None:
    try:
        return None if value is None else Quality(int(value))
    except (TypeError, ValueError):
        raise SailError(f"crf must be a whole number from 0 to 51, got {value!r}.") from None


def check_format(name: str) -> None:
    """Raise SailError for a format of data sets that is not known."""
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
