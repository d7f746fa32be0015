"""What arrives is stored under a name that its content gives, as it came where that can be, and whole or not at all."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robot.core.data import Outcome
from robot.core.errors import SailError
from robot.episodes.arrival import Arrival, UnfitError
from robot.episodes.intake import Stored, take_in
from robot.episodes.labels import Field
from robot.episodes.lerobot.exporting import export_lerobot
from robot.episodes.lerobot.importing import LeRobotSource
from robot.episodes.repair.doctor import examine
from robot.episodes.store import EpisodeStore
from robot.episodes.video import CAMERA, LOSSLESS, Quality
from tests.lerobot.sets import Camera, Plan, Take, barcode, read_barcode, write_set
from tests.unit.robot.episodes.samples import episode


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


def arrivals(folder: Path, **options: Any) -> list[Arrival]:
    return [one for one in LeRobotSource(folder, **options) if isinstance(one, Arrival)]


def stored(store: EpisodeStore, folder: Path, quality: Quality | None = None) -> list[Stored]:
    return [take_in(store, one, quality) for one in arrivals(folder)]


def left(store: EpisodeStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir() if path.name.startswith("."))


def test_names_come_from_the_content_not_from_the_folder(tmp_path: Path) -> None:
    plans = {"a": Plan((Take(4), Take(5))), "b": Plan((Take(4, ("push",)), Take(5, actions=np.ones((5, 2)))))}
    folders = [write_set(tmp_path / name / "pick", plan) for name, plan in plans.items()]
    store = EpisodeStore(tmp_path / "store")
    for folder in folders:
        assert all(one.is_new for one in stored(store, folder))
    assert len(store.ids()) == 4 and not left(store)
    shutil.copytree(folders[0], tmp_path / "elsewhere")
    assert not any(one.is_new for one in stored(store, tmp_path / "elsewhere")), "the same content, so there already"
    assert len(store.ids()) == 4


def test_the_same_numbers_with_other_pictures_are_another_episode(tmp_path: Path) -> None:
    first = arrivals(write_set(tmp_path / "a", Plan((Take(4),), (Camera(kept="png"),))))[0]
    other = arrivals(write_set(tmp_path / "b", Plan((Take(4),), (Camera(kept="png", width=72),))))[0]
    assert first.digest() != other.digest()


def test_what_is_there_with_another_outcome_is_not_passed_over(tmp_path: Path) -> None:
    folder, store = write_set(tmp_path / "set", Plan((Take(4),))), EpisodeStore(tmp_path / "store")
    stored(store, folder)
    with pytest.raises(UnfitError, match="with the outcome timeout"):
        take_in(store, arrivals(folder, outcome=Outcome.SUCCESS)[0])


def test_our_own_episodes_keep_their_ids_unless_another_has_it(tmp_path: Path) -> None:
    here, there = EpisodeStore(tmp_path / "here"), EpisodeStore(tmp_path / "there")
    own, other = (dataclasses.replace(episode(5, seed=seed, size=16), episode_id="good") for seed in (1, 2))
    here.add(own)
    there.add(other)
    export_lerobot([own], tmp_path / "set", LOSSLESS)
    assert stored(here, tmp_path / "set") == [Stored("good", False)], "it came from here"
    (name,) = {one.name for one in stored(there, tmp_path / "set")}
    assert name.startswith("good-") and there.ids() == ["good", name]
    assert stored(there, tmp_path / "set") == [Stored(name, False)]


def test_a_damaged_episode_in_the_store_is_not_taken_for_what_arrives(tmp_path: Path) -> None:
    folder, store = write_set(tmp_path / "set", Plan((Take(4),))), EpisodeStore(tmp_path / "store")
    (one,) = stored(store, folder)
    (store.path(one.name) / "episode.json").write_text("{")
    with pytest.raises(UnfitError, match="episodes doctor"):
        stored(store, folder)


def test_two_imports_at_once_both_finish(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan([Take(6) for _ in range(8)], (Camera(kept="png"),)))
    store, found, meet = EpisodeStore(tmp_path / "store"), [], threading.Barrier(2)

    def work() -> None:
        for one in arrivals(folder):
            meet.wait(30)
            found.append(take_in(store, one))

    both = [threading.Thread(target=work) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert len(found) == 16 and len({one.name for one in found}) == 8 == len(store.ids())
    assert sum(one.is_new for one in found) == 8 and not left(store)


def test_two_commands_at_once_both_finish(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan([Take(6) for _ in range(12)]))
    words = [sys.executable, "-m", "robot.cli.main", "episodes", "import", str(folder), f"store={tmp_path / 'store'}"]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert len(EpisodeStore(tmp_path / "store").ids()) == 12 and list(examine(tmp_path / "store")) == []


@pytest.mark.parametrize(
    "camera",
    [
        Camera(),
        Camera(options={"g": "12"}),
        Camera(codec="libsvtav1", options={"crf": "30", "g": "2", "preset": "12"}),
        Camera(codec="libvpx-vp9", options={"crf": "30"}),
        Camera(codec="libx264rgb", pixels="rgb24", options={"crf": "0"}),
    ],
)
def test_video_that_begins_at_a_key_is_copied_packet_by_packet(camera: Camera, tmp_path: Path) -> None:
    plan = Plan((Take(7), Take(8), Take(9)), (camera,))
    folder, store = write_set(tmp_path / "set", plan), EpisodeStore(tmp_path / "store")
    for number, one in enumerate(arrivals(folder)):
        name, original = take_in(store, one).name, one.whole().frames["top"]
        kept = store.about(name)["cameras"]["top"]
        assert kept["crf"] == -1 and kept["lossless"] is False and kept["frames"] == plan.takes[number].rows
        assert np.array_equal(store.load(name).frames["top"], original), "packets give the very same pictures"
    size = sum(path.stat().st_size for path in store.folder.rglob("*.mkv"))
    assert size < 3 * sum(path.stat().st_size for path in folder.rglob("*.mp4"))
    assert list(examine(store.folder)) == []


@pytest.mark.parametrize(
    "camera",
    [
        Camera(options={"g": "250"}, keys=False),
        Camera(density=2),
        Camera(codec="libx265", options={"crf": "12", "x265-params": "log-level=none"}),
    ],
)
def test_video_that_cannot_be_copied_is_encoded_anew(camera: Camera, tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", Plan((Take(7), Take(8)), (camera,)))
    for quality, crf in ((None, 18), (Quality(30), 30), (LOSSLESS, 0)):
        store = EpisodeStore(tmp_path / f"store-{crf}")
        one = arrivals(folder)[1]
        name = take_in(store, one, quality).name
        loaded = store.load(name)
        assert store.about(name)["cameras"]["top"]["crf"] == crf
        assert [read_barcode(frame) for frame in loaded.frames["top"]] == [(0, 1, row) for row in range(8)]
        assert np.array_equal(loaded.frames["top"], one.whole().frames["top"]) is (crf == 0)


def test_small_stills_are_kept_bit_for_bit_and_large_ones_as_large_cameras_are(tmp_path: Path) -> None:
    for side, crf in ((64, 0), (640, CAMERA.crf)):
        camera = Camera(kept="png", height=side, width=side)
        store = EpisodeStore(tmp_path / str(side) / "store")
        (one,) = stored(store, write_set(tmp_path / str(side) / "set", Plan((Take(2),), (camera,))))
        assert store.about(one.name)["cameras"]["top"]["crf"] == crf
        if not crf:
            assert np.array_equal(store.load(one.name).frames["top"], [barcode(0, 0, row) for row in range(2)])


def test_labels_come_along(tmp_path: Path) -> None:
    folder, store = (
        write_set(tmp_path / "set", Plan((Take(4, ("a", "a", "b", "b")),))),
        EpisodeStore(tmp_path / "store"),
    )
    (one,) = stored(store, folder)
    labels = store.labels(one.name)
    assert [(label.field, label.value, label.span) for label in labels] == [
        (Field.SEGMENT, "a", (0, 1)),
        (Field.SEGMENT, "b", (2, 3)),
    ]
    about = store.about(one.name)
    assert len(about["notes"]) == 1 and len(about["content"]) == 32


def test_a_picture_that_cannot_be_read_leaves_nothing_behind(tmp_path: Path) -> None:
    folder, store = (
        write_set(tmp_path / "set", Plan((Take(30),), (Camera(keys=False),))),
        EpisodeStore(tmp_path / "store"),
    )
    (path,) = folder.rglob("*.mp4")
    one = arrivals(folder)[0]
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    content[begin : begin + 4000] = bytes(4000)
    path.write_bytes(content)
    with pytest.raises(UnfitError, match=r"damaged"):
        take_in(store, one)
    assert store.ids() == [] and left(store) == []


def test_a_full_disk_stops_it_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, store = write_set(tmp_path / "set", Plan((Take(4),))), EpisodeStore(tmp_path / "store")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robot.episodes.writer.write_steps", full)
    with pytest.raises(SailError, match="No space left on device") as told:
        stored(store, folder)
    assert not isinstance(told.value, UnfitError) and store.ids() == [] and left(store) == []


MEASURE = r"""
import re, sys
from pathlib import Path
from robot.episodes.intake import take_in
from robot.episodes.lerobot.importing import LeRobotSource
from robot.episodes.store import EpisodeStore
import PIL.Image, PIL.PngImagePlugin

def peak_kib():  # of this program: what `resource` says counts what began it as well
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])

before = peak_kib()
for one in LeRobotSource(sys.argv[1]):
    take_in(EpisodeStore(sys.argv[2]), one)
print((peak_kib() - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("camera", [Camera(), Camera(keys=False, options={"g": "250"}), Camera(kept="png")])
def test_pictures_are_streamed(camera: Camera, tmp_path: Path) -> None:
    """Take in 900 frames of 640×480, 830 MB of pixels, within 100 MiB.

    Pictures in a table come a page at a time, and as pyarrow writes them by default 1024 make a page: not here.
    """
    large = dataclasses.replace(camera, height=480, width=640)
    folder = write_set(tmp_path / "set", Plan((Take(5), Take(900)), (large,), one_group=True, page=8))
    words = [sys.executable, "-c", MEASURE, str(folder), str(tmp_path / "store")]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert int(told.stdout) < 100, told.stdout
