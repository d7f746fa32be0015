"""The spine of SAIL stack: the nouns (`robot.core.data`), the contracts (`robot.core.protocols`) and the loop."""
