"""The page of results: complete, with failures, and the same from the same files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robot.errors import SailError
from robot.learn.report import interval_text
from robot.learn.results import read_results, results_page, write_results


def record(method: str, iteration: int, task: str, successes: int, rollouts: int, seed: int = 0) -> dict[str, object]:
    counts = {"successes": successes, "rollouts": rollouts}
    return {"method": method, "iteration": iteration, "task": task, "seed": seed, **counts}


def write(folder: Path, name: str, records: list[dict[str, object]], **meta: object) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"meta": meta, "records": records}), encoding="utf-8")
    return path


def test_every_task_and_failure_is_on_the_page_and_the_mean_weighs_tasks_alike(tmp_path: Path):
    records = [
        record("sail", 0, "door-close", 0, 20),
        record("sail", 0, "reach-wall", 10, 10),
        record("sail", 1, "door-close", 5, 20),
        record("oracle_pose_tracking", 0, "door-close", 19, 20),
    ]
    page = results_page([read_results(write(tmp_path, "sail", records, command="sail evaluate", revision="abc"))])
    assert f"| door-close | 0/20 · {interval_text(0, 20)} | 5/20 · {interval_text(5, 20)} |" in page
    assert f"| reach-wall | 10/10 · {interval_text(10, 10)} | – |" in page
    assert "| **mean** | **50.0 %** | **25.0 %** (of 1 tasks) |" in page
    assert "### oracle_pose_tracking" in page
    assert "`sail evaluate`" in page
    assert "`abc`" in page


def test_seeds_of_a_task_are_added_up(tmp_path: Path):
    records = [record("sail", 0, "door-close", s, 10, seed=s) for s in (1, 2, 3)]
    page = results_page([read_results(write(tmp_path, "sail", records))])
    assert "6/30" in page
    assert "(3 seeds)" in page


def test_benchmarks_become_plain_tables(tmp_path: Path):
    page = results_page([read_results(write(tmp_path, "bench", [{"size": 64, "fps": 118.25}, {"size": 128}]))])
    assert "| size | fps |" in page
    assert "| 64 | 118.2 |" in page
    assert "| 128 |  |" in page


def test_the_same_files_give_the_same_page(tmp_path: Path):
    write(tmp_path, "b", [record("sail", 0, "x", 1, 2)])
    write(tmp_path, "a", [record("sail", 0, "y", 1, 2)])
    first = write_results(tmp_path, tmp_path / "one.md").read_text(encoding="utf-8")
    assert first == write_results(tmp_path, tmp_path / "two.md").read_text(encoding="utf-8")
    assert first.index("## a") < first.index("## b")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "list of `records`"),
        ('{"records": [1]}', "objects with fields"),
        (json.dumps({"records": [{"method": "sail", "successes": 1}]}), "lacks 'iteration'"),
        (json.dumps({"records": [record("sail", 0, "x", 3, 2)]}), "more successes than rollouts"),
        (json.dumps({"records": [record("sail", 0, "x", 1.5, 2)]}), "whole number"),  # type: ignore[arg-type]
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path: Path, content: str, complaint: str):
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SailError, match=complaint):
        read_results(path)
