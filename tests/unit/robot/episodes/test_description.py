from __future__ import annotations

import dataclasses

import pytest

from robot.core.data import ActionSpec, Beginning
from robot.episodes.description import Heading, spec_as_json, spec_from_json
from sim.metaworld import action_spec
from tests.fakes import SPEC


@pytest.mark.parametrize("is_relative", [True, False])
def test_whether_actions_are_relative_is_kept(is_relative: bool) -> None:
    action = dataclasses.replace(SPEC.action, is_relative=is_relative)
    kept = spec_from_json(spec_as_json(dataclasses.replace(SPEC, action=action)))
    assert kept is not None and kept.action.is_relative is is_relative


@pytest.mark.parametrize(("action", "expected"), [(action_spec(2), True), (SPEC.action, False)])
def test_a_description_from_before_it_was_said_is_read_by_the_names(action: ActionSpec, expected: bool) -> None:
    row = spec_as_json(dataclasses.replace(SPEC, action=action))
    del row["action"]["is_relative"]
    old = spec_from_json(row)
    assert old is not None and old.action.is_relative is expected


def test_how_an_episode_began_is_kept_and_was_from_a_seed_before_it_was_said() -> None:
    heading = Heading("toy", "go right", "toy", 3, begins=Beginning.CONTINUED)
    row = heading.as_json()
    assert Heading.from_json(row) == heading
    del row["begins"]
    assert Heading.from_json(row).begins is Beginning.SEED
