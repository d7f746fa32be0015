"""Describe the machine that figures were measured on, and how much memory its processes took."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Instructions that decide how fast a network is on a CPU."""


def describe_machine() -> dict[str, Any]:
    """Return `cpu`, `cores` (usable ones), `memory_gib`, `flags` (those of `FLAGS` it has), `torch`, `torch_threads`.

    `torch` is its version, `accelerator` its name, each empty where there is none; `system` names system and Python.
    """
    facts = _cpu_facts()
    return {
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "flags": [flag for flag in FLAGS if flag in facts.get("flags", "").split()],
        **_torch_facts(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def _torch_facts() -> dict[str, Any]:
    if importlib.util.find_spec("torch") is None:  # as on a machine at an arm
        return {"torch": "", "torch_threads": 0, "accelerator": ""}
    import torch

    return {
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "",
    }


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_mib(processes: Sequence[int] | None = None) -> float:
    """Return the sum of the most memory each process has held, MiB; an upper bound, since shared pages count in each.

    `processes` are ids; None is this process and the workers it has now. Where there is no /proc, it is this process's.
    """
    if processes is None:
        processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid)]
    peaks = [_peak_kib(process) for process in processes]
    if not any(peaks):
        import resource

        unit = 2**20 if platform.system() == "Darwin" else 2**10
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
    return round(sum(peaks) / 2**10, 1)


def _peak_kib(process: int) -> int:
    """Return the most a process has held; psutil knows only what it holds now."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _cpu_facts() -> dict[str, str]:
    """Return what Linux says of the first core, its name and instructions, which psutil does not know."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    facts: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    return facts
