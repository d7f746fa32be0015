"""Check an installation of `sail-stack[arm]` alone: small, without torch, and yet it serves, drives, records, replays.

Run it with the Python of that installation, from a folder that is not this project's: see .ci/arm-alone.
"""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np

from hardware.client.remote_arm import ServerProcess, remote_arm
from robot.core.data import Action, Outcome
from robot.episodes.description import Heading
from robot.episodes.store import EpisodeStore

MOST_MB = 300.0
NOT_NEEDED = (
    "torch",
    "transformers",
    "diffusers",
    "mujoco",
    "metaworld",
    "cv2",
    "pyarrow",
    "matplotlib",
    "tensorboard",
)
STEPS = 10


def main() -> None:
    """Go through all of it; an assertion says what is not so."""
    there = [name for name in NOT_NEEDED if importlib.util.find_spec(name) is not None]
    assert not there, f"{', '.join(there)} came along"
    folder = Path(sysconfig.get_path("purelib"))
    size_mb = sum(path.lstat().st_size for path in folder.rglob("*")) / 1e6
    assert size_mb < MOST_MB, f"{folder} takes {size_mb:.0f} MB, more than {MOST_MB:g}"
    with tempfile.TemporaryDirectory() as store:
        drive(Path(store))
    refused = sail("improve", "task=drawer-close", status=2)
    assert 'pip install "sail-stack[all]"' in refused, refused
    print(f"Python {platform.python_version()}: sail-stack[arm] takes {size_mb:.0f} MB, serves, records and replays.")


def drive(store: Path) -> None:
    """Serve an arm without an arm, move it, record that, replay it, and stop the arm."""
    server = ServerProcess(["arm=kinematic", "arm.image_size=64"])
    try:
        arm = remote_arm(server.address, camera_age_s=1.0, state_age_s=1.0)
        with arm.client, EpisodeStore(store).record(heading(arm.spec), "moved") as recording:
            recording.observe(first := arm.reset(0))
            for _ in range(STEPS):
                asked = Action(np.array([0.5, 0.0, 0.0, -1.0], np.float32))
                sent = arm.act(asked)
                seen = arm.observe()
                recording.step(asked, sent, seen)
            recording.seal(Outcome.TIMEOUT)
        assert seen.proprio[0] - first.proprio[0] > 0.02, (first.proprio, seen.proprio)
        episode = EpisodeStore(store).load("moved")
        assert len(episode) == STEPS and episode.frames["front"].shape == (STEPS + 1, 64, 64, 3)
        assert "moved" in sail("episodes", "list", f"store={store}")
        sail("episodes", "show", "moved", f"store={store}")
        there = (f"store={store}", "mode=robot", "robot=arm", f"robot.address={server.address}", "robot.known=")
        sail("episodes", "replay", "moved", *there, "robot.state_age_s=1.0", "tolerance=1.0", f"save={store}/film.mp4")
        assert "FAULT" in sail("arm", "stop", f"address={server.address}")
        assert "FAULT" in sail("arm", "status", f"address={server.address}")
        sail("arm", "clear", f"address={server.address}")
    finally:
        server.close()


def heading(spec: object) -> Heading:
    """Return what is known of the episode before its first step."""
    return Heading("move", "move to the side", spec.name, 0, spec=spec)


def sail(*words: str, status: int = 0) -> str:
    """Return what a command says, which must end with a status."""
    done = subprocess.run([sys.executable, "-m", "robot.cli.main", *words], capture_output=True, text=True)
    assert done.returncode == status, f"sail {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


if __name__ == "__main__":
    main()
