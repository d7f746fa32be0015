"""The fifty MetaWorld tasks: what each is called, what it asks for in words, and the MW-12 split.

A task's name is MetaWorld's without its version suffix (`door-close`, not `door-close-v3`).
"""

from __future__ import annotations

from robot.core.errors import UnknownNameError

PHYSICS_HZ = 80.0
"""MetaWorld's own actions a second."""

INSTRUCTIONS: dict[str, str] = {
    "assembly": "put the ring on the peg",
    "basketball": "dunk the basketball into the hoop",
    "bin-picking": "pick the cube from one bin and place it in the other",
    "box-close": "put the lid on the box",
    "button-press": "press the button",
    "button-press-topdown": "press the button from the top",
    "button-press-topdown-wall": "press the button from the top behind the wall",
    "button-press-wall": "press the button behind the wall",
    "coffee-button": "press the button of the coffee machine",
    "coffee-pull": "pull the mug away from the coffee machine",
    "coffee-push": "push the mug under the coffee machine",
    "dial-turn": "turn the dial",
    "disassemble": "take the ring off the peg",
    "door-close": "close the door",
    "door-lock": "lock the door",
    "door-open": "open the door",
    "door-unlock": "unlock the door",
    "drawer-close": "close the drawer",
    "drawer-open": "open the drawer",
    "faucet-close": "close the faucet",
    "faucet-open": "open the faucet",
    "hammer": "hammer the nail",
    "hand-insert": "insert the hand into the hole",
    "handle-press": "press the handle down",
    "handle-press-side": "press the handle down from the side",
    "handle-pull": "pull the handle up",
    "handle-pull-side": "pull the handle up from the side",
    "lever-pull": "pull the lever up",
    "peg-insert-side": "insert the peg into the hole from the side",
    "peg-unplug-side": "unplug the peg from the side",
    "pick-out-of-hole": "pick the puck out of the hole",
    "pick-place": "pick the puck up and place it at the goal",
    "pick-place-wall": "pick the puck up and place it behind the wall",
    "plate-slide": "slide the plate into the goal",
    "plate-slide-back": "slide the plate back out of the goal",
    "plate-slide-back-side": "slide the plate back out of the goal from the side",
    "plate-slide-side": "slide the plate into the goal from the side",
    "push": "push the puck to the goal",
    "push-back": "pull the puck back to the goal",
    "push-wall": "push the puck around the wall to the goal",
    "reach": "reach the goal",
    "reach-wall": "reach the goal behind the wall",
    "shelf-place": "place the puck on the shelf",
    "soccer": "kick the ball into the goal",
    "stick-pull": "pull the box with the stick",
    "stick-push": "push the box with the stick",
    "sweep": "sweep the puck off the table",
    "sweep-into": "sweep the puck into the hole",
    "window-close": "close the window",
    "window-open": "open the window",
}

SEEN: tuple[str, ...] = (
    "assembly",
    "button-press",
    "button-press-topdown",
    "door-open",
    "drawer-open",
    "hammer",
    "push",
    "reach",
)
"""The tasks of MW-12 whose demonstrations the models may see."""

UNSEEN: tuple[str, ...] = (
    "door-close",
    "drawer-close",
    "window-open",
    "window-close",
    "faucet-open",
    "faucet-close",
    "handle-press",
    "handle-press-side",
    "plate-slide",
    "reach-wall",
    "button-press-wall",
    "coffee-button",
)
"""The tasks of MW-12 that are attempted without any demonstration."""

TUNING: tuple[str, ...] = ("door-lock", "coffee-pull", "plate-slide-back")
"""Tasks outside the twelve on which options are tuned."""

RESERVED: tuple[str, ...] = (
    "door-unlock",
    "lever-pull",
    "handle-pull-side",
    "plate-slide-side",
    "coffee-push",
    "button-press-topdown-wall",
    "sweep",
    "dial-turn",
)
"""Tasks outside MW-12 of which the general planner sees nothing, neither demonstrations nor play."""

GENERAL: tuple[str, ...] = tuple(task for task in INSTRUCTIONS if task not in {*SEEN, *UNSEEN, *RESERVED})
"""The other tasks outside MW-12: the general planner sees demonstrations of them and of no other task."""

GROUPS: dict[str, tuple[str, ...]] = {
    "seen": SEEN,
    "unseen": UNSEEN,
    "tuning": TUNING,
    "general": GENERAL,
    "reserved": RESERVED,
    "all": tuple(INSTRUCTIONS),
}
"""What a selection may name beside tasks."""

PARAPHRASES: dict[str, tuple[str, ...]] = {
    "assembly": ("place the ring over the peg",),
    "button-press": ("push the button in",),
    "button-press-topdown": ("push the button down",),
    "door-open": ("pull the door open",),
    "drawer-open": ("pull the drawer open",),
    "hammer": ("hit the nail with the hammer",),
    "push": ("slide the puck to the goal",),
    "reach": ("move the hand to the goal",),
}
"""Other ways to say the seen tasks; exploration may borrow them."""

GENERAL_PARAPHRASES: dict[str, tuple[str, ...]] = {
    "basketball": ("put the basketball through the hoop", "pick up the ball and drop it into the basket"),
    "bin-picking": ("move the cube into the other bin", "grasp the cube and drop it in the second bin"),
    "box-close": ("close the box with the lid", "pick up the lid and cover the box"),
    "coffee-pull": ("pull the cup back from the coffee maker", "take the mug away from the machine"),
    "disassemble": ("lift the ring from the peg", "remove the ring from the peg"),
    "door-lock": ("turn the lock of the door", "rotate the lock down"),
    "hand-insert": ("put the gripper into the hole", "lower the hand into the hole"),
    "handle-pull": ("lift the handle", "raise the handle"),
    "peg-insert-side": ("put the peg into the hole in the side", "push the peg into the hole"),
    "peg-unplug-side": ("pull the peg out of the hole", "pull the plug out sideways"),
    "pick-out-of-hole": ("lift the puck out of the hole", "take the puck out of the hole"),
    "pick-place": ("grasp the puck and carry it to the goal", "lift the puck to the goal"),
    "pick-place-wall": ("carry the puck over the wall to the goal", "lift the puck over the wall"),
    "plate-slide-back": ("pull the plate back", "slide the plate out of the cabinet"),
    "plate-slide-back-side": ("pull the plate back sideways", "slide the plate sideways out of the cabinet"),
    "push-back": ("pull the puck backwards", "slide the puck back to the goal"),
    "push-wall": ("slide the puck past the wall", "push the puck beside the wall to the goal"),
    "shelf-place": ("put the puck on the shelf", "pick up the puck and set it on the shelf"),
    "soccer": ("push the ball into the goal", "score with the ball"),
    "stick-pull": ("use the stick to pull the box", "hook the box with the stick and pull it"),
    "stick-push": ("use the stick to push the box", "grasp the stick and push the box with it"),
    "sweep-into": ("push the puck into the hole", "sweep the puck off into the hole"),
}
"""Other ways to say the general tasks, for the general planner's training alone."""


def instruction(task: str) -> str:
    """Return what `task` asks for, in words; raise UnknownNameError naming the nearest tasks."""
    check_task(task)
    return INSTRUCTIONS[task]


def check_task(task: str) -> None:
    """Raise UnknownNameError, naming the nearest tasks, unless `task` is one of the fifty."""
    if task not in INSTRUCTIONS:
        raise UnknownNameError("task", task, tuple(INSTRUCTIONS))


def tasks_of(selection: str) -> tuple[str, ...]:
    """Return the tasks that a selection names: groups (see `GROUPS`) and tasks, mixed as one likes, between commas.

    They come in the order named, each once. Raises UnknownNameError, with the nearest names, for an unknown one.
    """
    names = [name.strip() for name in selection.split(",") if name.strip()]
    found: list[str] = []
    for name in names or [selection]:
        if name not in GROUPS and name not in INSTRUCTIONS:
            raise UnknownNameError("task", name, (*INSTRUCTIONS, *GROUPS))
        found += GROUPS.get(name, (name,))
    return tuple(dict.fromkeys(found))
