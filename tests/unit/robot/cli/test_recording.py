"""What was recorded with other options is never taken for what is asked for now."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from robot.cli.recording import episode_name, record_missing, requests_for
from robot.cli.screen import Meter, Screen
from robot.core.data import Episode
from robot.core.errors import HeldError
from robot.core.files import FolderLock
from robot.episodes.store import EpisodeStore
from sim.collect import Request
from tests.fakes import toy_episode

BASE = Request("reach", "demonstrations", 10_000)
CHANGES = {"noise": 0.2, "max_steps": 50, "image_size": 64, "action_repeat": 4, "cameras": ("corner2", "corner3")}


def silent() -> Meter:
    return Meter(Screen(io.StringIO()))


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Record toy episodes in place of simulated ones and return the list of what was asked of the simulator."""
    asked: list[Request] = []

    def collect(requests: Sequence[Request], workers: int | None = None) -> Iterator[Episode]:
        for request in requests:
            asked.append(request)
            yield toy_episode([True], request.task, request.seed)

    monkeypatch.setattr("sim.collect.collect", collect)
    return asked


@pytest.mark.parametrize("option", list(CHANGES))
def test_every_option_is_part_of_the_id(option: str) -> None:
    other = dataclasses.replace(BASE, **{option: CHANGES[option]})  # type: ignore[arg-type]
    assert episode_name(other) != episode_name(BASE)
    assert episode_name(dataclasses.replace(BASE)) == episode_name(BASE)
    assert episode_name(BASE).startswith("reach-demonstrations-010000-")


PAUSED = """
import sys
from pathlib import Path
from robot.core.files import FolderLock
with FolderLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_two_that_record_into_one_store_do_not_meet(tmp_path: Path, collected: list[Request]) -> None:
    """One is refused, or waits where it may; a whole store is nobody's to wait for."""
    requests = requests_for(("reach",), "demonstrations", 2, 1, {})
    store, said = EpisodeStore(tmp_path), []
    program = [sys.executable, "-c", PAUSED, str(tmp_path)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(HeldError, match=f"in use by process {other.pid}.*data="):
            record_missing(store, requests, silent(), "recording")
        assert collected == []
        # While this one waits the other records one of the two: what is missing is seen only then.
        store.add(toy_episode([True], "reach", 10_000), episode_id=episode_name(requests[0]))

        def wait(sentence: str) -> None:
            said.append(sentence)
            other.stdin.write("\n")  # type: ignore[union-attr]
            other.stdin.flush()  # type: ignore[union-attr]

        assert record_missing(store, requests, silent(), "recording", waiting=wait) == 1
    assert len(said) == 1 and "Waiting until it ends" in said[0]
    with FolderLock(tmp_path):
        assert record_missing(store, requests, silent(), "recording") == 0


def test_what_episodes_must_share_is_how_they_look_and_how_fast_they_are() -> None:
    forms = {name: dataclasses.replace(BASE, **{name: value}).form for name, value in CHANGES.items()}  # type: ignore[arg-type]
    assert [name for name in CHANGES if forms[name] == BASE.form] == ["noise", "max_steps"]
    assert len({forms[name] for name in ("image_size", "action_repeat", "cameras")}) == 3


def test_demonstrations_with_other_options_are_recorded_and_the_same_ones_are_not(
    tmp_path: Path, collected: list[Request]
) -> None:
    store = EpisodeStore(tmp_path)
    small = requests_for(("reach", "push"), "demonstrations", 2, 1, {"image_size": 64})
    large = requests_for(("reach", "push"), "demonstrations", 2, 1, {"image_size": 128})
    assert record_missing(store, small, silent(), "recording") == 4
    assert record_missing(store, small, silent(), "recording") == 0
    assert record_missing(store, large, silent(), "recording") == 4
    assert [request.image_size for request in collected] == [64] * 4 + [128] * 4
    assert {store.about(episode_name(request))["config_hash"] for request in large} == {large[0].form}
