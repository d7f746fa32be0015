"""Ask the system to let a control loop go first.

Every thread of the process that may hold the interpreter's lock must have precedence over the rest of the machine:
were one of them put aside while it holds the lock, the servo would wait for it, however urgent the servo is itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys

import zmq

SERVO, STOPS, WIRE, REQUESTS, CAMERAS = 50, 45, 42, 40, 10
"""Priorities of threads, the highest first."""
PR_SET_TIMERSLACK = 29


def take_precedence(priority: int) -> bool:
    """Give the calling thread a real-time priority and exact timers; return whether the system allows it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError):
        return False
    return True


def spare_pauses() -> None:
    """Keep garbage collection and long turns of the interpreter's lock out of this process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    sys.setswitchinterval(0.0005)


def urgent_wire(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """Give ZeroMQ's own threads precedence too, where the system allows it; call it before the first socket."""
    if not hasattr(os, "SCHED_FIFO") or os.geteuid() != 0:
        return  # a refusal here would end the process
    context.set(zmq.THREAD_SCHED_POLICY, os.SCHED_FIFO)
    context.set(zmq.THREAD_PRIORITY, WIRE)
