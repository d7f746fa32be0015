"""Planners: a frame and an instruction become the next seconds of video."""
