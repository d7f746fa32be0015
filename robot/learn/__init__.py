"""Learning from rollouts: the SAIL loop, exploration and evaluation statistics."""
