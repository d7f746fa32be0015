"""Run the SAIL loop in the toy world, as a program that a test can kill: `toy_loop.py FOLDER [WHERE COUNT]`.

WHERE is `act` (die in the COUNT-th action of the pool), `train` (between steps of training), `event:KIND` (when an
event of that kind is sent for the COUNT-th time) or `interrupt` (Ctrl-C in the COUNT-th action) and
`pause` (wait a second in it, having made FOLDER/paused).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from robot.episodes.store import EpisodeStore
from robot.judges.truth import GroundTruth
from robot.learn.attempts import Exploration
from robot.learn.exploration import InstructionBandit
from robot.learn.run import LoopEvent
from robot.learn.sail import SailLoop, SailSettings
from robot.rollouts.rollout import RolloutSettings
from tests.fakes import ToyLearner, ToyPlanner, ToyPool, toy_policy

SETTINGS = SailSettings(
    "toy", "go right", 2, 12, finetune_from="previous", enough=2.0, rollout=RolloutSettings(max_steps=40)
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def make_loop(folder: Path, where: str = "", count: int = 0, size: int = 3) -> SailLoop:
    left = [count]

    def reached(here: str) -> bool:
        if here == where:
            left[0] -= 1
        return here == where and left[0] == 0

    def on_act() -> None:
        if reached("pause"):
            (folder / "paused").touch()
            time.sleep(1.0)  # so that whoever stops this process stops it here
        if reached("interrupt"):
            raise KeyboardInterrupt
        if reached("act"):
            die()

    def on_step(_: int) -> None:
        if reached("train"):
            die()

    def on_event(event: LoopEvent) -> None:
        if reached(f"event:{event.kind}"):
            die()

    planner = ToyPlanner({"push": 0.8})
    other = ToyPlanner({})
    return SailLoop(
        folder / "run",
        SETTINGS,
        lambda: ToyPool(size, on_act=on_act),
        toy_policy(planner),
        GroundTruth(),
        EpisodeStore(folder / "run" / "episodes"),
        ToyLearner(planner, on_step=on_step),
        ToyLearner(other, needs_success=False),
        Exploration(InstructionBandit(("push", "lift", "turn")), minimum_true=4, wave=3),
        on_event,
    )


if __name__ == "__main__":
    make_loop(Path(sys.argv[1]), *sys.argv[2:3], *(int(count) for count in sys.argv[3:4])).run()
