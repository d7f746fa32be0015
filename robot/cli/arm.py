"""`sail arm`: serve an arm, make keys, stop, clear, look at or drive an arm that is served, and make one ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hardware.client.client import ArmClient, ArmError
from hardware.wire.clocks import now
from hardware.wire.keys import make_keys
from hardware.wire.reports import Welcome
from robot.cli.compose import compose
from robot.cli.screen import print_json, screen
from robot.cli.servos import calibrate, setup
from robot.cli.stop import Asked, keys_of_client, seconds, stop
from robot.cli.verbs import VERBS, Arguments
from robot.cli.wording import told
from robot.core.errors import SailError
from robot.core.text import visible

LONGEST_SAID = 200
"""Characters of a reason or a name in the line of an arm's state, at most: what comes after them must be seen."""
REST_S = 3.0
"""How long `sail arm stop` waits for the arm to rest before it says what it does."""


def run(arguments: Arguments) -> int:
    """Carry out one subject of the verb."""
    config = compose(VERBS["arm"].configs[arguments.subject], arguments.overrides)
    return SUBJECTS[arguments.subject](config, arguments.as_json)


def _serve(config: DictConfig, as_json: bool) -> int:
    from robot.cli.serving import serve  # with it comes what shapes motion, which a client does without

    return serve(config, as_json)


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
    from robot.cli.deploy import NOBODY, carry_out  # with it comes what records, which others do without
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
