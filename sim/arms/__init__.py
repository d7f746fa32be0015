"""Simulated arms behind the interface of real ones: physics in real time, and cameras that never delay it."""
