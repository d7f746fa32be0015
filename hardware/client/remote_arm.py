"""Make the robots at the end of a wire that a configuration describes, and start a server for one that needs one."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from hardware.arms.tool import ToolKinematics
from hardware.client.actions import ActionFactory, Displacement, JointPositions
from hardware.client.known_arms import KnownArms
from hardware.client.remote import RemoteRobot
from hardware.wire.clocks import now
from hardware.wire.keys import client_keys
from robot.core.data import Observation
from robot.core.errors import SailError, UnknownNameError

ACTIONS = ("displacement", "joint_positions")
START_TIMEOUT_S = 120.0
END_TIMEOUT_S = 10.0
METAWORLD_HZ = 80.0
METAWORLD_UNIT_M = 0.01


def remote_arm(
    address: str = "tcp://127.0.0.1:7710",
    *,
    key: str = "",
    server_key: str = "",
    robot: str = "",
    calibration: str = "",
    cameras: Sequence[str] = (),
    image_size: int | None = None,
    actions: str = "displacement",
    rate_hz: float = 20.0,
    metres_per_unit: float = 0.01,
    action_repeat: int = 1,
    lead_m: float = 0.15,
    kinematics: ToolKinematics | None = None,
    camera_age_s: float = 0.2,
    state_age_s: float = 0.05,
    lost_s: float = 1.0,
    timeout_s: float = 2.0,
    known: str = "",
    task: str = "",
) -> RemoteRobot:
    """Return the arm that a server serves at `address`.

    `key` and `server_key` are files from `sail arm keys`, where the server wants keys. `cameras` names those that are
    looked through, all of them where it is empty; `image_size` is the side in pixels of the square that is taken of
    their pictures, None: whole pictures as they come. An action of kind `displacement` moves the tool by up to
    `action_repeat` · `metres_per_unit`, by `kinematics` where the arm's joints are not x, y, z. `known` is a file that
    remembers which arm answered at an address; another one there is refused, unless `robot` names it. What the task is
    called is nothing to an arm. Raises SailError for keys that cannot be read, an arm that does not answer or is not
    the one, or what it lacks.
    """
    if bool(key) != bool(server_key):
        raise SailError("An arm with keys needs both: robot.key=FILE.key_secret and robot.server_key=FILE.key.")
    keys = client_keys(Path(key), Path(server_key)) if key else None
    arm = RemoteRobot(
        address,
        action=action_kind(actions, metres_per_unit * action_repeat, lead_m, kinematics),
        rate_hz=rate_hz,
        name="sail",
        keys=keys,
        robot=robot,
        calibration=calibration,
        cameras=cameras,
        image_size=image_size,
        camera_age_s=camera_age_s,
        state_age_s=state_age_s,
        lost_s=lost_s,
        timeout_s=timeout_s,
    )
    if known:
        try:
            KnownArms(Path(known)).check(address, arm.client.welcome, bool(robot))
        except BaseException:
            arm.close()
            raise
    return arm


remote_arm.takes_any_words = True  # type: ignore[attr-defined]


def action_kind(
    actions: str, metres_per_unit: float, lead_m: float = 0.15, kinematics: ToolKinematics | None = None
) -> ActionFactory:
    """Return what makes actions of the kind named; raise UnknownNameError for another name."""
    if actions == "displacement":
        return partial(Displacement, metres_per_unit=metres_per_unit, lead_m=lead_m, kinematics=kinematics)
    if actions == "joint_positions":
        return JointPositions
    raise UnknownNameError("kind of action", actions, ACTIONS)


def metaworld_at_the_end_of_a_wire(
    task: str,
    *,
    address: str = "",
    key: str = "",
    server_key: str = "",
    cameras: Sequence[str] = ("corner2",),
    image_size: int = 128,
    camera_hz: float = 30.0,
    action_repeat: int = 2,
    goal_visible: bool = True,
    serve: Sequence[str] = (),
    camera_age_s: float = 0.5,
    state_age_s: float = 0.25,
    lost_s: float = 1.0,
    timeout_s: float = 5.0,
) -> RemoteRobot:
    """Return the arm of a MetaWorld task, simulated in real time behind a server: the same actions as in the simulator.

    Without an `address`, a server is started for it, with the further settings `serve` of `sail arm serve`, and ends
    when the robot is closed. A step is `action_repeat` of MetaWorld's own, 80 a second.
    """
    options: dict[str, Any] = {
        "cameras": cameras,
        "image_size": image_size,
        "rate_hz": METAWORLD_HZ / action_repeat,
        "metres_per_unit": METAWORLD_UNIT_M,
        "action_repeat": action_repeat,
        "camera_age_s": camera_age_s,
        "state_age_s": state_age_s,
        "lost_s": lost_s,
        "timeout_s": timeout_s,
    }
    if address:
        arm = remote_arm(address, key=key, server_key=server_key, **options)
        arm.takes_any_words = False
        return arm
    words = [
        "arm=metaworld",
        f"arm.driver.task={task}",
        f"arm.driver.cameras=[{','.join(cameras)}]",
        f"arm.driver.image_size={image_size}",
        f"arm.driver.camera_rate_hz={camera_hz}",
        f"arm.driver.goal_visible={'true' if goal_visible else 'false'}",
        *serve,
    ]
    server = ServerProcess(words)
    try:
        return _WithItsServer(server, options)
    except BaseException:
        server.close()
        raise


class ServerProcess:
    """Run `sail arm serve` in a process of its own, on a free port of this machine, until `close`.

    It is out of reach of the terminal's Ctrl-C, and ends by itself when this process does, however that ends. It logs
    no commands unless `settings` name a file. Raises SailError, with the last words of the server, where it does not
    begin to serve.
    """

    def __init__(self, settings: Sequence[str], timeout_s: float = START_TIMEOUT_S) -> None:
        command = [sys.executable, "-m", "robot.cli.main", "arm", "serve", "port=0", "ends_with_input=true"]
        self._process = subprocess.Popen(
            [*command, "log=", "--json", *settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._told: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, self._lines.put, True), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, self._keep, False), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        try:
            self.address = self._first_answer(timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Return the number of the server's process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Return whether the server still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the server, by force where it does not go; closing twice is allowed."""
        process = self._process
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for reader in self._readers:
            reader.join(END_TIMEOUT_S)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def _first_answer(self, timeout_s: float) -> str:
        text = ""
        while True:
            try:
                line = self._lines.get(timeout=timeout_s)
            except queue.Empty:
                raise SailError(f"The arm's server did not begin to serve within {timeout_s:g} s.") from None
            if line is None:
                self._readers[1].join(END_TIMEOUT_S)
                said = " ".join(" ".join(self._told[-3:]).split()).removeprefix("sail: ")
                raise SailError(f"The arm's server ended before it served: {said or 'it said nothing'}")
            text += line
            with contextlib.suppress(ValueError):
                return str(json.loads(text)["address"])

    def _keep(self, line: str | None) -> None:
        if line is not None:
            self._told = [*self._told[-20:], line]

    @staticmethod
    def _read(stream: IO[str] | None, give: Any, to_the_end: bool) -> None:
        assert stream is not None
        with contextlib.suppress(ValueError, OSError):
            for line in stream:
                give(line)
        if to_the_end:
            give(None)


class _WithItsServer(RemoteRobot):
    """Be the arm of a MetaWorld task whose server was started for it and ends with it."""

    takes_any_words = False

    def __init__(self, server: ServerProcess, options: dict[str, Any]) -> None:
        self.server = server
        kind = action_kind("displacement", options["metres_per_unit"] * options["action_repeat"])
        rest = {name: options[name] for name in options if name not in ("metres_per_unit", "action_repeat")}
        super().__init__(server.address, action=kind, name="sail", **rest)

    def reset(self, seed: int | None = None) -> Observation:
        """Wait for the first pictures and reset; raise SailError in one sentence where the server has ended."""
        if not self.server.is_running:
            raise SailError("The server of the simulated arm has ended: give the command again.")
        # What draws the pictures begins a little after the server: seconds later on a busy machine.
        until_s = now() + START_TIMEOUT_S
        while any(self.client.captured_s(name) is None for name in self.spec.cameras) and now() < until_s:
            time.sleep(0.01)
        return super().reset(seed)

    def close(self) -> None:
        """Give the lease back and end the server; closing twice is allowed."""
        super().close()
        self.server.close()
