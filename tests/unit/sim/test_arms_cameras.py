"""Cameras of simulated arms: the same pictures as the simulator's own, in time, and told when they fail."""

from __future__ import annotations

import copy
import io
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from robot.core.data import Action
from robot.core.errors import SailError, UnknownNameError
from robot.core.protocols import Camera
from sim.arms.cameras import SimulatedCamera
from sim.arms.metaworld import MetaWorldArm
from sim.arms.painter import Painter, read_pose, serve
from sim.arms.panda import SimulatedPanda
from sim.metaworld import MetaWorldRobot

Draw = Callable[[int, int], list[Action]]
MakeRobot = Callable[..., MetaWorldRobot]


@pytest.mark.parametrize(
    "task", ["push", *(pytest.param(task, marks=pytest.mark.slow) for task in ("drawer-close", "window-close"))]
)
def test_a_painter_draws_what_the_robot_observes(make_robot: MakeRobot, random_actions: Draw, task: str) -> None:
    robot = make_robot(task, image_size=(48, 64))
    robot.reset(1)
    painter = Painter(copy.copy(robot.scene[0]), "corner2", (48, 64), upside_down=True, sites=True)
    for seed in (1, 2):  # resets move fixed objects and goals in the model itself
        seen = [robot.reset(seed)]
        for action in random_actions(3, seed):
            robot.act(action)
            seen.append(robot.observe())
            pose = read_pose(*robot.scene)
        np.testing.assert_array_equal(painter.draw(pose), seen[-1].images["corner2"])
        robot.reset(seed)
        np.testing.assert_array_equal(painter.draw(read_pose(*robot.scene)), seen[0].images["corner2"])
    painter.close()


def test_a_painter_answers_until_it_is_asked_no_more() -> None:
    class Squares:
        pose_size = 2

        def draw(self, pose: np.ndarray) -> np.ndarray:
            return (pose * pose).astype(np.uint8)

    poses, sink = np.array([1.0, 2.0, 3.0, 4.0]), io.BytesIO()
    serve(Squares(), io.BytesIO(poses.tobytes() + b"half"), sink)  # type: ignore[arg-type]
    assert sink.getvalue() == bytes([1, 4, 9, 16])


@pytest.fixture(scope="module")
def panda() -> Iterator[SimulatedPanda]:
    arm = SimulatedPanda(image_size=(48, 64))
    arm.connect()
    yield arm
    arm.close()


@pytest.fixture(scope="module")
def camera(panda: SimulatedPanda) -> Iterator[SimulatedCamera]:
    camera = panda.cameras[0]
    camera.open()
    yield camera
    camera.close()


def test_a_camera_is_one(panda: SimulatedPanda, camera: SimulatedCamera) -> None:
    assert [each.name for each in panda.cameras] == ["front", "wrist"]
    assert isinstance(camera, Camera)
    assert camera.size == (48, 64)
    camera.open()  # opening it again changes nothing
    image, _ = camera.read()
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    assert image.std() > 20  # there is something to see


def test_frames_are_stamped_with_when_the_arm_was_so(panda: SimulatedPanda, camera: SimulatedCamera) -> None:
    last_s = -1.0
    for _ in range(3):
        before_s = time.monotonic()
        panda.read()
        _, time_s = camera.read()
        assert before_s <= time_s <= time.monotonic()
        assert time_s > last_s
        last_s = time_s
    _, again_s = camera.read()  # nothing has moved since: a picture of old is not passed off as new
    assert again_s == last_s


def test_frames_show_what_has_moved(panda: SimulatedPanda, camera: SimulatedCamera) -> None:
    panda.reset(0)
    first, _ = camera.read()
    panda.reset(1)
    other, _ = camera.read()
    panda.reset(0)
    again, _ = camera.read()
    assert np.abs(first.astype(int) - other).max() > 40
    np.testing.assert_array_equal(first, again)


def test_frames_do_not_come_faster_than_they_should(camera: SimulatedCamera) -> None:
    camera.read()
    began_s = time.monotonic()
    for _ in range(6):
        camera.read()
    assert time.monotonic() - began_s > 4 / 30


def test_a_frame_that_was_handed_out_does_not_change(panda: SimulatedPanda, camera: SimulatedCamera) -> None:
    image, _ = camera.read()
    kept = image.copy()
    panda.reset(7)
    camera.read()
    np.testing.assert_array_equal(image, kept)


def test_a_camera_that_is_closed_or_missing_says_so(panda: SimulatedPanda) -> None:
    with pytest.raises(SailError, match="'wrist' is closed"):
        panda.cameras[1].read()
    panda.cameras[1].close()
    with pytest.raises(UnknownNameError, match="front"):
        SimulatedPanda(cameras=("fron",))
    with pytest.raises(ValueError, match="positive rate"):
        SimulatedCamera(panda, "front", rate_hz=0)


def test_closing_ends_a_read_and_what_draws_may_die_and_be_opened_again(panda: SimulatedPanda) -> None:
    camera = SimulatedCamera(panda, "wrist", (16, 16), rate_hz=0.01)
    camera.open()
    camera.read()
    said: list[str] = []

    def read() -> None:
        with pytest.raises(SailError) as error:
            camera.read()
        said.append(str(error.value))

    reader = threading.Thread(target=read)
    reader.start()
    camera.close()
    camera.close()
    reader.join(timeout=60)
    assert len(said) == 1
    camera.open()
    assert camera.read()[0].shape == (16, 16, 3)
    assert camera._painter is not None
    camera._painter._process.kill()
    camera._due_s = 0.0
    with pytest.raises(SailError, match=r"^The process that draws camera 'wrist' has ended; .*\.$"):
        camera.read()
    camera.close()


def test_metaworlds_camera_sees_what_metaworlds_robot_observes(make_robot: MakeRobot) -> None:
    arm = MetaWorldArm("drawer-close", image_size=(48, 64), seed=5)
    (camera,) = arm.cameras
    camera.open()
    robot = make_robot("drawer-close", image_size=(48, 64))
    np.testing.assert_array_equal(camera.read()[0], robot.reset(5).images["corner2"])
    arm.reset(6)
    np.testing.assert_array_equal(camera.read()[0], robot.reset(6).images["corner2"])
    arm.close()
    camera.read()  # whoever opened it closes it
    camera.close()
    with pytest.raises(SailError, match="closed"):
        camera.read()
