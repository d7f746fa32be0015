"""Off-screen rendering: choose a backend that works, and draw small pictures fast.

MuJoCo's defaults (4096² shadow map, reflections, 4× multisampling) cost more than a hundred milliseconds a picture
in software rendering, whatever its size. Without them a 64–128 px picture takes about a tenth of that, nearly all of
it for the 68,000 triangles of the arm and the table; what stands still is therefore drawn once (`sim.scenery`).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import os
import subprocess
import sys
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot.core.errors import RenderingError
from sim.scenery import Scenery

BACKENDS = ("egl", "osmesa")
PROBE = "import mujoco; c = mujoco.GLContext(16, 16); c.make_current(); c.free()"
INSTALL_HINT = (
    "MuJoCo cannot render off screen here: neither EGL nor OSMesa works. On Debian or Ubuntu run "
    "'apt-get install libegl1 libgl1-mesa-dri' (EGL) or 'apt-get install libosmesa6' (OSMesa), then try again."
)


@functools.cache
def backend_works(name: str) -> bool:
    """Return whether a fresh process can make an off-screen context with MUJOCO_GL=`name`."""
    environment = {**os.environ, "MUJOCO_GL": name, "PYOPENGL_PLATFORM": name}
    try:
        probe = subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return False
    return probe.returncode == 0


def choose_backend() -> str:
    """Set MUJOCO_GL to a backend that works and return its name; a value set by the user is tried first.

    Call it before `mujoco` is first imported. The choice is inherited by worker processes, which do not probe again.
    Raises RenderingError, saying what to install, when none works, ModuleNotFoundError where there is no MuJoCo.
    """
    if importlib.util.find_spec("mujoco") is None:
        raise ModuleNotFoundError("No module named 'mujoco'", name="mujoco")
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted and os.environ.get("SAIL_RENDERER_PROBED") == wanted:
        return wanted
    for name in dict.fromkeys((wanted, *BACKENDS) if wanted else BACKENDS):
        if backend_works(name):
            os.environ.update(MUJOCO_GL=name, PYOPENGL_PLATFORM=name, SAIL_RENDERER_PROBED=name)
            return name
    raise RenderingError(INSTALL_HINT)


@dataclass(frozen=True, slots=True)
class RenderSettings:
    """Choose what the renderer spends its time on. `stock()` is what `mujoco.Renderer` does when left alone.

    `keep_scenery`: draw what stands still once and lay what moves over it. It changes no pixel, and is not done with
    shadows, reflections or multisampling, where a pixel depends on more than the nearest thing.
    """

    shadows: bool = False
    reflections: bool = False
    multisamples: int = 0
    keep_scenery: bool = True

    @staticmethod
    def stock() -> RenderSettings:
        """Return MuJoCo's own defaults, to compare against."""
        return RenderSettings(shadows=True, reflections=True, multisamples=4, keep_scenery=False)


_open_renderers: weakref.WeakSet[OffscreenRenderer] = weakref.WeakSet()


class OffscreenRenderer:
    """Draw one model from its cameras as upright RGB pictures."""

    def __init__(self, model: Any, size: tuple[int, int], settings: RenderSettings = RenderSettings()) -> None:
        """Make a context for `model` (mujoco.MjModel) with pictures of `size` = (H, W) pixels."""
        choose_backend()
        import mujoco

        self._mujoco = mujoco
        # The context takes its buffers from here; an unused shadow map alone would hold some 64 MiB.
        model.vis.quality.offsamples = settings.multisamples
        model.vis.quality.shadowsize = model.vis.quality.shadowsize if settings.shadows else 0
        model.vis.global_.offheight, model.vis.global_.offwidth = size
        self._renderer: Any = mujoco.Renderer(model, height=size[0], width=size[1])
        flags = self._renderer.scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SHADOW] = settings.shadows
        flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = settings.reflections
        self._options = mujoco.MjvOption()
        plain = not (settings.shadows or settings.reflections or settings.multisamples)
        self._model = model
        self._scenery = Scenery(mujoco, model, self._renderer) if settings.keep_scenery and plain else None
        _open_renderers.add(self)
        _close_all_at_exit()

    def show_sites(self, visible: bool) -> None:
        """Draw or hide sites; MetaWorld marks its goals with them."""
        self._options.sitegroup[:] = 1 if visible else 0

    def render(self, data: Any, camera: str, upside_down: bool = False) -> NDArray[np.uint8]:
        """Return uint8 (H, W, 3) RGB seen by `camera`, turned by 180° when the camera is mounted upside down."""
        camera_id = self._model.camera(camera).id
        picture = self._scenery.draw(data, camera_id, self._options) if self._scenery is not None else None
        if picture is None:
            self._renderer.update_scene(data, camera=camera_id, scene_option=self._options)
            picture = self._renderer.render()[::-1]
        return np.ascontiguousarray(picture[:, ::-1] if upside_down else picture[::-1])

    def close(self) -> None:
        """Free the context; closing twice is allowed."""
        renderer, self._renderer, self._scenery = self._renderer, None, None
        if renderer is not None:
            with contextlib.suppress(Exception):  # a context torn down by the driver first is already free
                renderer.close()


@functools.cache
def _close_all_at_exit() -> None:
    # Exit handlers run last in, first out: registered after the first context is made, this one runs before MuJoCo's
    # own, which unloads EGL; a renderer freed after that raises.
    atexit.register(_close_all)


def _close_all() -> None:
    for renderer in list(_open_renderers):
        renderer.close()


def camera_matrix(data: Any, model: Any, camera: str, size: tuple[int, int], upside_down: bool) -> NDArray[np.float64]:
    """Return world_to_image, float64 (3, 4): homogeneous world metres → homogeneous pixels (column, row, 1).

    MuJoCo's cameras look along their −z axis with +y up; `size` is (H, W). The third row is the depth in metres.
    """
    height, width = size
    camera_id = model.camera(camera).id
    focal_px = 0.5 * height / np.tan(0.5 * np.deg2rad(model.cam_fovy[camera_id]))
    rotation = np.asarray(data.cam_xmat[camera_id]).reshape(3, 3).T
    world_to_camera = np.hstack([rotation, -rotation @ np.asarray(data.cam_xpos[camera_id])[:, None]])
    flip = -1.0 if upside_down else 1.0
    intrinsics = np.array(
        [
            [flip * focal_px, 0.0, -(width - 1) / 2],
            [0.0, -flip * focal_px, -(height - 1) / 2],
            [0.0, 0.0, -1.0],
        ]
    )
    return intrinsics @ world_to_camera
