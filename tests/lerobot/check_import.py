"""Take in what the real LeRobot recorded (`record.py`), and what it cut and merged of ours (`check.py`), and compare.

It runs in this project's own environment.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Episode, Outcome
from robot.episodes.arrival import Arrival
from robot.episodes.intake import take_in
from robot.episodes.lerobot.importing import LeRobotSource
from robot.episodes.store import EpisodeStore
from tests.lerobot.sets import action_of, read_barcode, state_of

FPS = 30
CAMERAS = {"top": (64, 64), "wrist": (96, 128)}
EPISODES = ((12, "pick it up"), (7, "place it"), (9, "pick it up"))
"""As in `record.py`: rows and columns of each camera, rows and task of each episode."""
FARTHEST = 0.06
"""Of 1, on average: how far a picture may be from what was rendered after LeRobot encoded it once more."""
AS_READ = 0.01
"""Of 1, on average: how far a picture may be from what LeRobot itself reads in its row; another's is 0.3 away."""


def main(folder: Path) -> None:
    """Take in the data sets in `folder`; leave by an AssertionError where something differs."""
    taken = taken_in(folder / "theirs", folder / "store" / "theirs")
    assert list(taken) == list(range(len(EPISODES)))
    for number, episode in taken.items():
        check(episode, number, folder)
    print(f"imported {len(taken)} episodes that LeRobot recorded: frames, states, actions and successes are right")
    lengths = json.loads((folder / "reference.json").read_text())
    ours = list(range(len(lengths)))
    for name, whose in (("rest", ours[1:]), ("merged", ours * 2)):
        again = taken_in(folder / name, folder / "store" / name)
        assert list(again) == list(range(len(whose)))
        for number, original in zip(again, whose, strict=True):
            check_ours(again[number], folder, original)
        print(f"imported {len(again)} episodes of ours that LeRobot wrote anew as {name!r}: frames are in place")


def taken_in(source: Path, target: Path) -> dict[int, Episode]:
    """Return the episodes of a data set by their numbers, out of a store that they were taken into."""
    store, opened = EpisodeStore(target), LeRobotSource(source)
    assert not opened.refusals, opened.refusals
    found = {}
    for one in opened:
        assert isinstance(one, Arrival), one
        assert not one.notes and not one.left_out, (one.notes, one.left_out)
        found[one.number] = store.load(take_in(store, one).name)
    return found


def check(episode: Episode, number: int, folder: Path) -> None:
    """Compare an episode with what was recorded.

    LeRobot's encoder turns single cells of a barcode round on some processors, so each picture is compared with the one
    that LeRobot reads in its row, and where a barcode is whole it must be the right one.
    """
    count, task = EPISODES[number]
    rows, late = range(count), [False] * (count - 2) + [True]
    assert set(episode.frames) == set(CAMERAS)
    for index, (camera, size) in enumerate(CAMERAS.items()):
        frames = episode.frames[camera]
        assert frames.shape[1:] == (*size, 3)
        first = sum(length for length, _ in EPISODES[:number])
        read = np.load(folder / f"theirs-frames-{camera}.npy")[first : first + count]
        assert np.abs(frames / 255.0 - read / 255.0).mean(axis=(1, 2, 3)).max() <= AS_READ, camera
        whole = {row: code for row in rows if (code := whole_barcode(frames[row])) is not None}
        assert len(whole) > count // 3 and whole == {row: (index, number, row) for row in whole}, camera
    assert np.array_equal(episode.proprio, [state_of(number, row) for row in rows])
    assert np.array_equal(episode.sent, [action_of(number, row) for row in rows][:-1])
    assert np.allclose(episode.times_s, np.arange(count) / FPS, atol=1e-5)
    assert episode.success is not None and episode.success.tolist() == late
    assert episode.reward is not None and episode.reward.tolist() == [float(flag) for flag in late]
    assert episode.outcome is Outcome.SUCCESS and episode.instruction == task
    assert episode.spec is not None and episode.spec.action.names == ("x", "y") and episode.spec.action.rate_hz == FPS


def whole_barcode(picture: NDArray[np.uint8]) -> tuple[int, int, int] | None:
    """Return what a picture's barcode says, None where it is not whole."""
    try:
        return read_barcode(picture)
    except ValueError:
        return None


def check_ours(episode: Episode, folder: Path, original: int) -> None:
    """Compare an episode that LeRobot wrote anew with what was exported."""
    for key, values in (("state", episode.proprio), ("action", episode.sent)):
        assert np.array_equal(values, np.load(folder / f"{original}-{key}.npy")[: len(values)]), key
    for camera, frames in episode.frames.items():
        exported = np.load(folder / f"{original}-frames-{camera}.npy")
        off = np.abs(frames / 255.0 - exported / 255.0).mean(axis=(1, 2, 3))
        assert len(frames) == len(exported) and off.max() <= FARTHEST, (camera, off.max())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
