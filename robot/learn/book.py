"""What a run knows of its attempts: their records in the journal, and what was said of their episodes in the store."""

from __future__ import annotations

from collections.abc import Sequence

from robot.core.data import Verdict
from robot.episodes.arbitration import own_label, settled
from robot.episodes.labels import NOBODY, Field, Label, in_force
from robot.episodes.store import EpisodeStore, StoredEpisodes
from robot.learn.attempts import counts
from robot.learn.journal import AttemptRecord, Journal


class Book:
    """Read a run's attempts. An attempt is kept whose probability of success exceeds `keep_above`.

    `with_truth`: whether models learn from episodes with what a simulator knew of them.
    """

    def __init__(self, journal: Journal, store: EpisodeStore, keep_above: float, with_truth: bool) -> None:
        self.journal, self.store, self.keep_above, self.with_truth = journal, store, keep_above, with_truth

    def attempts(self, iterations: Sequence[int]) -> list[AttemptRecord]:
        """Return the attempts of some rounds that count, in the order they were numbered."""
        return [record for number in iterations for record in self.journal.attempts(number) if counts(record)]

    def episodes(self, records: Sequence[AttemptRecord]) -> StoredEpisodes:
        """Return the episodes of attempts, in their order."""
        return StoredEpisodes(self.store, [record["episode"] for record in records], self.with_truth)

    def say(self, name: str, verdict: Verdict) -> Label:
        """Store a verdict, unless it was just before the process died, and return the label that it is."""
        labels = in_force(self.store.labels(name))
        said = [one for one in labels if one.field is Field.SUCCESS and one.span is None]
        same = [one for one in said if (one.source, one.model) == (verdict.source, verdict.model)][-1:]
        if same and same[0].value == verdict.probability:
            return same[0]
        return self.store.append_verdict(name, verdict)

    def verdict(self, record: AttemptRecord) -> Verdict:
        """Return what counts for training: what a person has said of an attempt, else what this run's judge said.

        A judge without opinion keeps it, which is no statement of success: the source is `none`.
        """
        probability, labels = record.get("probability", 0.0), self.store.labels(record["episode"])
        own = record.get("label") or own_label(labels, probability)
        said = [label.source for label in labels if label.label_id == own]
        return settled(labels, own) or Verdict(probability, said[0] if said else "judge")

    def rate(self, iteration: int) -> float:
        """Return the judged success rate of a round's attempts with the true instruction.

        It is 0 without any. What a judge keeps that has no opinion is none: it does not say how well it went.
        """
        verdicts = [self.verdict(one) for one in self.attempts([iteration]) if not one["explored"]]
        good = [one for one in verdicts if one.source != NOBODY and one.probability > self.keep_above]
        return len(good) / len(verdicts) if verdicts else 0.0
