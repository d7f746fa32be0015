"""Choose among the episodes of several stores by the filters of a configuration, and say what of them nothing meets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from robot.core.errors import SailError, UnknownNameError
from robot.episodes.catalogue import Catalogue, Entry, Filters, names_in

Chosen = tuple[Path, Entry]
"""An episode and the store it is in."""

NAMES: dict[str, tuple[str, Callable[[Entry], Sequence[str]]]] = {
    "task": ("task", lambda entry: [entry.task]),
    "run": ("run", lambda entry: [entry.run]),
    "judged_by": ("judge", lambda entry: entry.judges.split()),
    "id": ("ids", lambda entry: [entry.id]),
    "camera": ("cameras", lambda entry: list(entry.pictures)),
    "size": ("size", lambda entry: list(entry.pictures.values())),
}
"""Keys whose filter names something that episodes have: the filter, and what an episode has."""


def choose(config: DictConfig, stores: Sequence[Path]) -> list[Chosen]:
    """Return what passes the filters of a configuration, each with its store.

    Raises SailError for a value that no filter can have.
    """
    filters = _filters_of(config)
    return [(folder, entry) for folder in stores for entry in Catalogue(folder).entries(filters)]


def none_passes(config: DictConfig, stores: Sequence[Path]) -> str:
    """Return in words that nothing passes the filters, and which names in them no episode has."""
    entries = [entry for folder in stores for entry in Catalogue(folder).entries()]
    said = f"None of the {len(entries)} episodes there are passes these filters."
    return " ".join([said, *_unmet(config, entries)])


def _filters_of(config: DictConfig) -> Filters:
    try:
        iteration = None if config.iteration is None else int(config.iteration)
    except ValueError:
        raise SailError(f"iteration must be a whole number, got {config.iteration!r}.") from None
    values: dict[str, Any] = {name: str(config[key]) for key, (name, _) in NAMES.items()}
    values |= {name: str(config[name]) for name in ("outcome", "verdict", "date")}
    return Filters(**values, iteration=iteration)


def _unmet(config: DictConfig, entries: Sequence[Entry]) -> Iterator[str]:
    """Yield a sentence for each name that no episode has, with the nearest one that some have."""
    for key, (field, of) in NAMES.items():
        text = str(config[key])
        for name in names_in(text) if key in ("id", "camera") else filter(None, [text]):
            wanted: dict[str, Any] = {field: name}
            if not any(Filters(**wanted).passes(entry) for entry in entries):
                known = sorted({one for entry in entries for one in of(entry) if one})
                what = "judge" if key == "judged_by" else key
                yield str(UnknownNameError(what, name, known)) if known else f"There is no {what} {name!r}."
