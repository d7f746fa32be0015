"""The queue: what judges disagree about or are least sure of first, what a person has settled last."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.core.data import Verdict
from robot.episodes.labels import Field, Label
from robot.episodes.store import EpisodeStore
from robot.labelling.queue import doubt_of, queue
from tests.unit.robot.episodes.labelling.episodes import moving_square


def said(*probabilities: float) -> list[Label]:
    return [Label(Field.SUCCESS, value, f"judge {number}") for number, value in enumerate(probabilities)]


def test_disagreement_and_unsureness_come_first_and_a_persons_word_last(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    verdicts = {
        "agree": [Verdict(1.0, "truth"), Verdict(0.97, "classifier")],
        "contradict": [Verdict(1.0, "truth"), Verdict(0.02, "classifier")],
        "half-sure": [Verdict(0.8, "classifier")],
        "unjudged": [],
        "settled": [Verdict(1.0, "truth"), Verdict(0.0, "classifier"), Verdict(1.0, "person")],
        "sure": [Verdict(0.0, "truth")],
        "unsure": [Verdict(0.5, "classifier")],
    }
    for name, given_verdicts in verdicts.items():
        store.add(moving_square(), given_verdicts, name)
    waiting, problems = queue(store, store.ids())
    assert problems == []
    order = [one.episode_id for one in waiting]
    assert set(order[:3]) == {"contradict", "unjudged", "unsure"}
    assert order[3:] == ["half-sure", "agree", "sure", "settled"]
    reasons = {one.episode_id: one.doubt.why for one in waiting}
    assert reasons["contradict"] == "judges disagree: 0.02 to 1.00"
    assert reasons["unsure"] == "unsure: 0.50"
    assert reasons["unjudged"] == "no judge has seen it"
    assert [one.episode_id for one in waiting if one.labelled] == ["settled"]


def test_of_one_doubt_the_contradicted_episode_comes_first() -> None:
    contradicted, unsure = doubt_of(said(0.0, 1.0)), doubt_of(said(0.5, 0.5))
    assert contradicted.total == unsure.total == pytest.approx(1.0)
    assert contradicted.disagreement == pytest.approx(1.0) and unsure.disagreement == pytest.approx(0.0)


def test_the_latest_word_of_a_judge_counts_and_one_without_opinion_does_not() -> None:
    twice = [Label(Field.SUCCESS, 0.0, "classifier"), Label(Field.SUCCESS, 1.0, "classifier")]
    assert doubt_of(twice).total == 0.0
    assert doubt_of([Label(Field.SUCCESS, 1.0, "none")]).why == "no judge has seen it"
    assert doubt_of([*twice, Label(Field.SUCCESS, 0.0, "person")]).disagreement == 0.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_doubt_is_at_most_a_bit_and_disagreement_a_part_of_it(probabilities: list[float]) -> None:
    doubt = doubt_of(said(*probabilities))
    assert 0.0 <= doubt.disagreement <= doubt.total + 1e-9 <= 1.0 + 2e-9
    assert doubt_of(said(*(1.0 - one for one in probabilities))).total == pytest.approx(doubt.total, abs=1e-6)


def test_an_episode_whose_labels_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    store.add(moving_square(), [], "good")
    store.add(moving_square(), [], "bad")
    (tmp_path / "bad" / "labels.jsonl").write_text("{}\n")
    waiting, problems = queue(store, store.ids())
    assert [one.episode_id for one in waiting] == ["good"]
    assert len(problems) == 1 and "Line 1 of" in problems[0]
