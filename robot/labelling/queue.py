"""Order episodes so that those a person's word is worth most on come first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from robot.core.errors import SailError
from robot.episodes.arbitration import current, rank
from robot.episodes.labels import PERSON, Field, Label, in_force
from robot.episodes.store import EpisodeStore


@dataclass(frozen=True, slots=True)
class Doubt:
    """Hold how little judges know of an episode.

    `total`: the entropy of their mean probability of success, 0–1 bit. `disagreement`: the part of it that comes from
    their saying different things rather than from each being unsure. `why`: both in words.
    """

    total: float
    disagreement: float
    why: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Hold an episode's place in the queue. `labelled`: whether a person has said whether it succeeded."""

    episode_id: str
    task: str
    doubt: Doubt
    labelled: bool


def doubt_of(labels: Iterable[Label]) -> Doubt:
    """Return what judges leave open about an episode; of each judge its latest verdict in force counts.

    Source: Houlsby et al. (2011), arXiv:1112.5745, equation 2: H[mean p] − mean H[p] is what the judges disagree by.
    Deviation: all judges weigh the same. An episode that nobody judged is one bit of doubt without disagreement.
    """
    judges = {
        (label.source, label.model): float(label.value)  # type: ignore[arg-type]
        for label in in_force(labels)
        if label.field is Field.SUCCESS and label.span is None and label.source != PERSON and rank(label)
    }
    if not judges:
        return Doubt(1.0, 0.0, "no judge has seen it")
    said = list(judges.values())
    total = _entropy(sum(said) / len(said))
    disagreement = max(0.0, total - sum(map(_entropy, said)) / len(said))
    if disagreement > 0.1:
        return Doubt(total, disagreement, f"judges disagree: {_span(said)}")
    if total > 0.5:
        return Doubt(total, disagreement, f"unsure: {_span(said)}")
    return Doubt(total, disagreement, "judges agree" if len(said) > 1 else "one judge, sure")


def queue(store: EpisodeStore, ids: Sequence[str]) -> tuple[list[Waiting], list[str]]:
    """Return the episodes in the order to label them, and a sentence for each that cannot be read.

    Those that no person has judged come first; among them the largest doubt, then the largest disagreement, then by id.
    """
    waiting, problems = [], []
    for name in ids:
        try:
            labels = in_force(store.labels(name))
            task = str(store.about(name)["task"])
        except SailError as problem:
            problems.append(str(problem))
            continue
        counts = current(labels, Field.SUCCESS)
        labelled = counts is not None and counts.source == PERSON
        waiting.append(Waiting(name, task, doubt_of(labels), labelled))
    return sorted(waiting, key=_place), problems


def _place(one: Waiting) -> tuple[bool, float, float, str]:
    return one.labelled, -round(one.doubt.total, 6), -one.doubt.disagreement, one.episode_id


def _entropy(probability: float) -> float:
    """Return the entropy of a coin, in bits."""
    return -sum(part * math.log2(part) for part in (probability, 1.0 - probability) if part > 0.0)


def _span(said: Sequence[float]) -> str:
    low, high = min(said), max(said)
    return f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"
