"""`sail bench`: every benchmark writes a file of results that the page shows, and says where it comes from."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from planners.autoencoder import FrameAutoencoder
from robot.cli.bench import show_figures
from robot.cli.compose import compose
from robot.cli.main import main
from robot.cli.screen import Screen
from robot.core.text import visible
from robot.reports.page import results_page
from robot.reports.results import ORIGIN, read_results
from robot.speed.diffusion import OPTIONS
from tests.hostile import HOSTILE, IDS, obeyed
from tests.unit.robot.cli.test_train import SIZE, record

TINY = ("planner=tiny", "inverse_dynamics=tiny")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "columns"),
    [
        (("render", "sizes=32", "frames=2", "stock_frames=1", "rounds=1"), ("size px", "fast fps", "ratio low")),
        (("planner", TINY[0], "batches=1,2", "repeats=1"), ("batch", "plan p50 ms")),
        (
            ("rollouts", *TINY, "rollouts=1", "max_steps=4", "robot.size=1", "robot.workers=1"),
            ("rollouts", "steps per s", "peak memory mib"),
        ),
    ],
    ids=["render", "planner", "rollouts"],
)
def test_a_benchmark_writes_a_file_that_the_page_shows(
    words: tuple[str, ...], columns: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / f"{words[0]}.json"
    assert main(["bench", *words, f"save={saved}"]) == 0
    capsys.readouterr()
    check_page(saved, words[0], columns)


def check_page(saved: Path, subject: str, columns: tuple[str, ...]) -> None:
    result = read_results(saved)
    assert all(result.meta[name] for name in ORIGIN if name != "wall_time_s")
    assert "wall_time_s" in result.meta
    page = results_page([result])
    assert page.startswith(f"# Benchmark: {subject}\n")
    assert f"- command: `sail bench {subject}" in page
    assert all(f"- {name}: " in page for name in ("revision", "hardware", "wall time"))
    heading = next(line for line in page.splitlines() if line.startswith("| "))
    assert all(f"| {column} |" in heading for column in columns)
    assert page.count("\n| ") == len(result.records) + 2


def diffusion(tmp_path: Path, *words: str) -> tuple[str, ...]:
    torch.manual_seed(0)
    FrameAutoencoder(widths=(16, 16, 16), image_size=SIZE).save(tmp_path / "autoencoder")
    return (
        *("bench", "diffusion", "--json", f"data={tmp_path}", "tasks=reach", "held_out=1", "windows=1", "samples=1"),
        *("steps=2", "batch_size=2", "warmup_steps=1", "stacked=16,16,16", "space_time=16,16,16", "only=delta=false"),
        *(f"autoencoder.folder={tmp_path / 'autoencoder'}", f"work={tmp_path / 'work'}", *words),
    )


def test_training_options_are_compared_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, "demonstrations", count=3, steps=20)
    saved = tmp_path / "diffusion.json"
    words = diffusion(tmp_path, f"save={saved}")
    assert main(words) == 0
    told = capsys.readouterr()
    content: dict[str, Any] = json.loads(told.out)
    assert content == json.loads(saved.read_text(encoding="utf-8"))
    assert "delta=false: 2 of 2" in told.err
    assert [one["variant"] for one in content["records"]][:2] == ["baseline", "delta=false"]
    assert content["records"][0]["gripper_cm"] > 0
    check_page(saved, "diffusion", ("variant", "latent rmse", "pixel rmse", "gripper cm", "windows better"))
    page = results_page([read_results(saved)])
    assert "One change from the baseline at a time, 2 steps" in page
    assert "- baseline: prediction v, schedule linear" in page
    assert " ± " in page
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["records"] == content["records"]


def test_missing_demonstrations_name_the_command_that_records_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(diffusion(tmp_path)) == 2
    assert "sail collect tasks=reach demonstrations=10" in capsys.readouterr().err


def test_the_baseline_is_what_planners_are_trained_with() -> None:
    trained, baseline = compose("train_planner").diffusion, compose("bench_diffusion").baseline
    assert set(baseline) == set(OPTIONS)
    assert dict(baseline) == {name: trained[name] for name in baseline}


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_figures_stand_under_what_they_share_whatever_that_is_called(text: str) -> None:
    file = io.StringIO()
    records = [{"what": f"{name} {text}", "both_of_them": text, "p50": value} for name, value in (("a", 1), ("b", 2))]
    show_figures(Screen(file, width=300, is_terminal=False), text, records)
    shown = file.getvalue()
    assert not obeyed(shown) and "\r" not in shown
    if len(text) < 100:
        lines = [line.rstrip() for line in shown.split("\n")]
        said = visible(text.replace("\n", " "))
        assert lines == [f"{visible(text)} · both of them {said}", *lines[1:4], ""]
        assert lines[1].split() == ["what", "p50"] and lines[2].startswith("a ") and lines[3].endswith(" 2")
