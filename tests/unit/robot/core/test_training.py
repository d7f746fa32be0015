"""The training loop: exact resume, stops on what is not finite, and a disk that fills up."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from robot.core.errors import CheckpointError, HeldError, NotFiniteError, SailError
from robot.core.files import FolderLock
from robot.core.training import TrainingSettings, learning_rate_at, train

SETTINGS = TrainingSettings(steps=12, learning_rate=1e-2, warmup_steps=2, checkpoint_every=4, precision="fp32")


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))


def batch(rng: np.random.Generator) -> dict[str, np.ndarray]:
    x = rng.normal(size=(16, 4)).astype(np.float32)
    return {"x": x, "y": x.sum(1, keepdims=True)}


def loss(module, batch, generator):
    noise = torch.randn(batch["x"].shape, generator=generator)
    return (module(batch["x"] + 0.01 * noise) - batch["y"]).square().mean(), {}


def quiet(*_: object) -> None: ...


def run(folder: Path, settings: TrainingSettings = SETTINGS, source=batch):
    return train(network(), source, loss, folder, settings, progress=quiet)


def test_learns(tmp_path: Path) -> None:
    longer = TrainingSettings(steps=300, learning_rate=2e-2, warmup_steps=5, ema_decay=0.9, precision="fp32")
    first = run(tmp_path / "short", TrainingSettings(steps=1, precision="fp32")).metrics["loss"]
    assert run(tmp_path / "long", longer).metrics["loss"] < 0.3 * first


def test_a_stopped_run_continues_exactly(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    calls = 0

    def interrupted(rng: np.random.Generator) -> dict[str, np.ndarray]:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        return batch(rng)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", source=interrupted)
    parts = run(tmp_path / "parts")
    assert all(torch.equal(whole.tensors[name], parts.tensors[name]) for name in whole.tensors)
    assert whole.metrics == parts.metrics


def test_the_time_taken_adds_up_over_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("robot.core.training.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def slow(rng: np.random.Generator) -> dict[str, np.ndarray]:
        clock[0] += 1.0
        if clock[0] == 7.0:
            raise KeyboardInterrupt
        return batch(rng)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, source=slow)
    clock[0] = 100.0  # what lies between two calls is not training
    assert run(tmp_path, source=slow).wall_s == 12.0  # 4 up to the checkpoint, then the other 8
    assert run(tmp_path, source=slow).wall_s == 12.0


def test_a_run_killed_without_warning_continues_exactly(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import os, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_training as t
        calls = 0
        def dying(rng):
            global calls
            calls += 1
            if calls == 7:
                os.kill(os.getpid(), 9)
            return t.batch(rng)
        t.run(t.Path({str(tmp_path / "parts")!r}), source=dying)
        """
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == -9
    whole, parts = run(tmp_path / "whole"), run(tmp_path / "parts")
    assert all(torch.equal(whole.tensors[name], parts.tensors[name]) for name in whole.tensors)


def test_a_finished_run_returns_at_once(tmp_path: Path) -> None:
    first = run(tmp_path)

    def forbidden(rng: np.random.Generator) -> dict[str, np.ndarray]:
        raise AssertionError("a finished run draws nothing")

    again = run(tmp_path, source=forbidden)
    assert all(torch.equal(first.tensors[name], again.tensors[name]) for name in first.tensors)


def test_nan_in_a_batch_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    calls = 0

    def poisoned(rng: np.random.Generator) -> dict[str, np.ndarray]:
        nonlocal calls
        calls += 1
        drawn = batch(rng)
        if calls == 7:
            drawn["x"][3, 1] = np.nan
        return drawn

    with pytest.raises(NotFiniteError, match=r"step 6.*NaN.*'x'.*last good checkpoint"):
        run(tmp_path, source=poisoned)
    whole, mended = run(tmp_path / "whole"), run(tmp_path)
    assert all(torch.equal(whole.tensors[name], mended.tensors[name]) for name in whole.tensors)


def test_another_network_or_settings_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(CheckpointError, match="other settings"):
        run(tmp_path, TrainingSettings(steps=12, learning_rate=5e-2, precision="fp32"))


def test_a_truncated_state_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    path = tmp_path / "training.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="damaged"):
        run(tmp_path)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, TrainingSettings(**{**_fields(SETTINGS), "max_seconds": 1e-9}))
    before = (tmp_path / "training.safetensors").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SailError, match="No space left on device.*is kept"):
        run(tmp_path)
    assert (tmp_path / "training.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["training.safetensors"]


def test_two_cannot_train_in_one_folder(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(HeldError, match="is in use by process"):
        run(tmp_path)
    assert list(tmp_path.iterdir()) == []
    run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["training.safetensors"]


def test_learning_rate_rises_then_falls_to_its_end() -> None:
    settings = TrainingSettings(steps=100, learning_rate=1.0, warmup_steps=10, final_learning_rate=0.1)
    rates = [learning_rate_at(step, settings) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == pytest.approx(1.0) and rates[100] == pytest.approx(0.1)
    assert all(a < b for a, b in zip(rates[:9], rates[1:10], strict=True))
    assert all(a > b for a, b in zip(rates[10:100], rates[11:], strict=True))


def test_average_of_one_weight_follows_its_formula(tmp_path: Path) -> None:
    module = nn.Linear(1, 1, bias=False)
    seen = []

    def remember(module, batch, generator):
        seen.append(float(module.weight.detach()))
        return (module(batch["x"]) - batch["y"]).square().mean(), {}

    def line(rng: np.random.Generator) -> dict[str, np.ndarray]:
        x = rng.normal(size=(4, 1)).astype(np.float32)
        return {"x": x, "y": 3 * x}

    settings = TrainingSettings(steps=5, learning_rate=0.1, warmup_steps=0, ema_decay=0.2, precision="fp32")
    result = train(module, line, remember, tmp_path, settings, progress=quiet)
    expected = seen[0]
    for step, value in enumerate([*seen[1:], float(module.weight.detach())], start=1):
        decay = min(0.2, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert float(result.tensors["weight"]) == pytest.approx(expected, rel=1e-5)


def _fields(settings: TrainingSettings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}
