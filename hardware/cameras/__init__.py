"""Cameras, and the thread that keeps the newest frame of each."""
