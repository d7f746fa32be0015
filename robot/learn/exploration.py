"""Find words that work: a bandit over borrowed instructions, negative prompts and guidance scales.

A planner that never succeeds under a task's own instruction has often seen the motion under another one: "press the
button" closes a door. Part of an iteration's rollouts therefore borrow other words, a bandit learns within the run
which have worked in this scene, and whatever the judge calls a success is stored under the true instruction. The true
instruction itself, with other guidance scales and negative prompts, is one of the choices.

The bandit is Thompson sampling in two stages (Thompson 1933; Russo et al. 2018, A tutorial on Thompson sampling, §4):
an instruction first, by the record of all its variants together, then a variant of it (negative prompt, guidance
scale), by a record that starts from the instruction's sampled rate. So one success raises all its siblings. The two
stages and the pseudo-failures for attempts still under way are our own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np

from planners.words import opposite
from robot.core.data import SamplerSettings


@dataclass(frozen=True, slots=True, order=True)
class Phrasing:
    """Name one way of asking: the words, what stands in place of the empty text, and the guidance scale."""

    instruction: str
    negative_prompt: str = ""
    guidance_scale: float = 2.0

    def sampler(self, base: SamplerSettings) -> SamplerSettings:
        """Return `base` with this phrasing's guidance scale and negative prompt."""
        return SamplerSettings(base.sampler, base.steps, self.guidance_scale, self.negative_prompt)


class PhrasingRecord(TypedDict):
    """Hold one phrasing's record as JSON does; the counts are fractional once old iterations are discounted."""

    instruction: str
    negative_prompt: str
    guidance_scale: float
    successes: float
    failures: float


class BanditState(TypedDict):
    """Hold everything a bandit has learnt, ready for JSON."""

    format: int
    arms: list[PhrasingRecord]


def similarity(first: str, second: str) -> float:
    """Return the share of words, 0–1, that two instructions have in common (Jaccard index), articles left out."""
    a, b = ({word for word in text.lower().split() if word not in ("the", "a", "an")} for text in (first, second))
    return len(a & b) / len(a | b) if a | b else 1.0


def negative_prompts(instruction: str, seen: Sequence[str]) -> tuple[str, ...]:
    """Return what to try in place of the empty text: nothing, the opposite, and the seen instruction closest in words.

    The planner takes "close the drawer" for the "open the drawer" it knows; the negative prompt steers it away.
    """
    found = ["", opposite(instruction) or ""]
    near = sorted((text for text in seen if text != instruction), key=lambda text: -similarity(text, instruction))
    if near and similarity(near[0], instruction) > 0:
        found.append(near[0])
    return tuple(dict.fromkeys(found))


def exploration_share(successes: int, rollouts: int, start_share: float, target: float) -> float:
    """Return the share of an iteration's rollouts, 0 … `start_share`, that explore.

    The rule: share = start_share · max(0, 1 − rate / target), where rate is the success rate so far of this
    iteration's rollouts with the true instruction. Nothing works: `start_share`. `target` or better: none explores,
    for the true instruction itself then brings enough to learn from. Before any rollout the rate counts as 0.
    """
    if not 0.0 <= start_share <= 1.0 or not target > 0.0:
        raise ValueError(f"An exploration share starts within 0–1 and has a target above 0: {start_share}, {target}.")
    if not 0 <= successes <= rollouts:
        raise ValueError(f"There cannot be {successes} successes in {rollouts} rollouts.")
    rate = successes / rollouts if rollouts else 0.0
    return start_share * max(0.0, 1.0 - rate / target)


@dataclass
class _Tally:
    successes: float = 0.0
    failures: float = 0.0


@dataclass
class InstructionBandit:
    """Choose phrasings, and learn from what became of them.

    `instructions` × `negatives` × `guidance_scales` are the phrasings, the bandit's arms; one whose negative prompt is
    its own instruction is left out. `prior_rate`, 0–1, is the success rate expected of an untried instruction and
    `prior_strength` how many attempts that opinion is worth; `prior_weights` multiplies the rate per
    instruction (text similarity, say).
    `variant_strength`: how many attempts the instruction's rate is worth as the opinion of one variant of it.
    `pending_failure`: the failures counted for each attempt of the same wave whose result has not come, which spreads
    a wave out while little is known.

    `without` names phrasings that are not offered: the true instruction as it is asked anyway, outside exploration.
    Their results count for their instruction at `outside_weight`, 0–1, of their number, for what fails at one guidance
    scale may work at another. Raises ValueError for an empty choice or a number out of range.
    """

    instructions: Sequence[str]
    negatives: Sequence[str] = ("",)
    guidance_scales: Sequence[float] = (1.5, 2.0, 2.5)
    prior_weights: Mapping[str, float] = field(default_factory=dict)
    prior_rate: float = 0.1
    prior_strength: float = 1.5
    variant_strength: float = 2.0
    pending_failure: float = 1.0
    without: Sequence[Phrasing] = ()
    outside_weight: float = 0.25
    tallies: dict[Phrasing, _Tally] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.instructions = tuple(dict.fromkeys(self.instructions))
        if not self.instructions or any(not text.strip() for text in self.instructions):
            raise ValueError("A bandit needs at least one instruction, and none may be empty.")
        if not self.negatives or not self.guidance_scales:
            raise ValueError("A bandit needs at least one negative prompt (it may be empty) and one guidance scale.")
        if not 0.0 < self.prior_rate < 1.0 or min(self.prior_strength, self.variant_strength) <= 0.0:
            raise ValueError("A bandit's prior rate must lie between 0 and 1 and its strengths above 0.")
        if not 0.0 <= self.outside_weight <= 1.0:
            raise ValueError(f"A bandit's outside_weight must lie within 0–1, got {self.outside_weight}.")
        if any(not (math.isfinite(weight) and weight > 0) for weight in self.prior_weights.values()):
            raise ValueError("Every prior weight of an instruction must be finite and above 0.")
        lonely = [text for text in self.instructions if not self.variants(text)]
        if lonely:
            raise ValueError(
                f"Instruction {lonely[0]!r} has no phrasing: each has it as negative prompt too or is not offered."
            )

    def variants(self, instruction: str) -> list[Phrasing]:
        """Return the phrasings that say this instruction."""
        phrasings = [
            Phrasing(instruction, negative, scale)
            for negative in self.negatives
            if negative != instruction
            for scale in self.guidance_scales
        ]
        return [phrasing for phrasing in phrasings if phrasing not in self.without]

    def choose(self, count: int, rng: np.random.Generator) -> list[Phrasing]:
        """Return `count` phrasings to try at the same time, none of their results being known yet."""
        chosen: list[Phrasing] = []
        pending: dict[Phrasing, float] = {}
        for _ in range(count):
            phrasing = self._choose_one(pending, rng)
            pending[phrasing] = pending.get(phrasing, 0.0) + self.pending_failure
            chosen.append(phrasing)
        return chosen

    def update(self, results: Iterable[tuple[Phrasing, bool]]) -> None:
        """Count results. A phrasing outside the bandit's own (the true instruction, say) is counted as well."""
        for phrasing, success in results:
            tally = self.tallies.setdefault(phrasing, _Tally())
            if success:
                tally.successes += 1.0
            else:
                tally.failures += 1.0

    def forget(self, keep: float) -> None:
        """Multiply all counts by `keep`, 0–1: after fine-tuning the old record says less about the new planner."""
        if not 0.0 <= keep <= 1.0:
            raise ValueError(f"What a bandit keeps of its record must lie within 0–1, got {keep}.")
        for tally in self.tallies.values():
            tally.successes *= keep
            tally.failures *= keep

    def rate(self, instruction: str) -> float:
        """Return the success rate, 0–1, expected of an instruction: the mean of its posterior."""
        successes, failures = self._beta(instruction, {})
        return successes / (successes + failures)

    def state(self) -> BanditState:
        """Return what was learnt, ready for JSON and for `restore`."""
        return {
            "format": 1,
            "arms": [
                {
                    "instruction": phrasing.instruction,
                    "negative_prompt": phrasing.negative_prompt,
                    "guidance_scale": phrasing.guidance_scale,
                    "successes": tally.successes,
                    "failures": tally.failures,
                }
                for phrasing, tally in sorted(self.tallies.items())
            ],
        }

    def restore(self, state: BanditState) -> None:
        """Replace what was learnt by what `state` returned. Raises ValueError for another format."""
        if state.get("format") != 1:
            raise ValueError(f"This is not the state of a bandit of format 1: format {state.get('format')!r}.")
        self.tallies = {
            Phrasing(phrasing["instruction"], phrasing["negative_prompt"], phrasing["guidance_scale"]): _Tally(
                phrasing["successes"], phrasing["failures"]
            )
            for phrasing in state["arms"]
        }

    def _beta(self, instruction: str, pending: Mapping[Phrasing, float]) -> tuple[float, float]:
        """Return the parameters of the instruction's Beta posterior, attempts under way counted as part failures."""
        rate = min(0.95, self.prior_rate * self.prior_weights.get(instruction, 1.0))
        successes = self.prior_strength * rate
        failures = self.prior_strength * (1.0 - rate)
        for phrasing, tally in self.tallies.items():
            if phrasing.instruction == instruction:
                weight = self.outside_weight if phrasing in self.without else 1.0
                successes += weight * tally.successes
                failures += weight * tally.failures
        failures += sum(many for phrasing, many in pending.items() if phrasing.instruction == instruction)
        return successes, failures

    def _choose_one(self, pending: Mapping[Phrasing, float], rng: np.random.Generator) -> Phrasing:
        drawn = {text: rng.beta(*self._beta(text, pending)) for text in self.instructions}
        instruction = max(drawn, key=lambda text: drawn[text])
        rate = float(np.clip(drawn[instruction], 0.01, 0.99))
        phrasings = self.variants(instruction)
        values = []
        for phrasing in phrasings:
            tally = self.tallies.get(phrasing, _Tally())
            successes = self.variant_strength * rate + tally.successes
            failures = self.variant_strength * (1.0 - rate) + tally.failures + pending.get(phrasing, 0.0)
            values.append(rng.beta(successes, failures))
        return phrasings[int(np.argmax(values))]
