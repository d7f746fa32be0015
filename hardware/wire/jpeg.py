"""Pictures as JPEG files, where a camera's are sent so."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Image
from robot.core.errors import SailError


def encode_jpeg(image: Image, quality: int = 90) -> NDArray[np.uint8]:
    """Return a picture, uint8 (H, W, 3), as a JPEG file, uint8 (bytes,)."""
    from PIL import Image as Pictures

    file = io.BytesIO()
    Pictures.fromarray(image).save(file, "JPEG", quality=quality)
    return np.frombuffer(file.getvalue(), np.uint8)


def decode_jpeg(data: NDArray[np.uint8], size: tuple[int, int]) -> Image:
    """Return the picture in a JPEG file, uint8 (H, W, 3); raise SailError unless it is one of that size (H, W)."""
    from PIL import Image as Pictures

    try:
        with Pictures.open(io.BytesIO(data.tobytes()), formats=["JPEG"]) as file:
            if (file.height, file.width) != size:
                raise SailError(f"A picture of {size} was expected, got {(file.height, file.width)}.")
            return np.asarray(file.convert("RGB"), np.uint8).copy()
    except (OSError, ValueError, SyntaxError, Pictures.DecompressionBombError) as error:
        raise SailError(f"A picture cannot be read ({error}).") from None
