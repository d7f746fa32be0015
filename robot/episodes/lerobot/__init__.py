"""LeRobot's data sets: import and export."""
