"""Memory is that of the whole family of processes. Figures are compared loosely: the kernel's counters are its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from robot.core.provenance import memory
from robot.core.provenance.memory import MemoryWatch, family, held_bytes, own_peak_bytes

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
        assert child.pid in {one.pid for one in family()}
        assert held_bytes() > alone + 80 * MIB
    assert child.pid not in {one.pid for one in family()}
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


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> type:
    """Stand in for a process that holds 7 bytes in its own right and 9 together with others."""

    class Small(psutil.Process):
        def memory_full_info(self) -> Any:
            return SimpleNamespace(rss=9, pss=7)

        def memory_info(self) -> Any:
            return SimpleNamespace(rss=9)

        def children(self, recursive: bool = False) -> list[psutil.Process]:
            return [Small(), Small()] if recursive else []

    monkeypatch.setattr(psutil, "Process", Small)
    return Small


def test_shared_pages_are_divided_and_where_nobody_says_how_resident_sizes_are_added(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert held_bytes() == 3 * 7

    def denied(self: Any) -> Any:
        raise psutil.AccessDenied

    monkeypatch.setattr(small, "memory_full_info", denied)
    assert held_bytes() == 3 * 9
    monkeypatch.setattr(small, "memory_full_info", lambda self: SimpleNamespace(rss=9, uss=5))  # macOS
    assert held_bytes() == 3 * 9


def test_a_process_that_has_just_ended_holds_nothing(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(self: Any, recursive: bool = False) -> Any:
        raise psutil.NoSuchProcess(1)

    monkeypatch.setattr(small, "memory_full_info", ended)
    monkeypatch.setattr(small, "memory_info", ended)
    assert held_bytes() == own_peak_bytes()  # nothing to add up: this one's own peak
    monkeypatch.setattr(small, "children", ended)
    assert family() == []


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0 s"):
        MemoryWatch(interval_s=0.0)
