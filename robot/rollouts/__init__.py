"""Attempts: in simulation, on an arm, and planned ahead of it."""
