"""LeRobotDataset v3.0 in all its forms, drawn at random, in and out and in again; and harmed in all ways.

A case that fails is drawn again with the same seed by Hypothesis, smaller. In CI the cases are the same in each run.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from robot.cli import main as front
from robot.core.data import Episode, Outcome
from robot.core.errors import SailError
from robot.episodes.arrival import Arrival, UnfitError
from robot.episodes.description import spec_as_json
from robot.episodes.intake import take_in
from robot.episodes.labels import Field
from robot.episodes.lerobot.exporting import Exporter
from robot.episodes.lerobot.importing import LeRobotSource
from robot.episodes.repair.doctor import examine
from robot.episodes.store import EpisodeStore
from robot.episodes.video import LOSSLESS, Quality
from tests.hostile import obeyed, unstyled
from tests.lerobot.sets import Camera, Plan, Take, read_barcode, write_set
from tests.unit.robot.episodes.lerobot_harm import HARMS, MOVING
from tests.unit.robot.episodes.lerobot_plans import Wanted, folded_flags, folded_rewards, plans, short_names, wanted

FEW, MANY = 25, 600
"""Data sets drawn by default, and in the slow tests."""
FEW_HARMED, MANY_HARMED = 60, 1000
FEW_COMMANDS = 5
CALM = settings(
    deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, derandomize=True, database=None
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Lend a folder of its own to each case."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        yield Path(name)


class Taken:
    """Take a data set into a store as the command does, and keep what became of each episode by its number there."""

    def __init__(self, source: Path, store: Path) -> None:
        self.store = EpisodeStore(store)
        self.names: dict[int, str] = {}
        self.refused: dict[str, str] = {}
        self.left_out: set[str] = set()
        opened = LeRobotSource(source)
        self.notes = {note.what for note in opened.notes}
        self.refused |= {one.what: one.why for one in opened.refusals}
        for one in opened:
            if not isinstance(one, Arrival):
                self.refused[one.what] = one.why
                continue
            try:
                self.names[one.number] = take_in(self.store, one).name
            except UnfitError as problem:
                self.refused[f"episode {one.number}"] = str(problem)
            self.left_out |= {left.what for left in one.left_out}

    def segments(self, number: int) -> list[tuple[str, tuple[int, int] | None]]:
        labels = self.store.labels(self.names[number])
        return [(str(label.value), label.span) for label in labels if label.field is Field.SEGMENT]

    def episode(self, number: int) -> Episode:
        return self.store.load(self.names[number])


def barcodes(episode: Episode) -> dict[str, list[tuple[int, int, int]]]:
    return {name: [read_barcode(frame) for frame in frames] for name, frames in episode.frames.items()}


def listed(values: Any) -> list[Any] | None:
    return None if values is None else values.tolist()


def check(want: Wanted, have: Episode) -> None:
    """Assert that an episode is what it must be, every frame of it."""
    assert barcodes(have) == want.frames
    assert np.array_equal(have.proprio, want.proprio) and np.array_equal(have.sent, want.sent)
    assert np.array_equal(have.requested, want.sent) and np.allclose(have.times_s, want.times_s, atol=1e-5)
    assert listed(have.success) == want.success and listed(have.reward) == want.reward
    assert listed(have.intervention) == want.intervention
    assert have.outcome is want.outcome and have.instruction == want.instruction


def in_out_and_in(plan: Plan, quality: Quality) -> None:
    """Take a data set in, export that, take the export in, and the same without what only we can read of it."""
    with folder() as here:
        taken = Taken(write_set(here / "set", plan), here / "store")
        short = {number for number, take in enumerate(plan.takes) if take.rows < 2}
        assert set(taken.refused) == {f"episode {number}" for number in short}, taken.refused
        assert set(taken.names) == set(range(len(plan.takes))) - short
        depth = {
            f"camera {name}"
            for name, camera in zip(short_names(plan), plan.cameras, strict=True)
            if "depth" in camera.kept
        }
        assert taken.left_out == (depth if taken.names else set())
        first = {}
        for number in taken.names:
            want = wanted(plan, number)
            first[number] = taken.episode(number)
            check(want, first[number])
            assert taken.segments(number) == want.segments
        if first:
            out_and_in(here, taken, first, quality)


def out_and_in(here: Path, taken: Taken, first: dict[int, Episode], quality: Quality) -> None:
    with Exporter(here / "out", quality) as exporter:
        for number, episode in first.items():
            exporter.add(episode, taken.store.labels(taken.names[number]))
        exporter.finish()
    back = Taken(here / "out", here / "back")
    assert not back.refused, back.refused
    assert list(back.names) == list(range(len(first)))
    for place, (number, episode) in enumerate(first.items()):
        again = back.episode(place)
        assert back.names[place] == taken.names[number] and spec_as_json(again.spec) == spec_as_json(episode.spec)
        assert barcodes(again) == barcodes(episode) and again.outcome is episode.outcome
        if quality is LOSSLESS:
            assert all(np.array_equal(again.frames[name], frames) for name, frames in episode.frames.items())
        for name in ("proprio", "sent", "requested", "times_s", "success", "reward", "intervention"):
            assert listed(getattr(again, name)) == listed(getattr(episode, name)), name
        assert (again.instruction, again.task, again.seed) == (episode.instruction, episode.task, episode.seed)
        assert back.segments(place) == taken.segments(number)
    shutil.rmtree(here / "out/meta/sail")
    (here / "out/meta/sail.json").unlink()
    as_others_see_it(Taken(here / "out", here / "others"), list(first.values()))


def as_others_see_it(seen: Taken, first: list[Episode]) -> None:
    """Assert that the rows of an export say all that they can without what lies beside them."""
    single = {number for number, episode in enumerate(first) if len(episode) < 2}
    if len(first) == 1 and first[0].frames:  # a frame too many in a video of one episode: which one cannot be told
        assert single or "cannot be told" in seen.refused["episode 0"]
        return
    assert set(seen.refused) == {f"episode {number}" for number in single}, seen.refused
    judged = all(episode.outcome is not Outcome.TIMEOUT for episode in first)
    rewarded = [episode.reward is not None for episode in first]
    for number, name in seen.names.items():
        episode, have = first[number], seen.store.load(name)
        assert barcodes(have) == {camera: codes[:-1] for camera, codes in barcodes(episode).items()}
        assert np.array_equal(have.proprio, episode.proprio[:-1]) and np.array_equal(have.sent, episode.sent[:-1])
        assert have.instruction == episode.instruction
        success = folded_flags(listed(episode.success)) if judged else None
        assert listed(have.success) == success
        reward = listed(episode.reward) if all(rewarded) else None
        if reward is None and judged and not any(rewarded):
            reward = [float(flag) for flag in listed(episode.success) or []]
        assert listed(have.reward) == folded_rewards(reward)


QUALITIES = st.sampled_from([LOSSLESS, Quality(18)])


@given(plan=plans(), quality=QUALITIES)
@settings(CALM, max_examples=FEW)
def test_every_form_comes_in_goes_out_and_comes_back(plan: Plan, quality: Quality) -> None:
    in_out_and_in(plan, quality)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(plan=plans(), quality=QUALITIES)
@settings(CALM, max_examples=MANY)
def test_many_forms_come_in_go_out_and_come_back(plan: Plan, quality: Quality) -> None:
    in_out_and_in(plan, quality)


# Harmed.

SMALL = {"height": 32, "width": 32}
BASES = {
    "one of each": Plan((Take(4), Take(3), Take(5)), (Camera(**SMALL),), a_data_file=1, a_video=1, a_table=1, chunk=2),
    "together": Plan(
        (Take(4, success=[0, 0, 0, 1], reward=[0, 0, 0, 1]), Take(3, ("a", "b"), success=[0] * 3, reward=[1.5, 2, 3])),
        (Camera(**SMALL), Camera("side", **SMALL, kept="png"), Camera("back", **SMALL, kept="path")),
        names={"action": {"motors": ["a", "b"]}},
        statistics="episodes",
        one_group=True,
    ),
    "several": Plan(
        (Take(3, more={"subtask_index": [0, 0, 1]}), Take(6, ("b",), more={"subtask_index": [1, 1, 0, 0, 1, 1]})),
        (Camera(**SMALL, options={"g": "12"}, keys=False), Camera("b", **SMALL, a_file=1)),
        state=(2, 2),
        lists="variable",
        scalar_lists=True,
    ),
    "no cameras": Plan((Take(3), Take(2), Take(4)), (), a_data_file=2, statistics="nan", task_form="plain"),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return sound data sets by name, the last of them an export of ours."""
    here = tmp_path_factory.mktemp("bases")
    made = {name: write_set(here / name, plan) for name, plan in BASES.items()}
    taken = Taken(made["together"], here / "store")
    with Exporter(here / "ours") as exporter:
        for number, name in taken.names.items():
            exporter.add(taken.episode(number), taken.store.labels(name))
        exporter.finish()
    return made | {"ours": here / "ours"}


def tree(here: Path) -> dict[str, int]:
    return {str(path.relative_to(here)): path.lstat().st_mtime_ns for path in here.rglob("*") if path.is_file()}


def command(*words: str) -> tuple[int, str, str]:
    """Give a command and return its status and what it says on stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = front.main(words)
    return status, unstyled(out.getvalue()), unstyled(err.getvalue())


@given(data=st.data())
@settings(CALM, max_examples=FEW_COMMANDS)
def test_the_command_says_what_it_left_out(bases: dict[str, Path], data: st.DataObject) -> None:
    with folder() as here:
        name = data.draw(st.sampled_from(sorted(bases)))
        shutil.copytree(bases[name], here / "set")
        note(f"{name}: {data.draw(st.sampled_from(HARMS))(data, here / 'set')}")
        status, out, err = command("episodes", "import", str(here / "set"), f"store={here / 'store'}")
        assert status in (0, 1, 2) and not obeyed(out) and not obeyed(err)
        if status == 2:
            assert err.splitlines()[-1].startswith("sail: ") and err.endswith(".\n")
        else:
            assert " episodes added to " in out and ("left out" in out) == (status == 1)


def check_belongs(episode: Episode) -> None:
    """Assert that each frame is of the episode and row that its state says."""
    whose = [(int(first), round(first % 1 * 1000)) for first in episode.proprio[:, 0].tolist()]
    for name, codes in barcodes(episode).items():
        assert [code[1:] for code in codes] == whose, name


def taken_or_told(source: Path, store: Path) -> Taken | str:
    """Return what was taken in, or the sentence that says why nothing can be."""
    try:
        return Taken(source, store)
    except SailError as problem:
        return str(problem)


def harmed(bases: dict[str, Path], data: st.DataObject) -> None:
    """Harm a copy of a data set and assert that what is taken in is sound and the rest is said, in sentences."""
    with folder() as here:
        name = data.draw(st.sampled_from(sorted(bases)))
        shutil.copytree(bases[name], here / "in" / "set")
        harms = data.draw(st.lists(st.sampled_from(HARMS), min_size=1, max_size=3))
        said = [harm(data, here / "in" / "set") for harm in harms]
        moved = any(word in one for one in said for word in MOVING)
        note(f"{name}: {said}")
        before = tree(here)
        taken = taken_or_told(here / "in" / "set", here / "store")
        assert {path: stamp for path, stamp in tree(here).items() if not path.startswith("store/")} == before
        if isinstance(taken, str):
            assert taken.endswith(".") and taken.isprintable() and not (here / "store").exists(), taken
            return
        for what, why in taken.refused.items():
            assert what and why and why.isprintable() and not why.endswith("."), (what, why)
        for number in () if moved else taken.names:
            check_belongs(taken.episode(number))
        if taken.names:
            assert not [finding for finding in examine(here / "store") if not finding.harmless]


@given(data=st.data())
@settings(CALM, max_examples=FEW_HARMED)
def test_whatever_is_harmed_is_told_in_sentences(bases: dict[str, Path], data: st.DataObject) -> None:
    harmed(bases, data)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(data=st.data())
@settings(CALM, max_examples=MANY_HARMED)
def test_whatever_is_harmed_in_many_ways_is_told_in_sentences(bases: dict[str, Path], data: st.DataObject) -> None:
    harmed(bases, data)
