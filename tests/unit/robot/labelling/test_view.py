"""Views: every frame has its tile, and the imagined one shown belongs to the same instant."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from robot.core.data import ActionSpec, RobotSpec
from robot.episodes.alignment import imagined_at
from robot.labelling.view import Sheet, make_sheet, view_of
from tests.unit.robot.episodes.labelling.episodes import SIDE, moving_square


def tile(sheet: Sheet, number: int) -> NDArray[np.uint8]:
    pixels = np.asarray(PillowImage.open(io.BytesIO(sheet.jpeg)).convert("RGB"))
    top, left = number // sheet.columns * sheet.height, number % sheet.columns * sheet.width
    return pixels[top : top + sheet.height, left : left + sheet.width]


def place_of(pixels: NDArray[np.uint8]) -> float:
    """Return where the square is, 0–1."""
    bright = pixels.astype(int).sum(axis=2)[23] > 3 * 65
    return float(np.flatnonzero(bright).mean() - 4.5) / (SIDE - 10)


def test_every_frame_has_its_tile() -> None:
    episode = moving_square(steps=24)
    view = view_of(episode)
    sheet = view.executed["corner2"]
    assert (sheet.width, sheet.height, sheet.columns) == (SIDE, SIDE, 16)
    for step, frame in enumerate(episode.frames["corner2"]):
        assert np.abs(tile(sheet, step).astype(int) - frame).mean() < 3


def test_the_imagined_tile_of_a_step_belongs_to_the_same_instant() -> None:
    episode = moving_square(steps=24)
    view = view_of(episode)
    assert view.imagined is not None
    for step, (plan, number) in enumerate(view.about["shown"]):
        assert plan == imagined_at(episode, step)[0] == (1 if step > 12 else 0)
        executed, imagined = tile(view.executed["corner2"], step), tile(view.imagined, number)
        assert abs(place_of(imagined) - place_of(executed)) <= 2.6 / 24  # half a stride of 4 steps, and a pixel


def test_a_long_or_large_episode_is_made_smaller_and_no_frame_left_out() -> None:
    frames = np.zeros((40, 90, 120, 3), np.uint8)
    sheet = make_sheet(frames, pixels=100_000)
    assert 0.8 * 100_000 < 40 * sheet.width * sheet.height <= 100_000
    assert abs(sheet.width / sheet.height - 120 / 90) < 0.1
    size = PillowImage.open(io.BytesIO(sheet.jpeg)).size
    assert size == (16 * sheet.width, 3 * sheet.height)
    assert make_sheet(np.zeros((1, 960, 1280, 3), np.uint8)).height == 480
    with pytest.raises(ValueError, match="at least one frame"):
        make_sheet([])


def test_an_episode_without_plans_and_with_two_cameras() -> None:
    view = view_of(moving_square(plans=False, cameras=("corner2", "gripper")))
    assert view.imagined is None and view.about["imagined"] is None
    assert set(view.about["shown"][0]) == {-1}
    assert list(view.about["executed"]) == ["corner2", "gripper"]


def test_the_entries_of_an_action_are_called_what_the_robot_calls_them() -> None:
    episode = moving_square()
    assert episode.spec is None
    numbered = [f"action {number + 1}" for number in range(episode.sent.shape[1])]
    assert view_of(episode).about["action_names"] == numbered
    names = tuple("abcdefgh"[: len(numbered)])
    low = np.zeros(len(names), np.float32)
    action = ActionSpec(names, names, low, low + 1, 20.0)
    known = dataclasses.replace(episode, spec=RobotSpec("arm", action, (), (), {}))
    assert view_of(known).about["action_names"] == list(names)


def test_what_is_no_number_is_a_gap_and_is_said() -> None:
    episode = moving_square()
    sent, requested = episode.sent.copy(), episode.requested.copy()
    sent[3, 1], requested[5, 0] = np.nan, np.inf
    about = view_of(dataclasses.replace(episode, sent=sent, requested=requested)).about
    assert [step for step, value in enumerate(about["sent"][1]) if value is None] == [3]
    assert [step for step, value in enumerate(about["requested"][0]) if value is None] == [5]
    assert about["wrong"] == "it holds what is no number in the action sent of step 3"
    json.dumps(about, allow_nan=False)
    assert view_of(episode).about["wrong"] == ""


@pytest.mark.parametrize("times_s", [np.zeros(25), np.full(25, np.nan), np.arange(25)[::-1] / 40, np.full(25, 1.7e9)])
def test_times_that_tell_nothing_are_counted_and_that_is_said(times_s: NDArray[np.float64]) -> None:
    about = view_of(dataclasses.replace(moving_square(), times_s=times_s)).about
    json.dumps(about, allow_nan=False)
    assert about["times_s"] == pytest.approx(np.arange(25) / 30, abs=1e-4)
    assert about["wrong"].endswith("its steps are shown at 30 Hz") and about["wrong"].startswith("it ")
