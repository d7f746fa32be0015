"""Laws of appearances: they change pictures and nothing else, come from their seed alone, and can be taken off."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from robot.core.data import Action, Observation
from robot.core.errors import UnknownNameError
from sim import collect as collecting
from sim.appearance import Appearance
from sim.collect import Request, collect_one
from sim.metaworld import MetaWorldRobot
from sim.rendering import OffscreenRenderer, RenderSettings

Draw = Callable[[int, int], list[Action]]
CAMERAS = ("corner2", "corner4")
TASK = "coffee-pull"  # a scene with textures, materials and geoms of a colour of their own
STRONG = Appearance(3, 1.0)


@pytest.fixture(scope="module")
def shared() -> Iterator[MetaWorldRobot]:
    robot = MetaWorldRobot(TASK, CAMERAS, 48)
    yield robot
    robot.close()


@pytest.fixture
def robot(shared: MetaWorldRobot) -> MetaWorldRobot:
    shared.look_from(CAMERAS)
    shared.set_appearance(None)
    shared.reset(5)
    return shared


def differ(first: Observation, second: Observation, camera: str = "corner2") -> bool:
    return bool((first.images[camera] != second.images[camera]).any())


def model_bytes(robot: MetaWorldRobot) -> dict[str, bytes]:
    """Return every array of the model, by its name: all that physics could read."""
    model = robot.scene[0]
    arrays = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {name: value.tobytes() for name, value in arrays.items() if isinstance(value, np.ndarray)}


def test_strength_nought_is_the_scene_s_own_look_to_the_last_bit(robot: MetaWorldRobot) -> None:
    own, before = robot.observe(), model_bytes(robot)
    robot.set_appearance(Appearance(3, 0.0))
    assert model_bytes(robot) == before
    for camera in CAMERAS:
        assert not differ(robot.observe(), own, camera)


def test_only_looks_change_in_the_model_and_all_of_it_comes_back(robot: MetaWorldRobot) -> None:
    own, before = robot.observe(), model_bytes(robot)
    robot.set_appearance(STRONG)
    after = model_bytes(robot)
    changed = {name for name in before if before[name] != after[name]}
    assert {"geom_rgba", "mat_rgba", "light_dir", "light_diffuse", "cam_pos", "cam_quat"} <= changed
    assert all(name.startswith(("geom_rgba", "mat_", "light_", "cam_")) for name in changed)
    assert differ(robot.observe(), own)
    robot.set_appearance(None)
    assert model_bytes(robot) == before
    assert not differ(robot.observe(), own)


def test_physics_does_not_notice(robot: MetaWorldRobot, random_actions: Draw) -> None:
    actions = random_actions(12, 0)

    def states(change: Callable[[int], None]) -> list[np.ndarray]:
        robot.set_appearance(None)
        robot.reset(7)
        found = []
        for step, action in enumerate(actions):
            change(step)
            robot.act(action)
            found.append(robot.state())
        return found

    plain = states(lambda step: None)
    dressed = states(lambda step: robot.set_appearance(Appearance(step, 1.0)))
    np.testing.assert_array_equal(plain, dressed)


def test_a_seed_fixes_the_look_whatever_was_worn_before(robot: MetaWorldRobot) -> None:
    robot.set_appearance(STRONG)
    first = robot.observe()
    robot.set_appearance(Appearance(4, 0.7))
    assert differ(robot.observe(), first)
    robot.set_appearance(STRONG)
    for camera in CAMERAS:
        assert not differ(robot.observe(), first, camera)


def test_more_strength_is_further_from_the_scene_s_own_look(robot: MetaWorldRobot) -> None:
    own = robot.observe().images["corner2"].astype(int)
    distances = []
    for strength in (0.1, 0.4, 1.0):
        robot.set_appearance(Appearance(3, strength, displaced=()))
        distances.append(np.abs(robot.observe().images["corner2"] - own).mean())
    assert 0 < distances[0] < distances[1] < distances[2]


def test_only_the_cameras_named_are_displaced_and_their_matrices_follow(robot: MetaWorldRobot) -> None:
    before = robot.spec.camera_matrices
    robot.set_appearance(Appearance(3, 1.0, displaced=("corner4",)))
    after = robot.spec.camera_matrices
    np.testing.assert_array_equal(after["corner2"], before["corner2"])
    assert not np.allclose(after["corner4"], before["corner4"])
    # Where the matrix says the gripper is, and where it was before: some pixels apart, and in the picture still.
    gripper = np.append(robot.proprio()[:3].astype(float), 1.0)
    there, here = (matrix["corner4"] @ gripper for matrix in (after, before))
    moved = np.linalg.norm(there[:2] / there[2] - here[:2] / here[2])
    assert 1.0 < moved < 48.0


def test_the_kept_scenery_is_drawn_in_the_clothes_of_the_day(robot: MetaWorldRobot) -> None:
    model, data = robot.scene
    full = OffscreenRenderer(model, (48, 48), RenderSettings(keep_scenery=False))
    full.show_sites(True)
    try:
        for seed in range(3):
            robot.set_appearance(Appearance(seed, 1.0))
            for camera in CAMERAS:
                expected = full.render(data, camera, upside_down=True)
                np.testing.assert_array_equal(robot.observe().images[camera], expected)
        robot.set_appearance(None)
        own = robot.observe()
        model.vis.headlight.diffuse[:] *= 0.5  # light that no field of its own model array holds
        assert differ(robot.observe(), own)
    finally:
        full.close()
        robot.set_appearance(None)


def test_objects_keep_their_materials_colours(robot: MetaWorldRobot) -> None:
    """A geom drawn in its material's colour is so still: parts of an object do not run together into one colour."""
    model = robot.scene[0]
    default = (model.geom_matid >= 0) & (model.geom_rgba == 0.5 * np.array([1, 1, 1, 2])).all(1)
    assert default.any()
    robot.set_appearance(STRONG)
    np.testing.assert_array_equal(model.geom_rgba[default], 0.5 * np.tile([1, 1, 1, 2], (default.sum(), 1)))


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_a_strength_beyond_its_range_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength of an appearance must lie in 0 … 1"):
        Appearance(0, strength)


def test_a_camera_that_is_not_there_or_moves_cannot_be_displaced(robot: MetaWorldRobot) -> None:
    before = model_bytes(robot)
    for name in ("corner9", "gripperPOV"):
        with pytest.raises(ValueError, match=f"no camera '{name}' that stands still; there are topview, corner"):
            robot.set_appearance(Appearance(0, 1.0, displaced=(name,)))
        assert model_bytes(robot) == before
    with pytest.raises(UnknownNameError, match="corner9"):
        robot.look_from(("corner9",))
    with pytest.raises(ValueError, match="built without cameras"):
        MetaWorldRobot(TASK, ()).look_from(("corner2",))


def test_requests_that_differ_in_looks_share_a_robot_and_a_way(shared: MetaWorldRobot) -> None:
    try:
        plain, dressed, again = (
            collect_one(Request(TASK, "play", 4, max_steps=6, image_size=24, cameras=cameras, appearance=look))
            for cameras, look in ((CAMERAS, None), (("corner2", "topview"), STRONG), (CAMERAS, None))
        )
        assert len(collecting._cached) == 1
        for name in ("proprio", "sent", "states"):
            np.testing.assert_array_equal(getattr(plain, name), getattr(dressed, name))
        assert set(dressed.frames) == {"corner2", "topview"}
        assert (dressed.frames["corner2"] != plain.frames["corner2"]).any()
        np.testing.assert_array_equal(plain.frames["corner2"], again.frames["corner2"])
        assert plain.spec is not None and dressed.spec is not None
        assert (plain.spec.camera_matrices["corner2"] != dressed.spec.camera_matrices["corner2"]).any()
    finally:
        for one in collecting._cached.values():
            one.close()
        collecting._cached.clear()
