"""Read episodes of schema 1, as they were before there were videos: NumPy archives, no pickled objects."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robot.core.data import Episode, Outcome
from robot.core.errors import SailError
from robot.episodes.description import plan_from_json

TEXTS = ("task", "instruction", "spoken", "robot", "seed", "config_hash", "episode_id")
ARRAYS = ("proprio", "requested", "sent", "times_s", "states", "success")


def read_first_format(folder: Path, about: Mapping[str, Any], with_plans: bool = True) -> Episode:
    """Return the episode in `folder`; raise SailError where it is damaged."""
    try:
        with (folder / "steps.npz").open("rb") as file, np.load(file, allow_pickle=False) as steps:
            arrays: dict[str, Any] = {key: steps[key] for key in ARRAYS if key in steps}
            frames = {key.removeprefix("frames/"): steps[key] for key in steps if key.startswith("frames/")}
        plans = []
        if about["plans"] and with_plans:
            with (folder / "plans.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
                for index, row in enumerate(about["plans"]):
                    plans.append(plan_from_json(row, stored[f"frames/{index}"]))
        texts = {key: about[key] for key in TEXTS}
        return Episode(**texts, **arrays, frames=frames, plans=tuple(plans), outcome=Outcome(about["outcome"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
        raise SailError(f"The arrays of the episode in {folder} are damaged: {problem}.") from None
