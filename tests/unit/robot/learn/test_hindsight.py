"""Laws of hindsight: the truth has no error, standing still has its own, and nothing past an episode's end counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from robot.core.data import Action, Episode, Observation, SamplerSettings, VideoPlan
from robot.core.errors import SailError
from robot.learn.hindsight import Actions, Errors, Hindsight, imagine, infer
from tests.unit.robot.episodes.samples import episode

WHERE = Hindsight("top", frames=3, stride=2, stride_s=0.05, windows=4, batch=3)


class Seer:
    """A planner that knows what comes, or that shows the present picture for ever."""

    identity = "seer"

    def __init__(self, whole: Episode, knows: bool = True, size: int = 8) -> None:
        self.whole, self.knows, self.size = whole, knows, size
        self.asked: list[tuple[list[str], list[int]]] = []

    def plan(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[VideoPlan]:
        self.asked.append((list(instructions), list(seeds)))
        plans = []
        for observation in observations:
            now = round(observation.time_s * 40)
            places = np.minimum(now + 2 * np.arange(1, 4), len(self.whole)) if self.knows else np.full(3, now)
            frames = self.whole.frames["top"][places][:, : self.size]
            plans.append(VideoPlan(frames, 0.05, "", 0, "seer"))
        return plans


class Copier:
    """An inverse dynamics that knows what was sent, and adds to it what it is told."""

    identity = "copier"

    def __init__(self, whole: Episode, off: Any = 0.0) -> None:
        self.whole, self.off = whole, off
        self.plans: list[VideoPlan] = []

    def begin(self, observations: Sequence[Observation], plans: Sequence[VideoPlan]) -> list[object]:
        self.plans.extend(plans)
        return [round(observation.time_s * 40) for observation in observations]

    def act(self, observations: Sequence[Observation], handles: Sequence[Any], steps: Sequence[int]) -> list[Action]:
        for observation, handle, step in zip(observations, handles, steps, strict=True):
            assert round(observation.time_s * 40) == handle + step  # it sees what was seen at that step
        places = [handle + step for handle, step in zip(handles, steps, strict=True)]
        return [Action((self.whole.sent[place] + self.off).astype(np.float32)) for place in places]


def test_places_are_spread_so_that_whole_plans_follow() -> None:
    assert WHERE.starts(episode(30)) == [0, 8, 16, 24]
    assert WHERE.starts(episode(7)) == [0, 1]
    assert WHERE.starts(episode(3)) == [0]
    assert len(WHERE.seen(episode(30), 24)) == 3 and len(WHERE.seen(episode(3), 0)) == 1
    with pytest.raises(ValueError, match="at least 1"):
        dataclasses.replace(WHERE, windows=0)


@pytest.mark.parametrize("steps", [3, 7, 30])
def test_the_truth_has_no_error_and_standing_still_has_its_own(steps: int) -> None:
    whole = episode(steps)
    known, still = Errors(), Errors()
    imagine(Seer(whole), whole, WHERE, 0, known)
    imagine(Seer(whole, knows=False), whole, WHERE, 0, still)
    assert (rms := known.rms()) is not None and rms[0] == 0.0
    assert (rest := still.rms()) is not None and rest[0] == rest[1] == rms[1]
    pairs = [(start, start + 2 * k) for start in WHERE.starts(whole) for k in (1, 2, 3) if start + 2 * k <= steps]
    frames = whole.frames["top"].astype(np.float64)
    expected = np.sqrt(np.mean([(frames[a] - frames[b]) ** 2 for a, b in pairs]))
    assert rms[1] == pytest.approx(expected)


def test_a_planner_is_asked_in_the_episode_s_words_and_in_batches() -> None:
    whole = episode(30, spoken="push it")
    seer = Seer(whole)
    imagine(seer, whole, WHERE, 5, Errors())
    assert [len(words) for words, _ in seer.asked] == [3, 1]
    assert {word for words, _ in seer.asked for word in words} == {"push it"}
    again = Seer(whole)
    imagine(again, whole, WHERE, 5, Errors())
    assert again.asked == seer.asked
    silent = Seer(whole)
    imagine(silent, dataclasses.replace(whole, spoken=""), WHERE, 5, Errors())
    assert silent.asked[0][0] == ["reach the goal"] * 3


def test_inverse_dynamics_is_shown_what_came() -> None:
    whole = episode(30)
    copier, actions = Copier(whole), Actions()
    infer(copier, whole, WHERE, actions)
    assert len(actions.sent) == 4 * 6 and (found := actions.errors()) is not None
    assert not found[0].any()
    np.testing.assert_array_equal(copier.plans[1].frames, whole.frames["top"][[10, 12, 14]])
    off = Actions()
    infer(Copier(whole, np.array([0.5, -2.0])), whole, WHERE, off)
    found = off.errors()
    assert found is not None
    np.testing.assert_allclose(found[0], [0.5, 2.0], rtol=1e-5)
    np.testing.assert_allclose(found[1], np.stack(off.sent).std(axis=0), rtol=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    whole = episode(10)
    with pytest.raises(SailError, match=r"imagines 3 pictures of 4×8 pixels, and episode '' has 8×8"):
        imagine(Seer(whole, size=4), whole, WHERE, 0, Errors())
    with pytest.raises(SailError, match="gives 2 numbers an action, and episode '' has 3"):
        infer(Copier(whole), dataclasses.replace(whole, sent=np.zeros((10, 3), np.float32)), WHERE, Actions())
    assert Errors().rms() is None and Actions().errors() is None
