"""What `sail evaluate` concludes from several tasks."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from robot.cli.evaluate import _conclude
from robot.cli.screen import screen
from robot.learn.evaluation import EvaluationRecord
from robot.reports.statistics import mean_interval


def records(*counts: tuple[str, int, int]) -> list[EvaluationRecord]:
    return [
        cast(EvaluationRecord, {"task": task, "successes": successes, "rollouts": rollouts})
        for task, successes, rollouts in counts
    ]


COUNTS = (("door-close", 18, 20), ("drawer-close", 2, 20), ("reach", 0, 0))


def test_a_mean_over_tasks_comes_with_the_interval_of_a_mean(capsys: pytest.CaptureFixture[str]) -> None:
    _conclude(screen(False), records(*COUNTS), False)
    assert "mean over 2 tasks" in (shown := capsys.readouterr().out)
    assert "50.0 % (40–60)" in shown  # pooled, 20 of 40 would be 35–65
    _conclude(screen(True), records(*COUNTS), True)
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["mean"], told["mean_interval"]) == (0.5, list(mean_interval(COUNTS[:2])))


def test_nothing_attempted_has_no_mean(capsys: pytest.CaptureFixture[str]) -> None:
    _conclude(screen(True), records(("reach", 0, 0)), True)
    told = json.loads(capsys.readouterr().out)
    assert (told["mean"], told["mean_interval"]) == (None, None)
