"""Whose word counts: the one place that says whether an episode worked, for the loop, training, tables and exports.

1. A person's word stands over all others', the newest of any person's. Unsure is an answer.
2. Within a run its own judge's word comes next, and nobody else's counts: what another model said later, or what the
   simulator knows that was not asked, must not decide what is learnt.
3. Elsewhere the simulator's word comes next, as a verdict or as what it said at each step, then that of models, of
   which the last counts.
4. Where nobody has said anything, how the episode ended does, if it ended as a success or a failure.

A judge without opinion (`judge=none`) keeps episodes and says nothing of them. What was taken back was never said.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Episode, Outcome, Verdict
from robot.episodes.labels import NOBODY, PERSON, SIMULATOR, Field, Label, in_force, verdict_of

RANKS = {PERSON: 3, SIMULATOR: 2, NOBODY: 0}
MODEL = 1
"""Rank of every source that is not in `RANKS`."""


def rank(label: Label) -> int:
    """Return how much a label counts by its source; 0: not at all."""
    return RANKS.get(label.source, MODEL)


def current(labels: Iterable[Label], field: Field, own: str | None = None) -> Label | None:
    """Return the label that settles a field of the whole episode, or None where nobody has said anything.

    `own`: within a run, the id of what its own judge said; then nothing counts but this and what persons say.
    """
    said = [
        label
        for label in in_force(labels)
        if label.field is field
        and label.span is None
        and rank(label)
        and (own is None or label.source == PERSON or label.label_id == own)
    ]
    return max(reversed(said), key=rank, default=None)


def settled(labels: Iterable[Label], own: str | None = None) -> Verdict | None:
    """Return the verdict that counts, as `current` does."""
    labels = list(labels)
    label = current(labels, Field.SUCCESS, own)
    return None if label is None else verdict_of(label, labels)


def own_label(labels: Iterable[Label], probability: float) -> str:
    """Return the id of a run's own verdict where the run did not note it, as before there were ids; empty for none.

    All that is known of it is its probability.
    """
    said = [one for one in in_force(labels) if one.field is Field.SUCCESS and one.span is None]
    return next((one.label_id for one in said if one.source != PERSON and one.value == probability), "")


def worked(episode: Episode, labels: Iterable[Label]) -> bool | None:
    """Return whether an episode did what it was to do, None where nobody knows or the one who counts is unsure.

    Of the episode neither pictures nor plans are needed.
    """
    labels, truth = list(labels), episode.success
    said = current(labels, Field.SUCCESS)
    if said is not None and (truth is None or rank(said) >= RANKS[SIMULATOR]):
        return None if said.value == 0.5 else verdict_of(said, labels).success
    if truth is not None:
        return bool(truth.any())
    return episode.outcome is Outcome.SUCCESS if episode.outcome in (Outcome.SUCCESS, Outcome.FAILURE) else None


def worked_at(episode: Episode, labels: Iterable[Label]) -> NDArray[np.bool_] | None:
    """Return whether the task was done after each action, bool (T,); None where `worked` is.

    What the simulator said of each step is taken where it agrees with what counts; what says nothing of single steps
    is said of the last one.
    """
    decided = worked(episode, labels)
    if decided is None:
        return None
    if episode.success is not None and bool(episode.success.any()) == decided:
        return np.asarray(episode.success, np.bool_)
    done = np.zeros(len(episode), np.bool_)
    done[-1:] = decided
    return done
