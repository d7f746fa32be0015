"""Turn an iteration's attempts into the numbers of its record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from robot.learn.attempts import counts, phrasing_of
from robot.learn.journal import AttemptRecord
from robot.reports.statistics import wilson_interval


def succeeded(record: AttemptRecord) -> bool:
    """Return whether an attempt succeeded: by ground truth where it is known, else as the judge says."""
    truth = record["truth"]
    return record.get("kept", False) if truth is None else truth


def describe_attempts(attempts: Sequence[AttemptRecord], share: float) -> dict[str, Any]:
    """Return the numbers of an iteration's attempts, ready for JSON; `share` is what was meant to explore, 0–1.

    `successes`, `rollouts`, the 95 % interval `wilson` and `seeds` are of attempts with the true instruction only;
    those that explored are under `exploration`, arm by arm. Infrastructure faults are counted in `faults` alone.
    `collected` is how many episodes the judge kept of all.
    """
    sound = [record for record in attempts if counts(record)]
    true = [record for record in sound if not record["explored"]]
    explored = [record for record in sound if record["explored"]]
    successes = sum(map(succeeded, true))
    steps = [record.get("steps_to_success", record["steps"]) for record in true if succeeded(record)]
    return {
        "successes": successes,
        "rollouts": len(true),
        "wilson": list(wilson_interval(successes, len(true))),
        "success_source": "truth" if all(record["truth"] is not None for record in sound) else "judge",
        "seeds": [record["seed"] for record in true],
        "steps_to_success": sum(steps) / len(steps) if steps else None,
        "faults": len(attempts) - len(sound),
        "collected": sum(record.get("kept", False) for record in sound),
        "judge": _agreement(sound),
        "exploration": {
            "share": share,
            "successes": sum(map(succeeded, explored)),
            "rollouts": len(explored),
            "seeds": [record["seed"] for record in explored],
            "arms": _arms(explored),
        },
    }


def added(earlier: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """Return `earlier` with every figure of `more` added to its namesake: a phase's time, over all its sessions."""
    return {**earlier, **{name: earlier.get(name, 0.0) + value for name, value in more.items()}}


def _agreement(sound: Sequence[AttemptRecord]) -> dict[str, int]:
    """Return how often the judge kept what ground truth calls a failure, and dropped what it calls a success."""
    judged = [record for record in sound if "kept" in record]
    known = [record for record in judged if record["truth"] is not None]
    return {
        "judged": len(judged),
        "false_positives": sum(record["kept"] and not record["truth"] for record in known),
        "false_negatives": sum(not record["kept"] and bool(record["truth"]) for record in known),
    }


def _arms(explored: Sequence[AttemptRecord]) -> list[dict[str, Any]]:
    """Return successes and attempts of each arm that was tried, the most successful first."""
    rows: list[dict[str, Any]] = []
    for arm in sorted({phrasing_of(record) for record in explored}):
        pulled = [record for record in explored if phrasing_of(record) == arm]
        rows.append(dataclasses.asdict(arm) | {"successes": sum(map(succeeded, pulled)), "attempts": len(pulled)})
    return sorted(rows, key=lambda row: -row["successes"])
