"""The catalogue says what the folders say, whatever happens to them and to itself."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from robot.core.data import Outcome, Verdict
from robot.core.errors import SailError
from robot.episodes.catalogue import FILE, Catalogue, Filters, as_json, stores_in, summary
from robot.episodes.description import Origin
from robot.episodes.store import EpisodeStore
from tests.unit.robot.episodes.samples import episode


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    made = EpisodeStore(tmp_path / "store")
    made.add(episode(), [Verdict(1.0, "truth")], "one", Origin("run-1", 0))
    made.add(episode(task="push", outcome=Outcome.TIMEOUT), [Verdict(0.0, "truth")], "two", Origin("run-1", 1))
    made.add(episode(task="push"), episode_id="three")
    return made


def ids(store: EpisodeStore, **filters: object) -> list[str]:
    return [entry.id for entry in Catalogue(store.folder).entries(Filters(**filters))]  # type: ignore[arg-type]


def test_filters(store: EpisodeStore) -> None:
    assert ids(store) == ["one", "three", "two"]
    assert ids(store, task="push") == ["three", "two"]
    assert ids(store, outcome="timeout") == ["two"]
    assert ids(store, judge="truth") == ["one", "two"] and ids(store, judge="tru") == []
    assert ids(store, verdict="success") == ["one"] and ids(store, verdict="failure") == ["two"]
    assert ids(store, verdict="none") == ["three"]
    assert ids(store, run="run") == ["one", "two"] and ids(store, iteration=0) == ["one"]
    today = str(store.about("one")["recorded"])[:10]
    assert ids(store, date=today) == ids(store, date=today[:7]) == ["one", "three", "two"]
    assert ids(store, date="1999") == []
    with pytest.raises(SailError, match="verdict must be"):
        Filters(verdict="good")


def test_it_follows_the_folders(store: EpisodeStore) -> None:
    assert ids(store, verdict="failure") == ["two"]
    store.append_verdict("two", Verdict(0.9, "person"))
    (entry,) = Catalogue(store.folder).entries(Filters(judge="person"))
    assert (entry.id, entry.judge, entry.verdict, entry.judges) == ("two", "person", "success", "truth person")
    store.append_verdict("two", Verdict(0.1, "vlm"))  # a model does not outrank a person
    assert ids(store, verdict="failure") == []
    store.append_verdict("two", Verdict(0.5, "person"))  # who is unsure does not call it a failure
    assert ids(store, verdict="failure") == [] and ids(store, verdict="unsure") == ["two"]
    store.append_verdict("three", Verdict(1.0, "none"))  # a judge that keeps everything says nothing
    assert "three" not in ids(store, verdict="success")
    store.add(episode(), episode_id="four")
    shutil.move(store.path("one"), store.folder.parent / "gone")
    assert ids(store) == ["four", "three", "two"]


@pytest.mark.parametrize("content", [None, b"", b"not a database at all" * 100, "old"])
def test_it_is_made_anew(store: EpisodeStore, content: bytes | str | None) -> None:
    before = Catalogue(store.folder).entries()
    path = store.folder / FILE
    if content == "old":
        with sqlite3.connect(path) as table:
            table.execute("DROP TABLE episodes")
            table.execute("PRAGMA user_version = 0")
        table.close()
    else:
        path.unlink()
        if isinstance(content, bytes):
            path.write_bytes(content)
    assert Catalogue(store.folder).entries() == before
    assert Catalogue(store.folder).entries() == before


def test_it_does_without_its_table(store: EpisodeStore) -> None:
    before = Catalogue(store.folder).entries()
    (store.folder / FILE).unlink()
    (store.folder / FILE).mkdir()  # nothing can be kept there
    assert Catalogue(store.folder).entries() == before


def test_what_cannot_be_read_is_listed_with_its_problem(store: EpisodeStore) -> None:
    (store.path("two") / "episode.json").write_text("{")
    found = {entry.id: entry.problem for entry in Catalogue(store.folder).entries()}
    assert "not JSON" in found["two"] and not found["one"]
    with pytest.raises(SailError, match="no store"):
        Catalogue(store.folder / "nowhere").entries()


def test_json_and_summary(store: EpisodeStore) -> None:
    entries = Catalogue(store.folder).entries()
    rows = {row["id"]: row for row in map(as_json, entries)}
    assert json.loads(json.dumps(rows)) == rows
    assert rows["three"]["probability"] is None and rows["three"]["iteration"] is None
    assert rows["one"]["judges"] == ["truth"] and rows["one"]["cameras"] == ["top"]
    push = summary(entries)[0]
    assert push["task"] == "push" and push["outcomes"] == {"success": 1, "timeout": 1} and push["judged success"] == 0


def test_stores_are_folders_with_an_episode(store: EpisodeStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert stores_in([tmp_path / "empty", store.folder, tmp_path / "nowhere"]) == [store.folder]


@pytest.mark.slow
def test_ten_thousand_episodes_are_listed_fast(store: EpisodeStore) -> None:
    about = store.about("one")
    for number in range(10_000):
        folder = store.folder / f"e{number:05d}"
        folder.mkdir()
        (folder / "episode.json").write_text(json.dumps(about | {"episode_id": folder.name}))
    assert len(Catalogue(store.folder).entries()) == 10_003
    began = time.process_time()
    assert len(Catalogue(store.folder).entries()) == 10_003
    assert time.process_time() - began < 0.5


def test_what_is_no_text_is_listed_as_what_cannot_be_read_and_hides_nothing_else(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    for name in ("good", "foul", "judged"):
        store.add(episode(), episode_id=name)
    foul = store.path("foul") / "episode.json"
    foul.write_text(foul.read_text().replace('"reach the goal"', r'"\ud800"'))
    store.append_verdict("judged", Verdict(1.0, "somebody"))
    labels = store.path("judged") / "labels.jsonl"
    labels.write_text(labels.read_text().replace('"somebody"', r'"\ud800"'))
    shutil.copytree(store.path("good"), tmp_path / "\udcff\x1b[2J")
    for _ in range(2):  # read, and then from the table
        entries = {entry.id: entry for entry in Catalogue(tmp_path).entries()}
        assert set(entries) == {"good", "foul", "judged", r"\udcff\x1b[2J"}
        assert [name for name, entry in entries.items() if not entry.problem] == ["good"]
    with pytest.raises(SailError, match="not JSON"):
        store.about("foul")
