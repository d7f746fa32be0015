"""Draw a scene from a pose, in a process of its own: software rendering takes milliseconds that a servo has not got.

The process reads poses from its standard input and answers each with a picture on its standard output, raw bytes both
ways. It ends when its input does, so that it never outlives who started it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from robot.core.errors import SailError
from sim.rendering import OffscreenRenderer, choose_backend

READY = b"ready"
START_TIMEOUT_S = 120.0
DRAW_TIMEOUT_S = 20.0
_CHOOSING = threading.Lock()
"""Several cameras open at once; the first finds out for all of them what can draw here."""


def read_pose(model: Any, data: Any) -> NDArray[np.float64]:
    """Return all that decides where things are drawn, float64 (N,): joints, mocap bodies, and what resets move."""
    parts = (data.qpos, data.mocap_pos, data.mocap_quat, model.body_pos, model.body_quat, model.site_pos)
    return np.concatenate([part.ravel() for part in parts])


class Painter:
    """Draw one camera's pictures of a model (mujoco.MjModel) that nobody else uses."""

    def __init__(self, model: Any, camera: str, size: tuple[int, int], upside_down: bool, sites: bool) -> None:
        """Make a context for pictures of `size` (H, W); `sites` says whether sites, such as goals, are drawn."""
        choose_backend()
        import mujoco

        self._mujoco, self._model, self._data = mujoco, model, mujoco.MjData(model)
        self._camera, self._upside_down = camera, upside_down
        self._renderer = OffscreenRenderer(model, size)
        self._renderer.show_sites(sites)
        self.pose_size = len(read_pose(model, self._data))

    def draw(self, pose: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return uint8 (H, W, 3) RGB of a pose that `read_pose` gave."""
        model, data = self._model, self._data
        begin = 0
        for part in (data.qpos, data.mocap_pos, data.mocap_quat, model.body_pos, model.body_quat, model.site_pos):
            part[:] = pose[begin : begin + part.size].reshape(part.shape)
            begin += part.size
        self._mujoco.mj_kinematics(model, data)
        self._mujoco.mj_comPos(model, data)
        self._mujoco.mj_camlight(model, data)
        return self._renderer.render(data, self._camera, self._upside_down)

    def close(self) -> None:
        """Free the context; closing twice is allowed."""
        self._renderer.close()


class PainterProcess:
    """Have a `Painter` draw in a process of its own."""

    def __init__(self, model: Any, camera: str, size: tuple[int, int], upside_down: bool, sites: bool) -> None:
        """Start the process on a copy of `model` and wait until it has drawn once.

        Raises RenderingError where nothing can be drawn here, SailError where the process does not start.
        """
        with _CHOOSING:
            choose_backend()
        import mujoco

        self._camera, self._shape = camera, (*size, 3)
        options = ["--camera", camera, "--size", *map(str, size)]
        options += ["--upside-down"] if upside_down else []
        options += ["--sites"] if sites else []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "scene.mjb")
            mujoco.mj_saveModel(model, str(path), None)
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(path), *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            )
            try:
                self._receive(len(READY), START_TIMEOUT_S)
            except BaseException:
                self.close()
                raise

    def draw(self, pose: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return uint8 (H, W, 3) RGB of a pose that `read_pose` gave; raise SailError where the process has died."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(pose.tobytes())
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise self._died() from None
        picture = self._receive(int(np.prod(self._shape)), DRAW_TIMEOUT_S)
        return np.frombuffer(picture, np.uint8).reshape(self._shape)

    def close(self) -> None:
        """End the process; closing twice is allowed, and so is closing while another thread waits for a picture."""
        process = self._process
        process.kill()  # it holds nothing that needs putting away
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _receive(self, size: int, timeout_s: float) -> bytearray:
        assert self._process.stdout is not None
        received = bytearray()
        try:
            number = self._process.stdout.fileno()
            while len(received) < size:
                if not select.select([number], [], [], timeout_s)[0]:
                    raise SailError(
                        f"Camera {self._camera!r} has drawn nothing for {timeout_s:.0f} s; restart the arm."
                    )
                part = os.read(number, size - len(received))
                if not part:
                    raise self._died()
                received += part
        except (OSError, ValueError):  # closed meanwhile
            raise self._died() from None
        return received

    def _died(self) -> SailError:
        return SailError(f"The process that draws camera {self._camera!r} has ended; restart the arm.")


def serve(painter: Painter, source: BinaryIO, sink: BinaryIO) -> None:
    """Answer poses from `source` with pictures on `sink` until the source ends."""
    while len(received := source.read(painter.pose_size * 8)) == painter.pose_size * 8:
        sink.write(painter.draw(np.frombuffer(received, np.float64)).tobytes())
        sink.flush()


def main() -> None:
    """Draw for the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--camera", required=True)
    parser.add_argument("--size", type=int, nargs=2, required=True)
    parser.add_argument("--upside-down", action="store_true")
    parser.add_argument("--sites", action="store_true")
    options = parser.parse_args()
    # Whatever prints must not end up among the pictures.
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    choose_backend()
    import mujoco

    model = mujoco.MjModel.from_binary_path(options.model)
    painter = Painter(model, options.camera, tuple(options.size), options.upside_down, options.sites)
    painter.draw(read_pose(model, mujoco.MjData(model)))
    with contextlib.suppress(BrokenPipeError):
        sink.write(READY)
        sink.flush()
        serve(painter, sys.stdin.buffer, sink)
    painter.close()


if __name__ == "__main__":
    main()
