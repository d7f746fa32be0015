"""LeRobotDataset v3.0, in: sets of other people's kinds, made by hand, a barcode in every frame, and our own back."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from robot.core.data import Episode, Outcome
from robot.core.errors import SailError
from robot.episodes.arrival import Arrival, Refusal
from robot.episodes.description import spec_as_json
from robot.episodes.labels import Field
from robot.episodes.lerobot.exporting import export_lerobot
from robot.episodes.lerobot.importing import LeRobotSource
from robot.episodes.video import LOSSLESS
from tests.fakes import SPEC
from tests.lerobot.sets import (
    Camera,
    Plan,
    Take,
    action_of,
    change_json,
    cut,
    read_barcode,
    spoil,
    state_of,
    write_json,
    write_set,
)
from tests.unit.robot.episodes.samples import assert_same, episode

TOP = "videos/observation.images.top"
THREE = (Take(7), Take(8), Take(9))
Found = dict[int, Arrival]


def read(folder: Path, **options: Any) -> tuple[Found, dict[str, str]]:
    """Return what of a set arrives, by its number, and why the rest does not, by its name."""
    ones = list(LeRobotSource(folder, **options))
    arrived = {one.number: one for one in ones if isinstance(one, Arrival)}
    return arrived, {one.what: one.why for one in ones if isinstance(one, Refusal)}


def all_of(folder: Path, **options: Any) -> list[Arrival]:
    arrived, refused = read(folder, **options)
    assert not refused, refused
    return list(arrived.values())


def check(plan: Plan, one: Arrival, expected: int | None = None) -> Episode:
    """Assert that every frame, state and action of an arrival is its own, and return it whole."""
    number = one.number if expected is None else expected
    whole = one.whole()
    rows = range(plan.takes[number].rows)
    cameras = {camera.name: index for index, camera in enumerate(plan.cameras) if "depth" not in camera.kept}
    assert set(whole.frames) == set(cameras)
    for name, index in cameras.items():
        assert [read_barcode(frame) for frame in whole.frames[name]] == [(index, number, row) for row in rows], name
    assert np.array_equal(whole.proprio, [state_of(number, row, plan.state).reshape(-1) for row in rows])
    assert np.array_equal(whole.sent, [action_of(number, row, plan.action).reshape(-1) for row in rows][:-1])
    assert np.allclose(whole.times_s, np.arange(len(rows)) / plan.fps, atol=1e-5)
    return whole


def three() -> list[Episode]:
    return [
        dataclasses.replace(episode(9, seed=1, size=16), episode_id="a"),
        dataclasses.replace(episode(4, seed=2, size=16, instruction="push it"), episode_id="b", task="push"),
        dataclasses.replace(episode(6, seed=3, size=16, outcome=Outcome.TIMEOUT), episode_id="c"),
    ]


KINDS = {
    "plain": Plan(THREE),
    "one file each": Plan(THREE, a_data_file=1, a_video=1, a_table=1, chunk=2),
    "files split differently": Plan(THREE, a_data_file=2, a_video=1, a_table=3),
    "one row group": Plan(THREE, one_group=True, lists="variable"),
    "two cameras": Plan(THREE, (Camera("top"), Camera("wrist", height=48, width=80, options={"g": "12"}))),
    "av1": Plan(THREE, (Camera(codec="libsvtav1", options={"crf": "30", "g": "2", "preset": "12"}),)),
    "hevc": Plan(THREE, (Camera(codec="libx265", options={"crf": "12", "x265-params": "log-level=none"}),)),
    "vp9": Plan(THREE, (Camera(codec="libvpx-vp9", options={}),)),
    "rgb": Plan(THREE, (Camera(codec="libx264rgb", pixels="rgb24", options={"crf": "0"}),)),
    "far between keys": Plan(THREE, (Camera(options={"g": "250"}, keys=False),)),
    "stills": Plan(THREE, (Camera(kept="png"), Camera("wrist", kept="jpeg"), Camera("side", kept="path"))),
    "stills in one group": Plan(THREE, (Camera(kept="png"),), one_group=True),
    "no camera": Plan(THREE, ()),
    "one number": Plan(THREE, state=(1,), action=(1,)),
    "one number in a list": Plan(
        tuple(Take(rows, success=[0] * rows, reward=[0] * rows) for rows in (3, 4)),
        state=(1,),
        action=(1,),
        scalar_lists=True,
    ),
    "two dimensions": Plan(THREE, state=(2, 3), action=(2, 7)),
    "two dimensions, variable": Plan(THREE, state=(2, 3), action=(2, 7), lists="variable"),
    "another rate": Plan(THREE, fps=7),
    "a broken rate": Plan(THREE, fps=29.97),
    "twice as many frames": Plan(THREE, (Camera(density=2),)),
    "in Matroska": Plan(THREE, (Camera(suffix=".mkv"),)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_state_and_action_is_its_own(kind: str, tmp_path: Path) -> None:
    plan = KINDS[kind]
    arrived = all_of(write_set(tmp_path / "set", plan))
    assert [one.number for one in arrived] == list(range(len(plan.takes)))
    for one in arrived:
        whole = check(plan, one)
        assert not one.notes and whole.spec is not None and whole.spec.action.rate_hz == plan.fps


# Labels of the last row.


def test_what_the_last_row_says_goes_to_the_last_action_kept(tmp_path: Path) -> None:
    late, never = [False] * 5 + [True], [False] * 6
    plan = Plan(
        [Take(6, success=late, reward=[0, 0, 0, 0, 0, 1]), Take(6, success=never, reward=[0, 0, 0, 0, 2.5, -1])]
    )
    worked, failed = (one.whole() for one in all_of(write_set(tmp_path / "set", plan)))
    assert worked.outcome is Outcome.SUCCESS and failed.outcome is Outcome.FAILURE
    assert worked.success is not None and worked.success.tolist() == [False] * 4 + [True]
    assert failed.success is not None and failed.success.tolist() == [False] * 5
    assert worked.reward is not None and worked.reward.tolist() == [0, 0, 0, 0, 1]
    assert failed.reward is not None and failed.reward.tolist() == [0, 0, 0, 0, 1.5], "the sum stays"


def test_flags_given_as_rewards_are_not_added(tmp_path: Path) -> None:
    plan = Plan([Take(4, reward=[0, 0, 1, 1])])
    (one,) = all_of(write_set(tmp_path / "set", plan))
    assert one.bare.reward is not None and one.bare.reward.tolist() == [0, 0, 1]


def test_our_own_success_in_the_last_step_survives_the_way_out_and_back(tmp_path: Path) -> None:
    export_lerobot(three(), tmp_path / "set")
    for original, one in zip(three(), all_of(tmp_path / "set"), strict=True):
        assert original.success is not None and original.success[-1] and original.success.sum() == 1
        assert one.bare.success is not None and one.bare.success[-1] and one.bare.success.sum() == 1


def test_flags_that_are_empty_in_some_rows_count_as_no_and_it_is_said(tmp_path: Path) -> None:
    plan = Plan([Take(4, success=[None, None, None, True]), Take(3)])
    first, second = all_of(write_set(tmp_path / "set", plan))
    assert first.bare.success is not None and first.bare.success.tolist() == [False, False, True]
    assert first.notes == ("its next.success is empty in 3 of 4 rows, which count as 0",)
    assert second.bare.success is None and second.bare.outcome is Outcome.TIMEOUT and not second.notes


def test_without_flags_the_outcome_is_what_is_said(tmp_path: Path) -> None:
    plan = Plan([Take(3), Take(3, success=[False] * 3)])
    folder = write_set(tmp_path / "set", plan)
    assert [one.bare.outcome for one in all_of(folder)] == [Outcome.TIMEOUT, Outcome.FAILURE]
    assert [one.bare.outcome for one in all_of(folder, outcome=Outcome.SUCCESS)] == [Outcome.SUCCESS, Outcome.FAILURE]


# Paths.


def test_a_cache_of_links_is_followed(tmp_path: Path) -> None:
    plan = Plan(THREE, (Camera(), Camera("side", kept="path")))
    folder, blobs = write_set(tmp_path / "snapshots/0f1e", plan), tmp_path / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        path.rename(blobs / str(number))
        path.symlink_to(Path("../" * len(path.relative_to(tmp_path).parts[:-1])) / "blobs" / str(number))
    for one in all_of(folder):
        check(plan, one)


@pytest.mark.parametrize(
    "path",
    [
        "../{chunk_index}/{file_index}.parquet",
        "data/../../x.parquet",
        "/etc/passwd",
        "C:\\data.parquet",
        "data\\..\\x.parquet",
        "data/{chunk_index.__class__}",
        "data/{unknown}.parquet",
        "",
        7,
        None,
    ],
)
@pytest.mark.parametrize("key", ["data_path", "video_path"])
def test_a_path_that_leads_out_by_its_words_is_refused(key: str, path: Any, tmp_path: Path) -> None:
    folder = write_set(tmp_path / "in/set", Plan(THREE, info={key: path}))
    arrived, refused = read(folder)
    assert not arrived and len(refused) == 3
    for why in refused.values():
        assert any(said in why for said in ("outside the set", "not known", "is missing")), why


def test_what_a_set_says_of_its_files_is_shown_as_text(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan(THREE, info={"data_path": "two\nlines\x1b[2J" + "x" * 5000}))
    _, refused = read(folder)
    assert len(refused) == 3 and all(why.isprintable() and len(why) <= 500 for why in refused.values())


def test_a_camera_s_name_leads_to_no_file_outside_the_set(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "in/set", Plan(THREE))
    text = (folder / "meta/info.json").read_text().replace("observation.images.top", "../../../in/set")
    (folder / "meta/info.json").write_text(text)
    arrived, refused = read(folder)
    assert not arrived and len(set(refused.values())) == 1


# Which frame is which.


def refused_of(plan: Plan, folder: Path) -> set[int]:
    """Return which episodes are refused; the others must be right in every frame."""
    arrived, refused = read(write_set(folder, plan))
    for one in arrived.values():
        check(plan, one)
    assert set(refused) | {f"episode {number}" for number in arrived} == {
        f"episode {number}" for number in range(len(plan.takes))
    }
    return {int(what.split()[1]) for what in refused}


@pytest.mark.parametrize(
    ("camera", "refused"),
    [
        (Camera(lost=((0, 3),)), {0}),
        (Camera(lost=((0, 6),)), {0}),
        (Camera(lost=((1, 0),)), {1}),
        (Camera(lost=((1, 2), (1, 3))), {1}),
        (Camera(lost=((2, 8),)), {0, 1, 2}),  # a shorter video: a gap at its end, or one that was closed?
        (Camera(lost=((0, 3),), closed_up=True), {0, 1, 2}),
        (Camera(doubled=((1, 3),)), {0, 1, 2}),
        (Camera(rate=60), {0, 1, 2}),
        (Camera(rate=15), {0, 1, 2}),
        (Camera(rate=31), {0, 1, 2}),
        (Camera(rate=28.8), {0, 1, 2}),
    ],
)
def test_a_frame_too_few_or_too_many_costs_those_it_may_concern(
    camera: Camera, refused: set[int], tmp_path: Path
) -> None:
    assert refused_of(Plan(THREE, (camera,)), tmp_path / "set") == refused


@pytest.mark.parametrize("rate", [29.9, 29.97, 30.03, 30.1])
def test_a_clock_that_drifts_by_whole_frames_gives_no_neighbour_s_frame(rate: float, tmp_path: Path) -> None:
    plan = Plan([Take(2 + number % 3) for number in range(160)], (Camera(rate=rate, options={"g": "12"}),))
    refused = refused_of(plan, tmp_path / "set")
    assert refused and refused == set(range(min(refused), 160)), "right until it cannot be told, and then no more"


def test_an_episode_after_the_last_one_wanted_is_passed_over(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan(THREE))
    for path in (folder / "meta/episodes").rglob("*.parquet"):
        pq.write_table(pq.read_table(path).slice(0, 2), path)
    change_json(folder / "meta/info.json", total_episodes=2)
    for one in all_of(folder):
        check(Plan(THREE), one)


@pytest.mark.parametrize(
    ("stated", "refused"),
    [
        ({f"{TOP}/from_timestamp": 5 / 30}, {0, 1}),
        ({f"{TOP}/from_timestamp": 8 / 30}, {1}),
        ({f"{TOP}/to_timestamp": 14 / 30}, {1}),
        ({f"{TOP}/to_timestamp": 17 / 30}, {1, 2}),
        ({f"{TOP}/from_timestamp": None}, {1}),
        ({f"{TOP}/from_timestamp": float("nan")}, {1}),
        ({f"{TOP}/file_index": 5}, {1}),
        ({f"{TOP}/file_index": None}, {1}),
        ({"length": 7}, {1}),
        ({"length": 0}, {1}),
        ({"length": None}, {1}),
        ({"data/file_index": 9}, {1}),
        ({"data/chunk_index": None}, {1}),
    ],
)
def test_a_stale_entry_costs_the_episodes_it_concerns(
    stated: dict[str, Any], refused: set[int], tmp_path: Path
) -> None:
    plan = Plan((Take(7), Take(8, stated=stated), Take(9)))
    assert refused_of(plan, tmp_path / "set") == refused


# What is short, damaged or missing.


def test_one_bad_episode_loses_no_other(tmp_path: Path) -> None:
    plan = Plan((Take(4), Take(0), Take(1), Take(5)), (Camera(), Camera("side", kept="png")))
    arrived, refused = read(write_set(tmp_path / "set", plan))
    assert refused == {
        "episode 1": "it has no rows",
        "episode 2": "it has one row, and so no action of known effect",
    }
    assert [check(plan, arrived[number]).seed for number in (0, 3)] == [0, 3]


@pytest.mark.parametrize("harm", [cut, spoil, Path.unlink])
@pytest.mark.parametrize("part", ["data", "videos/observation.images.top"])
def test_one_bad_file_loses_its_own_episode_alone(harm: Any, part: str, tmp_path: Path) -> None:
    plan = Plan(THREE, a_data_file=1, a_video=1)
    folder = write_set(tmp_path / "set", plan)
    harm(next((folder / part).rglob("file-001.*")))
    arrived, refused = read(folder)
    try:
        read_anyway = check(plan, arrived[1]) if 1 in arrived else None
    except SailError as problem:
        refused["episode 1"], read_anyway = str(problem), None
    assert read_anyway is None and list(refused) == ["episode 1"]
    for number in (0, 2):
        check(plan, arrived[number])


def test_a_damaged_table_of_episodes_loses_what_it_lists(tmp_path: Path) -> None:
    plan = Plan(THREE, a_table=1)
    folder = write_set(tmp_path / "set", plan)
    cut(folder / "meta/episodes/chunk-000/file-001.parquet")
    source = LeRobotSource(folder)
    (refusal,) = source.refusals
    assert refusal.what == "meta/episodes/chunk-000/file-001.parquet" and "are not known" in refusal.why
    assert [check(plan, one).seed for one in source if isinstance(one, Arrival)] == [0, 2]


def test_episodes_that_the_set_speaks_of_and_does_not_list_are_missed(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan(THREE, info={"total_episodes": 5}))
    (refusal,) = LeRobotSource(folder).refusals
    assert "speaks of 5 episodes" in refusal.why


def test_an_episode_listed_twice_is_taken_once(tmp_path: Path) -> None:
    plan = Plan((Take(7), Take(8), Take(9, stated={"episode_index": 1})))
    arrived, refused = read(write_set(tmp_path / "set", plan))
    assert set(arrived) == {0, 1} and list(refused.values()) == ["meta/episodes lists it a second time"]


def test_a_set_without_its_tasks_has_those_of_its_episodes(tmp_path: Path) -> None:
    plan = Plan((Take(4, ("push it",)), Take(4)))
    folder = write_set(tmp_path / "set", plan)
    cut(folder / "meta/tasks.parquet")
    source = LeRobotSource(folder)
    assert [one.bare.instruction for one in source if isinstance(one, Arrival)] == ["push it", "pick it up"]
    assert source.notes[0].what == "meta/tasks.parquet"


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [
        ({"bytes": None, "path": None}, "picture 2 of observation.images.top is missing"),
        ({"bytes": None, "path": "images/none.png"}, "neither in its table nor in the set"),
        ({"bytes": None, "path": "../../outside.png"}, "outside the set"),
        ({"bytes": None, "path": "/etc/hostname"}, "outside the set"),
        ({"bytes": b"nonsense", "path": None}, "is damaged"),
        ({"bytes": b"\x89PNG\r\n\x1a\n", "path": None}, "is damaged"),
    ],
)
def test_a_picture_that_is_none_is_said(spoilt: dict[str, Any], says: str, tmp_path: Path) -> None:
    plan = Plan((Take(4), Take(5)), (Camera(kept="png"),), a_data_file=1)
    folder = write_set(tmp_path / "set", plan)
    path = folder / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[2]["observation.images.top"] = spoilt
    pq.write_table(type(table).from_pylist(rows, table.schema), path)
    arrived, _ = read(folder)
    with pytest.raises(SailError, match=says):
        arrived[0].whole()
    check(plan, arrived[1])


# Numbers.


def test_names_of_every_form_name_the_numbers(tmp_path: Path) -> None:
    forms: list[tuple[Any, tuple[str, ...]]] = [
        (["a", "b"], ("a", "b")),
        ({"motors": ["a", "b"]}, ("a", "b")),
        ({"left": ["a"], "right": ["b"]}, ("a", "b")),
        ({"b": 1, "a": 0}, ("a", "b")),
        ([["a", "b"]], ("a", "b")),
        (["a", "a"], ("action_0", "action_1")),
        (["a"], ("action_0", "action_1")),
        ({"axes": 3}, ("action_0", "action_1")),
        ("ab", ("action_0", "action_1")),
        (None, ("action_0", "action_1")),
    ]
    for number, (given, expected) in enumerate(forms):
        (one,) = all_of(write_set(tmp_path / str(number), Plan((Take(2),), (), names={"action": given})))
        assert one.bare.spec is not None and one.bare.spec.action.names == expected, given


@pytest.mark.parametrize("statistics", ["right", "none", "null", "nan", "short"])
def test_limits_are_those_of_the_actions_whatever_the_statistics(statistics: str, tmp_path: Path) -> None:
    far = [[3, 0.5], [-3, 0.5], [0, 0.5], [1, 0.5]]
    plan = Plan((Take(4, actions=far), Take(3, actions=[[2, 0.5]] * 3)), a_data_file=1, statistics=statistics)
    folder = write_set(tmp_path / "set", plan)
    for one in all_of(folder):
        assert one.bare.spec is not None
        action = one.bare.spec.action
        assert action.low.tolist() == [-3, 0.5] and action.high[0] == 3 and 0.5 < action.high[1] < 0.501
    (folder / "meta/stats.json").write_text("[]")
    all_of(folder)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("what", ["states", "actions"])
def test_numbers_that_are_not_finite_cost_their_episode(what: str, wrong: float, tmp_path: Path) -> None:
    values = np.zeros((5, 3 if what == "states" else 2))
    values[2, 1] = wrong
    with np.errstate(over="ignore"):
        plan = Plan((Take(4), Take(5, **{what: values})))
        _, refused = read(write_set(tmp_path / "set", plan))
    assert list(refused) == ["episode 1"] and "not finite in row 2" in refused["episode 1"]


def test_the_last_action_which_is_not_taken_in_may_be_empty(tmp_path: Path) -> None:
    plan = Plan((Take(3, actions=[[1, 2], [3, 4], [np.nan, np.nan]]),))
    (one,) = all_of(write_set(tmp_path / "set", plan))
    assert one.bare.sent.tolist() == [[1, 2], [3, 4]]


def test_numbers_of_another_size_than_said_cost_their_episode(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan(THREE))
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"]["action"]["shape"] = [3]
    write_json(folder / "meta/info.json", info)
    _, refused = read(folder)
    assert refused["episode 0"] == "its action has 2 numbers a row, meta/info.json says 3"


# Rate, times and order.


@pytest.mark.parametrize("rate", [0, -30, float("nan"), float("inf"), "fast", None, True, [30], 1e9])
def test_a_rate_that_is_none_is_asked_for(rate: Any, tmp_path: Path) -> None:
    plan = Plan(THREE)
    folder = write_set(tmp_path / "set", plan)
    change_json(folder / "meta/info.json", fps=rate)
    with pytest.raises(SailError, match="give the right one as fps="):
        LeRobotSource(folder)
    for one in all_of(folder, fps=30):
        check(plan, one)


@pytest.mark.parametrize(
    "times",
    [
        [1.7e9 + row / 30 for row in range(5)],  # which float32 cannot tell apart
        [0.0] * 5,
        [0.0, 0.1, 0.05, 0.2, 0.3],
        [None, 0.1, 0.2, 0.3, 0.4],
        [0.0, 0.1, float("inf"), 0.3, 0.4],
    ],
)
def test_times_that_do_not_increase_follow_from_the_rows_and_it_is_said(times: list[float], tmp_path: Path) -> None:
    plan = Plan((Take(4), Take(5, times=times), Take(6)))
    arrived = all_of(write_set(tmp_path / "set", plan))
    assert [len(one.notes) for one in arrived] == [0, 1, 0]
    assert arrived[1].notes[0].startswith("its times do not increase")
    for one in arrived:
        check(plan, one)


def test_times_of_a_clock_are_counted_from_the_first(tmp_path: Path) -> None:
    plan = Plan((Take(4), Take(5, times=[1.7e9 + row / 30 for row in range(5)])), time_type="float64")
    arrived = all_of(write_set(tmp_path / "set", plan))
    assert "counted from there" in arrived[1].notes[0]
    for one in arrived:
        check(plan, one)


def test_rows_out_of_order_are_sorted_and_it_is_said(tmp_path: Path) -> None:
    plan = Plan((Take(5, order=[4, 2, 0, 1, 3]), Take(4)), (Camera(), Camera("side", kept="png")))
    arrived = all_of(write_set(tmp_path / "set", plan))
    assert [one.notes for one in arrived] == [("its rows were out of order and are sorted by frame_index",), ()]
    for one in arrived:
        check(plan, one)


def test_rows_that_nothing_puts_in_order_are_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan((Take(4, times=[0, 0, 0, 0]), Take(5)), (), one_group=True))
    path = folder / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["frame_index"]), path)
    arrived, refused = read(folder)
    assert list(refused) == ["episode 0"] and "in order" in refused["episode 0"] and list(arrived) == [1]


def test_rows_slower_than_stated_keep_their_times_and_it_is_said(tmp_path: Path) -> None:
    plan = Plan((Take(6, times=[row / 25 for row in range(6)]),), ())
    (one,) = all_of(write_set(tmp_path / "set", plan))
    assert one.notes == ("its rows come at 25 Hz, not at the 30 Hz stated",)
    assert np.allclose(one.bare.times_s, np.arange(6) / 25)


# What an episode of ours has no place for, or another.


def test_several_tasks_are_kept_as_segments_and_it_is_said(tmp_path: Path) -> None:
    plan = Plan((Take(6, ("pick it", "pick it", "pick it", "place it", "place it", "place it")), Take(4)))
    first, second = all_of(write_set(tmp_path / "set", plan))
    said = [(label.field, label.value, label.span) for label in first.labels]
    assert said == [(Field.SEGMENT, "pick it", (0, 2)), (Field.SEGMENT, "place it", (3, 5))]
    assert first.bare.instruction == "pick it" and "several tasks" in first.notes[0]
    assert not second.labels and not second.notes and second.bare.instruction == "pick it up"


def test_subtasks_are_segments_too(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan((Take(5, more={"subtask_index": [0, 0, 1, 1, 0]}),)))
    words = {"subtask_index": [0, 1], "subtask": ["reach", "grasp"]}
    pq.write_table(pq.read_table(folder / "meta/tasks.parquet").from_pydict(words), folder / "meta/subtasks.parquet")
    (one,) = all_of(folder)
    spans = [(label.value, label.span) for label in one.labels]
    assert spans == [("reach", (0, 1)), ("grasp", (2, 3)), ("reach", (4, 4))]


def test_a_task_without_words_costs_its_episode(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan((Take(4), Take(5, ("push it",)))))
    path = folder / "meta/tasks.parquet"
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    arrived, refused = read(folder)
    assert list(arrived) == [0] and refused == {"episode 1": "meta/tasks.parquet does not say what its task 1 is"}


@pytest.mark.parametrize(
    "depth",
    [
        Camera("depth", kept="depth"),
        Camera("depth", kept="depth video", codec="ffv1", pixels="gray16le", options={}, suffix=".mkv"),
    ],
)
def test_depth_is_left_out_with_a_notice_and_the_colours_are_not(depth: Camera, tmp_path: Path) -> None:
    plan = Plan((Take(4), Take(5)), (Camera(suffix=".mkv"), depth))
    for one in all_of(write_set(tmp_path / "set", plan)):
        check(plan, one)
        assert [left.what for left in one.left_out] == ["camera depth"] and "distances" in one.left_out[0].why


def test_columns_without_a_place_are_named(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan((Take(3, more={"observation.effort": [0.0, 1.0, 2.0]}),)))
    assert [note.what for note in LeRobotSource(folder).notes] == ["observation.effort"]


def test_cameras_are_chosen_by_name(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan(THREE, (Camera("top"), Camera("wrist", kept="png"))))
    shutil.rmtree(folder / "videos")
    assert [set(one.whole().frames) for one in all_of(folder, cameras=["wrist"])] == [{"wrist"}] * 3
    with pytest.raises(SailError, match="no camera 'side'. Known: top, wrist"):
        LeRobotSource(folder, cameras=["side"])


def test_cameras_whose_short_names_meet_keep_their_long_ones(tmp_path: Path) -> None:
    plan = Plan(
        THREE, (Camera("a", key="observation.images.a"), Camera("b", key="a"), Camera("c", key="observation.image"))
    )
    for one in all_of(write_set(tmp_path / "set", plan)):
        assert list(one.pictures) == ["observation.images.a", "a", "observation.image"]


# Our own, back, and other versions.


def test_what_was_exported_without_loss_comes_back_bit_for_bit(tmp_path: Path) -> None:
    export_lerobot(three(), tmp_path / "set", LOSSLESS)
    for original, one in zip(three(), all_of(tmp_path / "set"), strict=True):
        # Plans and simulator states have no place there; all else is as it was, the last observation with it.
        assert_same(one.whole(), dataclasses.replace(original, plans=(), states=None))
        assert one.bare.episode_id == original.episode_id and one.bare.spec is not None and not one.notes
        assert spec_as_json(one.bare.spec) == spec_as_json(SPEC)


def test_short_episodes_and_several_files_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = [dataclasses.replace(episode(steps, seed=steps, size=16), episode_id=f"e{steps}") for steps in (1, 2, 3)]
    export_lerobot(short, tmp_path / "one", LOSSLESS)
    monkeypatch.setattr("robot.episodes.lerobot.form.VIDEO_MIB", 0)
    monkeypatch.setattr("robot.episodes.lerobot.form.DATA_MIB", 0)
    export_lerobot([*three(), *short], tmp_path / "many", LOSSLESS)
    assert len(list((tmp_path / "many").rglob("data/*/*.parquet"))) == 6
    assert len(list((tmp_path / "many").rglob("*.mp4"))) > 1
    for folder, originals in (("one", short), ("many", [*three(), *short])):
        for original, one in zip(originals, all_of(tmp_path / folder), strict=True):
            assert np.array_equal(one.whole().frames["top"], original.frames["top"])
            assert np.array_equal(one.bare.sent, original.sent)


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 2, "specs": [], "episodes": [1, 2, 3]}', None])
def test_damage_beside_the_rows_loses_what_lies_there_alone(content: str | None, tmp_path: Path) -> None:
    export_lerobot(three(), tmp_path / "set", LOSSLESS)
    if content is None:
        (tmp_path / "set/meta/sail/steps.parquet").unlink()
    else:
        (tmp_path / "set/meta/sail.json").write_text(content)
    assert [note.what for note in LeRobotSource(tmp_path / "set").notes] == ["meta/sail.json"]
    for original, one in zip(three(), all_of(tmp_path / "set"), strict=True):
        assert one.bare.episode_id == "" and one.bare.instruction == original.instruction
        assert np.array_equal(one.bare.sent, original.sent[:-1])
        assert np.array_equal(one.whole().frames["top"], original.frames["top"][:-1])


def change_ours(folder: Path, **changes: Any) -> None:
    """Change what an export says beside the rows of its first robot, as somebody might with an editor."""
    ours = json.loads((folder / "meta/sail.json").read_text())
    ours["specs"][0]["action"] |= changes
    write_json(folder / "meta/sail.json", ours)


@pytest.mark.parametrize("changes", [{"names": ["x", None]}, {"names": ["\ud800", "y"]}, {"rate_hz": 0.0}])
def test_a_robot_that_is_none_is_not_taken_over(changes: dict[str, Any], tmp_path: Path) -> None:
    export_lerobot(three()[:1], tmp_path / "set")
    change_ours(tmp_path / "set", **changes)
    (one,) = all_of(tmp_path / "set")
    assert one.bare.spec is not None and one.bare.spec.action.names == ("x", "y") and len(one.notes) == 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("time_s", [0.0] * 10),
        ("time_s", [float("nan")] * 10),
        ("time_s", [[0.0]] * 10),
        ("requested", [[0.0]] * 9 + [None]),
        ("requested", [[0.0, float("nan")]] * 9 + [None]),
        ("success", [[True]] * 9 + [None]),
        ("proprio", [None] * 9 + [[0.0]]),
    ],
)
def test_numbers_beside_the_rows_that_are_none_are_not_taken_over(name: str, values: Any, tmp_path: Path) -> None:
    export_lerobot(three()[:1], tmp_path / "set")
    path = tmp_path / "set/meta/sail/steps.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(name), name, [values]), path)
    (one,) = all_of(tmp_path / "set")
    assert len(one.bare) == 8 and "meta/sail.json" in one.notes[0], "somebody else's, as its rows alone say"


def test_an_export_that_lost_what_lay_beside_its_rows_is_somebody_else_s(tmp_path: Path) -> None:
    export_lerobot(three(), tmp_path / "set", LOSSLESS)
    shutil.rmtree(tmp_path / "set/meta/sail")
    (tmp_path / "set/meta/sail.json").unlink()
    for original, one in zip(three(), all_of(tmp_path / "set"), strict=True):
        assert np.array_equal(one.whole().frames["top"], original.frames["top"][:-1]) and not one.notes


def test_rows_changed_since_they_were_exported_are_somebody_else_s(tmp_path: Path) -> None:
    export_lerobot(three(), tmp_path / "set", LOSSLESS)
    path = tmp_path / "set/data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[3]["action"] = [9.0, 9.0]
    pq.write_table(type(table).from_pylist(rows, table.schema), path)
    first, second, third = all_of(tmp_path / "set")
    assert first.bare.episode_id == "" and "was changed since" in first.notes[0] and len(first.bare) == 8
    assert (second.bare.episode_id, third.bare.episode_id) == ("b", "c") and len(second.bare) == 4


@pytest.mark.parametrize("name", ["../outside", ".hidden", "", "a/b", "x" * 300])
def test_an_id_that_is_none_is_not_used(name: str, tmp_path: Path) -> None:
    export_lerobot(three()[:1], tmp_path / "set")
    path = tmp_path / "set/meta/sail.json"
    ours = json.loads(path.read_text())
    ours["episodes"][0]["episode_id"] = name
    write_json(path, ours)
    (one,) = all_of(tmp_path / "set")
    assert one.bare.episode_id == "" and (not name or "the id that meta/sail.json gives it is none" in one.notes)


def test_other_versions_are_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan(THREE, info={"codebase_version": "v2.1"}))
    with pytest.raises(SailError, match="version v2.1"):
        LeRobotSource(folder)
    with pytest.raises(SailError, match="is no LeRobot data set"):
        LeRobotSource(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "info",
    [
        {"features": None},
        {"features": []},
        {"features": {"action": None}},
        {"features": {"action": {"dtype": "float32", "shape": [0]}, "observation.state": {"dtype": "float32"}}},
        {"features": {"action": {"dtype": "float32", "shape": [10**9, 10**9]}, "observation.state": {"dtype": "f"}}},
        {"total_episodes": "many"},
        {"robot_type": "\ud800"},
        {"codebase_version": "two\nlines \x1b[2J"},
        {"codebase_version": "very long " * 1000},
        {"fps": "very long " * 1000},
    ],
)
def test_a_description_that_is_damaged_is_one_sentence(info: dict[str, Any], tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan(THREE))
    change_json(folder / "meta/info.json", **info)
    with pytest.raises(SailError) as told:
        LeRobotSource(folder)
    assert str(told.value).isprintable() and len(str(told.value)) < 500 and str(told.value).endswith(".")


@pytest.mark.parametrize("endless", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.timeout(20)
def test_what_has_no_end_is_no_file(endless: Callable[[Path], None], tmp_path: Path) -> None:
    for part in ("meta/info.json", f"{TOP}/chunk-000/file-000.mp4", "meta/sail.json", "meta/sail/labels.jsonl"):
        folder = tmp_path / part.replace("/", "-")
        export_lerobot(three()[:1], folder)
        (folder / part).unlink()
        endless(folder / part)
        if part == "meta/info.json":
            with pytest.raises(SailError, match="is no LeRobot data set"):
                LeRobotSource(folder)
        else:
            arrived, refused = read(folder)
            assert arrived or list(refused.values()) == ["camera top: file-000.mp4 is missing"]
            assert bool(refused) is (part.endswith("mp4")) or "cannot be told" in refused["episode 0"]


@pytest.mark.parametrize("part", ["meta/info.json", "meta/episodes/chunk-000/file-000.parquet"])
def test_a_set_without_its_description_is_refused_as_a_whole(part: str, tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan(THREE))
    cut(folder / part)
    with pytest.raises(SailError, match="is damaged"):
        LeRobotSource(folder)
    (folder / part).unlink()
    with pytest.raises(SailError, match="it has no meta|has no table of episodes"):
        LeRobotSource(folder)
