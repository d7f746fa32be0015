"""Recording while it runs: killed at any moment, with two writers at once, and on a disk that fills up."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from robot.core.data import Action, Observation, Outcome, Verdict
from robot.core.errors import SailError
from robot.episodes.description import Heading
from robot.episodes.repair.doctor import examine
from robot.episodes.sealing import is_held
from robot.episodes.store import EpisodeStore
from robot.episodes.writer import EpisodeWriter
from tests.unit.robot.episodes.samples import assert_same, episode, record

ROOT = Path(__file__).parents[4]


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a process that records episodes, and return once the first is open."""
    program = [sys.executable, "-m", "tests.unit.robot.episodes.samples", str(folder), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    assert process.stdout is not None and process.stdout.readline().startswith("open")
    return process


def test_what_is_recorded_step_by_step_is_what_is_added_whole(tmp_path: Path) -> None:
    whole = episode(steps=25, size=32)
    with EpisodeWriter(tmp_path, Heading.of(whole)) as writer:
        record(writer, whole)
        name = writer.seal(whole.outcome, [Verdict(1.0, "truth")])
    store = EpisodeStore(tmp_path)
    assert_same(store.load(name), whole)
    assert store.verdicts(name) == [Verdict(1.0, "truth")]
    assert sorted(path.name for path in store.path(name).iterdir()) == [
        "camera-top.mkv",
        "episode.json",
        "labels.jsonl",
        "plans.mkv",
        "steps.parquet",
    ]


def test_a_robot_may_use_its_buffers_again(tmp_path: Path) -> None:
    proprio, values = np.zeros(2, np.float32), np.zeros(2, np.float32)
    with EpisodeWriter(tmp_path, Heading("t", "go", "toy", 0)) as writer:
        writer.observe(Observation({}, proprio, 0.0))
        for step in range(3):
            values[:] = step
            action = Action(values)
            proprio[:] = step + 10
            writer.step(action, action, Observation({}, proprio, float(step + 1)))
        name = writer.seal(Outcome.FAILURE)
    loaded = EpisodeStore(tmp_path).load(name)
    assert loaded.sent[:, 0].tolist() == [0, 1, 2]
    assert loaded.proprio[:, 0].tolist() == [0, 10, 11, 12]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    whole = episode()
    with EpisodeWriter(tmp_path, Heading.of(whole)) as writer:
        with pytest.raises(ValueError, match="without an observation"):
            writer.seal(Outcome.FAILURE)
        action, seen = Action(whole.sent[0]), whole.observation(0)
        with pytest.raises(ValueError, match="begins with an observation"):
            writer.step(action, action, seen)
        writer.observe(seen)
        with pytest.raises(ValueError, match="one first observation"):
            writer.observe(seen)
        writer.step(action, action, seen, success=False)
        with pytest.raises(ValueError, match="success must be given with every step"):
            writer.step(action, action, seen)
        with pytest.raises(ValueError, match="reward must be given with every step"):
            writer.step(action, action, seen, success=True, reward=1.0)
        with pytest.raises(ValueError, match="keeps its cameras"):
            writer.step(action, action, Observation({}, seen.proprio, 0.0), success=True)


def test_large_cameras_are_compressed_and_simulated_ones_are_not(tmp_path: Path) -> None:
    large = {"top": np.zeros((2, 480, 640, 3), np.uint8)}
    store = EpisodeStore(tmp_path)
    simulated = store.add(episode(1, frames=large))
    real = store.add(episode(1, frames=large, states=None))
    assert store.about(simulated)["cameras"]["top"]["lossless"] is True
    assert store.about(real)["cameras"]["top"]["crf"] == 18


@pytest.mark.parametrize("number", [pytest.param(n, marks=pytest.mark.slow if n > 0 else ()) for n in range(8)])
def test_a_kill_at_any_moment_loses_at_most_the_open_episode(tmp_path: Path, number: int) -> None:
    process = start(tmp_path, "0", "200")
    time.sleep(random.Random(number).uniform(0.0, 1.5))
    process.send_signal(signal.SIGKILL)
    assert process.stdout is not None
    said = process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    store = EpisodeStore(tmp_path)
    sealed = store.ids()
    told = [line.split()[1] for line in said if line.startswith("sealed")]
    assert set(told) <= set(sealed) and len(sealed) <= len(told) + 1
    for name in sealed:
        loaded = store.load(name)
        assert_same(loaded, episode(steps=60, seed=loaded.seed, size=32))

    left_open = [path for path in tmp_path.iterdir() if path.name.startswith(".open-")]
    assert len(left_open) <= 1
    findings = list(examine(tmp_path, repair=True))
    assert len(findings) == len(left_open)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".open-")]
    for name in set(store.ids()) - set(sealed):
        saved = store.load(name)
        assert_same(saved, episode(steps=60, seed=saved.seed, size=32), steps=len(saved))
    assert list(examine(tmp_path)) == []


def test_what_was_flushed_of_a_killed_episode_is_saved(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from robot.episodes.writer import EpisodeWriter; "
        "from robot.episodes.description import Heading; from tests.unit.robot.episodes.samples import *\n"
        "whole = episode(steps=43, size=32)\n"
        "writer = EpisodeWriter(sys.argv[1], Heading.of(whole), 'mine', flush_every=10)\n"
        "record(writer, whole)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=60, cwd=ROOT, env=environment)
    assert done.returncode == -signal.SIGKILL
    assert EpisodeStore(tmp_path).ids() == []
    (finding,) = examine(tmp_path, repair=True)
    assert finding.done and "39 steps are saved as mine-recovered" in finding.remedy
    saved = EpisodeStore(tmp_path).load("mine-recovered")
    assert len(saved) == 39 and saved.outcome is Outcome.INFRASTRUCTURE_FAULT
    assert_same(saved, episode(steps=43, size=32), steps=39)
    assert EpisodeStore(tmp_path).about("mine-recovered")["recovered"]
    assert len(list((tmp_path / ".set-aside").iterdir())) == 1


def test_two_writers_in_one_store(tmp_path: Path) -> None:
    first, second = start(tmp_path, "0", "6"), start(tmp_path, "0", "6")  # the same seeds: they want the same ids
    said = []
    for process in (first, second):
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        said += [line.split()[1] for line in output.splitlines() if line.startswith("sealed")]
    store = EpisodeStore(tmp_path)
    assert sorted(said) == store.ids() and len(set(said)) == 12
    for name in said:
        loaded = store.load(name)
        assert_same(loaded, episode(steps=60, seed=loaded.seed, size=32))
    assert list(examine(tmp_path)) == []


def test_two_writers_that_want_one_id(tmp_path: Path) -> None:
    whole = episode()
    with EpisodeWriter(tmp_path, Heading.of(whole), "one") as first:
        with EpisodeWriter(tmp_path, Heading.of(episode(seed=6)), "one") as second:
            record(first, whole)
            record(second, episode(seed=6))
            assert is_held(first.folder) and is_held(second.folder)
            assert first.seal(whole.outcome) == "one"
            with pytest.raises(SailError, match="already stored"):
                second.seal(whole.outcome)
        assert not is_held(second.folder)
    (finding,) = examine(tmp_path, repair=True)
    assert "sealed as one-r1" in finding.remedy
    store = EpisodeStore(tmp_path)
    assert store.load("one").seed == 5
    assert_same(store.load("one-r1"), episode(seed=6))


def test_an_episode_that_is_being_recorded_is_left_alone(tmp_path: Path) -> None:
    process = start(tmp_path, "0", "200")
    try:
        findings = list(examine(tmp_path, repair=True))
        assert all(finding.harmless and not finding.done for finding in findings)
    finally:
        process.kill()
        process.communicate()


def test_a_disk_that_fills_up_leaves_what_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = episode(steps=12)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with EpisodeWriter(tmp_path, Heading.of(whole), "mine", flush_every=4) as writer:
        record(writer, whole)
        monkeypatch.setattr("robot.episodes.writer.write_steps", full)
        with pytest.raises(SailError, match="No space left"):
            writer.seal(whole.outcome)
    monkeypatch.undo()
    (finding,) = examine(tmp_path, repair=True)
    assert "11 steps are saved as mine-recovered" in finding.remedy
    assert_same(EpisodeStore(tmp_path).load("mine-recovered"), whole, steps=11)
