"""Find weights by their source: a folder, or an id ORG/NAME of the Hugging Face hub.

An id is looked for in `models/NAME` (what `hf download ORG/NAME --local-dir models/NAME` leaves), in the hub's cache,
and then on the hub, unless that is forbidden. All files are looked for before any is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robot.core.errors import CheckpointError

_SIZES_GB = {
    "stable-diffusion-v1-5": "4.3 GB",
    "epiCRealism": "about 4 GB",
    "animatediff-motion-adapter-v1-5-3": "1.7 GB",
    "animatediff-sparsectrl-rgb": "2.0 GB",
    "animatediff-motion-lora-v1-5-3": "0.1 GB",
    "AnimateLCM": "2.0 GB",
}
"""What the files that are needed of an id come to; of one that lends its autoencoder alone, `_AUTOENCODER_GB`."""
_AUTOENCODER_GB = "0.3 GB"


@dataclass(frozen=True, slots=True)
class Part:
    """Name one part of a model: what it is, the option that names its source, that source and the files needed of it.

    `beside`: small files that come with them, one or the other of which a source may lack.
    """

    what: str
    option: str
    source: str
    files: tuple[str, ...]
    beside: tuple[str, ...] = ()


def find_all(parts: Sequence[Part], models: Path, offline: bool) -> dict[str, Path]:
    """Return the folder of each source; raise one CheckpointError that says how to get all that are missing."""
    found, missing = {}, {}
    for part in parts:
        try:
            found[part.source] = find(part, models, offline)
        except LookupError as problem:
            missing[part] = str(problem.args[0])
    if missing:
        raise CheckpointError(missing_message(missing, models))
    return found


def find(part: Part, models: Path, offline: bool) -> Path:
    """Return the folder that holds all files of a part: a local one, in `models`, in the hub's cache, or fetched.

    Raises LookupError with the reason, empty where nothing more than absence is known.
    """
    from huggingface_hub import snapshot_download

    local, named = Path(part.source), is_id(part.source)
    folder = models / local.name if named else local
    if holds(folder, part.files):
        return folder
    if not named:
        raise LookupError(f"no {absent(local, part.files)[0]} in {local}")
    patterns, reason = [*part.files, *part.beside], ""
    for only_here in (True,) if offline else (True, False):
        try:
            folder = Path(snapshot_download(part.source, allow_patterns=patterns, local_files_only=only_here))
        except Exception as problem:  # of the hub's client and the two libraries below it: there is nothing to be had
            reason = "" if only_here else f"the hub did not give it, {type(problem).__name__}"
            continue
        if holds(folder, part.files):
            return folder
        reason = "" if only_here else f"the hub has no {absent(folder, part.files)[0]} there"
    raise LookupError(reason)


def is_id(source: str) -> bool:
    """Return whether a source is an id ORG/NAME of the hub: one that reads as such and is no folder here."""
    return not Path(source).exists() and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source) is not None


def absent(folder: Path, files: Sequence[str]) -> list[str]:
    """Return which of these files a folder lacks."""
    return [file for file in files if not (folder / file).is_file()]


def holds(folder: Path, files: Sequence[str]) -> bool:
    """Return whether a folder has all these files."""
    return not absent(folder, files)


def missing_message(missing: Mapping[Part, str], models: Path) -> str:
    """Return one sentence that says which weights are missing, how large they are and how to fetch them."""
    wanted = ", ".join(f"the {part.what} {part.source}{_size(part)}" for part in missing)
    reasons = ", ".join(dict.fromkeys(reason for reason in missing.values() if reason))
    why = f" ({reasons})" if reasons else ""
    commands = "; ".join(
        f"`hf download {part.source} {' '.join((*part.files, *part.beside))} "
        f"--local-dir {models / Path(part.source).name}`"
        for part in missing
        if is_id(part.source)
    )
    fetch = f"fetch them on any machine with internet by {commands} and copy {models}/ here, or " if commands else ""
    first = next(iter(missing)).option
    options = " ".join(f"planner.general.{part.option}=FOLDER" for part in missing)
    return (
        f"AnimateDiff's weights are not all here, missing is {wanted}{why}: {fetch}name folders that hold those files "
        f"by {options} (inside best_of_n or turns planner.planner.general.{first}=FOLDER, …; docs/adaptation.md)."
    )


def _size(part: Part) -> str:
    size = _SIZES_GB.get(Path(part.source).name)
    if size and part.option == "autoencoder":
        size = _AUTOENCODER_GB
    return f" ({size})" if size else ""
