"""The benchmark of the arm measures what it says and leaves nothing behind."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from robot.speed.arm import bench_arm


@pytest.mark.slow
def test_every_figure_is_there_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = bench_arm(
        commands=10, stops=1, seconds=0.5, inference_s=0.1, plans=2, cameras=1, image_size=32, encoding="raw"
    )
    assert result == json.loads(json.dumps(result))
    figures = {record["what"]: record for record in result["records"]}
    assert len(figures) == 9
    times = ("command → applied", "stop → braking", "`sail arm stop`, Enter → braking", "servo jitter at 250 Hz")
    for what in (*times, "stop → answered, beside 2,000 silent connections"):
        assert 0 < figures[what]["p50"] <= figures[what]["p99"]
    # This one is no matter of how busy the machine is.
    assert 0 < figures["largest jump at a seam, of the acceleration limit's step"]["p99"] < 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="at least one"):
        bench_arm(commands=0)
