"""Take in what the real LeRobot recorded (`record.py`) and compare; it runs in this project's own environment."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from robot.data import Outcome
from robot.episodes.arrival import Arrival
from robot.episodes.intake import take_in
from robot.episodes.lerobot_import import LeRobotSource
from robot.episodes.store import EpisodeStore
from tests.lerobot.sets import action_of, read_barcode, state_of

ROWS, TASKS = (12, 7, 9), ("pick it up", "place it", "pick it up")
CAMERAS = {"top": (64, 64), "wrist": (96, 128)}


def main(folder: Path) -> None:
    """Take in the data set in `folder`, into a store beside it; leave by an AssertionError where something differs."""
    store = EpisodeStore(folder.with_name(folder.name + "-store"))
    source = LeRobotSource(folder)
    assert not source.refusals and not source.notes, (source.refusals, source.notes)
    arrived = [one for one in source if isinstance(one, Arrival)]
    assert [one.number for one in arrived] == list(range(len(ROWS)))
    for one in arrived:
        assert not one.notes and not one.left_out, (one.notes, one.left_out)
        check(store, take_in(store, one).name, one.number)
    print(f"imported {len(arrived)} episodes that LeRobot recorded: frames, states, actions and successes are right")


def check(store: EpisodeStore, name: str, number: int) -> None:
    """Compare an episode of the store with what was recorded."""
    episode, rows = store.load(name), range(ROWS[number])
    assert set(episode.frames) == set(CAMERAS)
    for index, (camera, size) in enumerate(CAMERAS.items()):
        frames = episode.frames[camera]
        assert frames.shape[1:] == (*size, 3)
        assert [read_barcode(frame) for frame in frames] == [(index, number, row) for row in rows], camera
    assert np.array_equal(episode.proprio, [state_of(number, row) for row in rows])
    assert np.array_equal(episode.sent, [action_of(number, row) for row in rows][:-1])
    assert np.allclose(episode.times_s, np.arange(len(rows)) / 30, atol=1e-5)
    late = [False] * (len(rows) - 2) + [True]
    assert episode.success is not None and episode.success.tolist() == late
    assert episode.reward is not None and episode.reward.tolist() == [float(flag) for flag in late]
    assert episode.outcome is Outcome.SUCCESS and episode.instruction == TASKS[number]
    assert episode.spec is not None and episode.spec.action.names == ("x", "y") and episode.spec.action.rate_hz == 30


if __name__ == "__main__":
    main(Path(sys.argv[1]))
