"""Remember which arm answered at an address, and refuse another one there, as ssh does with hosts."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from hardware.wire.reports import Welcome
from robot.core.errors import SailError
from robot.core.files import write_whole


class KnownArms:
    """Keep what arms said of themselves in a JSON file: address → `robot` and `calibration`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self, address: str, welcome: Welcome, sure: bool = False) -> None:
        """Remember an arm that is new at its address; raise SailError, naming both values, where it is another one.

        `sure`: whoever asks has named the arm, and the server has found it so; then it takes the place of another.
        """
        description = welcome.description
        said = {
            "robot": description.identity,
            "calibration": description.calibration,
        }
        arms = self._read()
        before = arms.get(address)
        if before == said:
            return
        if before is not None and not sure:
            name, was, now_is = next(
                (key, before.get(key, ""), said[key]) for key in said if before.get(key) != said[key]
            )
            raise SailError(
                f"The {name} at {address} was {was!r} and is {now_is!r} now: if that is as it should be, take the "
                f"entry out of {self._path}, or name the arm by {shlex.quote('robot.robot=' + said['robot'])}."
            )
        arms[address] = said
        self._write(arms)

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            arms = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise SailError(
                f"{self._path}, which remembers arms, cannot be read ({error}): mend or remove it."
            ) from None
        if not isinstance(arms, dict) or not all(isinstance(arm, dict) for arm in arms.values()):
            raise SailError(f"{self._path} does not hold arms by their address: mend or remove it.")
        return arms

    def _write(self, arms: dict[str, dict[str, str]]) -> None:
        try:
            write_whole(self._path, json.dumps(arms, indent=2, sort_keys=True) + "\n")
        except SailError as error:
            why = error.__cause__
            raise SailError(
                f"{self._path}, which remembers arms, cannot be written ({why}): name another with robot.known=…"
            ) from None
