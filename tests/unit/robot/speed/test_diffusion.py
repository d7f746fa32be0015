"""The benchmark of training options: one change at a time, the same data and seeds, and nothing measured twice."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planners.diffusion import DiffusionSettings
from robot.core.data import Episode, SamplerSettings
from robot.core.errors import SailError
from robot.core.training import TrainingSettings
from robot.speed import diffusion
from robot.speed.diffusion import BASELINE, DiffusionBench, bench_diffusion, variants_of
from tests.unit.planners.conftest import HashingText, PoolingAutoencoder, build_episode, build_tiny_denoiser

Bench = Callable[..., dict[str, Any]]


def episodes() -> list[Episode]:
    return [build_episode(14, task, f"do {task}", seed) for task in ("push", "reach") for seed in range(3)]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return a function that benchmarks; what it trains is listed in its attribute `trained`."""
    train = diffusion.train_planner
    trained: list[tuple[DiffusionSettings, int]] = []

    def watched(planner, windows, *arguments, **options):  # type: ignore[no-untyped-def]
        trained.append((planner.diffusion, sum(len(source.episodes) for source in windows._sources)))
        return train(planner, windows, *arguments, **options)

    monkeypatch.setattr(diffusion, "train_planner", watched)

    def run(only: tuple[str, ...] = ("prediction=x0", "delta=false"), **changes: Any) -> dict[str, Any]:
        given = {key: changes.pop(key) for key in ("baseline", "progress", "folder") if key in changes}
        settings = DiffusionBench(
            TrainingSettings(steps=2, batch_size=4, warmup_steps=1, precision="fp32", checkpoint_every=1, log_every=1),
            SamplerSettings(steps=2),
            frames=3,
            held_out=1,
            windows=2,
            samples=1,
        )
        return bench_diffusion(
            changes.pop("episodes", episodes()),
            PoolingAutoencoder(),
            HashingText(),
            {"stacked": build_tiny_denoiser, "other": lambda: build_tiny_denoiser(1)},
            given.get("baseline", DiffusionSettings(timesteps=20)),
            dataclasses.replace(settings, **changes),
            given.get("folder", tmp_path / "work"),
            only=only,
            progress=given.get("progress"),
        )

    run.trained = trained  # type: ignore[attr-defined]
    return run


def test_every_variant_differs_from_the_baseline_in_one_way() -> None:
    baseline = DiffusionSettings()
    variants = variants_of(baseline, ["stacked", "space_time"])
    assert [variant.name for variant in variants] == [
        BASELINE,
        "prediction=epsilon",
        "prediction=x0",
        "schedule=cosine",
        "schedule=scaled_linear",
        "zero_terminal_snr=true",
        "min_snr_gamma=5",
        "delta=false",
        "denoiser=space_time",
    ]
    for variant in variants[1:]:
        changed = [
            field.name
            for field in dataclasses.fields(baseline)
            if getattr(variant.diffusion, field.name) != getattr(baseline, field.name)
        ]
        assert len(changed) + (variant.denoiser != "stacked") == 1


def test_what_cannot_go_together_is_left_out() -> None:
    names = [variant.name for variant in variants_of(DiffusionSettings(prediction="epsilon"), ["stacked"])]
    assert "zero_terminal_snr=true" not in names
    assert "prediction=v" in names
    zero = [variant.name for variant in variants_of(DiffusionSettings(zero_terminal_snr=True), ["stacked"])]
    assert "prediction=epsilon" not in zero
    assert "zero_terminal_snr=false" in zero


def test_variants_are_scored_on_demonstrations_none_was_trained_on(bench: Bench) -> None:
    shown: list[tuple[str, int, int]] = []
    result = bench(progress=lambda what, done, total, note: shown.append((what, done, total)))
    assert result == json.loads(json.dumps(result))
    names = [record["variant"] for record in result["records"]]
    assert names == [BASELINE, "prediction=x0", "delta=false", "standing still", "the truth, decoded"]
    assert [count for _, count in bench.trained] == [4, 4, 4]  # type: ignore[attr-defined]
    baseline, x0, _, still, truth = result["records"]
    assert baseline["latent_rmse"] > 0 and baseline["latent_rmse_sd"] >= 0
    assert x0["windows_better"] in (0, 25, 50, 75, 100)
    assert x0["parameters"] == baseline["parameters"] > 1000
    assert truth["latent_rmse"] == 0.0 < still["latent_rmse"]
    assert truth["pixel_rmse"] < still["pixel_rmse"]
    assert result["baseline"]["prediction"] == "v" and result["baseline"]["denoiser"] == "stacked"
    assert "2 steps of 4 windows" in result["note"] and "4 windows of 2 demonstrations" in result["note"]
    assert ("encoding demonstrations", 6, 6) in shown
    assert ("delta=false", 1, 2) in shown and ("delta=false", 2, 2) in shown


def test_each_variant_is_scaled_by_its_own_spread(bench: Bench) -> None:
    bench()
    (baseline, _), (x0, _), (whole, _) = bench.trained  # type: ignore[attr-defined]
    assert baseline.scale == x0.scale != whole.scale
    assert x0 == dataclasses.replace(baseline, prediction="x0")


def test_what_was_measured_is_not_trained_again_and_a_killed_variant_goes_on(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench(folder=tmp_path / "whole")
    notes: list[tuple[str, int, str]] = []

    def killed(what: str, done: int, total: int, note: str) -> None:
        notes.append((what, done, note))
        if what == "prediction=x0" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench(progress=killed)
    bench.trained.clear()  # type: ignore[attr-defined]
    again = bench(progress=lambda what, done, total, note: notes.append((what, done, note)))
    assert len(bench.trained) == 2  # type: ignore[attr-defined]
    assert (BASELINE, 2, "measured before") in notes
    errors = [[{k: v for k, v in r.items() if k != "training_s"} for r in one["records"]] for one in (whole, again)]
    assert errors[0] == errors[1]
    bench.trained.clear()  # type: ignore[attr-defined]
    bench()
    assert bench.trained == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "changes",
    [{"samples": 2}, {"windows": 1}, {"episodes": [*episodes(), build_episode(14, "push", "do push", 9)]}],
)
def test_other_settings_or_data_are_measured_anew(bench: Bench, changes: dict[str, Any]) -> None:
    bench(only=("delta=false",))
    bench.trained.clear()  # type: ignore[attr-defined]
    bench(only=("delta=false",), **changes)
    assert len(bench.trained) == 2  # type: ignore[attr-defined]


def test_an_unknown_variant_and_too_few_demonstrations_are_refused(bench: Bench) -> None:
    with pytest.raises(SailError, match=r"no variant 'sampler=ddim'; known are baseline, prediction=epsilon"):
        bench(only=("sampler=ddim",))
    with pytest.raises(SailError, match="sail collect task=push"):
        bench(held_out=3)
    assert bench.trained == []  # type: ignore[attr-defined]
