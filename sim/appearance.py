"""Change how a scene looks, by seed and strength, and nothing else: colours, textures, lights and cameras' places.

Physics never reads what is changed here, so that a scene in other clothes moves bit for bit as it did in its own.
The markers of goals (MuJoCo's sites) keep their looks: where a goal is and what it means is part of the task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOOKS = (
    *("geom_rgba", "mat_rgba", "mat_texid", "mat_texrepeat", "mat_specular", "mat_shininess"),
    *("light_dir", "light_pos", "light_ambient", "light_diffuse", "light_specular"),
    *("cam_pos", "cam_quat", "cam_fovy"),
)
"""What of a mujoco.MjModel an appearance may change, beside its headlight; physics reads none of it."""
HEADLIGHT = ("ambient", "diffuse", "specular")
DEFAULT_RGBA = (0.5, 0.5, 0.5, 1.0)
OTHER_TEXTURE = 0.5
"""Chance, at full strength, that a textured material is given another texture of its kind, or none."""
LIGHT_TURN_RAD, LIGHT_MOVE_M, LIGHT_LOG_RANGE = 0.7, 0.3, 0.5
CAMERA_MOVE_M, CAMERA_TURN_RAD, CAMERA_FOVY_DEG = 0.15, 0.09, 5.0
"""How far a displaced camera may be moved along each axis, turned about each and widened, at full strength."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """Say how a scene is to look: drawn from `seed`, `strength` (0–1) away from its own look.

    Strength 0 is the scene's own look, to the last bit. `displaced`: the cameras that are moved from their places, of
    those that stand still; None is all of them.
    """

    seed: int
    strength: float = 1.0
    displaced: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"The strength of an appearance must lie in 0 … 1, got {self.strength}.")
        if self.seed < 0:
            raise ValueError(f"The seed of an appearance must not be negative, got {self.seed}.")


class Looks:
    """Keep the own look of a model (mujoco.MjModel) and dress it in others."""

    def __init__(self, mujoco: Any, model: Any) -> None:
        """Remember how `model` looks now: the look that `apply(None)` gives back."""
        self._mujoco, self._model = mujoco, model
        self._own = {name: getattr(model, name).copy() for name in LOOKS}
        self._headlight = {name: getattr(model.vis.headlight, name).copy() for name in HEADLIGHT}

    def apply(self, appearance: Appearance | None) -> None:
        """Dress the model, whatever it wore before; None and strength 0 are its own look.

        Places of lights and cameras show in MjData after the next `mj_forward` or `mj_camlight`. Raises ValueError,
        changing nothing, where a camera to be displaced does not stand still or is not there.
        """
        displaced = self._displaced(appearance) if appearance is not None else ()
        for name, values in self._own.items():
            getattr(self._model, name)[:] = values
        for name, values in self._headlight.items():
            getattr(self._model.vis.headlight, name)[:] = values
        if appearance is None or appearance.strength == 0:
            return
        # A stream for each part: which textures a scene has does not move its lights.
        colours, textures, lights, cameras = (np.random.default_rng([appearance.seed, part, 0xC]) for part in range(4))
        self._paint(colours, appearance.strength)
        self._paper(textures, appearance.strength)
        self._light(lights, appearance.strength)
        for name in displaced:
            self._displace(cameras, appearance.strength, self._model.camera(name).id)

    def _paint(self, rng: np.random.Generator, strength: float) -> None:
        """Blend every colour with a random one; what had one colour before has one colour after."""
        model = self._model
        # MuJoCo draws a geom in its material's colour only as long as the geom's own is the default one.
        painted = ~((model.geom_matid >= 0) & (model.geom_rgba == DEFAULT_RGBA).all(1))
        for colours, changes in ((model.geom_rgba, painted), (model.mat_rgba, np.ones(model.nmat, np.bool_))):
            _, first, group = np.unique(colours[:, :3], axis=0, return_index=True, return_inverse=True)
            drawn = rng.uniform(0.05, 0.95, (len(first), 3)).astype(np.float32)[group.reshape(-1)]
            colours[changes, :3] += (np.float32(strength) * (drawn - colours[:, :3]))[changes]
        textured = (model.mat_texid >= 0).any(1)
        # A texture is multiplied with its material's colour: a dark one would hide the picture on it.
        tints = 1.0 - strength * rng.uniform(0.0, 0.7, (model.nmat, 3))
        model.mat_rgba[textured, :3] = tints[textured]
        for values in (model.mat_specular, model.mat_shininess):
            values += np.float32(strength) * (rng.uniform(0.0, 1.0, values.shape).astype(np.float32) - values)

    def _paper(self, rng: np.random.Generator, strength: float) -> None:
        """Give textured materials other textures of their kind, or none, and stretch them."""
        model = self._model
        for material, slot in np.argwhere(model.mat_texid >= 0):
            change, stretch = rng.random() < OTHER_TEXTURE * strength, rng.uniform(-1.0, 1.0, 2)
            kind = model.tex_type[model.mat_texid[material, slot]]
            choice = rng.choice([*np.flatnonzero(model.tex_type == kind), -1])
            if change:
                model.mat_texid[material, slot] = choice
            model.mat_texrepeat[material] *= 2.0 ** (strength * stretch)
            if model.mat_texid[material, slot] < 0:
                model.mat_rgba[material, :3] = rng.uniform(0.1, 0.9, 3)

    def _light(self, rng: np.random.Generator, strength: float) -> None:
        """Turn and move the lights and the headlight's brightness, and tint them a little."""
        model, headlight = self._model, self._model.vis.headlight
        brightness = np.exp(strength * rng.uniform(-LIGHT_LOG_RANGE, LIGHT_LOG_RANGE, (model.nlight + 1, 1)))
        tints = 1.0 + strength * rng.uniform(-0.15, 0.15, (model.nlight + 1, 3))
        for number in range(model.nlight):
            turned = np.empty(3)
            self._mujoco.mju_rotVecQuat(
                turned, model.light_dir[number].astype(np.float64), _turn(rng, strength * LIGHT_TURN_RAD)
            )
            model.light_dir[number] = turned
            model.light_pos[number] += strength * rng.uniform(-LIGHT_MOVE_M, LIGHT_MOVE_M, 3)
            for values in (model.light_ambient, model.light_diffuse, model.light_specular):
                values[number] *= brightness[number] * tints[number]
        for name in HEADLIGHT:
            getattr(headlight, name)[:] *= brightness[-1] * tints[-1]

    def _displaced(self, appearance: Appearance) -> tuple[str, ...]:
        model = self._model
        still = [model.camera(number).name for number in range(model.ncam) if model.cam_bodyid[number] == 0]
        if appearance.displaced is None:
            return tuple(still)
        for name in appearance.displaced:
            if name not in still:
                raise ValueError(f"There is no camera {name!r} that stands still; there are {', '.join(still)}.")
        return appearance.displaced

    def _displace(self, rng: np.random.Generator, strength: float, camera: int) -> None:
        model = self._model
        model.cam_pos[camera] += strength * rng.uniform(-CAMERA_MOVE_M, CAMERA_MOVE_M, 3)
        turned = np.empty(4)
        self._mujoco.mju_mulQuat(turned, model.cam_quat[camera], _turn(rng, strength * CAMERA_TURN_RAD))
        model.cam_quat[camera] = turned
        model.cam_fovy[camera] += strength * rng.uniform(-CAMERA_FOVY_DEG, CAMERA_FOVY_DEG)


def _turn(rng: np.random.Generator, most_rad: float) -> NDArray[np.float64]:
    """Return a unit quaternion (w, x, y, z), a rotation by up to `most_rad` about each of the three axes."""
    vector = rng.uniform(-most_rad, most_rad, 3)
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle > 0 else np.array([1.0, 0.0, 0.0])
    return np.concatenate([[np.cos(angle / 2)], np.sin(angle / 2) * axis])
