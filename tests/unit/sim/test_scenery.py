"""Keeping the picture of what stands still changes no pixel, and what is kept is drawn again when it changes."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from robot.core.data import Action
from sim.metaworld import MetaWorldRobot
from sim.rendering import OffscreenRenderer, RenderSettings
from sim.scenery import Scenery

TASKS = (
    "assembly",
    "basketball",
    "button-press-topdown",
    "coffee-button",
    "door-close",
    "door-lock",
    "drawer-close",
    "faucet-open",
    "hammer",
    "handle-press",
    "plate-slide",
    "reach-wall",
    "window-close",  # translucent: drawn in one pass
)

SCENE = """
<mujoco>
  <worldbody>
    <light pos="0 0 3" dir="0 0 -1"/>
    <geom name="floor" type="plane" size="2 2 0.1" rgba="0.3 0.3 0.3 1"/>
    <geom name="wall" type="box" size="0.1 0.1 0.3" pos="0.2 0 0.3" rgba="0 0 1 {wall}"/>
    <site name="goal" size="0.05" pos="-0.4 0 0.5" rgba="0 1 0 1"/>
    <camera name="side" pos="0 -2 0.8" xyaxes="1 0 0 0 0.3 1"/>
    <body name="ball" pos="0 0 0.4">
      <joint type="slide" axis="1 0 0"/>
      <joint type="slide" axis="0 1 0"/>
      <geom name="ball" size="0.1" rgba="1 0 0 1"/>
      <camera name="eye" pos="0 -1 0.2" xyaxes="1 0 0 0 0.3 1"/>
    </body>
    <body name="dragged" mocap="true" pos="-0.5 0 0.2"><geom name="dragged" size="0.1" rgba="1 1 0 1"/></body>
  </worldbody>
</mujoco>
"""


class Counted(Scenery):
    """Count how often what stands still is drawn."""

    drawn = 0

    def _draw_still(self, *arguments):  # type: ignore[no-untyped-def]
        type(self).drawn += 1
        return super()._draw_still(*arguments)


class Pair:
    """One toy scene and two renderers of it: one that keeps the scenery and one that draws everything."""

    def __init__(self, wall: float = 1.0) -> None:
        self.model = mujoco.MjModel.from_xml_string(SCENE.format(wall=wall))
        self.data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self.data)
        self.fast = OffscreenRenderer(self.model, (48, 64))
        self.full = OffscreenRenderer(self.model, (48, 64), RenderSettings(keep_scenery=False))

    def check(self, camera: str = "side") -> np.ndarray:
        mujoco.mj_forward(self.model, self.data)
        picture = self.fast.render(self.data, camera)
        np.testing.assert_array_equal(picture, self.full.render(self.data, camera))
        return picture


@pytest.fixture
def make_pair(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr("sim.rendering.Scenery", Counted)
    Counted.drawn = 0
    made: list[Pair] = []

    def make(wall: float = 1.0) -> Pair:
        made.append(Pair(wall))
        return made[-1]

    yield make
    for pair in made:
        pair.fast.close()
        pair.full.close()


@pytest.mark.parametrize("task", TASKS)
def test_no_pixel_of_a_task_changes(task: str) -> None:
    robot = MetaWorldRobot(task, image_size=64)
    model, data = robot.scene
    full = OffscreenRenderer(model, (64, 64), RenderSettings(keep_scenery=False))
    full.show_sites(True)
    rng = np.random.default_rng(0)
    try:
        for start in range(2):
            observation = robot.reset(start)
            for _ in range(4):
                expected = full.render(data, "corner2", upside_down=True)
                np.testing.assert_array_equal(observation.images["corner2"], expected)
                robot.act(Action(rng.uniform(-1, 1, 4).astype(np.float32)))
                observation = robot.observe()
    finally:
        full.close()
        robot.close()


def test_scenery_is_drawn_once_while_things_move_before_and_behind_it(make_pair) -> None:  # type: ignore[no-untyped-def]
    pair = make_pair()
    pictures = []
    for x, y in ((0.0, 0.0), (0.2, -0.4), (0.2, 0.4), (0.12, 0.02)):
        pair.data.qpos[:] = x, y
        pair.data.mocap_pos[0, 0] += 0.05
        pictures.append(pair.check())
    assert Counted.drawn == 1
    red = [(picture[:, :, 0].astype(int) - picture[:, :, 2] > 60).sum() for picture in pictures]
    assert red[1] > red[2]  # behind the wall it is hidden


def test_scenery_that_changes_is_drawn_again(make_pair) -> None:  # type: ignore[no-untyped-def]
    pair = make_pair()
    before = pair.check()
    pair.model.geom("wall").pos[0] -= 0.3
    moved = pair.check()
    pair.model.geom("wall").rgba[:] = 1, 1, 1, 1
    painted = pair.check()
    pair.model.site("goal").pos[0] += 0.1
    goal = pair.check()
    pair.fast.show_sites(False)
    pair.full.show_sites(False)
    hidden = pair.check()
    pair.model.cam("side").pos[2] += 0.2
    raised = pair.check()
    assert Counted.drawn == 6
    pictures = [before, moved, painted, goal, hidden, raised]
    assert all((one != other).any() for one, other in zip(pictures, pictures[1:], strict=False))


def test_cameras_take_turns_without_drawing_again(make_pair) -> None:  # type: ignore[no-untyped-def]
    pair = make_pair()
    for x in (0.0, 0.1, 0.2):
        pair.data.qpos[0] = x
        pair.check("side")
    assert Counted.drawn == 1
    assert (pair.check("eye") != pair.check("side")).any()


def test_a_moving_camera_and_translucent_things_take_one_pass(make_pair) -> None:  # type: ignore[no-untyped-def]
    pair = make_pair()
    camera = pair.model.camera("eye").id
    assert pair.fast._scenery.draw(pair.data, camera, pair.fast._options) is None
    glass = make_pair(wall=0.5)
    glass.data.qpos[:] = 0.2, 0.4
    glass.check()
    camera = glass.model.camera("side").id
    assert glass.fast._scenery.draw(glass.data, camera, glass.fast._options) is None


def test_scenery_is_not_kept_where_a_pixel_depends_on_more_than_the_nearest_thing(make_pair) -> None:  # type: ignore[no-untyped-def]
    model = make_pair().model
    for settings in (RenderSettings(shadows=True), RenderSettings(reflections=True), RenderSettings(multisamples=4)):
        renderer = OffscreenRenderer(model, (16, 16), settings)
        assert renderer._scenery is None
        renderer.close()
