"""Whose word counts: one rule, and one answer wherever it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robot.cli.improve import demonstrations_in
from robot.core.data import Outcome, Verdict
from robot.core.errors import SailError
from robot.episodes.arbitration import current, own_label, rank, settled, worked, worked_at
from robot.episodes.catalogue import Catalogue
from robot.episodes.dataset import Recordings, Transitions
from robot.episodes.labels import Field, Label, verdict_labels
from robot.episodes.lerobot import form
from robot.episodes.lerobot.columns import known_of
from robot.episodes.store import EpisodeStore
from robot.labelling.queue import queue
from tests.unit.robot.episodes.samples import episode

GOOD, BAD, UNSURE = Verdict(1.0, "person"), Verdict(0.0, "person"), Verdict(0.5, "person")


def test_a_person_outranks_the_simulator_and_that_outranks_models_whatever_the_order() -> None:
    person = Label(Field.SUCCESS, 1.0, "person", "ada")
    simulator, model = Label(Field.SUCCESS, 0.0, "truth"), Label(Field.SUCCESS, 0.4, "classifier")
    nobody = Label(Field.SUCCESS, 1.0, "none")
    assert rank(person) > rank(simulator) > rank(model) > rank(nobody)
    assert current([nobody], Field.SUCCESS) is None
    for order in ([person, simulator, model, nobody], [nobody, model, simulator, person]):
        assert current(order, Field.SUCCESS) is person
        assert current([one for one in order if one is not person], Field.SUCCESS) is simulator
        assert current([model, nobody], Field.SUCCESS) is model


def test_of_one_rank_the_latest_counts_and_a_part_settles_nothing() -> None:
    early, late = Label(Field.SUCCESS, 0.1, "vlm"), Label(Field.SUCCESS, 0.8, "classifier")
    part = Label(Field.SUCCESS, 0.0, "person", span=(0, 1))
    assert current([early, late, part], Field.SUCCESS) is late
    assert current([late, early], Field.SUCCESS) is early
    unsure = Label(Field.SUCCESS, 0.5, "person")
    assert current([Label(Field.SUCCESS, 1.0, "truth"), unsure], Field.SUCCESS) is unsure


def test_the_newest_word_of_any_person_counts() -> None:
    ada, ben = Label(Field.SUCCESS, 1.0, "person", "ada"), Label(Field.SUCCESS, 0.0, "person", "ben")
    assert current([ada, ben], Field.SUCCESS) is ben and current([ben, ada], Field.SUCCESS) is ada


def test_within_a_run_its_own_judge_counts_and_persons_alone_overrule_it() -> None:
    own = Label(Field.SUCCESS, 0.2, "classifier", model="a", label_id="own")
    later = Label(Field.SUCCESS, 0.9, "classifier", model="b", label_id="later")
    truth = Label(Field.SUCCESS, 1.0, "truth", label_id="truth")
    person = Label(Field.SUCCESS, 0.8, "person", label_id="person")
    assert current([own, later, truth], Field.SUCCESS, "own") is own
    assert current([person, own, later, truth], Field.SUCCESS, "own") is person
    assert current([later, truth], Field.SUCCESS, "own") is None  # it was taken back, or never noted
    none = Label(Field.SUCCESS, 1.0, "none", label_id="own")
    assert settled([none, later, truth], "own") is None


def test_the_verdict_that_counts_comes_with_its_progress() -> None:
    progress = np.linspace(0, 1, 4, dtype=np.float32)
    labels = [*verdict_labels(Verdict(0.1, "vlm")), *verdict_labels(Verdict(0.7, "vlm", "m", progress, "it looks so"))]
    found = settled(labels)
    assert found is not None and (found.probability, found.model, found.rationale) == (0.7, "m", "it looks so")
    assert found.progress is not None and np.array_equal(found.progress, progress)


def test_what_an_old_run_did_not_note_is_found_by_its_probability() -> None:
    said = [
        Label(Field.SUCCESS, p, source, label_id=source) for p, source in ((0.7, "person"), (0.7, "vlm"), (1.0, "x"))
    ]
    assert own_label(said, 0.7) == "vlm" and own_label(said, 0.2) == ""


ASKED = [  # what was said, oldest first; how it ended; what the simulator saw; whether it worked
    ([], Outcome.SUCCESS, None, True),
    ([], Outcome.FAILURE, None, False),
    ([], Outcome.TIMEOUT, None, None),
    ([Verdict(1.0, "none")], Outcome.TIMEOUT, None, None),
    ([Verdict(1.0, "none")], Outcome.FAILURE, None, False),
    ([Verdict(0.9, "vlm")], Outcome.FAILURE, None, True),
    ([Verdict(0.9, "vlm"), Verdict(0.1, "classifier")], Outcome.SUCCESS, None, False),
    ([BAD, Verdict(0.9, "classifier")], Outcome.SUCCESS, None, False),
    ([GOOD, Verdict(0.0, "truth"), Verdict(0.1, "vlm")], Outcome.TIMEOUT, None, True),
    ([GOOD, BAD], Outcome.SUCCESS, None, False),
    ([Verdict(1.0, "truth"), UNSURE], Outcome.SUCCESS, None, None),
    ([Verdict(0.1, "classifier")], Outcome.TIMEOUT, [False, True, True], True),
    ([BAD], Outcome.TIMEOUT, [False, True, True], False),
    ([GOOD], Outcome.TIMEOUT, [False, False, False], True),
]


@pytest.mark.parametrize(("said", "outcome", "truth", "expected"), ASKED)
def test_everybody_gives_the_same_answer(
    tmp_path: Path, said: list[Verdict], outcome: Outcome, truth: list[bool] | None, expected: bool | None
) -> None:
    store = EpisodeStore(tmp_path)
    flags = None if truth is None else np.array(truth)
    whole = episode(outcome=outcome, success=flags, reward=None)
    name = store.add(whole, said)
    labels = store.labels(name)
    assert worked(whole, labels) is expected
    # Demonstrations of a run.
    if expected:
        assert demonstrations_in(store).ids == (name,)  # type: ignore[attr-defined]
    else:
        with pytest.raises(SailError, match="is said to have worked"):
            demonstrations_in(store)
    # An export, and what a critic learns from.
    exported = known_of(whole, labels).get(form.SUCCESS)
    assert (None if exported is None else bool(exported.any())) is expected
    steps = Transitions(Recordings.gather(store, camera="top", size=8))
    assert bool(steps[[0, 1, 2]]["reward"].any()) is bool(expected)
    # The tables, which show words alone and not how it ended or what the simulator saw.
    if truth is None and any(one.source != "none" for one in said):
        (entry,) = Catalogue(tmp_path).entries()
        assert entry.verdict == {True: "success", False: "failure", None: "unsure"}[expected]
    # The label page: whose turn it is.
    (waiting,), _ = queue(store, [name])
    assert waiting.labelled is any(one.source == "person" for one in said)


def test_what_the_simulator_saw_step_by_step_is_taken_where_it_agrees() -> None:
    flags = np.array([False, True, False])
    whole = episode(success=flags)
    good, bad = (verdict_labels(one) for one in (GOOD, BAD))
    assert np.array_equal(worked_at(whole, good), flags)  # type: ignore[arg-type]
    assert not worked_at(whole, bad).any()  # type: ignore[union-attr]
    missed = episode(success=np.zeros(3, np.bool_))
    assert worked_at(missed, good).tolist() == [False, False, True]  # type: ignore[union-attr]
    assert worked_at(whole, verdict_labels(UNSURE)) is None
