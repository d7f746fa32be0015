"""LeRobotDataset v3.0, out; the real LeRobot reads it in `make check-lerobot`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from robot.core.data import Episode, Outcome
from robot.core.errors import SailError
from robot.episodes.lerobot.exporting import export_lerobot
from tests.unit.robot.episodes.samples import episode


def three() -> list[Episode]:
    return [
        dataclasses.replace(episode(9, seed=1, size=16), episode_id="a"),
        dataclasses.replace(episode(4, seed=2, size=16, instruction="push it"), episode_id="b", task="push"),
        dataclasses.replace(episode(6, seed=3, size=16, outcome=Outcome.TIMEOUT), episode_id="c"),
    ]


def test_the_layout_is_theirs(tmp_path: Path) -> None:
    export_lerobot(three(), tmp_path / "set")
    files = sorted(str(path.relative_to(tmp_path / "set")) for path in (tmp_path / "set").rglob("*") if path.is_file())
    assert files == [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/sail.json",
        "meta/sail/labels.jsonl",
        "meta/sail/steps.parquet",
        "meta/stats.json",
        "meta/tasks.parquet",
        "videos/observation.images.top/chunk-000/file-000.mp4",
    ]
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_frames"]) == ("v3.0", 40, 19)
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": ["x", "y"]}
    data = pq.read_table(tmp_path / "set/data/chunk-000/file-000.parquet")
    assert data["index"].to_pylist() == list(range(19))
    assert data["task_index"].to_pylist() == [0] * 9 + [1] * 4 + [0] * 6
    assert data["timestamp"].to_pylist()[:2] == [0.0, pytest.approx(0.025)]
    assert np.array_equal(data["action"].to_pylist()[9], three()[1].sent[0])
    rows = pq.read_table(tmp_path / "set/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in rows] == [(0, 9), (9, 13), (13, 19)]
    assert rows[1]["tasks"] == ["push it"]
    video = "videos/observation.images.top"  # after each episode one frame more: what was seen after its last action
    assert [row[f"{video}/from_timestamp"] for row in rows] == pytest.approx([0, 10 / 40, 15 / 40])
    assert [row[f"{video}/to_timestamp"] for row in rows] == pytest.approx([9 / 40, 14 / 40, 21 / 40])


def test_statistics_are_those_of_the_numbers(tmp_path: Path) -> None:
    export_lerobot(three(), tmp_path / "set")
    stats = json.loads((tmp_path / "set/meta/stats.json").read_text())
    actions = np.concatenate([one.sent for one in three()]).astype(np.float64)
    for name, expected in (("min", actions.min(0)), ("mean", actions.mean(0)), ("std", actions.std(0))):
        assert stats["action"][name] == pytest.approx(expected.tolist())
    assert stats["action"]["count"] == [19]
    pixels = np.concatenate([one.frames["top"][:-1] for one in three()]) / 255.0
    seen = stats["observation.images.top"]
    assert np.shape(seen["mean"]) == (3, 1, 1)
    assert np.ravel(seen["mean"]) == pytest.approx(pixels.mean((0, 1, 2))) and seen["count"] == [19]
    assert np.ravel(seen["std"]) == pytest.approx(pixels.std((0, 1, 2)))
    assert np.ravel(seen["q50"]) == pytest.approx(np.median(pixels, (0, 1, 2)), abs=0.005)


def test_what_does_not_fit_together_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    odd = [three()[0], episode(4, size=8)]
    with pytest.raises(SailError, match="its cameras is"):
        export_lerobot(odd, tmp_path / "set")
    with pytest.raises(SailError, match="nothing to export"):
        export_lerobot([episode(0)], tmp_path / "set")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "set").mkdir()
    with pytest.raises(SailError, match="exists already"):
        export_lerobot(three(), tmp_path / "set")


@pytest.mark.parametrize("camera", ["../../../../outside", "a/b", "a\\b", "\x1b[2J", "\u202e"])
def test_a_camera_s_name_leads_to_no_file_outside_the_set(camera: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    one = episode(4, size=16)
    foul = dataclasses.replace(one, frames={camera: one.frames["top"]}, episode_id="a")
    with pytest.raises(SailError, match="cannot name a folder"):
        export_lerobot([foul], tmp_path / "in" / "set")
    assert not any((tmp_path / "in").iterdir()) and [path.name for path in tmp_path.iterdir()] == ["in"]
