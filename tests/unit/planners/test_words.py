"""Instructions reversed."""

from __future__ import annotations

from planners.words import opposite, sampled_for
from robot.core.data import SamplerSettings


def test_the_first_word_that_has_an_opposite_is_turned_round() -> None:
    assert opposite("close the door") == "open the door"
    assert opposite("unlock the door") == "lock the door"
    assert opposite("push the plug on") == "pull the plug on"
    assert opposite("press the button") is None
    assert opposite("Close the door, please!") == "open the door please"


def test_a_negative_prompt_may_be_the_opposite_of_what_is_asked_for() -> None:
    settings = SamplerSettings(steps=3, negative_prompt="opposite")
    assert sampled_for("close the door", settings) == SamplerSettings(steps=3, negative_prompt="open the door")
    assert sampled_for("reach the goal", settings) == SamplerSettings(steps=3)
    plain = SamplerSettings(negative_prompt="opposite of good")
    assert sampled_for("close the door", plain) is plain
