"""Reverse an instruction: what a planner is to be steered away from."""

from __future__ import annotations

import dataclasses

from robot.core.data import SamplerSettings

OPPOSITE = "opposite"
"""As a negative prompt: the opposite of whatever is asked for (see `sampled_for`)."""
OPPOSITES = (
    ("open", "close"),
    ("lock", "unlock"),
    ("push", "pull"),
    ("insert", "remove"),
    ("left", "right"),
    ("on", "off"),
    ("assemble", "disassemble"),
)
"""Words of which each reverses an instruction that holds the other."""


def opposite(instruction: str) -> str | None:
    """Return the instruction with its first word of a known pair of opposites turned round, or None without one.

    "close the door" gives "open the door", and so does "Close the door." Only words are swapped: nothing checks that
    the result is a task.
    """
    turned = {a: b for pair in OPPOSITES for a, b in (pair, pair[::-1])}
    words = [word.strip(".,;:!?").lower() for word in instruction.split()]
    for index, word in enumerate(words):
        if word in turned:
            return " ".join([*words[:index], turned[word], *words[index + 1 :]])
    return None


def sampled_for(instruction: str, settings: SamplerSettings) -> SamplerSettings:
    """Return settings whose negative prompt, where it is `OPPOSITE`, is the opposite of this instruction.

    It is the empty text where the instruction has no opposite.
    """
    if settings.negative_prompt != OPPOSITE:
        return settings
    return dataclasses.replace(settings, negative_prompt=opposite(instruction) or "")
