"""Video: what is called lossless is, what is not says so, and what was cut off is readable up to there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robot.core.errors import SailError
from robot.episodes.video import CAMERA, LOSSLESS, Quality, VideoWriter, checksum, read_video, read_what_is_there


def noise(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def scene(count: int, height: int, width: int) -> np.ndarray:
    """Return smooth pictures in which something moves."""
    rows, columns = np.mgrid[:height, :width]
    frames = [np.stack([rows % 256, columns % 256, (rows + columns) // 2 % 256], -1) for _ in range(count)]
    for number, frame in enumerate(frames):
        frame[10:40, 5 * number : 5 * number + 30] = (200, 40, 40)
    return np.array(frames, np.uint8)


def write(path: Path, frames: np.ndarray, quality: Quality = LOSSLESS) -> VideoWriter:
    writer = VideoWriter(path, *frames.shape[1:3], 40.0, quality)
    for frame in frames:
        writer.append(frame)
    return writer


def size_of(path: Path, frames: np.ndarray) -> int:
    write(path, frames).close()
    return path.stat().st_size


@pytest.mark.parametrize("shape", [(1, 128, 128), (45, 64, 64), (3, 7, 5), (21, 1, 1), (2, 33, 64)])
def test_lossless_video_gives_every_bit_back(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    frames = noise(*shape)
    facts = write(tmp_path / "a.mkv", frames).close()
    assert facts.lossless and (facts.frames, facts.height, facts.width) == shape
    again = read_video(tmp_path, facts)
    assert np.array_equal(again, frames) and checksum(again) == facts.crc32


def test_a_camera_loses_little_and_says_so(tmp_path: Path) -> None:
    frames = scene(6, 480, 640)
    facts = write(tmp_path / "a.mkv", frames, CAMERA).close()
    assert not facts.lossless and facts.crf == 18 and facts.codec == "libx264"
    error = np.abs(read_video(tmp_path, facts).astype(int) - frames)
    assert 0 < error.mean() < 3
    assert (tmp_path / "a.mkv").stat().st_size < size_of(tmp_path / "b.mkv", frames)


def test_what_was_appended_can_be_read_before_the_end(tmp_path: Path) -> None:
    frames = scene(30, 64, 64)
    writer = write(tmp_path / "a.mkv", frames)
    there = read_what_is_there(tmp_path / "a.mkv")
    assert len(there) >= 28 and np.array_equal(np.array(there), frames[: len(there)])
    writer.close()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.77, 0.99])
def test_a_video_cut_off_gives_what_is_whole(tmp_path: Path, share: float) -> None:
    frames = noise(40, 32, 32)
    facts = write(tmp_path / "a.mkv", frames).close()
    content = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[: int(share * len(content))])
    there = read_what_is_there(tmp_path / "a.mkv")
    assert 40 * share - 4 <= len(there) <= 40 * share + 1
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(there, frames, strict=False))
    with pytest.raises(SailError, match=r"a\.mkv is damaged"):
        read_video(tmp_path, facts)


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    writer = write(tmp_path / "a.mkv", noise(2, 8, 8))
    with pytest.raises(ValueError, match=r"are uint8 \(8, 8, 3\)"):
        writer.append(noise(1, 8, 9)[0])
    with pytest.raises(ValueError, match="float64"):
        writer.append(np.zeros((8, 8, 3)))  # type: ignore[arg-type]
    assert writer.close().frames == 2


def test_a_video_that_is_another_is_refused(tmp_path: Path) -> None:
    facts = write(tmp_path / "a.mkv", noise(3, 8, 8)).close()
    (tmp_path / "a.mkv").unlink()
    assert not (tmp_path / "a.mkv").exists()
    for frames in (noise(4, 8, 8), noise(3, 8, 10), noise(2, 8, 8)):
        write(tmp_path / "a.mkv", frames).close()
        with pytest.raises(SailError):
            read_video(tmp_path, facts)
        (tmp_path / "a.mkv").unlink()
    with pytest.raises(SailError, match="missing"):
        read_video(tmp_path, facts)


def test_the_rate_factor_has_limits() -> None:
    with pytest.raises(ValueError, match="0 … 51"):
        Quality(52)
