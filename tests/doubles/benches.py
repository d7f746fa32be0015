"""Arms on a bench: each real driver over the double of its package, and the kinematic arm."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from hardware.arms.dynamixel import DynamixelArm
from hardware.arms.feetech import FeetechArm
from hardware.arms.franka import FrankaArm
from hardware.arms.ur import URArm
from hardware.arms.xarm import XArm
from robot.core.protocols import ArmDriver
from tests.doubles import (
    dashboard_client,
    dynamixel_sdk,
    franky,
    kinematic,
    robotiq,
    rtde_control,
    rtde_receive,
    scservo_sdk,
    ur,
    xarm_wrapper,
)
from tests.doubles.body import Body
from tests.doubles.servo_bus import Bus

Counts = list[int]


@dataclass
class Bench:
    """Hold a driver and the hands on what is behind it.

    `make` gives another driver of the same arm. `where` returns the true joint positions, (J,); `lag` lets the arm come
    only a share of the way with each command; `load` makes it hang so far below its target, in rad; `settle` lets time pass; `cut` cuts the wire; `commands` counts what
    reached the arm's joints. `halt_elsewhere` stops the arm as its own button, its maker's program or a collision does,
    and `release_elsewhere` takes that away again there; `control` says who holds the arm, in values that can be
    compared. `gripper` is the double of one that is not part of the arm's. `modules` are the packages' doubles by the names they are imported under, `extra` the
    extra that brings them. `resolution` is how exactly the joints of the arm can be told where to go; a gripper in m is told to a
    millimetre or so.
    """

    make: Callable[[], ArmDriver]
    where: Callable[[], NDArray[np.float64]]
    lag: Callable[[float], None]
    load: Callable[[float], None]
    settle: Callable[[], None]
    cut: Callable[[], None]
    commands: Callable[[], int]
    remove: Callable[[], None]
    halt_elsewhere: Callable[[], None]
    release_elsewhere: Callable[[], None]
    control: Callable[[], object]
    modules: Mapping[str, ModuleType] = field(default_factory=dict)
    extra: str = ""
    resolution: float = 1e-9
    gripper: Any = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        with patch.dict(sys.modules, dict(self.modules)):
            yield


def wait_until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for a condition; the machine may be slow."""
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, "it did not come true in time"
        time.sleep(0.005)


def _over_body(make: Callable[[], ArmDriver], body: Body, remove: Callable[[], None], **more: Any) -> Bench:
    more.setdefault("where", lambda: body.position.copy())
    return Bench(
        make=make,
        lag=lambda share: setattr(body, "share", share),
        load=lambda sag: setattr(body, "sag", sag),
        settle=body.settle,
        cut=lambda: setattr(body, "reachable", False),
        commands=lambda: body.commands,
        remove=remove,
        **more,
    )


def kinematic_bench(folder: Path) -> Iterator[Bench]:
    body = Body(kinematic.SIZE)
    yield _over_body(
        lambda: kinematic.KinematicArm(body),
        body,
        lambda: setattr(body, "reachable", False),
        halt_elsewhere=body.halt,
        release_elsewhere=lambda: setattr(body, "halted", False),
        control=lambda: body.halted,
    )


def franka_bench(folder: Path) -> Iterator[Bench]:
    arm = franky._Arm()
    arm.body.place(np.array([0.1, -0.5, 0.2, -2.0, 0.0, 1.6, 0.7]))
    franky._arms["arm"] = arm
    yield _over_body(
        lambda: FrankaArm("arm"),
        arm.body,
        lambda: franky._arms.pop("arm"),
        where=lambda: np.append(arm.body.position, arm.width),
        halt_elsewhere=arm.reflex,
        release_elsewhere=arm.clear,
        control=lambda: (arm.mode, arm.sessions, len(arm.targets)),
        modules={"franky": franky},
        extra="franka",
    )
    franky._arms.clear()


def ur_bench(folder: Path) -> Iterator[Bench]:
    controller = ur.Controller()
    controller.body.place(np.array([0.0, -1.5, 1.5, -1.5, -1.5, 0.3]))
    ur.controllers["127.0.0.1"] = controller
    gripper = robotiq.Gripper()

    def halt() -> None:
        controller.halt(ur.PROTECTIVE)
        controller.stopped_s -= 6.0  # longer ago than the controller wants before it unlocks

    def release() -> None:
        controller.unlock()
        controller.play()

    yield _over_body(
        lambda: URArm("127.0.0.1", gripper="robotiq-2f85", gripper_port=gripper.port),
        controller.body,
        lambda: ur.controllers.clear(),
        where=lambda: np.append(controller.body.position, (1 - gripper.values["POS"] / 255) * 0.085),
        halt_elsewhere=halt,
        release_elsewhere=release,
        control=lambda: (controller.program, controller.target, controller.scripts),
        modules={
            "rtde_control": rtde_control,
            "rtde_receive": rtde_receive,
            "dashboard_client": dashboard_client,
        },
        extra="ur",
        gripper=gripper,
    )
    gripper.close()
    ur.controllers.clear()


def xarm_bench(folder: Path) -> Iterator[Bench]:
    box = xarm_wrapper._Box()
    box.body.place(np.array([0.1, -0.5, 0.2, 0.7, 0.0, 1.5, 0.0]))
    xarm_wrapper._boxes["arm"] = box
    yield _over_body(
        lambda: XArm("arm"),
        box.body,
        lambda: xarm_wrapper._boxes.pop("arm"),
        where=lambda: np.append(box.body.position, box.pulses / 850 * 0.085),
        halt_elsewhere=box.halt,
        release_elsewhere=lambda: setattr(box, "state", 2),
        control=lambda: (box.mode, box.state, box.entries, box.enabled),
        modules={"xarm.wrapper": xarm_wrapper},
        extra="xarm",
    )
    xarm_wrapper._boxes.clear()


def calibration_file(folder: Path, arm: str, ids: Mapping[str, int], **changes: Any) -> Path:
    """Write a calibration in which every other servo turns the other way."""
    joints = {
        name: {"id": servo, "zero": 2048, "direction": -1 if number % 2 else 1, "low": 100, "high": 3990}
        for number, (name, servo) in enumerate(ids.items())
    }
    path = folder / f"{arm}.json"
    path.write_text(json.dumps({"schema": 1, "arm": arm, "serial": "bench", "joints": joints, **changes}))
    return path


def _servo_bench(
    make: Callable[[], ArmDriver], bus: Bus, buses: dict[str, Bus], ids: list[int], module: ModuleType, extra: str
) -> Iterator[Bench]:
    buses["/dev/arm"] = bus
    directions = np.array([-1 if number % 2 else 1 for number in range(len(ids))])

    def where() -> NDArray[np.float64]:
        counts = np.array([bus.get(servo, bus.layout.position) for servo in ids])
        return (counts - 2048) * directions * (2 * np.pi / 4096)

    def set_torque(on: int) -> None:
        for servo in ids:
            bus.set(servo, bus.layout.goal, bus.get(servo, bus.layout.position))
            bus.set(servo, (bus.layout.torque, 1), on)

    yield Bench(
        make=make,
        where=where,
        lag=lambda share: setattr(bus, "share", share),
        load=lambda sag: setattr(bus, "sag", round(sag * 4096 / (2 * np.pi))),
        settle=lambda: [bus.settle(servo) for servo in ids],
        cut=lambda: setattr(bus, "reachable", False),
        commands=lambda: bus.commands,
        remove=lambda: buses.clear(),
        halt_elsewhere=lambda: set_torque(0),
        release_elsewhere=lambda: set_torque(1),
        control=lambda: [bus.get(servo, (bus.layout.torque, 1)) for servo in ids],
        modules={module.__name__.rpartition(".")[2]: module},
        extra=extra,
        resolution=2 * np.pi / 4096,
    )
    buses.clear()


def feetech_bench(folder: Path) -> Iterator[Bench]:
    from hardware.arms.feetech import NAMES

    ids = {name: number + 1 for number, name in enumerate(NAMES)}
    path = calibration_file(folder, "so101", ids)
    bus = scservo_sdk._Bus()
    for servo in ids.values():
        bus.add(servo, 2000 + 10 * servo)
    arm = lambda: FeetechArm("/dev/arm", path)  # noqa: E731
    yield from _servo_bench(arm, bus, scservo_sdk._buses, list(ids.values()), scservo_sdk, "feetech")


def dynamixel_bench(folder: Path) -> Iterator[Bench]:
    from hardware.arms.dynamixel import NAMES

    ids = dict(zip(NAMES, (1, 2, 4, 6, 7, 8, 9), strict=True))
    path = calibration_file(folder, "wx250s", ids)
    bus = dynamixel_sdk._Bus()
    for servo in range(1, 10):
        bus.add(servo, 2000 + 10 * servo)
        bus.set(servo, (12, 1), {3: 2, 5: 4}.get(servo, 255))
        bus.set(servo, (10, 1), int(servo in (3, 5, 7)))
    arm = lambda: DynamixelArm("/dev/arm", path)  # noqa: E731
    yield from _servo_bench(arm, bus, dynamixel_sdk._buses, list(ids.values()), dynamixel_sdk, "dynamixel")


BENCHES: dict[str, Callable[[Path], Iterator[Bench]]] = {
    "kinematic": kinematic_bench,
    "franka": franka_bench,
    "ur": ur_bench,
    "xarm": xarm_bench,
    "feetech": feetech_bench,
    "dynamixel": dynamixel_bench,
}
