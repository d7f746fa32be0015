"""Laws of off-screen rendering: a backend that works is found, pictures are upright and cheap, the exit is silent."""

from __future__ import annotations

import os
import subprocess
import sys

import mujoco
import numpy as np
import pytest

from robot.core.errors import RenderingError
from sim import rendering
from sim.rendering import OffscreenRenderer, RenderSettings, camera_matrix, choose_backend

SCENE = """
<mujoco>
  <worldbody>
    <light pos="0 0 3" dir="0 0 -1"/>
    <geom type="plane" size="2 2 0.1" rgba="0 0 0 1"/>
    <geom type="sphere" size="0.05" pos="0.3 0.2 0.4" rgba="1 0 0 1"/>
    <site name="goal" type="sphere" size="0.05" pos="-0.3 -0.2 0.4" rgba="0 1 0 1"/>
    <camera name="side" pos="0 -2 0.8" xyaxes="1 0 0 0 0.3 1"/>
    <camera name="flipped" pos="0 -2 0.8" xyaxes="-1 0 0 0 -0.3 -1"/>
  </worldbody>
</mujoco>
"""


@pytest.fixture
def scene() -> tuple[mujoco.MjModel, mujoco.MjData]:
    choose_backend()
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def centre_of(image: np.ndarray, channel: int) -> np.ndarray:
    """Return the mean (column, row) of the pixels in which one colour stands out."""
    others = [other for other in range(3) if other != channel]
    rows, columns = np.nonzero(image[:, :, channel].astype(int) - image[:, :, others].max(axis=2) > 60)
    assert len(rows) > 3
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
@pytest.mark.parametrize(("camera", "upside_down"), [("side", False), ("flipped", True)])
def test_a_camera_matrix_says_where_a_thing_is_drawn(scene, size, camera, upside_down) -> None:  # type: ignore[no-untyped-def]
    model, data = scene
    renderer = OffscreenRenderer(model, size)
    renderer.show_sites(True)
    image = renderer.render(data, camera, upside_down)
    renderer.close()
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    matrix = camera_matrix(data, model, camera, size, upside_down)
    for channel, place in ((0, [0.3, 0.2, 0.4]), (1, [-0.3, -0.2, 0.4])):
        column, row, depth = matrix @ np.array([*place, 1.0])
        assert depth > 1
        np.testing.assert_allclose([column / depth, row / depth], centre_of(image, channel), atol=1.0)


def test_upside_down_turns_the_picture_by_half_a_turn(scene) -> None:  # type: ignore[no-untyped-def]
    model, data = scene
    renderer = OffscreenRenderer(model, (32, 48))
    upright = renderer.render(data, "side")
    np.testing.assert_array_equal(renderer.render(data, "side", upside_down=True), upright[::-1, ::-1])
    renderer.close()


def test_hidden_sites_are_not_drawn(scene) -> None:  # type: ignore[no-untyped-def]
    model, data = scene
    renderer = OffscreenRenderer(model, (64, 64))
    renderer.show_sites(False)
    hidden = renderer.render(data, "side")
    renderer.show_sites(True)
    shown = renderer.render(data, "side")
    renderer.close()
    changed = np.abs(shown.astype(int) - hidden).sum(axis=2) > 30
    assert 3 < changed.sum() < 200
    assert (hidden[:, :, 1].astype(int) - hidden[:, :, 0] < 60).all()


def test_fast_settings_are_the_default_and_reach_the_context(scene) -> None:  # type: ignore[no-untyped-def]
    model, _ = scene
    assert RenderSettings() == RenderSettings(False, False, multisamples=0, keep_scenery=True)
    fast = OffscreenRenderer(model, (32, 32))
    context = fast._renderer._mjr_context
    assert context.offSamples == 0
    assert context.shadowSize == 0
    assert not fast._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW]
    assert not fast._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION]
    fast.close()


def test_stock_settings_are_what_mujoco_does_when_left_alone(scene) -> None:  # type: ignore[no-untyped-def]
    model, data = scene
    alone = mujoco.Renderer(model, 64, 64)
    alone.update_scene(data, "side")
    expected = alone.render()
    alone.close()
    stock = OffscreenRenderer(model, (64, 64), RenderSettings.stock())
    np.testing.assert_array_equal(stock.render(data, "side"), expected)
    stock.close()


def test_closing_twice_is_allowed(scene) -> None:  # type: ignore[no-untyped-def]
    renderer = OffscreenRenderer(scene[0], (16, 16))
    renderer.close()
    renderer.close()


@pytest.fixture
def unprobed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM", "SAIL_RENDERER_PROBED"):
        monkeypatch.setenv(name, "")  # so that what the test changes is put back
        monkeypatch.delenv(name)
    return monkeypatch


def test_without_a_backend_one_sentence_names_the_packages(unprobed: pytest.MonkeyPatch) -> None:
    unprobed.setattr(rendering, "backend_works", lambda name: False)
    with pytest.raises(RenderingError, match=r"libegl1 .*libosmesa6") as caught:
        choose_backend()
    assert "\n" not in str(caught.value)
    assert "MUJOCO_GL" not in os.environ


def test_what_the_user_set_is_tried_first_and_others_after_it(unprobed: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def works(name: str) -> bool:
        tried.append(name)
        return name == "osmesa"

    unprobed.setattr(rendering, "backend_works", works)
    unprobed.setenv("MUJOCO_GL", "GLFW")
    assert choose_backend() == "osmesa"
    assert tried == ["glfw", "egl", "osmesa"]
    assert os.environ["MUJOCO_GL"] == os.environ["PYOPENGL_PLATFORM"] == "osmesa"


def test_a_backend_is_probed_once_and_workers_inherit_the_choice(unprobed: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    unprobed.setattr(rendering, "backend_works", lambda name: not tried.append(name))
    assert choose_backend() == "egl"
    assert choose_backend() == "egl"
    assert tried == ["egl"]


def test_a_backend_that_does_not_exist_does_not_work() -> None:
    assert not rendering.backend_works("no-such-backend")


def test_an_interpreter_that_exits_with_open_renderers_says_nothing() -> None:
    script = (
        "import mujoco\n"
        "from sim.rendering import OffscreenRenderer\n"
        f"model = mujoco.MjModel.from_xml_string({SCENE!r})\n"
        "data = mujoco.MjData(model)\n"
        "mujoco.mj_forward(model, data)\n"
        "kept = [OffscreenRenderer(model, (16, 16)) for _ in range(2)]\n"
        "kept[0].render(data, 'side')\n"
        "lost = OffscreenRenderer(model, (16, 16))\n"
        "del lost\n"
        "print('drawn')\n"
    )
    choose_backend()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "drawn\n", "")
