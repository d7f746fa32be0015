"""Describe an episode in `episode.json`: everything that is neither a picture nor a number of every step."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot.core.data import ActionSpec, Beginning, Episode, PlacedPlan, RobotSpec, SamplerSettings, VideoPlan
from robot.core.errors import SailError

SCHEMA = 2
FIRST_SCHEMA = 1
"""Before there were videos and Parquet: still read (`robot.episodes.first_format`), never written."""
ABOUT = "episode.json"
KEPT = ("recorded", "revision", "source", "recovered", "renamed_from")
"""What a description says of where an episode comes from: it stays true of one that is mended."""
KEYS = ("task", "instruction", "spoken", "robot", "seed", "config_hash", "episode_id", "outcome", "steps", "plans")


@dataclass(frozen=True, slots=True)
class Origin:
    """Say which run an episode belongs to and which of its iterations; empty and None for one recorded by itself."""

    run: str = ""
    iteration: int | None = None


@dataclass(frozen=True, slots=True)
class Heading:
    """Hold what is known of an episode before its first step; the fields mean what they mean in `Episode`."""

    task: str
    instruction: str
    robot: str
    seed: int
    spoken: str = ""
    config_hash: str = ""
    spec: RobotSpec | None = None
    reversed_of: str = ""
    origin: Origin = Origin()
    begins: Beginning = Beginning.SEED

    @classmethod
    def of(cls, episode: Episode, origin: Origin = Origin()) -> Heading:
        """Return the heading of an episode that is already whole."""
        own = {field.name for field in dataclasses.fields(cls)} - {"origin"}
        return cls(**{name: getattr(episode, name) for name in own}, origin=origin)

    def as_json(self) -> dict[str, Any]:
        """Return the heading as a JSON object, with the robot's calibration and the rate it was asked to run at."""
        row: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("spec", "origin")
        }
        row["origin"] = dataclasses.asdict(self.origin)
        row["spec"] = None if self.spec is None else spec_as_json(self.spec)
        row["calibration"] = "" if self.spec is None else calibration_hash(self.spec)
        row["rate_asked_hz"] = None if self.spec is None else self.spec.action.rate_hz
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Heading:
        """Return the heading that `as_json` wrote, which may lie among other keys."""
        texts = {name: row[name] for name in ("task", "instruction", "robot", "seed", "spoken", "config_hash")}
        texts["reversed_of"] = row.get("reversed_of", "")
        begins = begins_from_json(row)
        return cls(**texts, spec=spec_from_json(row["spec"]), origin=Origin(**row["origin"]), begins=begins)


def begins_from_json(row: Mapping[str, Any]) -> Beginning:
    """Return how an episode began; before one could begin without a reset, nobody said it."""
    return Beginning(row.get("begins", Beginning.SEED))


def check_id(name: str) -> str:
    """Return an episode's id; raise SailError unless it is one, which keeps every path inside its store."""
    if not name or name.startswith(".") or Path(name).name != name or "\\" in name or not name.isprintable():
        raise SailError(f"{name!r} is not an episode's id.")
    return name


def read_about(folder: Path, name: str) -> dict[str, Any]:
    """Return the description of episode `name` of a store; raise SailError where it is missing or cannot be read."""
    path = folder / check_id(name) / ABOUT
    try:
        written = path.read_bytes()
        about = json.loads(written)
        if b"\\u" in written:
            to_bytes(about)  # half a character, which JSON can spell, is no text and could not be kept again
    except (FileNotFoundError, NotADirectoryError):
        raise SailError(f"There is no episode {name!r} in {folder}.") from None
    except ValueError:
        raise SailError(f"{path} is damaged: it is not JSON.") from None
    if not isinstance(about, dict):
        raise SailError(f"{path} is damaged: it is no JSON object.")
    if about.get("schema") not in (FIRST_SCHEMA, SCHEMA):
        raise SailError(
            f"{path} has schema {about.get('schema')!r}, this version reads {FIRST_SCHEMA} and {SCHEMA}: "
            "a newer version of this program wrote it."
        )
    missing = [key for key in KEYS if key not in about]
    if missing:
        raise SailError(f"{path} is damaged: it has no {missing[0]!r}.")
    return about


def kept(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a description is said again when the episode is mended."""
    return {key: about[key] for key in KEPT if key in about}


def to_bytes(about: Mapping[str, Any]) -> bytes:
    """Return a description as the bytes of its file."""
    return (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode()


def plan_as_json(placed: PlacedPlan, video: str, first: int) -> dict[str, Any]:
    """Return a plan as a JSON object; its imagined frames begin at frame `first` of the file `video`."""
    plan = placed.plan
    return {
        "step": placed.step,
        "stride_s": plan.stride_s,
        "instruction": plan.instruction,
        "seed": plan.seed,
        "planner": plan.planner,
        "settings": dataclasses.asdict(plan.settings),
        "video": video,
        "first": first,
        "frames": len(plan),
    }


def plan_from_json(row: Mapping[str, Any], frames: NDArray[np.uint8]) -> PlacedPlan:
    """Return the plan that `plan_as_json` described, with its frames."""
    own = {key: row[key] for key in ("stride_s", "instruction", "seed", "planner")}
    return PlacedPlan(row["step"], VideoPlan(frames=frames, settings=SamplerSettings(**row["settings"]), **own))


def spec_as_json(spec: RobotSpec) -> dict[str, Any]:
    """Return what a robot senses and how it is driven as a JSON object."""
    action = spec.action
    return {
        "name": spec.name,
        "action": {
            "names": list(action.names),
            "units": list(action.units),
            "low": action.low.tolist(),
            "high": action.high.tolist(),
            "rate_hz": action.rate_hz,
            "is_relative": action.is_relative,
        },
        "proprio_names": list(spec.proprio_names),
        "proprio_units": list(spec.proprio_units),
        "cameras": {name: list(size) for name, size in spec.cameras.items()},
        "camera_matrices": {name: matrix.tolist() for name, matrix in spec.camera_matrices.items()},
    }


def spec_from_json(row: Mapping[str, Any] | None) -> RobotSpec | None:
    """Return the robot that `spec_as_json` described."""
    if row is None:
        return None
    action = row["action"]
    return RobotSpec(
        name=row["name"],
        action=ActionSpec(
            names=tuple(action["names"]),
            units=tuple(action["units"]),
            low=np.asarray(action["low"], np.float32),
            high=np.asarray(action["high"], np.float32),
            rate_hz=action["rate_hz"],
            is_relative=bool(action.get("is_relative", _were_relative(action["names"]))),
        ),
        proprio_names=tuple(row["proprio_names"]),
        proprio_units=tuple(row["proprio_units"]),
        cameras={name: (size[0], size[1]) for name, size in row["cameras"].items()},
        camera_matrices={name: np.asarray(matrix, np.float64) for name, matrix in row["camera_matrices"].items()},
    )


def _were_relative(names: Sequence[str]) -> bool:
    """Return whether actions of these names were relative, where a description is from before it said so."""
    return all(name == "grip" or name.startswith("d") for name in names)


def calibration_hash(spec: RobotSpec) -> str:
    """Return twelve hexadecimal digits that change when a camera's matrix does; empty where there is no matrix."""
    if not spec.camera_matrices:
        return ""
    matrices = {name: np.asarray(matrix).tolist() for name, matrix in sorted(spec.camera_matrices.items())}
    return hashlib.sha256(json.dumps(matrices).encode()).hexdigest()[:12]


def usual_rate_hz(times_s: NDArray[np.float64]) -> float | None:
    """Return how many steps a second most steps were taken at, None where the times do not say.

    A robot that stood still while the next plan was made was no slower for it.
    """
    apart_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    return 1.0 / apart_s if math.isfinite(apart_s) and apart_s > 0 else None


def measured_rate_hz(times_s: NDArray[np.float64]) -> float | None:
    """Return how many steps a second there were, None where there are too few to say."""
    if len(times_s) < 2 or not times_s[-1] > times_s[0]:
        return None
    return float((len(times_s) - 1) / (times_s[-1] - times_s[0]))
