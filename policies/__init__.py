"""Turn imagined frames into actions: inverse dynamics in a closed loop."""
