"""Judges: what says whether an episode did what its instruction asks."""
