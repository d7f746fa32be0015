"""`sail arm serve`: connect the arm that is wired to this machine and let one client at a time drive it."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from hardware.cameras.lens import rate_of
from hardware.server.command_log import MIB
from hardware.server.safety import SafetySettings
from hardware.server.server import ArmServer
from hardware.server.setup import ArmSetup
from hardware.wire.keys import ServerKeys, authorised_clients, server_keys
from robot.cli.arm import status_line
from robot.cli.compose import build, plain
from robot.cli.notices import Notices, leave, show_log_patiently
from robot.cli.screen import bold, screen
from robot.core.errors import SailError
from robot.core.joints import ArmDescription
from robot.core.protocols import Camera

NO_EMERGENCY_STOP = (
    "This is software on an ordinary computer and no safety-rated emergency stop: keep the maker's within reach, and "
    "people out of the arm's."
)

ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end the server in good order, the closing of its terminal among them."""


def serve(config: DictConfig, as_json: bool) -> int:
    """Serve until Ctrl-C or SIGTERM; the arm then comes to rest, or parks, and holds by itself."""
    show_log_patiently()
    console = screen(as_json)
    keys = _server_keys(config)
    settings = safety_settings(config.safety)
    setup = build(config.arm)
    if not isinstance(setup, ArmSetup):
        raise SailError("An option of `arm` must make a hardware.server.setup.ArmSetup.")
    ending = threading.Event()
    before = {number: signal.signal(number, lambda *_: ending.set()) for number in ENDINGS}
    server = ArmServer(
        setup.driver,
        setup.cameras,
        settings=settings,
        forward=setup.forward,
        host=config.host,
        port=int(config.port),
        keys=keys,
        encoding=config.encoding,
        quality=int(config.quality),
        camera_matrices=setup.camera_matrices,
        record=Path(config.record) if config.record else None,
        log=Path(config.log) if config.log else None,
        log_bytes=_log_bytes(config),
        on_exit=config.on_exit,
        realtime=bool(config.realtime),
    )
    if config.ends_with_input:
        threading.Thread(target=_end_with_input, args=(ending,), name="input", daemon=True).start()
    notices = Notices(console, lambda: status_line(server.requests.report().body))
    try:
        server.start()
        _introduce(server, setup, notices, as_json)
        notices.start()
        ending.wait()
    finally:
        server.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    notices.say("The arm holds by itself; the server has ended.")
    if not notices.end():
        leave(0)
    return 0


def _introduce(server: ArmServer, setup: ArmSetup, notices: Notices, as_json: bool) -> None:
    """Say which arm is served where, and that this is no emergency stop."""
    description = setup.driver.description
    notices.say(bold(description.name), "at", bold(server.address))
    for fact in found(description, setup.cameras):
        notices.say(fact)
    notices.say(NO_EMERGENCY_STOP, style="yellow")
    notices.say("`sail arm stop` stops the arm from any terminal; Ctrl-C ends the server.", style="dim")
    if as_json:
        notices.answer(
            {
                "address": server.address,
                "robot": description.name,
                "serial": description.serial,
                "calibration": description.calibration,
                "joints": list(description.joint_names),
                "cameras": [camera.name for camera in setup.cameras],
            }
        )


def found(description: ArmDescription, cameras: Sequence[Camera]) -> list[str]:
    """Return what a server has found, a line each: the arm's serial number, its calibration, and every camera."""
    lines = [
        f"serial number {description.serial or 'not known'}",
        f"calibration {description.calibration or 'kept in the arm'}",
    ]
    for camera in cameras:
        rate_hz = f"{rate_of(camera):g} Hz" if rate_of(camera) else "its own rate"
        lines.append(f"camera {camera.name}: {camera.size[0]}×{camera.size[1]} (H×W) at {rate_hz}")
    return lines if cameras else [*lines, "no cameras"]


def _end_with_input(ending: threading.Event) -> None:
    """Wait until standard input ends, as it does when the program at its other end does, in whatever way."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    ending.set()


def safety_settings(node: DictConfig) -> SafetySettings:
    """Return a governor's settings from the keys that bear their names."""
    values = plain(node)
    for corner in ("workspace_low", "workspace_high"):
        if values[corner] is not None:
            if not isinstance(values[corner], list) or len(values[corner]) != 3:
                raise SailError(f"safety.{corner} must be three numbers in metres, such as [0.2,-0.3,0.0].")
            values[corner] = tuple(float(number) for number in values[corner])
    known = {field.name for field in dataclasses.fields(SafetySettings)}
    return SafetySettings(**{name: value for name, value in values.items() if name in known})


def _log_bytes(config: DictConfig) -> int:
    if not float(config.log_mib) >= 1:
        raise SailError(f"log_mib must be at least 1, got {config.log_mib}; log= switches the log of commands off.")
    return round(float(config.log_mib) * MIB)


def _server_keys(config: DictConfig) -> ServerKeys | None:
    if bool(config.key) != bool(config.clients):
        raise SailError("A server with keys needs both: key=FILE.key_secret and clients=FOLDER of .key files.")
    if not config.key:
        return None
    keys = server_keys(Path(config.key), Path(config.clients))
    if not authorised_clients(keys.authorised):
        raise SailError(f"There is no .key file in {keys.authorised}: nobody could reach the arm.")
    return keys
