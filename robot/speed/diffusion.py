"""Measure the planner's training options against each other: one baseline, and one change at a time.

Every variant is a small network trained from the same seed on the same demonstrations for the same number of steps,
and is scored by what it imagines for demonstrations that none of them has seen, since losses of different options do
not compare.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from planners.autoencoder import Autoencoder
from planners.denoisers import Denoiser
from planners.diffusion import PREDICTIONS, SCHEDULES, DiffusionSettings
from planners.diffusion_training import train_planner
from planners.latent_video import LatentVideoPlanner
from planners.text import TextEncoder
from planners.windows import LatentCache, LatentEpisode, Source, WindowSampler, clip_spread
from robot.core.checkpoints import identity_of
from robot.core.data import Episode, SamplerSettings
from robot.core.errors import SailError
from robot.core.files import write_whole
from robot.core.provenance.machine import describe_machine
from robot.core.training import TrainingSettings
from robot.speed.clips import (
    MEASURES,
    Errors,
    HeldOutWindows,
    PoseReader,
    clip_errors,
    held_out_windows,
    planned_errors,
)
from robot.speed.planning import count_parameters

OPTIONS: Mapping[str, tuple[object, ...]] = {
    "prediction": PREDICTIONS,
    "schedule": SCHEDULES,
    "zero_terminal_snr": (False, True),
    "min_snr_gamma": (0.0, 5.0),
    "delta": (True, False),
}
"""Fields of `DiffusionSettings` and the values that are tried."""
BASELINE = "baseline"
Progress = Callable[[str, int, int, str], None]
"""`progress(what, done, total, note)`."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Name one way to train: its diffusion settings and which of the denoisers it trains."""

    name: str
    diffusion: DiffusionSettings
    denoiser: str


@dataclass(frozen=True, slots=True)
class DiffusionBench:
    """Choose how much is trained and scored.

    `held_out` demonstrations of each task are kept for scoring; `windows` are cut from each of them, and `samples`
    plans made for each window. `frames` of a plan are `stride` robot steps, of `rate_hz` a second, apart.
    """

    training: TrainingSettings
    sampling: SamplerSettings = SamplerSettings()  # noqa: RUF009 (frozen)
    camera: str = "corner2"
    frames: int = 8
    stride: int = 2
    rate_hz: float = 40.0
    text_drop: float = 0.1
    held_out: int = 2
    windows: int = 3
    samples: int = 2


def variants_of(baseline: DiffusionSettings, denoisers: Sequence[str]) -> list[Variant]:
    """Return the baseline, which trains the first of the denoisers, and every variant that differs from it in one way.

    A value that cannot go with the baseline's others (ε with a zero terminal SNR) is left out.
    """
    found = [Variant(BASELINE, baseline, denoisers[0])]
    for field, values in OPTIONS.items():
        for value in values:
            if value == getattr(baseline, field):
                continue
            try:
                changed = dataclasses.replace(baseline, **{field: value})  # type: ignore[arg-type]
            except ValueError:
                continue
            found.append(Variant(f"{field}={_written(value)}", changed, denoisers[0]))
    return found + [Variant(f"denoiser={name}", baseline, name) for name in denoisers[1:]]


def bench_diffusion(
    episodes: Sequence[Episode],
    autoencoder: Autoencoder,
    text_encoder: TextEncoder,
    denoisers: Mapping[str, Callable[[], Denoiser]],
    baseline: DiffusionSettings,
    settings: DiffusionBench,
    folder: Path,
    latents: Path | None = None,
    reader: PoseReader | None = None,
    only: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return `hardware`, what was compared on what, and one record a variant; then two to measure them by.

    `denoisers` maps names to functions that make an untrained one, the baseline's first. The scale of each variant's
    clips is measured, whatever `baseline.scale` says. `only` names the variants wanted besides the baseline (none:
    all). A variant trains in a folder of its own within `folder`, goes on there after a kill, and is not trained again
    once its result is there; other settings, data or weights are another folder. `latents` keeps encoded episodes.

    A record has the mean over held-out windows of each of `clips.MEASURES` and its standard deviation (`…_sd`), and
    `windows_better`, of how many per cent of the windows the imagined latents lie nearer than the baseline's. The last
    two records are of the first frame held still, and of the true latents decoded, below which nothing can come.
    Raises SailError for an unknown variant and for too few demonstrations.
    """
    variants = _wanted(variants_of(baseline, list(denoisers)), only)
    show = progress or (lambda *_: None)
    cache = LatentCache(autoencoder, settings.camera, latents)
    encoded = []
    for number, episode in enumerate(episodes):
        encoded.append((episode.task, cache.get(episode)))
        show("encoding demonstrations", number + 1, len(episodes), episode.task)
    seen, unseen = _split([task for task, _ in encoded], settings.held_out)
    told = [encoded[number][1] for number in seen]
    windows = held_out_windows(
        [(episodes[number], encoded[number][1]) for number in unseen],
        settings.camera,
        settings.frames,
        settings.stride,
        settings.windows,
    )
    place = folder / _fingerprint(told, windows, autoencoder, text_encoder, settings, reader)
    results = {}
    for variant in variants:
        make = denoisers[variant.denoiser]
        results[variant.name] = _measured(
            variant, make, told, windows, autoencoder, text_encoder, settings, place, reader, show
        )
    records = [_record(name, result, results[BASELINE]) for name, result in results.items()]
    still = np.repeat(windows.first[:, None], settings.frames, axis=1)
    for name, clips in (("standing still", still), ("the truth, decoded", windows.future)):
        records.append({"variant": name, **_summary(clip_errors(clips, windows, autoencoder, reader))})
    return {
        "what": "diffusion",
        "hardware": describe_machine(),
        "note": _note(settings, len(seen), len(unseen), len(windows), reader),
        "baseline": {field: getattr(baseline, field) for field in OPTIONS} | {"denoiser": next(iter(denoisers))},
        "wall_time_s": round(sum(result["wall_s"] for result in results.values())),
        "records": records,
    }


def _measured(
    variant: Variant,
    make: Callable[[], Denoiser],
    told: Sequence[LatentEpisode],
    windows: HeldOutWindows,
    autoencoder: Autoencoder,
    text_encoder: TextEncoder,
    settings: DiffusionBench,
    folder: Path,
    reader: PoseReader | None,
    show: Progress,
) -> dict[str, Any]:
    """Train and score a variant, or read what an earlier call found."""
    torch.manual_seed(settings.training.seed)
    denoiser = make()
    described = {"diffusion": asdict(variant.diffusion), "denoiser": denoiser.config}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:8]
    place = folder / f"{variant.name}-{digest}"
    kept = place / "result.json"
    total = settings.training.steps
    if kept.exists():
        show(variant.name, total, total, "measured before")
        result: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return result
    sampler = WindowSampler([Source(told)], settings.frames, settings.stride, settings.text_drop)
    spread = clip_spread(sampler, delta=variant.diffusion.delta)
    if not spread > 0:
        raise SailError("Nothing moves in these demonstrations, so there is no spread to scale by: record others.")
    planner = LatentVideoPlanner(
        denoiser,
        autoencoder,
        text_encoder,
        dataclasses.replace(variant.diffusion, scale=1.0 / spread),
        settings.camera,
        settings.stride / settings.rate_hz,
        settings.sampling,
        windows.frames.shape[2:4],
    )

    def advance(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        show(variant.name, step, steps, f"loss {metrics['loss']:.4f}")

    show(variant.name, 0, total, "")
    trained, metrics = train_planner(planner, sampler, place, settings.training, progress=advance)
    began = time.monotonic()
    errors = planned_errors(trained, windows, reader, settings.samples)
    result = {
        "parameters": count_parameters(denoiser),
        "training_s": round(metrics["training_s"], 1),
        "wall_s": round(metrics["training_s"] + time.monotonic() - began, 1),
        "errors": {name: [round(float(value), 6) for value in values] for name, values in errors.items()},
    }
    write_whole(kept, json.dumps(result).encode())
    return result


def _record(name: str, result: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, Any]:
    errors = {measure: np.array(values) for measure, values in result["errors"].items()}
    better = errors["latent_rmse"] < np.array(baseline["errors"]["latent_rmse"])
    return {
        "variant": name,
        **_summary(errors),
        "parameters": result["parameters"],
        "training_s": round(result["training_s"]),
        **({} if name == BASELINE else {"windows_better": round(100 * float(better.mean()))}),
    }


def _summary(errors: Errors) -> dict[str, float]:
    summary: dict[str, float] = {}
    for name in MEASURES:
        if name in errors:
            summary[name] = round(float(errors[name].mean()), 4)
            summary[f"{name}_sd"] = round(float(errors[name].std()), 4)
    return summary


def _wanted(variants: Sequence[Variant], only: Sequence[str]) -> list[Variant]:
    names = [variant.name for variant in variants]
    for name in only:
        if name not in names:
            raise SailError(f"There is no variant {name!r}; known are {', '.join(names)}.")
    return [variant for variant in variants if not only or variant.name in (BASELINE, *only)]


def _split(tasks: Sequence[str], held_out: int) -> tuple[list[int], list[int]]:
    """Return the places of the demonstrations to train on and of the last `held_out` of each task, to score on."""
    of: dict[str, list[int]] = {}
    for number, task in enumerate(tasks):
        of.setdefault(task, []).append(number)
    for task, numbers in of.items():
        if len(numbers) <= held_out:
            raise SailError(
                f"There are {len(numbers)} demonstrations of {task} and {held_out} are kept for scoring: record more "
                f"with `sail collect task={task} demonstrations={held_out + 10}`, or set held_out lower."
            )
    unseen = [number for numbers in of.values() for number in numbers[len(numbers) - held_out :]]
    return [number for number in range(len(tasks)) if number not in set(unseen)], unseen


def _fingerprint(
    told: Sequence[LatentEpisode],
    windows: HeldOutWindows,
    autoencoder: Autoencoder,
    text_encoder: TextEncoder,
    settings: DiffusionBench,
    reader: PoseReader | None,
) -> str:
    """Return eight hexadecimal digits that name what all variants share: data, weights and settings."""
    digest = hashlib.sha256()
    for episode in told:
        digest.update(episode.instruction.encode() + episode.latents.tobytes())
    digest.update(windows.future.tobytes() + windows.frames.tobytes())
    shared = asdict(settings)
    for name in ("checkpoint_every", "log_every", "tracker", "max_seconds"):  # these change no weight
        shared["training"].pop(name)
    read_by = identity_of(reader.state_dict()) if isinstance(reader, torch.nn.Module) else type(reader).__name__
    words = [autoencoder.identity, text_encoder.config, shared, read_by]
    digest.update(json.dumps(words, sort_keys=True).encode())
    return digest.hexdigest()[:8]


def _note(settings: DiffusionBench, seen: int, unseen: int, windows: int, reader: PoseReader | None) -> str:
    training, sampling = settings.training, settings.sampling
    gripper = ", `gripper cm` the distance between the gripper read from the two" if reader is not None else ""
    return (
        f"One change from the baseline at a time, {training.steps} steps of {training.batch_size} windows each, seed "
        f"{training.seed}, on {seen} demonstrations. Mean ± standard deviation over {windows} windows of {unseen} "
        f"demonstrations kept apart, {settings.samples} plans each ({sampling.sampler}, {sampling.steps} steps, "
        f"guidance {sampling.guidance_scale:g}): `latent rmse` of the latents, `pixel rmse` of decoded from camera "
        f"frames (0–255){gripper}. `windows better`: per cent of the windows nearer the truth than the baseline's."
    )


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
