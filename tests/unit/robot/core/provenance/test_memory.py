"""Memory is that of the whole family of processes. Figures are compared loosely: the kernel's counters are its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from robot.core.provenance import memory
from robot.core.provenance.memory import MemoryWatch, family, held_bytes

MIB = 2**20
NESTED = (
    "import subprocess, sys\n"
    "inner = \"held = b'x' * (96 * 2**20); print('ready', flush=True); input()\"\n"
    "sys.exit(subprocess.run([sys.executable, '-c', inner]).returncode)"
)
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")


@contextmanager
def grandchild() -> Iterator[subprocess.Popen[str]]:
    """Run a child whose own child holds 96 MiB."""
    with subprocess.Popen(
        [sys.executable, "-c", NESTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        yield child
        child.stdin.write("\n")
        child.stdin.flush()


@needs_proc
def test_children_of_children_count_and_only_while_they_live() -> None:
    alone = held_bytes()
    with grandchild() as child:
        assert child.pid in set(family(os.getpid()))
        assert held_bytes() > alone + 80 * MIB
    assert child.pid not in set(family(os.getpid()))
    assert held_bytes() < alone + 80 * MIB


@needs_proc
def test_the_peak_outlives_what_held_it_until_it_is_forgotten() -> None:
    with MemoryWatch(interval_s=60.0) as watch:
        alone = watch.sample()
        with grandchild():
            watch.sample()
        assert watch.peak_bytes() == watch.sample() > alone + 80 * MIB
        watch.forget()
        assert watch.peak_bytes() == 0
        assert watch.sample() < alone + 80 * MIB


def test_samples_are_taken_without_being_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = memory.threading.Event()
    monkeypatch.setattr(memory, "held_bytes", lambda: sampled.set() or 7 if not sampled.is_set() else 3)
    with MemoryWatch(interval_s=0.01) as watch:
        assert sampled.wait(10.0)
    assert watch.peak_bytes() == 7


def test_without_proc_it_is_the_process_s_own_peak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path)
    assert list(family(os.getpid())) == [os.getpid()]
    assert held_bytes() > MIB


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0 s"):
        MemoryWatch(interval_s=0.0)
