"""The training loop every network here shares: the autoencoder, the planner and the inverse dynamics.

One `train` call runs on a CPU, a GPU or many (`accelerate launch`) unchanged. All randomness of step i is a function
of (seed, i, process), so a run needs only weights, optimiser and average to continue after `kill -9` exactly as if
nothing had happened.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from robot.core.errors import CheckpointError, NotFiniteError, SailError
from robot.core.files import FolderLock, write_whole
from robot.core.progress import meter

Batch = Mapping[str, Tensor]
BatchSource = Callable[[np.random.Generator], Mapping[str, Any]]
Loss = Callable[[nn.Module, Batch, torch.Generator], tuple[Tensor, Mapping[str, float]]]
Progress = Callable[[int, int, Mapping[str, float]], None]
Precision = Literal["auto", "bf16", "fp32"]
STATE = "training.safetensors"


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Choose how long and how fast to train.

    The learning rate rises over `warmup_steps`, then falls linearly to `final_learning_rate` × itself. `ema_decay` is
    that of the averaged weights (0 = the last weights); it is lowered early on, min(decay, (1 + i)/(10 + i)), so that
    short runs are not dominated by their start. `tracker` is `tensorboard`, `wandb` or empty.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 3e-4
    warmup_steps: int = 100
    final_learning_rate: float = 0.0
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    precision: Precision = "auto"
    checkpoint_every: int = 200
    log_every: int = 20
    seed: int = 0
    tracker: str = ""
    max_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Hold the averaged weights and what was measured over the last steps; `wall_s` covers all calls on the folder."""

    tensors: dict[str, Tensor]
    metrics: dict[str, float]
    steps: int
    wall_s: float = field(default=0.0)


def resolve_precision(precision: Precision, device: torch.device) -> bool:
    """Return whether to run under bf16 autocast; `auto` says yes on GPUs and on CPUs with native bf16 products."""
    if precision != "auto":
        return precision == "bf16"
    if device.type != "cpu":
        return bool(torch.cuda.is_bf16_supported())
    return has_fast_bf16()


def has_fast_bf16() -> bool:
    """Return whether this CPU multiplies bf16 natively (AMX or AVX-512 BF16)."""
    capabilities = torch.backends.cpu.get_cpu_capability() if hasattr(torch.backends, "cpu") else ""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or ("avx512_bf16" in flags and "AVX512" in capabilities)


def steps_done(folder: str | Path) -> int:
    """Return how many steps the training whose state is in `folder` has done; 0 where there is none.

    Raises CheckpointError where the state is damaged.
    """
    path = Path(folder) / STATE
    if not path.exists():
        return 0
    try:
        with path.open("rb") as file:
            return int(json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]["step"])
    except (ValueError, KeyError, OverflowError, MemoryError) as problem:
        raise CheckpointError(f"{path} is damaged ({problem}); move it away to start again.") from None


def learning_rate_at(step: int, settings: TrainingSettings) -> float:
    """Return the learning rate of step 0, 1, …: linear warm-up, then linear decay over the rest."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    rest = max(1, settings.steps - settings.warmup_steps)
    fraction = min(1.0, (step - settings.warmup_steps) / rest)
    return settings.learning_rate * (1.0 + fraction * (settings.final_learning_rate - 1.0))


def step_seed(seed: int, step: int, process: int = 0) -> int:
    """Return the 63-bit seed that all randomness of one step on one process comes from."""
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0] >> 1)


def train(
    module: nn.Module,
    batch: BatchSource,
    loss: Loss,
    folder: str | Path,
    settings: TrainingSettings,
    description: str = "training",
    progress: Progress | None = None,
) -> TrainingResult:
    """Train `module` in place and return its averaged weights.

    `batch` draws a batch of arrays or tensors from a NumPy generator; `loss` returns a scalar and figures to log. The
    state lives in `folder`/training.safetensors: a call on a folder that holds one continues it, and a finished one
    returns at once. One process works in it at a time. Ctrl-C loses the steps since the last checkpoint, as a kill
    does: a save in the middle of a step would not continue exactly. Raises NotFiniteError, keeping the last good
    checkpoint, when batch, loss or gradient is not finite; CheckpointError when the folder's state belongs to another
    network or other settings; HeldError when another process trains in the folder.
    """
    run = _Run(module, loss, Path(folder), settings, description)
    with run.held():
        run.resume()
        if progress is None:
            run.meter.begin(description, settings.steps, run.step)
        return _carry_through(run, batch, progress or run.show)


def _carry_through(run: _Run, batch: BatchSource, show: Progress) -> TrainingResult:
    settings = run.settings
    began, metrics = time.monotonic(), {"loss": math.nan}
    try:
        while run.step < settings.steps:
            metrics = run.advance(batch)
            done = run.step == settings.steps
            if run.step % settings.log_every == 0 or done:
                run.log(metrics)
                show(run.step, settings.steps, metrics)
            out_of_time = bool(settings.max_seconds) and time.monotonic() - began > settings.max_seconds
            if run.step % settings.checkpoint_every == 0 or done or out_of_time:
                run.save()
            if out_of_time:
                break
    finally:
        run.finish()
    return TrainingResult(run.average_tensors(), run.recent or metrics, run.step, run.seconds())


class _Run:
    """Hold the moving parts of one training run."""

    def __init__(self, module: nn.Module, loss: Loss, folder: Path, settings: TrainingSettings, name: str) -> None:
        self.settings, self.folder, self.loss, self.step = settings, folder, loss, 0
        self.began, self.earlier_s = time.monotonic(), 0.0
        self.recent: dict[str, float] = {}
        self.accelerator = Accelerator(log_with=settings.tracker or None, project_dir=str(folder))
        self.device = self.accelerator.device
        self.meter = meter()
        self.bf16 = resolve_precision(settings.precision, self.device)
        optimiser = torch.optim.AdamW(
            [p for p in module.parameters() if p.requires_grad],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            betas=(0.9, 0.99),
            fused=True,  # half the time of a step's own arithmetic on a CPU
        )
        self.raw = module
        self.module, self.optimiser = self.accelerator.prepare(module, optimiser)
        self.module.train()
        self.average = {n: t.detach().clone().float() for n, t in module.state_dict().items() if t.is_floating_point()}
        if settings.tracker:
            self.accelerator.init_trackers(name.replace(" ", "-"))

    def held(self) -> AbstractContextManager[object]:
        """Return what holds the folder while training runs; of several processes that train together the first does."""
        return FolderLock(self.folder) if self.accelerator.is_main_process else nullcontext()

    def seconds(self) -> float:
        """Return how long this training has taken, in this call and in those before up to their last checkpoint."""
        return self.earlier_s + time.monotonic() - self.began

    def advance(self, source: BatchSource) -> dict[str, float]:
        seed = step_seed(self.settings.seed, self.step, self.accelerator.process_index)
        drawn = source(np.random.default_rng(seed))
        batch = {name: torch.as_tensor(value).to(self.device) for name, value in drawn.items()}
        for name, value in batch.items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise NotFiniteError(self._stopped(f"the training batch has NaN or infinity in {name!r}"))
        generator = torch.Generator(self.device).manual_seed(seed)
        torch.manual_seed(seed)  # dropout and other layers draw from the global generator
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            value, figures = self.loss(self.module, batch, generator)
        if not bool(torch.isfinite(value)):
            raise NotFiniteError(self._stopped("the loss is not finite"))
        self.accelerator.backward(value)
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), self.settings.gradient_clip or math.inf)
        if not bool(torch.isfinite(torch.as_tensor(norm))):
            raise NotFiniteError(self._stopped("the gradient is not finite"))
        rate = learning_rate_at(self.step, self.settings)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self._follow()
        measured = {"loss": float(value.detach()), "gradient_norm": float(norm), "learning_rate": rate, **figures}
        self.recent = {k: 0.95 * self.recent.get(k, v) + 0.05 * v for k, v in measured.items()}
        return self.recent

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step)) if self.settings.ema_decay else 0.0
        own = self.raw.state_dict()
        ours = [own[name].detach().float() for name in self.average]
        torch._foreach_lerp_(list(self.average.values()), ours, 1.0 - decay)

    def _stopped(self, why: str) -> str:
        stored = (self.folder / STATE).exists()
        kept = f"the last good checkpoint (in {self.folder}) is kept" if stored else "no checkpoint was made yet"
        return f"Training stopped at step {self.step}: {why}; {kept}. Check the data, or lower the learning rate."

    def log(self, metrics: Mapping[str, float]) -> None:
        if self.settings.tracker:
            self.accelerator.log(dict(metrics), step=self.step)

    def average_tensors(self) -> dict[str, Tensor]:
        own = self.raw.state_dict()
        return {n: self.average[n].detach().cpu() if n in self.average else own[n].detach().cpu() for n in own}

    def show(self, step: int, _: int, metrics: Mapping[str, float]) -> None:
        self.meter.reach(step, f"loss {metrics.get('loss', math.nan):.4f}")

    def finish(self) -> None:
        self.meter.end()
        if self.settings.tracker:
            self.accelerator.end_training()

    def fingerprint(self) -> str:
        ignored = {"checkpoint_every", "log_every", "tracker", "max_seconds"}
        kept = {k: getattr(self.settings, k) for k in self.settings.__dataclass_fields__ if k not in ignored}
        shapes = {name: list(tensor.shape) for name, tensor in self.raw.state_dict().items()}
        return json.dumps({"settings": kept, "shapes": shapes}, sort_keys=True)

    def save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        tensors: dict[str, Tensor] = {f"weights/{n}": t for n, t in self.raw.state_dict().items()}
        tensors |= {f"average/{n}": t for n, t in self.average.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{index}/{key}": torch.as_tensor(v) for key, v in state.items()}
        stored = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
        about = {"step": str(self.step), "recent": json.dumps(self.recent), "fingerprint": self.fingerprint()}
        about["seconds"] = str(self.seconds())
        write_whole(self.folder / STATE, save_tensors(stored, metadata=about))

    def resume(self) -> None:
        path = self.folder / STATE
        if not path.exists():
            return
        try:
            content = path.read_bytes()
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            tensors = load_tensors(content)
        except (SafetensorError, ValueError, KeyError) as problem:
            raise CheckpointError(f"{path} is damaged ({problem}); move it away to start again.") from None
        if header["fingerprint"] != self.fingerprint():
            raise CheckpointError(
                f"{path} was written by a run with another network or other settings; "
                "use the same ones to continue it, or another folder to start anew."
            )
        self.step, self.recent = int(header["step"]), json.loads(header["recent"])
        self.earlier_s = float(header.get("seconds", 0.0))
        self.raw.load_state_dict(_under(tensors, "weights/"))
        self.average = {n: _laid_out_as(self.average[n], t) for n, t in _under(tensors, "average/").items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(tensors, "optimiser/").items():
            index, key = name.split("/")
            state.setdefault(int(index), {})[key] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        parameters = [one for group in self.optimiser.param_groups for one in group["params"]]
        for number, moments in state.items():
            like = parameters[number].detach()
            state[number] = {k: _laid_out_as(like, t) if t.shape == like.shape else t for k, t in moments.items()}
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})


def _laid_out_as(own: Tensor, stored: Tensor) -> Tensor:
    """Return a stored tensor with the strides of `own`, which fused arithmetic goes by: files know none."""
    return torch.empty_like(own).copy_(stored)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


__all__ = ["SailError", "TrainingResult", "TrainingSettings", "has_fast_bf16", "resolve_precision", "train"]
