"""`sail arm`: serve an arm, make keys, stop, clear, look at or drive an arm that is served, and make one ready."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hardware.cameras.lens import rate_of
from hardware.client.client import ArmClient, ArmError
from hardware.server.command_log import MIB
from hardware.server.safety import SafetySettings
from hardware.server.server import ArmServer
from hardware.server.setup import ArmSetup
from hardware.wire.clocks import now
from hardware.wire.keys import ServerKeys, authorised_clients, make_keys, server_keys
from hardware.wire.reports import Welcome
from robot.cli.compose import build, compose, plain
from robot.cli.notices import Notices, leave, show_log_patiently
from robot.cli.screen import bold, print_json, screen
from robot.cli.servos import calibrate, setup
from robot.cli.stop import Asked, keys_of_client, seconds, stop
from robot.cli.verbs import VERBS, Arguments
from robot.cli.wording import told
from robot.core.errors import SailError
from robot.core.joints import ArmDescription
from robot.core.protocols import Camera
from robot.core.text import visible

NO_EMERGENCY_STOP = (
    "This is software on an ordinary computer and no safety-rated emergency stop: keep the maker's within reach, and "
    "people out of the arm's."
)

ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end the server in good order, the closing of its terminal among them."""


LONGEST_SAID = 200
"""Characters of a reason or a name in the line of an arm's state, at most: what comes after them must be seen."""
REST_S = 3.0
"""How long `sail arm stop` waits for the arm to rest before it says what it does."""


def run(arguments: Arguments) -> int:
    """Carry out one subject of the verb."""
    config = compose(VERBS["arm"].configs[arguments.subject], arguments.overrides)
    return SUBJECTS[arguments.subject](config, arguments.as_json)


def _serve(config: DictConfig, as_json: bool) -> int:
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


def status_line(report: Mapping[str, object]) -> str:
    """Return an arm's state in one line."""
    ages = report["camera_ages_s"]
    assert isinstance(ages, list)
    why = f" ({visible(str(report['reason']), LONGEST_SAID)})" if report["reason"] else ""
    parts = [
        f"{report['state']}{why}",
        f"held by {visible(str(report['holder']), LONGEST_SAID)}" if report["holder"] else "nobody holds it",
        f"commands {report['passed']} passed, {report['clamped']} clamped, {report['rejected']} rejected",
        f"{report['late_ticks']} of {report['ticks']} servo periods late",
    ]
    if ages:
        parts.append(f"oldest picture {1e3 * max(ages):.0f} ms")
    return " · ".join(parts)


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


def _keys(config: DictConfig, as_json: bool) -> int:
    public, secret = make_keys(Path(config.folder), str(config.name))
    if as_json:
        print_json({"public": str(public), "secret": str(secret)})
        return 0
    console = screen(False)
    console.print(
        f"{public}  may be given to anyone: put it into the other end's folder; a server that runs sees it "
        "within a second."
    )
    console.print(f"{secret}  stays here, and is nobody else's to read.")
    return 0


def _asked(config: DictConfig, as_json: bool) -> Asked:
    key, server_key = (str(config[name] or "") for name in ("key", "server_key"))
    return Asked(str(config.address), key, server_key, seconds(config.timeout_s), as_json)


def asking(asked: Asked) -> ArmClient:
    """Return a client that only asks."""
    keys = keys_of_client(asked.key, asked.server_key)
    return ArmClient(asked.address, name="sail arm", keys=keys, timeout_s=asked.timeout_s, watch=False)


def _stop(config: DictConfig, as_json: bool) -> int:
    return stop(_asked(config, as_json))


def say_what_it_does(asked: Asked) -> int:
    """Say what an arm does after a stop, once it rests, or after a while."""
    try:
        with asking(asked) as client:
            until_s = now() + REST_S
            while not client.status()["at_rest"] and now() < until_s:
                time.sleep(0.02)
            return _show(client, asked.as_json)
    except ArmError as problem:
        doubt = f"What the arm does now cannot be asked ({problem}) Look at it."
        screen(asked.as_json).print(doubt, style="yellow")
        if asked.as_json:
            print_json({"stopped": True, "state": None, "reason": str(problem)})
        return 0


def _clear(config: DictConfig, as_json: bool) -> int:
    with asking(_asked(config, as_json)) as client:
        client.clear()
        return _show(client, as_json)


def _status(config: DictConfig, as_json: bool) -> int:
    with asking(_asked(config, as_json)) as client:
        return _show(client, as_json)


def _show(client: ArmClient, as_json: bool) -> int:
    answer = client.ask("status")
    description = client.welcome.description
    where = {
        name: round(float(value), 4) for name, value in zip(description.joint_names, answer.arrays[0], strict=True)
    }
    if as_json:
        known = {name: None if value != value else value for name, value in where.items()}
        arm = {"robot": description.name, "serial": description.serial, "calibration": description.calibration}
        print_json({**arm, **answer.body, "cameras": list(client.welcome.cameras), "joints": known})
        return 0
    console = screen(False)
    console.print(status_line(answer.body))
    units = dict(zip(description.joint_names, description.units, strict=True))
    console.print(", ".join(f"{name} {value:.3f} {units[name]}" for name, value in where.items()))
    calibration = description.calibration or "kept in the arm"
    who = f"{description.name}, serial number {description.serial or 'not known'}, calibration {calibration}"
    console.print(who)
    for line in camera_lines(client.welcome, answer.body):
        console.print(line)
    return 0


def camera_lines(welcome: Welcome, report: Mapping[str, Any]) -> list[str]:
    """Return how each camera does, a line each: rate, age, frames lost, and what is wrong."""
    lines = []
    columns = (report[f"camera_{what}"] for what in ("ages_s", "rates_hz", "lost", "problems"))
    for name, age_s, rate_hz, lost, problem in zip(welcome.cameras, *columns, strict=True):
        meant_hz = welcome.camera_rates_hz.get(name)
        parts = [f"{rate_hz:.1f}{f' of {meant_hz:g}' if meant_hz else ''} Hz"]
        parts.append(f"{1e3 * age_s:.0f} ms old" if age_s < 1e5 else "no picture yet")
        parts.append(f"{lost} lost")
        lines.append(f"camera {name}: {', '.join(parts)}{f' ({problem})' if problem else ''}")
    return lines


def _teleoperate(config: DictConfig, as_json: bool) -> int:
    """Let a person drive, and record it as a demonstration."""
    from robot.cli.deploy import NOBODY, carry_out  # with it comes torch, which a server never loads
    from robot.rollouts.deploy import DeploySettings
    from robot.rollouts.rollout import Attempt

    if config.takeover == NOBODY:
        raise SailError("Somebody must drive: takeover=keyboard, takeover=spacemouse or takeover=leader.")
    task, instruction = told(str(config.task), str(config.instruction))
    attempt = Attempt(int(config.seed), task, instruction)
    settings = DeploySettings(max_steps=int(config.max_steps))
    return carry_out(config, attempt, settings, screen(as_json), as_json, None)


SUBJECTS: Mapping[str, Callable[[DictConfig, bool], int]] = {
    "serve": _serve,
    "keys": _keys,
    "stop": _stop,
    "clear": _clear,
    "status": _status,
    "teleoperate": _teleoperate,
    "calibrate": calibrate,
    "setup": setup,
}
