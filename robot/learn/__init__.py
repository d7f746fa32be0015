"""Learning from rollouts: the SAIL loop, exploration, replay mixture and evaluation statistics."""
