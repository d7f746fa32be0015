"""Export and record onto a disk that is full at a given place, as a process of its own: a fault here ends it.

The system's limit on the size of a file stands for the disk: what would write past it gets an error, as there.
"""

from __future__ import annotations

import dataclasses
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

from robot.core.data import Verdict
from robot.core.errors import SailError
from robot.episodes.labels import verdict_labels
from robot.episodes.lerobot.exporting import Exporter
from robot.episodes.store import EpisodeStore
from tests.unit.robot.episodes.samples import episode

ROOMY = resource.RLIM_INFINITY


def export(folder: Path) -> None:
    with Exporter(folder / "new" / "set") as exporter:
        for seed in range(3):
            frames = {"top": np.random.default_rng(seed).integers(0, 256, (10, 64, 64, 3), np.uint8)}
            one = dataclasses.replace(episode(9, seed=seed), frames=frames, episode_id=f"e{seed}")
            exporter.add(one, verdict_labels(Verdict(1.0, "person")))
        exporter.finish()


def record(folder: Path) -> None:
    EpisodeStore(folder).add(episode(9, size=64))


def main(what: str, *limits: str) -> None:
    """Do it once for each limit, in bytes; say for each what was said, and what was left behind."""
    for limit in map(int, limits):
        with tempfile.TemporaryDirectory() as name:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, ROOMY))
            try:
                {"export": export, "record": record}[what](Path(name))
                said = "done"
            except SailError as problem:
                said = str(problem).replace(name, "")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (ROOMY, ROOMY))
            left = sorted(path.name for path in Path(name).iterdir())
            print(f"{limit}\t{said}\t{','.join(left)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
