"""Steps on a machine without pyarrow, such as one at an arm: recorded, read everywhere, guarded against damage."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robot.core.data import Outcome
from robot.core.errors import SailError
from robot.episodes.description import Heading
from robot.episodes.repair.doctor import examine
from robot.episodes.steps import open_stream, read_steps, read_stream, table_in, write_steps
from robot.episodes.store import EpisodeStore
from robot.episodes.writer import EpisodeWriter
from tests.unit.robot.episodes.samples import assert_same, episode, record

ROWS = {"time_s": np.arange(6.0), "proprio": np.arange(12, dtype=np.float32).reshape(6, 2)}
COLUMNS = ROWS | {"sent": np.arange(10, dtype=np.float32).reshape(5, 2), "success": np.arange(5) == 4}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robot.episodes.steps.has_pyarrow", lambda: False)


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]) for name in one
    )


def test_what_is_recorded_without_pyarrow_is_read_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = episode(steps=25, size=32)
    with monkeypatch.context() as at_the_arm:
        at_the_arm.setattr("robot.episodes.steps.has_pyarrow", lambda: False)
        with EpisodeWriter(tmp_path, Heading.of(whole)) as writer:
            record(writer, whole)
            name = writer.seal(whole.outcome)
        assert_same(EpisodeStore(tmp_path).load(name), whole)
    assert {"steps.npz"} == {path.name for path in (tmp_path / name).glob("steps.*")}
    assert_same(EpisodeStore(tmp_path).load(name), whole)
    assert list(examine(tmp_path)) == []


@pytest.mark.usefixtures("alone")
def test_an_episode_that_was_never_sealed_is_saved_without_pyarrow(tmp_path: Path) -> None:
    whole = episode(steps=40, size=32)
    with EpisodeWriter(tmp_path, Heading.of(whole)) as writer:
        record(writer, whole)
    (finding,) = examine(tmp_path, repair=True)
    (name,) = EpisodeStore(tmp_path).ids()
    assert finding.done and name.endswith("-recovered")
    assert_same(EpisodeStore(tmp_path).load(name), episode(steps=40, size=32, outcome=Outcome.SUCCESS), steps=30)


def test_parquet_is_left_alone_where_nothing_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EpisodeStore(tmp_path)
    name = store.add(episode())
    monkeypatch.setattr("robot.episodes.steps.has_pyarrow", lambda: False)
    with pytest.raises(SailError, match=r'needs pyarrow, .* "sail-stack\[parquet\]"'):
        store.load(name)
    (finding,) = examine(tmp_path, repair=True)
    assert finding.harmless and not finding.done and "left alone" in finding.remedy
    monkeypatch.undo()
    assert_same(store.load(name), episode())


@pytest.mark.usefixtures("alone")
def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path = table_in(tmp_path)
    write_steps(path, COLUMNS)
    assert same(read_steps(path), COLUMNS)
    whole, rng, told = path.read_bytes(), random.Random(0), 0
    for _ in range(400):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            assert same(read_steps(path), COLUMNS)
        except SailError as problem:
            told += "is damaged" in str(problem)
    assert told > 200


@pytest.mark.usefixtures("alone")
def test_a_stream_is_read_up_to_where_it_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "steps.npzs"
    stream = open_stream(path)
    sizes = []
    for part in range(3):
        stream.append({name: values + part for name, values in ROWS.items()})
        sizes.append(path.stat().st_size)
    stream.close()
    whole = path.read_bytes()
    for size in (*range(0, len(whole), 37), len(whole)):
        path.write_bytes(whole[:size])
        rows, parts = read_stream(path), sum(size >= one for one in sizes)
        assert len(rows.get("time_s", ())) == 6 * parts
        if parts:
            np.testing.assert_array_equal(rows["time_s"], np.concatenate([ROWS["time_s"] + n for n in range(parts)]))


def test_nothing_in_an_archive_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "steps.npz"
    np.savez(path, columns=np.array(["time_s"]), time_s=np.array([print], dtype=object))
    with pytest.raises(SailError, match="damaged"):
        read_steps(path)
    with pytest.raises(ValueError, match="holds no numbers"):
        write_steps(path, {"time_s": np.array([print], dtype=object)})


def test_columns_that_do_not_fit_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "steps.npz"
    for columns in ({"sent": np.zeros((5, 2))}, {"time_s": np.arange(6.0), "sent": np.zeros((6, 2))}):
        np.savez(path, columns=np.array(list(columns)), **columns)
        with pytest.raises(SailError, match="damaged"):
            read_steps(path)
    with pytest.raises(SailError, match="is missing"):
        read_steps(tmp_path / "none" / "steps.npz")


def test_a_store_loads_without_pyarrow() -> None:
    code = "import sys; sys.modules['pyarrow'] = None; import robot.episodes.store, robot.episodes.repair.doctor"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
