"""Draw LeRobot data sets of every form that the format allows, tiny, and say what each episode of one must become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from robot.core.data import Outcome
from tests.lerobot.sets import Camera, Plan, Split, Take, action_of, state_of

RATES = (5, 7, 10, 15, 23.976, 25, 29.97, 30, 50, 60, 120)
TASKS = ("pick it up", "place it", "öffne die Tür", "[bold]", "a/b", "a, b", "7", " ")
X264: tuple[dict[str, Any], ...] = (
    {},
    {"options": {"crf": "18", "g": "12"}},
    {"options": {"crf": "18", "g": "250"}, "keys": False},
    {"options": {"crf": "10", "bf": "0", "g": "2"}, "pixels": "yuv444p"},
    {"codec": "libx264rgb", "pixels": "rgb24", "options": {"crf": "0"}},
    {"density": 2},
)
OTHERS: tuple[dict[str, Any], ...] = (
    {"codec": "libx265", "options": {"crf": "14", "x265-params": "log-level=none:bframes=0:rc-lookahead=0"}},
    {"codec": "libsvtav1", "options": {"crf": "18", "g": "2", "preset": "12"}},
    {"codec": "libvpx-vp9", "options": {"crf": "10"}},
)
MATROSKA: tuple[dict[str, Any], ...] = (
    {"codec": "libvpx", "options": {"crf": "5", "b": "2M"}},
    {"codec": "ffv1", "options": {}},
    {"codec": "ffv1", "pixels": "bgr0", "options": {}},
    {"kept": "depth video", "codec": "ffv1", "pixels": "gray16le", "options": {}},
)
STILLS: tuple[dict[str, Any], ...] = ({"kept": "png"}, {"kept": "jpeg"}, {"kept": "path"}, {"kept": "depth"})
EVEN, ODD = ((32, 32), (32, 48), (64, 32)), ((33, 37), (32, 33))
WHOLE = ("yuv444p", "rgb24", "bgr0", "gray16le")
"""Formats of pixels that any size will do for."""
NAMES: tuple[Any, ...] = (
    None,
    ["a", "b"],
    {"motors": ["a", "b"]},
    {"b": 1, "a": 0},
    [["a", "b"]],
    ["a", "a"],
    "ab",
    {},
)
SHAPES = ((1,), (2,), (3,), (2, 3))
KEYS = ("", "", "", "observation.image", "camera", "observation.images.a.b")


def splits(takes: int) -> st.SearchStrategy[Split]:
    """Draw how episodes are shared out over files."""
    return st.sampled_from([1, 1000]) | st.lists(st.integers(1, takes), max_size=takes)


@st.composite
def cameras(draw: st.DrawFn, takes: int, name: str, suffix: str) -> Camera:
    """Draw a camera."""
    kinds = (*X264, *OTHERS, *STILLS, *(MATROSKA if suffix == ".mkv" else ()))
    kind = draw(st.sampled_from(kinds))
    whole = kind.get("pixels") in WHOLE or kind.get("kept", "video") in ("png", "jpeg", "path", "depth")
    height, width = draw(st.sampled_from((*EVEN, *ODD) if whole else EVEN))
    split = draw(st.none() | splits(takes))
    key = draw(st.sampled_from(KEYS)) if name == "top" else ""
    return Camera(name, height, width, suffix=suffix, a_file=split, key=key, **kind)


@st.composite
def takes(draw: st.DrawFn, rewards: bool, successes: bool, people: bool) -> Take:
    """Draw an episode: mostly of some rows, at times too short to be one."""
    rows = draw(st.integers(2, 7) | st.integers(3, 8) | st.integers(0, 2))
    flags = st.lists(st.booleans(), min_size=rows, max_size=rows)
    amounts = st.lists(st.integers(-8, 8).map(lambda quarters: quarters / 4), min_size=rows, max_size=rows)
    last = st.just([False] * (rows - 1) + [True] if rows else [])
    order = st.none() | st.permutations(range(rows)) if draw(st.integers(0, 3)) == 0 else st.none()
    words = st.lists(st.sampled_from(TASKS), min_size=1, max_size=max(rows, 1) if draw(st.booleans()) else 1)
    return Take(
        rows,
        draw(words),
        success=draw(last | flags | _holed(flags)) if successes else None,
        reward=draw(last.map(_as_numbers) | flags.map(_as_numbers) | amounts) if rewards else None,
        order=draw(order),
        more={"intervention": draw(flags) or pa.array([], pa.bool_())} if people else {},
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw a data set."""
    columns = {name: draw(st.booleans()) for name in ("rewards", "successes")}
    count = draw(st.integers(1, 4))
    people = draw(st.booleans())
    drawn = [draw(takes(people=people, **columns)) for _ in range(count)]
    suffix = draw(st.sampled_from([".mp4", ".mp4", ".mkv"]))
    names = draw(st.lists(st.sampled_from(["top", "wrist", "side.left"]), max_size=3, unique=True))
    shape = st.sampled_from(SHAPES)
    return Plan(
        drawn,
        tuple(draw(cameras(count, name, suffix)) for name in names),
        fps=draw(st.sampled_from(RATES)),
        state=draw(shape),
        action=draw(shape),
        a_data_file=draw(splits(count)),
        a_video=draw(splits(count)),
        a_table=draw(splits(count)),
        chunk=draw(st.sampled_from([1, 2, 1000])),
        one_group=draw(st.booleans()),
        lists=draw(st.sampled_from(["fixed", "variable"])),
        scalar_lists=draw(st.booleans()),
        statistics=draw(st.sampled_from(["right", "none", "null", "nan", "short", "episodes"])),
        names={"action": draw(st.sampled_from(NAMES)), "observation.state": draw(st.sampled_from(NAMES))},
        task_form=draw(st.sampled_from(["pandas", "named", "plain", "large", "dictionary"])),
        seed=draw(st.integers(0, 50)),
        time_type=draw(st.sampled_from(["float32", "float64"])),
    )


@dataclass(frozen=True)
class Wanted:
    """Hold what an episode must be once it is taken in: arrays as in `robot.core.data.Episode`, frames as barcodes."""

    frames: dict[str, list[tuple[int, int, int]]]
    proprio: np.ndarray
    sent: np.ndarray
    times_s: np.ndarray
    success: list[bool] | None
    reward: list[float] | None
    intervention: list[bool] | None
    outcome: Outcome
    instruction: str
    segments: list[tuple[str, tuple[int, int]]]


def wanted(plan: Plan, number: int) -> Wanted:
    """Return what an episode of a plan must become."""
    take = plan.takes[number]
    rows = range(take.rows)
    success = folded_flags(take.success)
    ended = Outcome.TIMEOUT if success is None else Outcome.SUCCESS if any(success) else Outcome.FAILURE
    return Wanted(
        {
            name: [(index, number, row) for row in rows]
            for index, (name, camera) in enumerate(zip(short_names(plan), plan.cameras, strict=True))
            if "depth" not in camera.kept
        },
        np.array([state_of(number, row, plan.state).reshape(-1) for row in rows]),
        np.array([action_of(number, row, plan.action).reshape(-1) for row in rows])[:-1],
        np.arange(take.rows) / plan.fps,
        success,
        folded_rewards(take.reward),
        [bool(flag) for flag in take.more["intervention"]][:-1] if "intervention" in take.more else None,
        ended,
        take.task(0),
        _segments([take.task(row) for row in rows]),
    )


def short_names(plan: Plan) -> list[str]:
    """Return what the cameras of a plan are called here."""
    return [camera.feature.removeprefix("observation.images.") for camera in plan.cameras]


def folded_flags(flags: Sequence[Any] | None) -> list[bool] | None:
    """Return flags of N rows as those of N − 1 actions, None where nobody knew any."""
    if flags is None or all(flag is None for flag in flags):
        return None
    found = [bool(flag) for flag in flags]
    return [*found[:-2], found[-2] or found[-1]]


def folded_rewards(rewards: Sequence[float] | None) -> list[float] | None:
    """Return rewards of N rows as those of N − 1 actions."""
    if rewards is None:
        return None
    if all(reward in (0, 1) for reward in rewards):
        return [*rewards[:-2], max(rewards[-2:])]
    return [*rewards[:-2], rewards[-2] + rewards[-1]]


def _holed(flags: st.SearchStrategy[list[bool]]) -> st.SearchStrategy[list[bool | None]]:
    return flags.map(lambda found: [None if not place % 2 else flag for place, flag in enumerate(found)])


def _as_numbers(flags: list[bool]) -> list[float]:
    return [float(flag) for flag in flags]


def _segments(words: Sequence[str]) -> list[tuple[str, tuple[int, int]]]:
    """Return each run of one task with its first and last row; none where there is one task only."""
    if len(set(words)) < 2:
        return []
    found: list[tuple[str, tuple[int, int]]] = []
    for row, word in enumerate(words):
        if found and found[-1][0] == word:
            found[-1] = (word, (found[-1][1][0], row))
        else:
            found.append((word, (row, row)))
    return found
