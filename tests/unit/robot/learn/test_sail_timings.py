"""What an iteration took is what all sessions took that worked at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from robot.core.data import Episode, Verdict
from robot.episodes.store import EpisodeStore
from robot.judges.truth import GroundTruth
from robot.learn import stages
from robot.learn.journal import Journal
from robot.learn.sail import SailLoop, SailSettings
from robot.rollouts.rollout import RolloutSettings
from tests.fakes import ToyLearner, ToyPlanner, ToyPool, toy_policy

SETTINGS = SailSettings(
    "toy",
    "go right",
    iterations=1,
    rollouts=8,
    finetune_from="previous",
    enough=2.0,
    rollout=RolloutSettings(max_steps=40),
)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


class Clock:
    """Stand in for the clock: it goes on when a robot acts, and when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(stages, "time", made)
    return made


class Learner(ToyLearner):
    """Take so long, and say how long all sessions took where it knows; stop in the middle where it is told to."""

    def __init__(self, planner: ToyPlanner, clock: Clock, takes_s: float, knows_s: float = 0.0, stop: bool = False):
        super().__init__(planner)
        self.clock, self.takes_s, self.knows_s, self.stop = clock, takes_s, knows_s, stop

    def update(
        self, episodes: Sequence[Episode], verdicts: Sequence[Verdict], folder: Path, seed: int
    ) -> dict[str, float]:
        self.clock.now_s += self.takes_s
        if self.stop:
            raise KeyboardInterrupt
        return super().update(episodes, verdicts, folder, seed) | {"training_s": self.knows_s}


def loop(folder: Path, learner: Callable[[ToyPlanner], ToyLearner], on_act: Callable[[], None]) -> SailLoop:
    planner = ToyPlanner({"go right": 0.8})
    return SailLoop(
        folder,
        SETTINGS,
        lambda: ToyPool(2, on_act=on_act),
        toy_policy(planner),
        GroundTruth(),
        EpisodeStore(folder / "episodes"),
        learner(planner),
    )


def test_rollouts_and_training_add_up_over_sessions(tmp_path: Path, clock: Clock) -> None:
    acts = [0]

    def tick() -> None:
        clock.now_s += 1.0
        acts[0] += 1
        if acts[0] == 20:
            raise KeyboardInterrupt

    def train(takes_s: float, stop: bool) -> Callable[[ToyPlanner], ToyLearner]:
        return lambda planner: Learner(planner, clock, takes_s, stop=stop)

    with pytest.raises(KeyboardInterrupt):
        loop(tmp_path, train(30.0, True), tick).run()
    state = Journal(tmp_path).state()
    assert state is not None
    assert state["timings"]["rollouts_s"] == 20.0
    clock.now_s += 10_000.0  # the time between two sessions is nobody's
    with pytest.raises(KeyboardInterrupt):
        loop(tmp_path, train(30.0, True), tick).run()
    rolled_out_s = float(acts[0])
    clock.now_s += 10_000.0
    first, _ = loop(tmp_path, train(5.0, False), tick).run()
    assert first["timings"]["rollouts_s"] == rolled_out_s > 20.0
    assert first["timings"]["planner_training_s"] == 35.0
    assert first["timings"]["steps"] > 20


def test_time_written_down_as_attempts_end_survives_a_kill(tmp_path: Path, clock: Clock) -> None:
    seen: list[float] = []

    def tick() -> None:
        clock.now_s += 1.0
        state = Journal(tmp_path).state()
        assert state is not None
        seen.append(state["timings"].get("rollouts_s", 0.0))  # what a kill would leave just now

    loop(tmp_path, lambda planner: Learner(planner, clock, 1.0), tick).run()
    left = seen[: seen.index(max(seen)) + 1]
    assert left == sorted(left)
    assert 0 < left[len(left) // 2] < left[-1]


def test_what_a_killed_training_took_is_known_to_its_own_state(tmp_path: Path, clock: Clock) -> None:
    first, _ = loop(tmp_path, lambda planner: Learner(planner, clock, 5.0, knows_s=42.0), lambda: None).run()
    assert first["timings"]["planner_training_s"] == 42.0


def test_the_peak_of_an_iteration_outlives_its_sessions(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [900]
    monkeypatch.setattr("robot.core.provenance.memory.held_bytes", lambda: held[0])
    with pytest.raises(KeyboardInterrupt):
        loop(tmp_path, lambda planner: Learner(planner, clock, 1.0, stop=True), lambda: None).run()
    held[0] = 500
    first, second = loop(tmp_path, lambda planner: Learner(planner, clock, 1.0), lambda: None).run()
    assert first["peak_memory_bytes"]["together"] == 900
    assert second["peak_memory_bytes"]["together"] == 500
