"""Turn an instruction round: what undoes it, what a planner is to be steered away from, what is seen backwards.

Whoever plays a demonstration of opening backwards sees closing. Most such pairs are a table, since people say "press
the handle down" and "pull the handle up", and nobody says "push the handle up". For words that are in no table there
is a rule, which swaps one word for its opposite; a person should see what it gives before it is used.
"""

from __future__ import annotations

import dataclasses

from robot.core.data import SamplerSettings

OPPOSITE = "opposite"
"""As a negative prompt: the opposite of whatever is asked for (see `sampled_for`)."""
PAIRS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("open the door", "pull the door open"), ("close the door", "push the door shut")),
    (("open the drawer", "pull the drawer open"), ("close the drawer", "push the drawer shut")),
    (("open the window", "slide the window open"), ("close the window", "slide the window shut")),
    (("open the faucet", "turn the faucet on"), ("close the faucet", "turn the faucet off")),
    (("press the handle down",), ("pull the handle up",)),
    (("press the handle down from the side",), ("pull the handle up from the side",)),
    (("slide the plate into the goal",), ("slide the plate back out of the goal",)),
    (("slide the plate into the goal from the side",), ("slide the plate back out of the goal from the side",)),
    (("push the mug under the coffee machine",), ("pull the mug away from the coffee machine",)),
    (("lock the door",), ("unlock the door",)),
    (("pull the lever up",), ("push the lever down",)),
    (("put the ring on the peg", "place the ring over the peg"), ("take the ring off the peg",)),
    (("insert the peg into the hole from the side",), ("unplug the peg from the side",)),
    (("put the lid on the box",), ("take the lid off the box",)),
    (("place the puck on the shelf",), ("take the puck off the shelf",)),
    (("push the box with the stick",), ("pull the box with the stick",)),
)
"""What undoes what: ways to say something, and ways to say its opposite. The first of each is what a task asks for."""
ONE_WAY = (
    "press the button",
    "push the button in",
    "push the button down",
    "press the button from the top",
    "press the button behind the wall",
    "press the button from the top behind the wall",
    "press the button of the coffee machine",
    "hammer the nail",
    "hit the nail with the hammer",
    "dunk the basketball into the hoop",
    "kick the ball into the goal",
    "sweep the puck off the table",
    "sweep the puck into the hole",
    "turn the dial",
    "insert the hand into the hole",
    "push the puck to the goal",
    "slide the puck to the goal",
    "push the puck around the wall to the goal",
    "pull the puck back to the goal",
)
"""What nothing undoes, or nobody would ask to be undone.

What springs back, falls, flies or is struck would be no motion of an arm, and what is brought to a marked goal would
leave it.
"""
SWAPPED = (
    ("open", "close"),
    ("lock", "unlock"),
    ("push", "pull"),
    ("insert", "remove"),
    ("left", "right"),
    ("on", "off"),
    ("assemble", "disassemble"),
)
"""Words of which each reverses an instruction that holds the other, where no table knows better."""


def opposites(instruction: str) -> tuple[str, ...]:
    """Return the ways to say what undoes an instruction, the usual one first; none where nothing does.

    "close the door" gives "open the door" and "pull the door open". Of words that are in no table the first that has
    an opposite is turned round, as "Close the lid." gives "open the lid": nothing checks that it is a task.
    """
    words = [word.strip(".,;:!?").lower() for word in instruction.split()]
    said = " ".join(words)
    for one, other in PAIRS:
        if said in one:
            return other
        if said in other:
            return one
    if said in ONE_WAY:
        return ()
    turned = {a: b for pair in SWAPPED for a, b in (pair, pair[::-1])}
    for index, word in enumerate(words):
        if word in turned:
            return (" ".join([*words[:index], turned[word], *words[index + 1 :]]),)
    return ()


def opposite(instruction: str) -> str | None:
    """Return the usual way to say what undoes an instruction, None where nothing does."""
    return next(iter(opposites(instruction)), None)


def sampled_for(instruction: str, settings: SamplerSettings) -> SamplerSettings:
    """Return settings whose negative prompt, where it is `OPPOSITE`, is the opposite of this instruction.

    It is the empty text where the instruction has no opposite.
    """
    if settings.negative_prompt != OPPOSITE:
        return settings
    return dataclasses.replace(settings, negative_prompt=opposite(instruction) or "")
