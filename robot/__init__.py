"""The spine of SAIL stack: the nouns (`robot.data`), the contracts (`robot.protocols`) and the loop."""
