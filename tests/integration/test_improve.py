"""`sail improve` end to end on the CPU with tiny untrained models: stopped in the middle, resumed, reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policies.pose_network import PoseNetwork, PoseNetworkShape, save_pose_network
from robot.cli import improve
from robot.cli.main import main
from robot.episodes.store import EpisodeStore
from robot.learn.run import LoopEvent

pytestmark = pytest.mark.slow


def command(folder: Path) -> list[str]:
    pose_network = folder / "pose"
    if not pose_network.exists():
        save_pose_network(pose_network, PoseNetwork(PoseNetworkShape(widths=(8, 8, 16, 16), keypoints=8, hidden=16)))
    return [
        "improve",
        "task=drawer-close",
        "planner=tiny",
        f"inverse_dynamics.folder={pose_network}",
        "judge=none",
        "iterations=1",
        "rollouts=3",
        "max_steps=13",
        "demonstrations=1",
        "robot.size=2",
        "robot.workers=1",
        "learner.planner.steps=2",
        "learner.planner.batch_size=2",
        "learner.inverse_dynamics.steps=2",
        "learner.inverse_dynamics.batch_size=4",
        "learner.exploration.minimum_true=2",
        f"data={folder / 'data'}",
        f"runs={folder / 'runs'}",
        f"save={folder / 'sail.json'}",
    ]


def test_a_run_stopped_in_the_middle_goes_on_and_ends_with_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hear = improve.Narrator.hear

    def stop_at_training(self: improve.Narrator, event: LoopEvent) -> None:
        hear(self, event)
        if event.kind == "training_started":
            raise KeyboardInterrupt

    words = command(tmp_path)
    monkeypatch.setattr(improve.Narrator, "hear", stop_at_training)
    assert main(words) == 130
    assert "continue with: sail improve" in capsys.readouterr().err
    (folder,) = (tmp_path / "runs").iterdir()
    before = EpisodeStore(folder / "episodes").ids()
    assert len(before) == 3

    page = folder / "report" / "index.html"
    assert not page.exists()
    rounds: list[bool] = []

    def look(self: improve.Narrator, event: LoopEvent) -> None:
        hear(self, event)
        if event.kind in ("iteration_started", "iteration_finished"):
            rounds.append(page.exists())

    monkeypatch.setattr(improve.Narrator, "hear", look)
    assert main([*words, "--json"]) == 0
    assert rounds == [True, True, True]  # from the end of the first round on, which this one finishes
    told = json.loads(capsys.readouterr().out)
    assert [record["iteration"] for record in told["iterations"]] == [0, 1]
    after = EpisodeStore(folder / "episodes").ids()
    assert set(before) < set(after)
    assert len(after) == 6

    first, _ = told["iterations"]
    store = EpisodeStore(folder / "episodes")
    planners = [{store.load(name).plans[0].plan.planner for name in ids} for ids in (before, set(after) - set(before))]
    assert [len(names) for names in planners] == [1, 1]
    assert planners[0] != planners[1]
    assert set(first["training"]) == {"planner", "inverse_dynamics"}
    assert {record["rollouts"] + record["exploration"]["rollouts"] for record in told["iterations"]} == {3}
    shown = Path(told["report"]).read_text(encoding="utf-8")
    assert "drawer-close" in shown
    assert "data:image/gif" in shown
    saved = json.loads((tmp_path / "sail.json").read_text(encoding="utf-8"))
    assert len(saved["records"]) == 2
    assert saved["meta"]["command"].startswith("sail improve")

    assert saved["meta"]["command"] == json.loads((folder / "sessions.jsonl").read_text().splitlines()[0])["command"]
    assert len((folder / "sessions.jsonl").read_text().splitlines()) == 2

    # A finished run is not repeated: the same command draws the report again.
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["iterations"] == told["iterations"]
    assert len((folder / "sessions.jsonl").read_text().splitlines()) == 2
