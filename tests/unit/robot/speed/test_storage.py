"""The benchmark of the store measures what it says, leaves nothing behind, and gives plain values."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from robot.speed.storage import bench_store


def test_every_figure_is_there_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = bench_store(episodes=2, steps=14, image_size=32, window_size=16, frames=3, seconds=0.05, listed=20)
    assert result == json.loads(json.dumps(result))
    figures = {record["what"]: record for record in result["records"]}
    assert all(record["value"] > 0 for record in figures.values()) and len(figures) == 15
    assert figures["planner: windows of 3 latents"]["target"] == "≥ 2000"
    assert figures["critic: transitions at 16 px"]["target"] == "≥ 2000"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="at least one"):
        bench_store(episodes=0)
