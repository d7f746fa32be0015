"""Improve at closing a drawer, in plain Python: `python docs/examples/improve.py`. It takes half an hour."""

from functools import partial

from planners.latent_video import LatentVideoPlanner
from policies.pose_tracking import PoseTracking
from robot.learn.improvement import improvement
from robot.learn.sail import SailSettings
from sim.pool import MetaWorldPool

if __name__ == "__main__":  # the simulators are processes of their own, which read this file again
    planner = LatentVideoPlanner.load("starter/planner", "starter/autoencoder")
    tracking = PoseTracking.load("starter/inverse_dynamics")
    settings = SailSettings("drawer-close", "close the drawer", iterations=2, rollouts=20)
    robots = partial(MetaWorldPool, settings.task)
    with improvement("runs/from-python", settings, robots, planner, tracking) as loop:
        for record in loop.run():
            print(record["iteration"], record["successes"], "of", record["rollouts"])
