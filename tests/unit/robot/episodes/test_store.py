"""Episodes on disk: a round trip bit for bit, appended verdicts, and damage told in one sentence."""

from __future__ import annotations

import dataclasses
import errno
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot.core.data import Outcome, PlacedPlan, Verdict, VideoPlan
from robot.core.errors import SailError
from robot.episodes.description import Origin
from robot.episodes.store import EpisodeStore, StoredEpisodes
from tests.fakes import SPEC
from tests.unit.robot.episodes.samples import assert_same, episode

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


def test_an_episode_reads_back_bit_for_bit(tmp_path: Path) -> None:
    store, original = EpisodeStore(tmp_path), episode()
    name = store.add(original)
    assert_same(store.load(name), original)
    assert store.load(name).episode_id == name


@settings(max_examples=15, deadline=None)
@given(steps=st.integers(0, 5), height=st.integers(1, 33), width=st.integers(1, 33), seed=st.integers(0, 2**31))
def test_any_size_and_length_reads_back(
    tmp_path_factory: pytest.TempPathFactory, steps: int, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    frames = {
        "top": rng.integers(0, 256, (steps + 1, height, width, 3), np.uint8),
        "wrist/left": np.zeros((steps + 1, width, height, 3), np.uint8),
        "wrist:left": np.full((steps + 1, width, height, 3), 255, np.uint8),
    }
    original = episode(steps, seed=seed, frames=frames)
    store = EpisodeStore(tmp_path_factory.mktemp("store"))
    assert_same(store.load(store.add(original)), original)


def test_numbers_that_are_none_and_numbers_that_are_not_numbers(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    bare = episode(states=None, success=None, reward=None, spec=None, plans=(), frames={}, intervention=None)
    assert_same(store.load(store.add(bare)), bare)
    odd = episode()
    odd.states[0, :3] = np.array([np.nan, np.inf, -0.0])  # type: ignore[index]
    assert_same(store.load(store.add(odd)), odd)
    unknown = episode(0, requested=np.zeros((0, 7), np.float32), sent=np.zeros((0, 7), np.float32), spec=None)
    assert store.load(store.add(unknown)).sent.shape == (0, 7)


def test_episodes_from_before_interventions_were_noted_are_still_read(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    name = store.add(episode())
    path = store.path(name) / "steps.parquet"
    table = pq.read_table(path)
    assert "intervention" in table.column_names
    pq.write_table(table.drop_columns(["intervention"]), path)
    assert_same(store.load(name), episode(intervention=None))
    unaided = store.add(episode(intervention=None))
    assert "intervention" not in pq.read_table(store.path(unaided) / "steps.parquet").column_names


def test_plans_of_several_sizes_and_out_of_order(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    plans = tuple(
        PlacedPlan(step, VideoPlan(np.full((2, size, size, 3), step, np.uint8), 0.05, "go", step, "x"))
        for step, size in ((2, 8), (0, 6), (1, 8))
    )
    original = episode(plans=plans)
    assert_same(store.load(store.add(original)), original)


def test_a_part_of_an_episode_is_read_by_itself(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    frames = {name: np.zeros((4, 8, 8, 3), np.uint8) for name in ("top", "wrist")}
    name = store.add(episode(frames=frames))
    for camera in ("wrist", "plans"):
        (store.path(name) / ("plans.mkv" if camera == "plans" else f"camera-{camera}.mkv")).unlink()
    part = store.load(name, plans=False, cameras=("top",))
    assert list(part.frames) == ["top"] and part.plans == () and len(part) == 3
    with pytest.raises(SailError, match=r"camera-wrist\.mkv is missing"):
        store.load(name)


def test_the_description_says_what_made_the_episode(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    name = store.add(episode(), origin=Origin("run-1", 2))
    about = store.about(name)
    assert about["origin"] == {"run": "run-1", "iteration": 2}
    assert (about["rate_asked_hz"], about["rate_measured_hz"]) == (40.0, pytest.approx(40.0))
    assert about["cameras"]["top"]["lossless"] is True and about["cameras"]["top"]["codec"] == "libx264rgb"
    assert about["revision"] and about["recorded"].endswith("+00:00") and about["calibration"] == ""
    spec = store.load(name).spec
    assert spec is not None and spec.action.names == SPEC.action.names and np.array_equal(spec.action.low, [-1, -1])


def test_ids_are_distinct_sorted_and_filtered(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    names = [store.add(episode()), store.add(episode()), store.add(episode(task="push"))]
    assert len(set(names)) == 3 and store.ids() == sorted(names)
    assert store.ids("push") == [names[2]]
    assert EpisodeStore(tmp_path / "nothing").ids() == []


def test_an_id_is_never_overwritten(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    store.add(episode(), episode_id="one")
    with pytest.raises(SailError, match="already stored"):
        store.add(episode(seed=6), episode_id="one")
    assert store.load("one").seed == 5


def test_verdicts_are_appended(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    name = store.add(episode(), [Verdict(1.0, "truth")])
    store.append_verdict(
        name, Verdict(0.25, "person", progress=np.array([0, 0.5, 0.25, 1], np.float32), rationale="slipped")
    )
    first, second = store.verdicts(name)
    assert first == Verdict(1.0, "truth")
    assert (second.probability, second.source, second.rationale) == (0.25, "person", "slipped")
    assert second.progress is not None and second.progress.tolist() == [0, 0.5, 0.25, 1]


@pytest.mark.parametrize("name", ["../elsewhere", "", ".", "..", ".hidden", "a/b", "/etc", "a\\b", "a\nb"])
def test_ids_stay_inside_the_store(tmp_path: Path, name: str) -> None:
    store = EpisodeStore(tmp_path / "store")
    for use in (store.load, store.about, store.verdicts):
        with pytest.raises(SailError, match="not an episode's id"):
            use(name)


def test_a_description_cannot_lead_outside_its_folder(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path / "store")
    name = store.add(episode())
    (store.path(name) / "camera-top.mkv").rename(tmp_path / "camera-top.mkv")
    path = store.path(name) / "episode.json"
    path.write_text(path.read_text().replace("camera-top.mkv", "../../camera-top.mkv"))
    with pytest.raises(SailError, match="lies outside"):
        store.load(name)


@pytest.mark.parametrize("part", ["steps.parquet", "camera-top.mkv", "plans.mkv"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, None])
def test_truncated_and_missing_parts_are_told_in_one_sentence(tmp_path: Path, part: str, share: float | None) -> None:
    store = EpisodeStore(tmp_path)
    name = store.add(episode(steps=30, size=32))
    path = tmp_path / name / part
    if share is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(SailError, match=r"\.$") as told:
        store.load(name)
    assert part in str(told.value) and str(told.value).count("\n") == 0
    assert store.ids() == [name]


def test_missing_and_damaged_descriptions(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    with pytest.raises(SailError, match="no episode 'gone'"):
        store.load("gone")
    name = store.add(episode())
    path = tmp_path / name / "episode.json"
    about = json.loads(path.read_text())
    for content, says in (
        ("{", "not JSON"),
        ("[]", "no JSON object"),
        (json.dumps(about | {"schema": 99}), "schema 99, this version reads 1 and 2"),
        (json.dumps({key: about[key] for key in about if key != "steps"}), "no 'steps'"),
        (json.dumps(about | {"cameras": {"top": {}}}), "parts do not fit"),
        (json.dumps(about | {"outcome": "bored"}), "bored"),
    ):
        path.write_text(content)
        with pytest.raises(SailError, match=says):
            store.load(name)


def test_a_half_written_episode_is_not_listed(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    name = store.add(episode())
    (tmp_path / f".open-{name}-1").mkdir()
    (tmp_path / f".open-{name}-1" / "episode.json").write_text("{}")
    assert store.ids() == [name]


def test_a_verdict_cut_off_while_written_is_dropped(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    name = store.add(episode(), [Verdict(1.0, "truth")])
    with (tmp_path / name / "labels.jsonl").open("a") as file:
        file.write('{"probability": 0.')
    assert store.verdicts(name) == [Verdict(1.0, "truth")]
    store.append_verdict(name, Verdict(0.5, "person"))
    assert [verdict.source for verdict in store.verdicts(name)] == ["truth", "person"]


def test_a_full_disk_loses_nothing_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EpisodeStore(tmp_path)
    kept = store.add(episode())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for part in ("robot.episodes.writer.write_steps", "robot.episodes.sealing.synchronise"):
        with monkeypatch.context() as patched:
            patched.setattr(part, full)
            with pytest.raises(SailError, match="No space left on device.*untouched"):
                store.add(episode(seed=6))
        assert [path.name for path in tmp_path.iterdir()] == [kept]
    assert_same(store.load(kept), episode())


def test_a_write_that_the_system_refuses_is_one_sentence(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys; from robot.episodes.store import EpisodeStore; "
        "from robot.core.errors import SailError; from tests.unit.robot.episodes.samples import episode\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "whole = episode(steps=40, size=64)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try: EpisodeStore(sys.argv[1]).add(whole)\n"
        "except SailError as problem: print(problem)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert "could not be written" in done.stdout and "untouched" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_episodes_of_the_first_format_are_still_read(tmp_path: Path) -> None:
    original = episode(reward=None, spec=None, intervention=None)
    write_first_format(tmp_path / "old", original)
    store = EpisodeStore(tmp_path)
    assert store.ids() == ["old"]
    assert_same(store.load("old"), original)
    assert store.load("old", plans=False).plans == ()
    (tmp_path / "old" / "steps.npz").write_bytes((tmp_path / "old" / "steps.npz").read_bytes()[:100])
    with pytest.raises(SailError, match="damaged"):
        store.load("old")


def write_first_format(folder: Path, original: object) -> None:
    """Write an episode as version 1 did."""
    import dataclasses

    from robot.core.data import Episode

    assert isinstance(original, Episode)
    folder.mkdir()
    names = ("proprio", "requested", "sent", "times_s", "states", "success")
    arrays = {name: getattr(original, name) for name in names}
    arrays |= {f"frames/{camera}": frames for camera, frames in original.frames.items()}
    np.savez_compressed(folder / "steps.npz", **arrays)
    np.savez_compressed(
        folder / "plans.npz", **{f"frames/{n}": placed.plan.frames for n, placed in enumerate(original.plans)}
    )
    texts = ("task", "instruction", "spoken", "robot", "seed", "config_hash", "episode_id")
    about = {name: getattr(original, name) for name in texts}
    about |= {"schema": 1, "outcome": original.outcome.value, "steps": len(original), "episode_id": folder.name}
    about["plans"] = [
        {
            **{key: getattr(placed.plan, key) for key in ("stride_s", "instruction", "seed", "planner")},
            "step": placed.step,
            "settings": dataclasses.asdict(placed.plan.settings),
        }
        for placed in original.plans
    ]
    (folder / "episode.json").write_text(json.dumps(about))


def test_outcomes_survive(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    for outcome in Outcome:
        assert store.load(store.add(episode(outcome=outcome))).outcome is outcome


def no_video(*_: object) -> None:
    raise AssertionError("a video was decoded")


def test_pictures_are_read_when_they_are_asked_for_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EpisodeStore(tmp_path)
    whole = episode(6, size=16)
    store.add(whole, episode_id="a")
    with monkeypatch.context() as patched:
        patched.setattr("robot.episodes.store.read_video", no_video)
        late = StoredEpisodes(store, ["a"])[0]
        changed = dataclasses.replace(late, task="push")
        assert list(changed.frames) == ["top"] and "top" in changed.frames and "wrist" not in changed.frames
        assert late.shape("top") == (7, 16, 16, 3) and late.mark("top") == changed.mark("top")
        assert np.array_equal(late.sent, whole.sent) and late.plans == ()
        with pytest.raises(AssertionError, match="was decoded"):
            late.frames["top"]
    assert np.array_equal(late.frames["top"], whole.frames["top"])
    assert late.frames["top"] is late.frames["top"]
    again = pickle.loads(pickle.dumps(StoredEpisodes(store, ["a"])[0]))  # to a worker of a loader
    assert np.array_equal(again.frames["top"], whole.frames["top"])


def test_a_mark_names_the_pictures_and_not_the_episode_nor_where_it_lies(tmp_path: Path) -> None:
    store, other = EpisodeStore(tmp_path / "one"), EpisodeStore(tmp_path / "other")
    frames = episode(3, seed=1).frames["top"]
    views = np.stack([frames, frames[::-1]])
    store.add(episode(3, frames={"top": views[0], "side": views[1]}), episode_id="a")
    other.add(episode(3, frames={"top": views[1]}), episode_id="a")
    one, two = StoredEpisodes(store, ["a"])[0], StoredEpisodes(other, ["a"])[0]
    assert one.mark("top") != one.mark("side") and one.mark("top") != two.mark("top")
    before = one.mark("top")
    store.append_verdict("a", Verdict(0.0, "person"))
    shutil.copytree(store.folder, tmp_path / "copy")
    assert StoredEpisodes(EpisodeStore(tmp_path / "copy"), ["a"])[0].mark("top") == before
    in_memory = store.load("a")
    assert in_memory.mark("top") == store.load("a").mark("top") != in_memory.mark("side")
    cropped = dataclasses.replace(in_memory, frames={"top": views[0][:, :4]})
    assert cropped.mark("top") != in_memory.mark("top")


def test_a_video_that_is_damaged_is_found_when_it_is_asked_for(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    store.add(episode(6), episode_id="a")
    (path,) = store.path("a").glob("camera-*.mkv")
    path.write_bytes(path.read_bytes()[:200])
    late = StoredEpisodes(store, ["a"])[0]
    with pytest.raises(SailError, match="damaged"):
        late.frames["top"]
    path.unlink()
    with pytest.raises(SailError, match="is missing"):
        late.mark("top")
