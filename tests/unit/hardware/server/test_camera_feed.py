"""What a camera may do to its server and its clients: status, health and client agree on how old a picture is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hardware.arms.kinematic import KinematicArm, PaintedCamera
from hardware.cameras.capture import CapturedCamera, Health
from hardware.client.client import ArmClient
from hardware.wire.clocks import now
from robot.core.errors import SailError
from robot.core.protocols import Camera
from tests.unit.hardware.serving import served, until

Frame = tuple[Any, Any]


class Odd(PaintedCamera):
    """A camera of the user's own whose frames a test makes odd."""

    odd: Callable[[Frame], Any] | None = None

    def read(self) -> Frame:
        frame = super().read()
        return frame if self.odd is None else self.odd(frame)


ODD: dict[str, tuple[Callable[[Frame], Any], str]] = {
    "not a number": (lambda frame: (frame[0], float("nan")), "whose time is no number: nan"),
    "for ever": (lambda frame: (frame[0], float("inf")), "whose time is no number: inf"),
    "no time at all": (lambda frame: (frame[0], None), "whose time is no number: None"),
    "in the future": (lambda frame: (frame[0], frame[1] + 3600.0), "in the future"),
    "back": (lambda frame: (frame[0], frame[1] - 3600.0), "gone back by 3.6e+03 s"),
    "still": (lambda frame: (frame[0], 5.0), "stands still"),
    "too large": (lambda frame: (np.zeros((96, 128, 3), np.uint8), frame[1]), "pictures of uint8 (48, 64, 3)"),
    "grey": (lambda frame: (frame[0][:, :, 0], frame[1]), "pictures of uint8 (48, 64, 3)"),
    "floats": (lambda frame: (frame[0].astype(np.float32), frame[1]), "gave float32"),
    "a file": (lambda frame: (b"jpeg", frame[1]), "gave bytes"),
    "one thing": (lambda frame: frame[0], "too many values"),
}


@pytest.mark.parametrize(("wrapped", "encoding"), [(False, "raw"), (True, "jpeg")], ids=["as it is", "captured"])
@pytest.mark.parametrize("odd", ODD)
def test_an_odd_frame_is_fresh_to_nobody_and_ends_no_thread(odd: str, wrapped: bool, encoding: str) -> None:
    arm = KinematicArm()
    own = Odd(arm)
    camera: Camera = CapturedCamera(own, first_wait_s=0.01, frozen_after_s=0.3) if wrapped else own
    make, said = ODD[odd]
    with (
        served(arm, cameras=[camera], encoding=encoding) as server,
        ArmClient(server.address, timeout_s=10.0) as client,
    ):
        until(lambda: client.frame("front"))
        if odd == "still":
            last_s = now()
            make = lambda frame: (frame[0], last_s)  # noqa: E731
        own.odd = make
        until(lambda: said in client.status()["camera_problems"][0])
        until(lambda: client.status()["camera_ages_s"][0] > 0.7)
        frame = client.frame("front")  # the last that was one
        assert frame is not None and now() - frame.captured_s > 0.6
        if isinstance(camera, CapturedCamera):
            assert camera.health().frozen and camera.health().age_s > 0.6
        assert server.state[0].value == "DISARMED" and all(thread.is_alive() for thread in server._threads.values())
        own.odd = None
        until(lambda: client.status()["camera_ages_s"][0] < 0.3 and not client.status()["camera_problems"][0])
        until(lambda: (newer := client.frame("front")) and now() - newer.captured_s < 1.0)


CLAIMS: tuple[object, ...] = (float("nan"), float("inf"), -float("inf"), -7, 10**400, "many", None, SailError("Gone."))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: repr(claim)[:12])
def test_what_a_camera_claims_of_itself_ends_no_thread(claim: object) -> None:
    class Claiming(PaintedCamera):
        def health(self) -> Health:
            if isinstance(claim, Exception):
                raise claim
            return Health(0.0, lost=claim)  # type: ignore[arg-type]

        @property
        def rate_hz(self) -> object:  # type: ignore[override]
            if isinstance(claim, Exception):
                raise claim
            return claim

        @rate_hz.setter
        def rate_hz(self, _: object) -> None: ...

    arm = KinematicArm()
    with (
        served(arm, cameras=[Claiming(arm)]) as server,
        ArmClient(server.address, timeout_s=10.0) as client,
    ):
        assert client.welcome.camera_rates_hz == {}
        until(lambda: client.frame("front"))
        assert client.status()["camera_lost"] == [2**31 if claim == 10**400 else 0]
        assert all(thread.is_alive() for thread in server._threads.values())


def test_sizes_that_numpy_counted_reach_a_client() -> None:
    arm = KinematicArm()
    camera = PaintedCamera(arm)
    camera.size = (np.int64(48), np.int32(64))  # type: ignore[assignment]
    with served(arm, cameras=[camera]) as server, ArmClient(server.address, timeout_s=10.0) as client:
        assert client.welcome.cameras == {"front": (48, 64)}
        until(lambda: client.frame("front"))


def test_what_a_camera_says_goes_to_a_terminal_as_one_plain_line() -> None:
    class Loud(PaintedCamera):
        def read(self) -> Frame:
            raise SailError("\x1b[2Jgone\n\ud800 for good" + "." * 9000)

    arm = KinematicArm()
    with served(arm, cameras=[Loud(arm)]) as server, ArmClient(server.address, timeout_s=10.0) as client:
        [problem] = until(
            lambda: [said for said in client.status()["camera_problems"] if "gone" in said], timeout_s=20.0
        )
        assert problem.isprintable() and len(problem) <= 500
