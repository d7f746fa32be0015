"""Draw what stands still once and lay what moves over it: the same picture, in less time.

A scene's table, walls and fixed objects look the same in every picture of an episode that a fixed camera takes. They
are drawn once, colour and depth; for each further picture only what moves is drawn, and each pixel is taken from
whichever of the two is nearer. That is what the depth buffer would have done, so no pixel changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOOKS = (
    *("geom_rgba", "geom_size", "geom_matid", "geom_group", "site_rgba", "site_size", "site_matid", "site_group"),
    *("mat_rgba", "mat_emission", "mat_specular", "mat_shininess", "mat_reflectance", "mat_texid", "mat_texrepeat"),
    *("light_active", "light_ambient", "light_diffuse", "light_specular", "cam_fovy"),
)
"""What of a mujoco.MjModel decides how its unmoving parts look, beside where they are."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """Hold a picture of what stands still, lowest row first: its look, colour and depth (neither: not to be kept)."""

    look: bytes
    colour: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None


class Scenery:
    """Keep the picture of a scene's unmoving parts, one a camera, for as long as they look the same."""

    def __init__(self, mujoco: Any, model: Any, renderer: Any) -> None:
        """Draw with `renderer` (mujoco.Renderer of `model`), whose scene is overwritten by every picture."""
        self._mujoco, self._model, self._renderer = mujoco, model, renderer
        height, width = renderer.height, renderer.width
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._colour = np.empty((height, width, 3), np.uint8)
        self._depth = np.empty((height, width), np.float32)
        # As MuJoCo sorts them: what hangs on the world stands still, unless it is dragged about as a mocap body.
        self._still = (model.body_weldid == 0) & (model.body_mocapid[model.body_rootid] < 0)
        self._still_geoms = np.flatnonzero(self._still[model.geom_bodyid])
        self._still_sites = np.flatnonzero(self._still[model.site_bodyid])
        self._kept: dict[int, _Kept] = {}

    def draw(self, data: Any, camera_id: int, options: Any) -> NDArray[np.uint8] | None:
        """Return a camera's picture, uint8 (H, W, 3) RGB with the lowest row first, or None where it takes one pass.

        That is where the camera or a light may move with the robot, and where anything seen is translucent: a
        translucent thing shows what is behind it, moving or not.
        """
        category = self._mujoco.mjtCatBit
        look = self._look(data, camera_id, options)
        if camera_id not in self._kept or self._kept[camera_id].look != look:
            self._kept[camera_id] = self._draw_still(data, camera_id, options, look)
        kept = self._kept[camera_id]
        if kept.colour is None or kept.depth is None:
            return None
        flags, skybox = self._renderer.scene.flags, self._mujoco.mjtRndFlag.mjRND_SKYBOX
        before, flags[skybox] = flags[skybox], 0  # the sky is in the picture that was kept
        try:
            self._draw_part(data, camera_id, options, category.mjCAT_ALL.value & ~category.mjCAT_STATIC.value)
        finally:
            flags[skybox] = before
        picture = kept.colour.copy()
        # mujoco.Renderer keeps depth the wrong way round, 0 far and 1 near, which is finer far away.
        np.copyto(picture, self._colour, where=(self._depth > kept.depth)[:, :, None])
        return picture

    def _draw_still(self, data: Any, camera_id: int, options: Any, look: bytes) -> _Kept:
        scene = self._renderer.scene
        self._update(data, camera_id, options, self._mujoco.mjtCatBit.mjCAT_ALL.value)
        opaque = all(scene.geoms[number].rgba[3] == 1 for number in range(scene.ngeom))
        if not (opaque and self._still[self._model.light_bodyid].all() and self._is_fixed(camera_id)):
            return _Kept(look)
        self._draw_part(data, camera_id, options, self._mujoco.mjtCatBit.mjCAT_STATIC.value)
        return _Kept(look, self._colour.copy(), self._depth.copy())

    def _is_fixed(self, camera_id: int) -> bool:
        mode = self._model.cam_mode[camera_id] == self._mujoco.mjtCamLight.mjCAMLIGHT_FIXED
        return bool(mode and self._still[self._model.cam_bodyid[camera_id]])

    def _update(self, data: Any, camera_id: int, options: Any, categories: int) -> None:
        camera = self._mujoco.MjvCamera()
        camera.type, camera.fixedcamid = self._mujoco.mjtCamera.mjCAMERA_FIXED, camera_id
        self._mujoco.mjv_updateScene(self._model, data, options, None, camera, categories, self._renderer.scene)

    def _draw_part(self, data: Any, camera_id: int, options: Any, categories: int) -> None:
        mujoco, renderer = self._mujoco, self._renderer
        self._update(data, camera_id, options, categories)
        renderer._gl_context.make_current()
        mujoco.mjr_render(self._rectangle, renderer.scene, renderer._mjr_context)
        mujoco.mjr_readPixels(self._colour, self._depth, self._rectangle, renderer._mjr_context)

    def _look(self, data: Any, camera_id: int, options: Any) -> bytes:
        """Return bytes that change whenever the unmoving parts may look different."""
        geoms, sites = self._still_geoms, self._still_sites
        parts = [getattr(self._model, name) for name in LOOKS]
        parts += [data.geom_xpos[geoms], data.geom_xmat[geoms], data.site_xpos[sites], data.site_xmat[sites]]
        parts += [data.cam_xpos[camera_id], data.cam_xmat[camera_id], data.light_xpos, data.light_xdir]
        headlight = self._model.vis.headlight
        parts += [headlight.ambient, headlight.diffuse, headlight.specular]
        parts += [options.geomgroup, options.sitegroup, options.flags, self._renderer.scene.flags]
        return b"".join(part.tobytes() for part in parts)
