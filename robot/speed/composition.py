"""Measure what adapting a planner costs: each way to plan, and where its time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from planners.adapted import AdaptedPlanner
from planners.best_of_n import BestOfN, PlanScorer, TextAlignment
from planners.parametrisation import Parametrisation
from planners.scores import Predict, VideoScore
from robot.core.protocols import Planner
from robot.core.provenance.machine import describe_machine
from robot.speed.planning import count_parameters, measure_planner

WAYS = ("in_domain", "general", "pa", "ipa", "best_of_n")


@dataclass
class Stopwatch:
    """Add up wall time by part, in seconds. On an accelerator it waits for what was asked before it looks."""

    device: torch.device
    spent_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Count what happens inside towards a part."""
        self._wait()
        began = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            self.spent_s[part] = self.spent_s.get(part, 0.0) + time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)


@dataclass(frozen=True)
class TimedScore:
    """A model whose calls are timed. A `VideoScore`."""

    model: VideoScore
    watch: Stopwatch
    part: str

    @property
    def identity(self) -> str:
        """Return the model's."""
        return self.model.identity

    @property
    def latent_space(self) -> str:
        """Return the model's."""
        return self.model.latent_space

    @property
    def frames(self) -> int | None:
        """Return the model's."""
        return self.model.frames

    @property
    def parametrisation(self) -> Parametrisation:
        """Return the model's."""
        return self.model.parametrisation

    def conditioned(self, first_BCHW: Tensor, texts: Sequence[str]) -> Predict:
        """Return the model with its calls timed; what it computes once a plan counts as well."""
        with self.watch.timing(self.part):
            predict = self.model.conditioned(first_BCHW, texts)

        def timed(noisy_BFCHW: Tensor, timestep: float) -> Tensor:
            with self.watch.timing(self.part):
                return predict(noisy_BFCHW, timestep)

        return timed


class _TimedAutoencoder:
    """An autoencoder whose two halves are timed."""

    def __init__(self, autoencoder: Any, watch: Stopwatch) -> None:
        self._autoencoder, self._watch = autoencoder, watch

    @property
    def identity(self) -> str:
        return str(self._autoencoder.identity)

    def encode(self, frames: Tensor) -> Tensor:
        with self._watch.timing("encode"):
            latents: Tensor = self._autoencoder.encode(frames)
            return latents

    def decode(self, latents: Tensor) -> Tensor:
        with self._watch.timing("decode"):
            frames: Tensor = self._autoencoder.decode(latents)
            return frames


class _TimedScorer:
    """A scorer of plans, timed as a whole; what it asks of models is not counted with theirs."""

    def __init__(self, scorer: PlanScorer, plain: Planner, watch: Stopwatch) -> None:
        self._scorer, self._plain, self._watch = scorer, plain, watch

    def score(self, planner: Planner, observations: Any, plans: Any) -> Any:
        with self._watch.timing("score"):
            return self._scorer.score(self._plain, observations, plans)


def bench_composition(
    planner: AdaptedPlanner,
    general: VideoScore | None = None,
    ways: Sequence[str] = WAYS,
    batches: Sequence[int] = (1, 8),
    repeats: int = 10,
    candidates: int = 4,
    scorer: PlanScorer | None = None,
    instruction: str = "close the drawer",
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Return `hardware`, `parameters` and one record for each way to plan and batch size.

    `general` stands in for the planner's own general model, such as one of random weights: what a model costs does not
    depend on them. `ways`: of `WAYS`; `best_of_n` draws `candidates` plans with probabilistic adaptation and chooses by
    `scorer`, by default text alignment. A record has `p50_ms` and `p95_ms` of a batch and of a plan as in
    `sail bench planner`, and the mean milliseconds a batch spends in each part: `encode_ms`, `in_domain_ms`,
    `general_ms`, `decode_ms`, `score_ms`, and `rest_ms`, which is the sampler, mixing and copying. Raises ValueError
    for a way that there is not, a count below one, and where there is no general model.
    """
    unknown = [way for way in ways if way not in WAYS]
    if unknown or not ways:
        raise ValueError(f"There is no way to plan {', '.join(unknown) or 'given'}; known are {', '.join(WAYS)}.")
    if min(repeats, candidates, *batches) < 1:
        raise ValueError("This benchmark needs at least one repeat, one candidate and batches of at least one plan.")
    other = general or planner.general
    if other is None and set(ways) != {"in_domain"}:
        raise ValueError("There is no general model to measure: name a planner that has one, or let one stand in.")
    records = []
    for way in ways:
        for batch in batches:
            chosen = scorer or TextAlignment()
            records.append(_measure(planner, other, way, int(batch), repeats, candidates, chosen, instruction))
            if progress is not None:
                progress(f"{way}, batch of {batch}")
    networks = {"in_domain": planner.in_domain.denoiser, "general": getattr(other, "denoiser", other)}
    return {
        "what": "composition",
        "hardware": describe_machine(),
        "planner": planner.in_domain.identity,
        "general": "" if other is None else other.identity,
        "parameters": {name: count_parameters(network) for name, network in networks.items()},
        "precision": "bf16" if planner.in_domain.bf16 else "fp32",
        "records": records,
    }


def _measure(
    planner: AdaptedPlanner,
    general: VideoScore | None,
    way: str,
    batch: int,
    repeats: int,
    candidates: int,
    scorer: PlanScorer,
    instruction: str,
) -> dict[str, Any]:
    part = planner.in_domain
    watch = Stopwatch(part.device)
    adaptation = "pa" if way == "best_of_n" else way
    plain = AdaptedPlanner(part, general, adaptation, planner.strength, planner.normalisation)
    timed: Planner = _timed(plain, watch)
    if way == "best_of_n":
        timed = BestOfN(timed, _TimedScorer(scorer, plain, watch), candidates)
    record = measure_planner(timed, batch, repeats, part.camera, part.image_size, instruction, watch.spent_s.clear)
    split = {f"{name}_ms": round(1000 * spent / repeats, 1) for name, spent in watch.spent_s.items()}
    mean_ms = record.pop("mean_ms")
    parts = ("encode_ms", "in_domain_ms", "general_ms", "decode_ms", "score_ms")
    return {
        "way": way,
        "candidates": candidates if way == "best_of_n" else 1,
        **record,
        **{name: split.get(name, 0.0) for name in parts},
        "rest_ms": round(mean_ms - sum(split.values()), 1),
    }


def _timed(planner: AdaptedPlanner, watch: Stopwatch) -> AdaptedPlanner:
    """Return a planner of the same models whose parts are timed."""
    timed = AdaptedPlanner(
        planner.in_domain.with_autoencoder(_TimedAutoencoder(planner.in_domain.autoencoder, watch)),
        planner.general,
        planner.adaptation,
        planner.strength,
        planner.normalisation,
    )
    parts = ("general", "in_domain") if planner.adaptation in ("general", "ipa") else ("in_domain", "general")
    timed.base = TimedScore(timed.base, watch, parts[0])
    timed.other = None if timed.other is None else TimedScore(timed.other, watch, parts[1])
    return timed
