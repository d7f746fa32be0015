"""Choose how to render before any suite imports mujoco."""

from sim.rendering import choose_backend

choose_backend()
