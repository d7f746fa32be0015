"""Decide what an iteration attempts: how many rollouts with the true instruction, how many that explore, in waves.

A wave is chosen before any of its results is known. Everything here is a function of the seeds and of the results of
the waves before, so a run that was killed rebuilds the same waves from what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from robot.core.data import Outcome, SamplerSettings
from robot.learn.exploration import InstructionBandit, Phrasing, exploration_share
from robot.learn.journal import AttemptRecord
from robot.rollouts.rollout import Attempt


@dataclass(frozen=True)
class Exploration:
    """Say how rollouts borrow words.

    `bandit` holds the choices (its record is filled in by the run). `start_share` and `target` are those of
    `exploration_share`. `minimum_true`: rollouts with the true instruction in every iteration, tried first.
    `wave`: exploring attempts chosen before their results come. `keep`: the part of its record the bandit keeps when
    the planner has been fine-tuned. `explore_last`: whether the last iteration, from which nothing is learnt, explores.
    """

    bandit: InstructionBandit
    start_share: float = 0.67
    target: float = 0.5
    minimum_true: int = 10
    wave: int = 5
    keep: float = 0.5
    explore_last: bool = False

    def __post_init__(self) -> None:
        exploration_share(0, 0, self.start_share, self.target)
        if self.wave < 1 or self.minimum_true < 1:
            raise ValueError(f"wave and minimum_true must be at least 1, got {self.wave} and {self.minimum_true}.")


@dataclass(frozen=True)
class PlannedAttempt:
    """Hold an attempt of an iteration: its number there, its wave, whether it explores, and what is asked."""

    index: int
    wave: int
    explored: bool
    attempt: Attempt


def attempt_seed(run_seed: int, iteration: int, explored: bool, number: int) -> int:
    """Return the seed, 0 … 2³¹ − 1, of the n-th attempt of its kind.

    Attempts with the true instruction are numbered apart from exploring ones, so a run without exploration meets the
    same starting positions.
    """
    words = np.random.SeedSequence([run_seed, iteration, int(explored), number]).generate_state(1, np.uint32)
    return int(words[0]) >> 1


def training_seed(run_seed: int, iteration: int, learner: str) -> int:
    """Return the seed, 0 … 2³¹ − 1, of a learner's training in an iteration: no two draw the same noise or batches."""
    words = np.random.SeedSequence([run_seed, iteration, *learner.encode()]).generate_state(1, np.uint32)
    return int(words[0]) >> 1


@dataclass
class IterationPlan:
    """Lay out one iteration's attempts wave by wave.

    `rollouts`: attempts altogether. `sampler`: what attempts with the true instruction are planned with, and what an
    exploring one changes. `exploration` is None where none explores. `share` is known once the first wave is over.
    """

    task: str
    instruction: str
    seed: int
    iteration: int
    rollouts: int
    sampler: SamplerSettings
    exploration: Exploration | None = None
    share: float = 0.0
    _sizes: list[tuple[int, int]] = field(default_factory=list, repr=False)

    def wave(self, number: int, done: Sequence[AttemptRecord]) -> list[PlannedAttempt]:
        """Return the attempts of wave `number` (0, 1, …), none when the iteration is complete.

        `done` holds the judged attempts of at least all waves before; call this for each wave in turn. The bandit must
        have learnt from the waves before.
        """
        if number == 0:
            first = self.rollouts if self.exploration is None else min(self.exploration.minimum_true, self.rollouts)
            self._sizes = [(first, 0)]
        elif number == 1:
            self._sizes += self._later_sizes(done)
        if number >= len(self._sizes):
            return []
        before = self._sizes[:number]
        plain, exploring = self._sizes[number]
        return self._build(number, plain, exploring, sum(a for a, _ in before), sum(b for _, b in before))

    def _later_sizes(self, done: Sequence[AttemptRecord]) -> list[tuple[int, int]]:
        """Return the sizes (true, exploring) of the waves after the first, given the first one's results."""
        rest = self.rollouts - self._sizes[0][0]
        if self.exploration is None or rest == 0:
            return []
        counted = [record for record in done if record["wave"] == 0 and counts(record)]
        successes = sum(record.get("kept", False) for record in counted)
        self.share = exploration_share(successes, len(counted), self.exploration.start_share, self.exploration.target)
        exploring = min(round(self.share * self.rollouts), rest)
        waves = max(1, -(-exploring // self.exploration.wave))
        return list(zip(_spread(rest - exploring, waves), _spread(exploring, waves), strict=True))

    def _build(
        self, wave: int, plain: int, exploring: int, plain_before: int, exploring_before: int
    ) -> list[PlannedAttempt]:
        start = plain_before + exploring_before
        planned = []
        for number in range(plain):
            seed = attempt_seed(self.seed, self.iteration, False, plain_before + number)
            attempt = Attempt(seed, self.task, self.instruction, self.instruction, self.sampler)
            planned.append(PlannedAttempt(start + number, wave, False, attempt))
        if exploring and self.exploration is not None:
            rng = np.random.default_rng([self.seed, self.iteration, wave])
            for number, arm in enumerate(self.exploration.bandit.choose(exploring, rng)):
                seed = attempt_seed(self.seed, self.iteration, True, exploring_before + number)
                attempt = Attempt(seed, self.task, self.instruction, arm.instruction, arm.sampler(self.sampler))
                planned.append(PlannedAttempt(start + plain + number, wave, True, attempt))
        return planned


def _spread(items: int, waves: int) -> list[int]:
    """Return `items` dealt out over `waves` as evenly as can be, the larger ones first."""
    return [items // waves + (wave < items % waves) for wave in range(waves)]


def phrasing_of(record: AttemptRecord) -> Phrasing:
    """Return the arm an attempt pulled."""
    return Phrasing(record["spoken"], record["negative_prompt"], record["guidance_scale"])


def counts(record: AttemptRecord) -> bool:
    """Return whether an attempt counts: one that ended by an infrastructure fault says nothing about the planner."""
    return record["outcome"] != Outcome.INFRASTRUCTURE_FAULT.value
