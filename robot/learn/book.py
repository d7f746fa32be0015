"""What a run knows of its attempts: their records in the journal, and what was said of their episodes in the store."""

from __future__ import annotations

from collections.abc import Sequence

from robot.core.data import Verdict
from robot.episodes.labels import NOBODY, PERSON
from robot.episodes.store import EpisodeStore
from robot.learn.attempts import counts
from robot.learn.journal import AttemptRecord, Journal


class Book:
    """Read a run's attempts. An attempt is kept whose probability of success exceeds `keep_above`."""

    def __init__(self, journal: Journal, store: EpisodeStore, keep_above: float) -> None:
        self.journal, self.store, self.keep_above = journal, store, keep_above

    def attempts(self, iterations: Sequence[int]) -> list[AttemptRecord]:
        """Return the attempts of some rounds that count, in the order they were numbered."""
        return [record for number in iterations for record in self.journal.attempts(number) if counts(record)]

    def verdict(self, record: AttemptRecord) -> Verdict:
        """Return what counts for training: what a person has said of an attempt, else what this run's judge said."""
        probability = record.get("probability", 0.0)
        stored = self.store.verdicts(record["episode"])
        said = [one for one in stored if one.source == PERSON][-1:]
        said += [one for one in stored if one.probability == probability]
        return next(iter(said), Verdict(probability, "judge"))

    def rate(self, iteration: int) -> float:
        """Return the judged success rate of a round's attempts with the true instruction.

        It is 0 without any, and where the judge keeps everything and so says nothing about how well it went.
        """
        plain = [one for one in self.attempts([iteration]) if not one["explored"]]
        if plain and self.verdict(plain[0]).source == NOBODY:
            return 0.0
        return sum(one.get("kept", False) for one in plain) / len(plain) if plain else 0.0
