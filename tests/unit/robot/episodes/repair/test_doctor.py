"""The doctor finds what is damaged, mends what can be mended, and moves aside, never deletes, what cannot."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robot.core.data import Episode, Outcome, Verdict
from robot.core.errors import SailError
from robot.episodes.description import Origin
from robot.episodes.repair.doctor import Finding, examine
from robot.episodes.store import EpisodeStore
from tests.fakes import SPEC
from tests.unit.robot.episodes.samples import assert_same, episode
from tests.unit.robot.episodes.test_store import write_first_format


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file's bytes, by its path where it lies or where it was moved aside from."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cure(folder: Path) -> Finding:
    """Examine, check that nothing was touched, repair, check that nothing was lost and nothing is left to do."""
    before = contents(folder)
    seen = list(examine(folder))
    assert contents(folder) == before and not any(finding.done for finding in seen)
    (finding,) = examine(folder, repair=True)
    assert finding.done and (finding.name, finding.wrong) == (seen[0].name, seen[0].wrong) and len(seen) == 1
    after = list(contents(folder).values())
    assert all(content in after for content in before.values()), "something was deleted"
    assert list(examine(folder)) == []
    return finding


def two(folder: Path, **changes: object) -> EpisodeStore:
    store = EpisodeStore(folder)
    store.add(episode(steps=30, size=32, **changes), [Verdict(1.0, "truth")], episode_id="hurt")
    store.add(episode(seed=6), episode_id="well")
    return store


def test_a_sound_store_needs_nothing(tmp_path: Path) -> None:
    two(tmp_path)
    assert list(examine(tmp_path)) == []
    with pytest.raises(SailError, match="no store"):
        list(examine(tmp_path / "nowhere"))


def test_a_truncated_video_keeps_the_steps_it_shows(tmp_path: Path) -> None:
    store = two(tmp_path)
    path = tmp_path / "hurt" / "camera-top.mkv"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "are kept" in cure(tmp_path).remedy
    saved = store.load("hurt")
    assert 10 < len(saved) < 20 and saved.outcome is Outcome.INFRASTRUCTURE_FAULT
    assert_same(saved, episode(steps=30, size=32), steps=len(saved))
    assert "damaged" in store.about("hurt")["mended"]
    assert store.verdicts("hurt") == []  # they were about all of it
    assert store.ids() == ["hurt", "well"]


def test_a_mended_episode_says_still_where_it_comes_from(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    said = {"recorded": "2026-01-31T09:12:45+00:00", "revision": "abc", "source": "somewhere", "recovered": "was open"}
    store.add(episode(steps=30, size=32), episode_id="hurt", origin=Origin("mine", 3), more=said)
    path = tmp_path / "hurt" / "camera-top.mkv"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cure(tmp_path)
    about = store.about("hurt")
    assert {key: about[key] for key in said} == said
    assert about["origin"] == {"run": "mine", "iteration": 3} and "damaged" in about["mended"]


def test_a_camera_that_is_missing_leaves_the_others(tmp_path: Path) -> None:
    frames = {name: np.zeros((31, 8, 8, 3), np.uint8) for name in ("top", "wrist")}
    store = two(tmp_path, frames=frames)
    (tmp_path / "hurt" / "camera-wrist.mkv").unlink()
    cure(tmp_path)
    saved = store.load("hurt")
    assert list(saved.frames) == ["top"] and len(saved) == 30 and saved.outcome is Outcome.SUCCESS
    assert store.verdicts("hurt") == [Verdict(1.0, "truth")]


def test_damaged_plans_are_dropped_and_the_rest_stays(tmp_path: Path) -> None:
    store = two(tmp_path)
    path = tmp_path / "hurt" / "plans.mkv"
    path.write_bytes(path.read_bytes()[:-400])
    cure(tmp_path)
    saved = store.load("hurt")
    assert len(saved.plans) < 2 and len(saved) == 30 and store.verdicts("hurt") == [Verdict(1.0, "truth")]


@pytest.mark.parametrize("part", ["steps.parquet", "episode.json"])
def test_without_its_numbers_or_its_description_it_is_set_aside(tmp_path: Path, part: str) -> None:
    store = two(tmp_path)
    path = tmp_path / "hurt" / part
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "moved to" in cure(tmp_path).remedy
    assert store.ids() == ["well"]


def test_a_missing_description_is_told(tmp_path: Path) -> None:
    two(tmp_path)
    (tmp_path / "hurt" / "episode.json").unlink()
    assert "has no episode.json" in cure(tmp_path).wrong


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    for part in ("steps.parquet", "camera-top.mkv"):
        store = two(tmp_path / part)
        path = tmp_path / part / "hurt" / part
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)
        cure(tmp_path / part)
        if "hurt" in store.ids():
            saved = store.load("hurt")
            assert_same(saved, episode(steps=30, size=32), steps=len(saved))


def test_pictures_of_another_episode_are_found(tmp_path: Path) -> None:
    store = two(tmp_path)
    store.add(episode(steps=30, size=32, seed=9), episode_id="other")
    os.replace(tmp_path / "other" / "camera-top.mkv", tmp_path / "hurt" / "camera-top.mkv")
    findings = {finding.name: finding for finding in examine(tmp_path, repair=True)}
    assert "not those that were recorded" in findings["hurt"].wrong and "missing" in findings["other"].wrong
    assert store.ids() == ["well"]


def test_a_folder_of_another_name_is_renamed_in_its_description(tmp_path: Path) -> None:
    store = two(tmp_path)
    (tmp_path / "hurt").rename(tmp_path / "moved")
    before = (tmp_path / "moved" / "episode.json").read_bytes()
    (finding,) = examine(tmp_path, repair=True)
    assert "calls itself 'hurt'" in finding.wrong
    assert store.load("moved").episode_id == "moved" and json.loads(before)["episode_id"] == "hurt"
    assert list(examine(tmp_path)) == []


def test_the_first_format_is_rewritten_in_the_present_one(tmp_path: Path) -> None:
    original = episode(reward=None, spec=None, intervention=None)
    write_first_format(tmp_path / "old", original)
    store = EpisodeStore(tmp_path)
    store.append_verdict("old", Verdict(1.0, "truth"))
    (seen,) = examine(tmp_path)
    assert seen.harmless
    cure(tmp_path)
    assert store.about("old")["schema"] == 2
    assert_same(store.load("old"), original)
    assert store.verdicts("old") == [Verdict(1.0, "truth")]


def test_an_episode_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    two(tmp_path)
    path = tmp_path / "hurt" / "episode.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))
    (finding,) = examine(tmp_path, repair=True)
    assert finding.harmless and not finding.done and "schema 99" in finding.wrong and path.exists()


def test_damaged_verdicts_are_taken_out_one_by_one(tmp_path: Path) -> None:
    store = two(tmp_path)
    path = tmp_path / "hurt" / "labels.jsonl"
    before = path.read_text()
    path.write_text('{"probability": 7}\n' + before)
    assert "1 damaged" in cure(tmp_path).wrong
    assert store.verdicts("hurt") == [Verdict(1.0, "truth")]
    newer = '{"schema": 99, "id": "x"}\n'
    path.write_text(newer + '{"probability": 7}\n' + before)
    assert "1 damaged" in cure(tmp_path).wrong
    assert path.read_text() == newer + before  # what a newer version said is no damage


def test_a_repair_that_was_stopped_is_finished(tmp_path: Path) -> None:
    store = two(tmp_path)
    (tmp_path / ".mending").mkdir()
    (tmp_path / "hurt").rename(tmp_path / ".mending" / "hurt")
    assert "put in its place" in cure(tmp_path).remedy
    assert_same(store.load("hurt"), episode(steps=30, size=32))


def test_an_open_folder_with_nothing_in_it_is_set_aside(tmp_path: Path) -> None:
    two(tmp_path)
    (tmp_path / ".open-empty-1234").mkdir()
    (tmp_path / ".open-empty-1234" / "opening.json").write_text('{"task"')
    assert "nothing in it can be saved" in cure(tmp_path).remedy


NAN = np.float32("nan")


def spoiled(**changes: Any) -> Episode:
    """Return an episode of 30 steps of whose numbers some are no use."""
    whole = episode(steps=30, size=32)
    values = {name: getattr(whole, name).copy() for name in ("sent", "proprio", "states", "reward", "times_s")}
    rate_hz = changes.pop("rate_hz", SPEC.action.rate_hz)
    for name, (place, value) in changes.items():
        values[name][place] = value
    spec = dataclasses.replace(SPEC, action=dataclasses.replace(SPEC.action, rate_hz=rate_hz))
    return dataclasses.replace(whole, **values, spec=spec)


@pytest.mark.parametrize(
    ("changes", "wrong", "steps"),
    [
        ({"sent": ((12, 1), NAN)}, "no number in the action sent of step 12", 12),
        ({"proprio": ((12, 0), np.inf)}, "no number in proprioception of step 12", 11),
        ({"states": ((20, 3), NAN), "sent": ((25, 0), NAN)}, "no number in the simulator's state of step 20", 19),
        ({"reward": (7, -np.inf)}, "no number in the reward of step 7", 7),
        ({"proprio": ((1, 0), NAN)}, "no number in proprioception of step 1", None),
        ({"sent": ((0, 0), NAN)}, "no number in the action sent of step 0", None),
        ({"times_s": (6, 0.0)}, "out of order: step 6 is earlier", None),
        ({"times_s": (9, np.nan)}, "times that are no numbers", None),
    ],
)
def test_numbers_that_are_none_are_found_and_the_steps_before_them_kept(
    tmp_path: Path, changes: dict[str, Any], wrong: str, steps: int | None
) -> None:
    store = EpisodeStore(tmp_path)
    foul = spoiled(**changes)
    store.add(foul, [Verdict(1.0, "truth")], episode_id="hurt")
    store.add(episode(seed=6), episode_id="well")
    finding = cure(tmp_path)
    assert wrong in finding.wrong
    if steps is None:
        assert "moved to" in finding.remedy and store.ids() == ["well"]
        return
    saved = store.load("hurt")
    assert len(saved) == steps and f"first {steps} steps are kept" in finding.remedy
    assert_same(saved, foul, steps=steps)
    assert wrong in store.about("hurt")["mended"] and store.verdicts("hurt") == []


@pytest.mark.parametrize("places", [slice(None), slice(4, 9)])
def test_times_that_stand_still_are_counted_at_the_rate_asked_for(tmp_path: Path, places: slice) -> None:
    store = EpisodeStore(tmp_path)
    foul = spoiled(times_s=(places, 0.1))
    store.add(foul, [Verdict(1.0, "truth")], episode_id="hurt", origin=Origin("mine", 3))
    videos = {path.name: path.read_bytes() for path in store.path("hurt").glob("*.mkv")}
    assert "has the same time at" in cure(tmp_path).wrong
    saved = store.load("hurt")
    assert saved.times_s == pytest.approx(foul.times_s[0] + np.arange(31) / 40)
    assert_same(dataclasses.replace(saved, times_s=foul.times_s), foul)
    assert store.verdicts("hurt") == [Verdict(1.0, "truth")] and store.about("hurt")["origin"]["run"] == "mine"
    assert {path.name: path.read_bytes() for path in store.path("hurt").glob("*.mkv")} == videos
    assert store.about("hurt")["rate_measured_hz"] == pytest.approx(40)


def test_an_observation_that_came_twice_is_no_fault_of_the_clock(tmp_path: Path) -> None:
    times_s = np.arange(31) / 40
    times_s[[5, 20]] = times_s[[4, 19]]
    EpisodeStore(tmp_path).add(spoiled(times_s=(slice(None), times_s)), episode_id="well")
    assert list(examine(tmp_path)) == []


def test_a_rate_of_nothing_is_that_of_the_times(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    store.add(spoiled(rate_hz=0.0), episode_id="hurt")
    assert "driven at 0.0 Hz" in cure(tmp_path).wrong
    saved = store.load("hurt")
    assert saved.spec is not None and saved.spec.action.rate_hz == pytest.approx(40)
    assert store.about("hurt")["rate_asked_hz"] == pytest.approx(40)


def test_neither_times_nor_a_rate_is_no_recording(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    store.add(spoiled(rate_hz=0.0, times_s=(slice(None), 7.0)), episode_id="hurt")
    assert "moved to" in cure(tmp_path).remedy and store.ids() == []


def test_times_that_stand_still_at_another_rate_are_nobody_s_guess(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    times_s = np.arange(31) / 8
    times_s[5:10] = times_s[4]
    store.add(spoiled(times_s=(slice(None), times_s)), episode_id="hurt")
    assert "moved to" in cure(tmp_path).remedy and store.ids() == []
