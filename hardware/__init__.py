"""The side of the arm: drivers, safety governor, cameras and the ZeroMQ server. Never imports torch."""
