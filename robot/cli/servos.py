"""`sail arm calibrate` and `sail arm setup`: make an arm of bus servos ready, with a person at it."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from hardware.arms.calibrating import (
    MOVED,
    Show,
    blank,
    composed,
    middle_zero,
    nudged,
    see_that_it_has_room,
    see_that_it_is_limp,
    set_middles,
    swept,
)
from hardware.arms.calibration import Counts, ServoCalibration, calibration_of, write_calibration
from hardware.arms.lerobot_calibration import read_lerobot, see_that_offsets_are_those
from hardware.arms.servo_arm import ServoArm, parts
from hardware.arms.servo_setup import only_servo, settle_modes, settle_servo
from robot.cli.screen import Screen, print_json, screen
from robot.core.errors import SailError, UnknownNameError

SHOWN_EVERY_S = 0.1
ZEROS = ("pose", "middle")


class Person:
    """Ask the person at the terminal, and hear when enter is pressed."""

    def __init__(self, console: Screen) -> None:
        self._console = console

    def wait(self, what: str) -> None:
        """Say what to do, and return when it is done."""
        self._answer(f"{what} Then press enter. ")

    def agrees(self, question: str) -> bool:
        """Return whether the answer is yes; ask again while it is neither yes nor no."""
        while True:
            answer = self._answer(f"{question} [y/n] ").strip().lower()
            if answer in ("y", "yes", "n", "no"):
                return answer[0] == "y"

    def is_through(self) -> bool:
        """Return whether enter was pressed since the last question."""
        if not select.select([sys.stdin], [], [], 0)[0]:
            return False
        if not sys.stdin.readline():
            raise SailError("Nobody is at the terminal any more.")
        return True

    def _answer(self, text: str) -> str:
        try:
            return self._console.ask(text)
        except EOFError:
            raise SailError("Somebody must be at the terminal to say when it is done.") from None


def calibrate(config: DictConfig, as_json: bool) -> int:
    """Calibrate an arm by hand, or take over a calibration of LeRobot's, and write it down."""
    console = screen(as_json)
    make = family(config)
    path, overwrite = Path(str(config.arm.driver.calibration)), bool(config.overwrite)
    if path.exists() and not overwrite:
        raise SailError(f"There is a calibration {path} already: overwrite=true puts another in its place.")
    if config.zero not in ZEROS:
        raise UnknownNameError("way to find the zero", str(config.zero), ZEROS)
    arm = make(unmeasured(config))
    source = str(config["from"])
    content = taken_over(config, arm, Path(source), console) if source else by_hand(config, arm, console)
    fitted = calibration_of(content, tuple(arm.joints), str(path))
    description = make(fitted).description  # which checks it against the makers' ranges
    write_calibration(path, content, overwrite)
    if as_json:
        print_json({"calibration": str(path), "hash": fitted.hash, **content})
        return 0
    rows = [
        (name, str(row["id"]), *(str(row[key]) for key in ("zero", "direction", "low", "high")))
        for name, row in content["joints"].items()
    ]
    console.table(("joint", "id", "zero", "direction", "low", "high"), rows)
    console.print(f"The {description.name}'s calibration {fitted.hash} is in {path}.")
    return 0


def setup(config: DictConfig, as_json: bool) -> int:
    """Give servos their numbers and settings, one at a time, or a whole arm's servos their modes."""
    console = screen(as_json)
    arm = family(config)(unmeasured(config))
    try:
        done = {"arm": settle_modes(arm)} if config.modes else by_one(config, arm, console)
    finally:
        arm.bus.close()
    if as_json:
        print_json(done)
        return 0
    for name, changed in done.items():
        said = "; ".join(changed) or "nothing was to be changed"
        console.print(f"{name}: {said}.")
    return 0


def family(config: DictConfig) -> Callable[[ServoCalibration], ServoArm]:
    """Return what makes the arm that a configuration names, with a calibration; raise SailError for no servo arm."""
    driver = config.arm.get("driver")
    made: Any = None if driver is None else get_class(str(driver["_target_"]))
    if made is None or not issubclass(made, ServoArm):
        raise SailError("Only arms of bus servos are set up and calibrated here: choose arm=so101 or arm=widowx.")
    arm: Any = made
    return lambda calibration: arm(port=str(driver.port), calibration=calibration, model=str(driver.model))


def unmeasured(config: DictConfig) -> ServoCalibration:
    """Return a calibration that stands for none, with the servos numbered as the makers number them."""
    made: Any = get_class(str(config.arm.driver["_target_"]))
    content = blank(str(config.arm.driver.model), made.joints)
    return calibration_of(content, tuple(made.joints), "of no arm")


def taken_over(config: DictConfig, arm: ServoArm, source: Path, console: Screen) -> dict[str, Any]:
    """Return the content that a file of LeRobot's stands for, compared with the servos where they are to be asked."""
    content, offsets = read_lerobot(source, arm, str(config.serial))
    console.print(
        "Taken for zero: of each joint the middle of its way, of the gripper its shut end. Look at the joints in `sail "
        "arm status` before you move anything.",
    )
    if not config.check:
        console.print("The servos were not asked whether the file is theirs.", style="yellow")
        return content
    try:
        arm.bus.open()
        see_that_offsets_are_those(arm, offsets, {name: row["id"] for name, row in content["joints"].items()})
    except SailError as problem:
        raise SailError(f"{problem} check=false takes the file over without asking the servos.") from problem
    finally:
        arm.bus.close()
    return content


def by_hand(config: DictConfig, arm: ServoArm, console: Screen) -> dict[str, Any]:
    """Return the content of a calibration that a person makes by moving the arm."""
    person = Person(console)
    content = blank(arm.description.name, arm.joints, str(config.serial))
    names = tuple(arm.joints)
    arm.connect()
    try:
        see_that_it_is_limp(arm)
        person.wait(f"Put the arm into its zero pose ({arm.zero_pose}) and hold it there.")
        if config.homing:
            set_middles(arm)
        zero = arm.counts()
        see_that_it_has_room(arm.description, zero, content)
        console.print("Move every joint over its whole way, slowly, the gripper too. Then press enter.")
        with shown(console, names) as show:
            low, high = swept(names, arm.counts, person.is_through, show)
        directions = asked_directions(arm, person, console, low, high) if config.directions else {}
    finally:
        arm.close()
    if config.zero == "middle":
        zero = middles(arm, directions, low, high)
    return composed(content, zero, low, high, directions)


def middles(arm: ServoArm, directions: dict[str, int], low: Counts, high: Counts) -> Counts:
    """Return every joint's zero as its way says it, int64 (J,)."""
    zero = low.copy()
    for number, joint in enumerate(arm.joints):
        ends = int(low[number]), int(high[number])
        zero[number] = middle_zero(arm.description, number, directions.get(joint, 1), *ends)
    return zero


def asked_directions(arm: ServoArm, person: Person, console: Screen, low: Counts, high: Counts) -> dict[str, int]:
    """Return the direction of each joint, seen while its motor moves it; a joint that does not move is left out."""
    console.print(
        "Now each joint is moved by its motor, 3.5° and back, slowly and weakly. Put the arm into its zero pose and "
        "hold it up: a joint that is not being moved has no torque.",
    )
    directions = {}
    for number, (joint, servo) in enumerate(arm.servos.items()):
        person.wait(f"{joint} is next; see whether it does this first, before it comes back: {arm.ways[joint]}.")
        moved = nudged(arm.bus, servo, int(low[number]), int(high[number]))
        while abs(moved) < MOVED:
            if not person.agrees(f"{joint} did not move: is it held fast, too heavy, or at its end? Try again?"):
                console.print(f"The direction of {joint} was not seen and is taken to be 1.", style="yellow")
                break
            moved = nudged(arm.bus, servo, int(low[number]), int(high[number]))
        else:
            did = person.agrees(f"Did {joint} {arm.ways[joint]}?")
            directions[joint] = (1 if moved > 0 else -1) * (1 if did else -1)
    return directions


@contextmanager
def shown(console: Screen, names: tuple[str, ...]) -> Iterator[Show]:
    """Lend what shows the counts of a sweep in a table that changes, where there is a terminal."""
    next_s = [0.0]
    with console.live_table(("joint", "least", "now", "greatest")) as update:

        def show(low: Counts, now: Counts, high: Counts) -> None:
            if time.monotonic() >= next_s[0]:
                next_s[0] = time.monotonic() + SHOWN_EVERY_S
                update([(name, *map(str, row)) for name, *row in zip(names, low, now, high, strict=True)])

        yield show


def by_one(config: DictConfig, arm: ServoArm, console: Screen) -> dict[str, list[str]]:
    """Set up the servo of one joint, or of all of them in turn; return what was changed, by joint."""
    person, known, joint = Person(console), parts(arm), str(config.joint)
    if joint and joint not in known:
        raise UnknownNameError(f"joint of a {arm.description.name}", joint, list(known))
    done = {}
    for name in [joint] if joint else list(known):
        person.wait(f"Connect the servo of {name} to the adapter, and no other.")
        with console.status("looking for the servo"):
            found = only_servo(arm)
        done[name] = settle_servo(arm, found, known[name])
        console.print(f"{name} is servo {known[name]} now.")
    return done
