"""Measure how fast this machine renders, plans and carries out attempts; every figure comes with the hardware."""
