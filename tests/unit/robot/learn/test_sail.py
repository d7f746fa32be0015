from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from robot.core.data import Episode, SamplerSettings, Verdict
from robot.core.errors import SailError
from robot.core.protocols import RewardModel
from robot.episodes.labels import snapshot_hash
from robot.episodes.store import EpisodeStore
from robot.judges.everything import KeepEverything
from robot.judges.truth import GroundTruth
from robot.learn.attempts import Exploration, phrasing_of, training_seed
from robot.learn.exploration import InstructionBandit, Phrasing
from robot.learn.journal import Journal
from robot.learn.run import LoopEvent
from robot.learn.sail import SailLoop, SailSettings
from robot.reports.statistics import wilson_interval
from robot.rollouts.rollout import RolloutSettings
from tests.fakes import Chunks, ToyInverseDynamics, ToyLearner, ToyPlanner, ToyPool, toy_policy

SETTINGS = SailSettings(
    "toy",
    "go right",
    iterations=3,
    rollouts=30,
    finetune_from="previous",
    enough=2.0,
    rollout=RolloutSettings(max_steps=40),
)
HELPFUL = {"push": 0.85}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


def exploration(**changes: Any) -> Exploration:
    return Exploration(InstructionBandit(("push", "lift", "turn", "press", "pull")), **changes)


def run(
    folder: Path,
    skills: dict[str, float] | None = None,
    explore: Exploration | None = None,
    settings: SailSettings = SETTINGS,
    judge: RewardModel | None = None,
    events: list[LoopEvent] | None = None,
    train: bool = True,
    pool: Any = None,
) -> tuple[list[dict[str, Any]], SailLoop, ToyLearner]:
    planner = ToyPlanner(skills if skills is not None else HELPFUL)
    learner = ToyLearner(planner)
    loop = SailLoop(
        folder,
        settings,
        pool or (lambda: ToyPool(8)),
        toy_policy(planner),
        judge or GroundTruth(),
        EpisodeStore(folder / "episodes"),
        learner if train else None,
        None,
        explore,
        None if events is None else events.append,
    )
    return loop.run(), loop, learner


def test_a_cold_start_stays_cold_without_exploration_and_thaws_with_it(tmp_path: Path) -> None:
    cold, _, untouched = run(tmp_path / "without")
    assert [record["successes"] for record in cold] == [0, 0, 0, 0]
    assert untouched.updates == []
    warm, _, _ = run(tmp_path / "with", explore=exploration())
    assert warm[0]["successes"] == 0
    assert warm[0]["exploration"]["successes"] > 0
    assert warm[-1]["successes"] / warm[-1]["rollouts"] > 0.3


def test_every_success_is_stored_under_the_true_instruction(tmp_path: Path) -> None:
    _, loop, _ = run(tmp_path, explore=exploration(), settings=dataclasses.replace(SETTINGS, iterations=1))
    episodes = [loop.store.load(name) for name in loop.store.ids()]
    assert {episode.instruction for episode in episodes} == {"go right"}
    borrowed = [episode for episode in episodes if episode.spoken != "go right"]
    assert any(episode.success is not None and episode.success.any() for episode in borrowed)
    assert all(len(loop.store.verdicts(name)) == 1 for name in loop.store.ids())


def test_the_budget_is_kept_and_reported_success_is_of_the_true_instruction(tmp_path: Path) -> None:
    records, loop, _ = run(tmp_path, {"push": 0.85, "go right": 0.5}, exploration())
    for record in records:
        attempts = loop.journal.attempts(record["iteration"])
        assert len(attempts) == 30
        assert [attempt["index"] for attempt in attempts] == list(range(30))
        true = [attempt for attempt in attempts if not attempt["explored"]]
        assert record["rollouts"] == len(true) >= 10
        assert record["rollouts"] + record["exploration"]["rollouts"] == 30
        assert record["successes"] == sum(bool(attempt["truth"]) for attempt in true)
        assert all(attempt["spoken"] == "go right" for attempt in true)
        assert record["seeds"] == [attempt["seed"] for attempt in true]
        assert record["wilson"] == list(wilson_interval(record["successes"], record["rollouts"]))
        assert sum(arm["attempts"] for arm in record["exploration"]["arms"]) == record["exploration"]["rollouts"]
    assert records[-1]["exploration"]["rollouts"] == 0  # nothing is learnt from the last
    assert len({seed for record in records for seed in record["seeds"]}) > 40


def test_the_true_words_asked_otherwise_count_as_exploration(tmp_path: Path) -> None:
    plain = Phrasing("go right", "", SamplerSettings().guidance_scale)
    bandit = InstructionBandit(("go right",), ("", "go left"), (1.5, 2.0, 3.0), without=[plain])
    explore = Exploration(bandit, start_share=1.0, minimum_true=6)
    settings = dataclasses.replace(SETTINGS, iterations=1)
    records, loop, learner = run(tmp_path, {"go right": 0.3}, explore, settings)
    first = records[0]
    attempts = loop.journal.attempts(0)
    explored = [attempt for attempt in attempts if attempt["explored"]]
    assert explored
    assert {attempt["spoken"] for attempt in attempts} == {"go right"}
    assert all(phrasing_of(attempt) != plain for attempt in explored)
    assert all(phrasing_of(attempt) == plain for attempt in attempts if not attempt["explored"])
    assert first["rollouts"] == 30 - len(explored)
    assert first["exploration"]["rollouts"] == len(explored)
    # What worked is learnt from all the same, and the run can be taken up again.
    assert learner.updates[0][0] == first["collected"] >= first["exploration"]["successes"] > 0
    assert run(tmp_path, {"go right": 0.3}, explore, settings)[0] == records


def test_exploration_ends_when_the_true_instruction_works(tmp_path: Path) -> None:
    records, _, _ = run(
        tmp_path, {"go right": 0.95}, exploration(explore_last=True), dataclasses.replace(SETTINGS, iterations=1)
    )
    assert [record["exploration"]["rollouts"] for record in records] == [0, 0]


def test_with_and_without_exploration_start_from_the_same_positions(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, iterations=1)
    explored, _, _ = run(tmp_path / "a", explore=exploration(), settings=settings)
    plain, _, _ = run(tmp_path / "b", settings=settings)
    for one, other in zip(explored, plain, strict=True):
        assert one["seeds"] == other["seeds"][: len(one["seeds"])]


def test_the_bandit_learns_within_the_iteration(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, iterations=1)
    _, loop, _ = run(tmp_path, explore=exploration(minimum_true=5, start_share=1.0), settings=settings)
    explored = [attempt for attempt in loop.journal.attempts(0) if attempt["explored"]]
    late = explored[-10:]
    assert sum(attempt["spoken"] == "push" for attempt in late) >= 5


def test_successes_accumulate_or_not_and_failures_are_offered_too(tmp_path: Path) -> None:
    skills = {"go right": 0.8}
    for accumulate in (True, False):
        settings = dataclasses.replace(SETTINGS, accumulate=accumulate, rollouts=8)
        records, _, learner = run(tmp_path / str(accumulate), skills, settings=settings)
        collected = [record["collected"] for record in records][:3]
        expected = [sum(collected[: n + 1]) if accumulate else collected[n] for n in range(3)]
        assert [successes for successes, _ in learner.updates] == expected
        assert [rollouts for _, rollouts in learner.updates] == ([8, 16, 24] if accumulate else [8, 8, 8])


def test_fine_tuning_goes_on_from_the_previous_model_or_from_the_starter(tmp_path: Path) -> None:
    skills = {"go right": 0.6}
    starts: dict[str, list[float]] = {}
    for source in ("previous", "starter"):
        settings = dataclasses.replace(SETTINGS, finetune_from=source, rollouts=8)  # type: ignore[arg-type]
        planner = ToyPlanner(skills)
        learner = ToyLearner(planner)
        before: list[float] = []
        update = learner.update
        learner.update = lambda *given, b=before, u=update, p=planner: (b.append(p.skills["go right"]), u(*given))[1]  # type: ignore[method-assign]
        SailLoop(
            tmp_path / source,
            settings,
            lambda: ToyPool(8),
            toy_policy(planner),
            GroundTruth(),
            EpisodeStore(tmp_path / source / "episodes"),
            learner,
        ).run()
        starts[source] = before
    assert starts["starter"] == [0.6] * 3
    assert starts["previous"][0] == 0.6 < starts["previous"][1] < starts["previous"][2]


def spoiled_starts(tmp_path: Path, source: str) -> list[float]:
    """Return the skill each training began from where training always leaves a planner that can do nothing."""
    settings = dataclasses.replace(SETTINGS, finetune_from=source, rollouts=8)  # type: ignore[arg-type]
    planner = ToyPlanner({"go right": 0.8})
    learner = ToyLearner(planner)
    before: list[float] = []

    def spoil(episodes: Sequence[Episode], verdicts: Sequence[Verdict], folder: Path, seed: int) -> dict[str, float]:
        before.append(planner.skills["go right"])
        planner.skills = {"go right": 0.0}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.json").write_text(json.dumps(planner.skills))
        return {}

    learner.update = spoil  # type: ignore[method-assign]
    SailLoop(
        tmp_path / source,
        settings,
        lambda: ToyPool(8),
        toy_policy(planner),
        GroundTruth(),
        EpisodeStore(tmp_path / source / "episodes"),
        learner,
    ).run()
    return before


def test_training_that_made_things_worse_is_not_built_upon(tmp_path: Path) -> None:
    assert spoiled_starts(tmp_path, "previous") == [0.8, 0.0, 0.0]
    assert spoiled_starts(tmp_path, "best") == [0.8, 0.8, 0.8]


def test_an_iteration_that_does_well_enough_trains_nothing(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, enough=0.9, rollouts=8)
    records, _, learner = run(tmp_path, {"go right": 1.0}, settings=settings)
    assert [record["successes"] for record in records] == [8] * len(records)
    assert learner.updates == []
    _, _, learner = run(tmp_path / "unjudged", {"go right": 1.0}, settings=settings, judge=KeepEverything())
    assert len(learner.updates) == settings.iterations  # nobody said that it does well
    always = dataclasses.replace(SETTINGS, rollouts=8)
    _, _, learner = run(tmp_path / "always", {"go right": 1.0}, settings=always)
    assert len(learner.updates) == always.iterations


def test_a_training_names_what_was_said_about_its_episodes(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, iterations=1, rollouts=8)
    records, loop, _ = run(tmp_path, {"go right": 0.8}, settings=settings)
    ids = [one for one in loop.store.ids() if "-i00-" in one]
    assert records[0]["labels"]["planner"] == snapshot_hash({one: loop.store.labels(one) for one in ids})
    assert "planner" not in records[1]["labels"]  # the last iteration trains nothing
    loop.store.append_verdict(ids[0], Verdict(0.0, "person"))
    assert records[0]["labels"]["planner"] != snapshot_hash({one: loop.store.labels(one) for one in ids})


def test_what_a_person_said_counts_for_training(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, iterations=1, rollouts=8)
    corrected: list[str] = []

    def correct(event: LoopEvent) -> None:
        if event.kind == "rollouts_finished" and event.iteration == 0:
            store = EpisodeStore(tmp_path / "episodes")
            corrected.extend(store.ids()[:1])
            store.append_verdict(corrected[0], Verdict(0.0, "person"))

    planner = ToyPlanner({"go right": 1.0})
    learner = ToyLearner(planner)
    SailLoop(
        tmp_path,
        settings,
        lambda: ToyPool(8),
        toy_policy(planner),
        GroundTruth(),
        EpisodeStore(tmp_path / "episodes"),
        learner,
        on_event=correct,
    ).run()
    assert learner.updates[0] == (7, 8)


def judged_run(tmp_path: Path, say: Any, judge: RewardModel, enough: float = 2.0) -> tuple[ToyLearner, SailLoop]:
    """Run one iteration of eight attempts that all work; `say` is given the store and the ids before it trains."""

    def hear(event: LoopEvent) -> None:
        if event.kind == "rollouts_finished" and event.iteration == 0:
            store = EpisodeStore(tmp_path / "episodes")
            say(store, store.ids())

    planner = ToyPlanner({"go right": 1.0})
    learner = ToyLearner(planner)
    loop = SailLoop(
        tmp_path,
        dataclasses.replace(SETTINGS, iterations=1, rollouts=8, enough=enough),
        lambda: ToyPool(8),
        toy_policy(planner),
        judge,
        EpisodeStore(tmp_path / "episodes"),
        learner,
        on_event=hear,
    )
    loop.run()
    return learner, loop


def test_a_person_decides_what_is_enough_as_for_training(tmp_path: Path) -> None:
    def half_failed(store: EpisodeStore, ids: Sequence[str]) -> None:
        for name in ids[:4]:
            store.append_verdict(name, Verdict(0.0, "person"))

    def nothing(*_: object) -> None:
        pass

    assert judged_run(tmp_path / "alone", nothing, GroundTruth(), enough=0.9)[0].updates == []
    assert judged_run(tmp_path / "told", half_failed, GroundTruth(), enough=0.9)[0].updates == [(4, 8)]


def test_a_person_makes_a_run_without_a_judge_good_enough(tmp_path: Path) -> None:
    def praise(store: EpisodeStore, ids: Sequence[str]) -> None:
        for name in ids:
            store.append_verdict(name, Verdict(1.0, "person"))

    assert judged_run(tmp_path, praise, KeepEverything(), enough=0.9)[0].updates == []


class Unsure:
    """A classifier that says the same of everything."""

    identity = "unsure"

    def judge(self, episodes: Sequence[Episode]) -> list[Verdict]:
        return [Verdict(0.6, "classifier", "mine", rationale="mine")] * len(episodes)


def test_a_run_knows_its_own_verdict_by_its_id_and_not_by_its_number(tmp_path: Path) -> None:
    """Another judge that says the same number, or a later one that says another, is not the run's."""
    before: list[str] = []

    def others(store: EpisodeStore, ids: Sequence[str]) -> None:
        labels = store.path(ids[0]) / "labels.jsonl"
        own = labels.read_bytes()
        labels.unlink()
        store.append_verdict(ids[0], Verdict(0.6, "vlm", "theirs", rationale="theirs"))
        labels.write_bytes(labels.read_bytes() + own)  # said before ours was
        store.append_verdict(ids[1], Verdict(0.0, "vlm", "theirs"))
        before.extend(ids[:2])

    learner, loop = judged_run(tmp_path, others, Unsure())
    assert learner.updates == [(8, 8)]
    attempts = {record["episode"]: record for record in loop.journal.attempts(0)}
    for name in before:
        verdict = loop.book.verdict(attempts[name])
        assert (verdict.model, verdict.rationale) == ("mine", "mine")
        assert attempts[name]["label"] in {label.label_id for label in loop.store.labels(name)}


def test_a_run_of_before_there_were_ids_goes_on(tmp_path: Path) -> None:
    def forget(store: EpisodeStore, ids: Sequence[str]) -> None:
        path = tmp_path / "iteration-00" / "attempts.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row.pop("label", None)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        store.append_verdict(ids[0], Verdict(0.0, "person"))
        store.append_verdict(ids[1], Verdict(0.0, "vlm"))

    learner, loop = judged_run(tmp_path, forget, Unsure())
    assert learner.updates == [(7, 8)]
    assert loop.book.rate(0) == 7 / 8


def test_what_a_run_without_a_judge_keeps_is_learnt_from_and_is_no_success(tmp_path: Path) -> None:
    learner, loop = judged_run(tmp_path, lambda *_: None, KeepEverything())
    assert learner.updates == [(8, 8)] and loop.book.rate(0) == 0.0
    assert {loop.book.verdict(one).source for one in loop.journal.attempts(0)} == {"none"}


def test_every_training_has_a_seed_of_its_own_that_the_record_names(tmp_path: Path) -> None:
    seeds: dict[int, list[int]] = {}
    for run_seed in (0, 1):
        planner = ToyPlanner({"go right": 0.8})
        learners = ToyLearner(planner), ToyLearner(ToyPlanner({}), needs_success=False)
        loop = SailLoop(
            tmp_path / str(run_seed),
            dataclasses.replace(SETTINGS, seed=run_seed, rollouts=8),
            lambda: ToyPool(8),
            toy_policy(planner),
            GroundTruth(),
            EpisodeStore(tmp_path / str(run_seed) / "episodes"),
            *learners,
        )
        records = loop.run()
        assert [record["training"]["planner"]["seed"] for record in records[:3]] == learners[0].seeds
        assert [record["training"]["inverse_dynamics"]["seed"] for record in records[:3]] == learners[1].seeds
        assert learners[0].seeds == [training_seed(run_seed, iteration, "planner") for iteration in range(3)]
        seeds[run_seed] = learners[0].seeds + learners[1].seeds
    assert len({*seeds[0], *seeds[1]}) == 12


def test_learners_switched_off_leave_the_models_alone(tmp_path: Path) -> None:
    records, _, learner = run(
        tmp_path, {"go right": 0.8}, train=False, settings=dataclasses.replace(SETTINGS, iterations=1)
    )
    assert learner.updates == []
    assert len({record["planner"] for record in records}) == 1
    assert all(record["training"] == {} for record in records)


def test_without_a_filter_everything_is_learnt_from_but_truth_is_reported(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, iterations=1)
    records, _, learner = run(tmp_path, {"go right": 0.5}, settings=settings, judge=KeepEverything())
    first = records[0]
    assert learner.updates == [(30, 30)]
    assert first["collected"] == 30
    assert first["successes"] < 30
    assert first["judge"] == {"judged": 30, "false_positives": 30 - first["successes"], "false_negatives": 0}
    assert first["success_source"] == "truth"


def test_where_nobody_knows_the_truth_the_judge_is_believed_and_it_is_said(tmp_path: Path) -> None:
    class Half:
        identity = "half"

        def judge(self, episodes: Sequence[Episode]) -> list[Verdict]:
            return [Verdict(0.4 + 0.2 * (episode.seed % 2), "person") for episode in episodes]

    settings = dataclasses.replace(SETTINGS, iterations=0)
    records, _, _ = run(tmp_path, settings=settings, judge=Half(), pool=lambda: ToyPool(4, knows_truth=False))
    (record,) = records
    assert record["success_source"] == "judge"
    assert record["successes"] == sum(seed % 2 for seed in record["seeds"])


def test_faults_count_for_nothing(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, iterations=0)
    (sound,), loop, _ = run(tmp_path / "sound", {"go right": 0.8}, settings=settings)
    seeds = [attempt["seed"] for attempt in loop.journal.attempts(0)]
    (record,), loop, _ = run(
        tmp_path / "broken",
        {"go right": 0.8},
        settings=settings,
        pool=lambda: ToyPool(4, breaks={seeds[3]: 2, seeds[7]: 0}),
    )
    assert record["faults"] == 2
    assert record["timings"]["retries"] == 4  # each was begun again twice
    assert record["rollouts"] == 28
    assert record["seeds"] == [seed for seed in sound["seeds"] if seed not in (seeds[3], seeds[7])]
    assert "kept" not in loop.journal.attempts(0)[3]


def test_events_tell_the_story_in_order(tmp_path: Path) -> None:
    events: list[LoopEvent] = []
    settings = dataclasses.replace(SETTINGS, iterations=1)
    run(tmp_path, {"go right": 0.8}, settings=settings, events=events)
    kinds = [event.kind for event in events if event.kind != "attempt_finished"]
    assert kinds == [
        "run_started",
        "iteration_started",
        "rollouts_finished",
        "training_started",
        "training_finished",
        "iteration_finished",
        "iteration_started",
        "rollouts_finished",
        "iteration_finished",
        "run_finished",
    ]
    assert sum(event.kind == "attempt_finished" for event in events) == 60


def test_a_record_is_plain_json_with_numbers_measured(tmp_path: Path) -> None:
    records, loop, _ = run(tmp_path, {"go right": 0.8}, settings=dataclasses.replace(SETTINGS, iterations=1))
    assert [json.loads(line) for line in (tmp_path / "iterations.jsonl").read_text().splitlines()] == records
    first = records[0]
    assert first["timings"]["planning_s"] > 0
    assert first["timings"]["planner_training_s"] >= 0
    assert first["training"]["planner"]["skill"] > 0.8
    assert first["peak_memory_bytes"]["process"] > 10**6
    assert first["peak_memory_bytes"]["together"] > 10**6
    assert first["models"]["planner"] == "iteration-00/planner"
    assert 10 <= first["steps_to_success"] <= 40
    assert loop.journal.state() is not None


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path, settings=dataclasses.replace(SETTINGS, iterations=0))
    with pytest.raises(SailError, match=r"another seed \(0\)"):
        run(tmp_path, settings=dataclasses.replace(SETTINGS, iterations=0, seed=1))
    with pytest.raises(SailError, match="another exploration"):
        run(tmp_path, settings=dataclasses.replace(SETTINGS, iterations=0), explore=exploration())


def test_a_run_that_has_ended_goes_on_where_more_iterations_are_asked_for(tmp_path: Path) -> None:
    short = dataclasses.replace(SETTINGS, iterations=1)
    once, _, _ = run(tmp_path / "longer", settings=short, explore=exploration(explore_last=True))
    assert len(once) == 2 and once[-1]["training"] == {}
    longer, _, learner = run(tmp_path / "longer", settings=SETTINGS, explore=exploration(explore_last=True))
    at_once, _, _ = run(tmp_path / "at once", settings=SETTINGS, explore=exploration(explore_last=True))
    assert len(learner.updates) == 2  # what iteration 1 had left out, and iteration 2's
    for one, other in zip(longer, at_once, strict=True):
        for name in ("iteration", "successes", "rollouts", "seeds", "exploration", "collected"):
            assert one[name] == other[name]
        assert set(one["training"]) == set(other["training"])
    # Fewer are no more than what there is, and the same again changes nothing.
    for settings in (short, SETTINGS):
        again, _, idle = run(tmp_path / "longer", settings=settings, explore=exploration(explore_last=True))
        assert again == longer and idle.updates == []


@pytest.mark.parametrize("explore_last", [True, False])
def test_an_iteration_begun_as_the_last_ends_as_it_was_begun(tmp_path: Path, explore_last: bool) -> None:
    stopping = Stopping(5)
    explore = exploration(explore_last=explore_last)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, settings=dataclasses.replace(SETTINGS, iterations=0), explore=explore, events=stopping)
    records, _, _ = run(tmp_path, settings=dataclasses.replace(SETTINGS, iterations=1), explore=explore)
    assert (records[0]["exploration"]["rollouts"] > 0) == explore_last
    assert records[0]["rollouts"] + records[0]["exploration"]["rollouts"] == 30
    assert len(records) == 2


class Stopping(list[LoopEvent]):
    """Interrupt the run once so many attempts have ended."""

    def __init__(self, attempts: int) -> None:
        super().__init__()
        self.left = attempts

    def append(self, event: LoopEvent) -> None:
        super().append(event)
        self.left -= event.kind == "attempt_finished"
        if not self.left:
            raise KeyboardInterrupt


def test_a_damaged_state_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"format": 1, "iter')
    with pytest.raises(SailError, match=r"state\.json is damaged"):
        run(tmp_path)


def test_a_full_disk_keeps_the_state_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    run(tmp_path, settings=dataclasses.replace(SETTINGS, iterations=0))
    before = (tmp_path / "state.json").read_text()
    state = journal.state()
    assert state is not None

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SailError, match="No space left on device"):
        journal.save({**state, "iteration": 9})
    assert (tmp_path / "state.json").read_text() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_pools_are_closed_while_models_train(tmp_path: Path) -> None:
    pools: list[ToyPool] = []

    def make() -> ToyPool:
        pools.append(ToyPool(4))
        return pools[-1]

    events: list[tuple[str, int]] = []
    planner = ToyPlanner({"go right": 0.8})
    SailLoop(
        tmp_path,
        dataclasses.replace(SETTINGS, iterations=1),
        make,
        toy_policy(planner),
        GroundTruth(),
        EpisodeStore(tmp_path / "episodes"),
        ToyLearner(planner),
        on_event=lambda event: events.append((event.kind, pools[-1].robots[0].closed if pools else -1)),
    ).run()
    assert ("training_started", 1) in events
    assert len(pools) == 2
    assert all(robot.closed for pool in pools for robot in pool.robots)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="is empty"):
        SailSettings("toy", " ")
    with pytest.raises(ValueError, match="rollouts must be at least 1"):
        SailSettings("toy", "go", rollouts=0)
    with pytest.raises(ValueError, match="finetune_from"):
        SailSettings("toy", "go", finetune_from="scratch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="minimum_true must be at least 1"):
        exploration(minimum_true=0)


def test_a_policy_without_plans_runs_the_loop_and_learns_by_its_own_learner(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, iterations=1, rollouts=6)
    store = EpisodeStore(tmp_path / "episodes")
    records = SailLoop(tmp_path, settings, lambda: ToyPool(3), Chunks(), GroundTruth(), store).run()
    assert [record["successes"] for record in records] == [6, 6]
    assert {record["planner"] for record in records} == {"chunks"}
    assert all(store.load(name).plans == () for name in store.ids())


def states_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "state.json").read_text())
    return state


class Classifier:
    """A judge with weights, which its identity names."""

    source = "classifier"

    def __init__(self, weights: str) -> None:
        self.identity = f"classifier {weights}"

    def judge(self, episodes: Sequence[Episode]) -> list[Verdict]:
        return [Verdict(1.0, self.source, self.identity) for _ in episodes]


def test_neither_another_judge_nor_another_inverse_dynamics_resumes_a_run(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, iterations=0, rollouts=2)
    run(tmp_path, settings=settings, judge=Classifier("a"))
    run(tmp_path, settings=settings, judge=Classifier("a"))
    with pytest.raises(SailError, match=r"another judge \(classifier a\)"):
        run(tmp_path, settings=settings, judge=Classifier("b"))

    class Other(ToyInverseDynamics):
        identity = "other"

    policy = toy_policy(ToyPlanner(HELPFUL), Other())
    learner, store = ToyLearner(ToyPlanner(HELPFUL)), EpisodeStore(tmp_path / "episodes")
    loop = SailLoop(tmp_path, settings, ToyPool, policy, Classifier("a"), store, learner)
    with pytest.raises(SailError, match="another policy .*toy, 6 frames"):
        loop.run()


def test_a_state_of_an_earlier_version_is_resumed_for_all_that_it_did_not_say(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, iterations=0, rollouts=2)
    run(tmp_path, settings=settings)
    state = states_of(tmp_path)
    said = state["settings"]
    assert said["judge"] == "truth" and said["rollout"]["ends_by"] == "truth" and "toy" in said["policy"]
    del said["policy"]
    said["judge"] = "GroundTruth"
    said["rollout"] = {"max_steps": 40, "execute_frames": 6, "plan_batch": 16, "stop_on_success": True, "retries": 2}
    earlier = json.dumps(state)
    (tmp_path / "state.json").write_text(earlier)
    records, _, _ = run(tmp_path, settings=dataclasses.replace(settings, iterations=1))
    assert len(records) == 2
    assert states_of(tmp_path)["settings"]["policy"]  # from now on it is compared
    for changed in (
        {"judge": KeepEverything()},
        {"skills": {"push": 0.1}},
        {"settings": dataclasses.replace(settings, rollout=RolloutSettings(max_steps=41))},
    ):
        (tmp_path / "state.json").write_text(earlier)
        with pytest.raises(SailError, match="another (judge|starter planner|rollout)"):
            run(tmp_path, **{"settings": settings, **changed})  # type: ignore[arg-type]


def test_steps_to_success_are_counted_to_the_success_and_not_to_the_end_of_the_time(tmp_path: Path) -> None:
    """With a judge that is not the truth attempts go on; only the report hears from the simulator when it was done."""
    settings = dataclasses.replace(SETTINGS, iterations=0, rollouts=6)
    [record], loop, _ = run(tmp_path, {"go right": 1.0}, settings=settings, judge=KeepEverything())
    attempts = loop.journal.attempts(0)
    assert {one["steps"] for one in attempts} == {40} and record["successes"] > 0
    done = [one["steps_to_success"] for one in attempts if one["truth"]]
    assert record["steps_to_success"] == sum(done) / len(done) < 40
    assert all("steps_to_success" not in one for one in attempts if not one["truth"])
