"""Read pictures that a table holds one by one, as PNG or JPEG, or whose files it names."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robot.core.data import Image
from robot.episodes.arrival import UnfitError
from robot.episodes.lerobot import form
from robot.episodes.lerobot.rows import DataFile, Positions
from robot.episodes.video import VideoFacts

DEEP = ("I", "F")
"""Beginnings of Pillow's names for pictures of one channel of more than 8 bits."""
BROKEN = (OSError, EOFError, ValueError, TypeError, LookupError, SyntaxError, AttributeError, struct.error, zlib.error)
"""What Pillow raises for broken pictures, one kind a format."""


@dataclass(frozen=True, slots=True)
class Stills:
    """Hold the pictures of an episode that stand in column `key` at `rows`. A `robot.episodes.arrival.Pictures`.

    `folder` is where the files lie that a row may name instead of holding a picture.
    """

    table: DataFile
    key: str
    rows: Positions
    folder: Path
    size: tuple[int, int]
    deep: bool

    @classmethod
    def of(cls, table: DataFile, key: str, rows: Positions, folder: Path) -> Stills:
        """Return the pictures; what the first is says what all must be. Raises UnfitError where it cannot be read."""
        probe = cls(table, key, rows[:1], folder, (0, 0), False)
        (encoded,) = probe._encoded()
        picture = _opened(encoded)
        return cls(table, key, rows, folder, (picture.height, picture.width), picture.mode.startswith(DEEP))

    @property
    def lossy(self) -> bool:
        """Return False: they are kept as small pictures of our own are."""
        return False

    def digest(self) -> bytes:
        """Return what is the same for the same files."""
        digest = hashlib.blake2b(digest_size=16)
        for encoded in self._encoded():
            digest.update(hashlib.blake2b(encoded, digest_size=16).digest())
        return digest.digest()

    def frames(self) -> Iterator[Image]:
        """Yield the pictures."""
        for row, encoded in enumerate(self._encoded()):
            try:
                picture = _opened(encoded)
                if (picture.height, picture.width) != self.size or picture.mode.startswith(DEEP) != self.deep:
                    raise UnfitError("it is of another size or kind than the first")
                image = np.asarray(picture.convert("RGB"))
            except (UnfitError, *BROKEN) as problem:
                raise UnfitError(f"picture {row} of {self.key} cannot be used ({_said(problem)})") from None
            yield image

    def copy(self, path: Path) -> VideoFacts | None:
        """Return None: they are no video."""
        return None

    def _encoded(self) -> Iterator[bytes]:
        for row, value in enumerate(self.table.one_by_one(self.rows, self.key)):
            content = value.get("bytes") if isinstance(value, Mapping) else value
            if isinstance(content, bytes):
                yield content
            elif isinstance(value, Mapping) and value.get("path"):
                yield self._file(row, value["path"])
            else:
                raise UnfitError(f"picture {row} of {self.key} is missing")

    def _file(self, row: int, name: Any) -> bytes:
        path = form.path_in(self.folder, name if isinstance(name, str) else "")
        try:
            if path.is_file():
                return path.read_bytes()
        except OSError:
            pass
        raise UnfitError(f"picture {row} of {self.key} is neither in its table nor in the set as {name!r}")


def _opened(encoded: bytes) -> Any:
    """Return a picture whose pixels are not decoded yet; raise UnfitError where it is none."""
    from PIL import Image as Pillow

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            return Pillow.open(io.BytesIO(encoded))
    except (Pillow.DecompressionBombWarning, Pillow.DecompressionBombError):
        raise UnfitError("a picture is too large") from None
    except BROKEN:
        raise UnfitError("a picture is damaged") from None


def _said(problem: BaseException) -> str:
    return str(problem).splitlines()[0].rstrip(".") if str(problem) else type(problem).__name__
