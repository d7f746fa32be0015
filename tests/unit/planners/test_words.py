"""Instructions turned round."""

from __future__ import annotations

import pytest

from planners.words import ONE_WAY, PAIRS, opposite, opposites, sampled_for
from robot.core.data import SamplerSettings
from sim.tasks import INSTRUCTIONS, PARAPHRASES


def test_what_people_say_is_in_a_table() -> None:
    assert opposite("close the door") == "open the door"
    assert opposites("push the door shut") == ("open the door", "pull the door open")
    assert opposite("Pull the handle up.") == "press the handle down"
    assert opposite("take the ring off the peg") == "put the ring on the peg"


def test_each_half_of_a_pair_is_the_opposite_of_the_other() -> None:
    for one, other in PAIRS:
        assert all(opposites(said) == other for said in one)
        assert all(opposites(said) == one for said in other)


@pytest.mark.parametrize("said", ONE_WAY)
def test_what_nothing_undoes_has_no_opposite_though_it_holds_a_word_that_has(said: str) -> None:
    assert opposites(said) == () and opposite(said) is None


def test_every_instruction_of_a_task_is_said_in_a_table_or_has_no_opposite() -> None:
    """The rule is for words that nobody here has thought of: it makes "pull the button in"."""
    said = {text for pair in PAIRS for half in pair for text in half}
    for text in (*INSTRUCTIONS.values(), *(text for texts in PARAPHRASES.values() for text in texts)):
        assert text in said or opposites(text) == (), text


def test_of_other_words_the_first_that_has_an_opposite_is_turned_round() -> None:
    assert opposite("push the plug on") == "pull the plug on"
    assert opposite("Close the lid, please!") == "open the lid please"
    assert opposite("greet the guest") is None


def test_a_negative_prompt_may_be_the_opposite_of_what_is_asked_for() -> None:
    settings = SamplerSettings(steps=3, negative_prompt="opposite")
    assert sampled_for("close the door", settings) == SamplerSettings(steps=3, negative_prompt="open the door")
    assert sampled_for("reach the goal", settings) == SamplerSettings(steps=3)
    plain = SamplerSettings(negative_prompt="opposite of good")
    assert sampled_for("close the door", plain) is plain
