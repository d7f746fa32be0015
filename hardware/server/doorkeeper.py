"""Say when the server's doors must be shut, and when made anew, so that a stop always gets in.

Connections take descriptors, of which the system gives a process so many and no more, and what they send may take
memory without end: ZeroMQ collects the parts of a message until the last has come. Both are looked at all the time.
"""

from __future__ import annotations

from typing import Protocol

from hardware.server.complaints import Complaints
from hardware.server.descriptors import Memory, open_descriptors, raise_limit
from hardware.wire.clocks import now
from robot.core.errors import SailError

LOOK_S = 0.02
"""How often it looks, and every door looks at what it says."""
MOST_DESCRIPTORS = 2_048
"""More are not used, even where the system would allow them: a connection that reads nothing may take 0.3 MiB."""
LEAST_DESCRIPTORS = 64
SHUT_BELOW, OPEN_ABOVE, CUT_BELOW = 1 / 2, 5 / 8, 1 / 8
"""Where so much is free of what was at first, doors are shut, and opened again, and connections cut."""
SETTLE_S = 0.05
"""How long a door takes to do what it was told, in ZeroMQ's threads too."""
MOST_GROWTH_MIB = 256.0
"""More than an arm, a camera or a scene that is drawn anew should need beside what the server had at first."""
CLEAR_S = 0.06
"""After so long, what cut connections took is free."""
STUCK_S = 0.1
"""A door whose thread has been in one call of ZeroMQ for so long is kept there by those who are connected to it."""


class Tended(Protocol):
    """What a doorkeeper knows of a door: whether it is ever shut, how often it has begun anew, and what keeps it.

    `within_s`: since when its thread has been in a call that may take long, None where it is not in one.
    """

    shuts: bool
    renewed: int
    within_s: float | None

    def sever(self) -> None:
        """Cut its connections, so that the call returns; asked from another thread than the door's own."""


class Doorkeeper:
    """Keep descriptors free for stops, and memory within bounds.

    `look` decides, in a thread of its own; every door asks `shut` and `renewals` and acts. When half of the descriptors
    are in use, all doors but that of stops are shut. Where it has filled the rest, it begins anew, and where that is
    not enough, all do. When memory has grown by `MOST_GROWTH_MIB`, all begin anew as well. The connections of a door
    that is kept for `STUCK_S` are cut.
    """

    def __init__(self, complaints: Complaints, most_growth_mib: float = MOST_GROWTH_MIB) -> None:
        self.doors: list[Tended] = []
        self.shut = self._cut_stops = False
        self._complaints, self._most_growth_mib = complaints, most_growth_mib
        self._most = min(raise_limit(), MOST_DESCRIPTORS)
        self._memory: Memory | None = None
        self._free_at_first = 0
        self._base_mib = 0.0
        self._renewals = self._stop_renewals = 0
        self._turned_s = self._renewed_s = float("-inf")
        self._clearing = False

    def begin(self) -> None:
        """Count what is open and used now as the server's own; raise SailError where too little is left for clients."""
        self._free_at_first = free = self._most - open_descriptors()
        if free < LEAST_DESCRIPTORS:
            raise SailError(
                f"The system lets this process open {self._most} files and connections, and {max(free, 0)} of them are "
                "left for clients: allow more with `ulimit -n 4096`."
            )
        self._memory = Memory()
        self._base_mib = self._memory.mib

    def look(self) -> None:
        """Look at descriptors, memory and doors, and decide; it takes some microseconds."""
        self._look_at_descriptors()
        self._look_at_memory()
        for door in self.doors:
            within_s = door.within_s
            if within_s is not None and now() - within_s > STUCK_S:
                door.sever()
                self._complaints.note("what its clients send keeps a door, so that they are cut")

    def renewals(self, door: Tended) -> int:
        """Return how often a door should have begun anew by now."""
        return self._renewals if door.shuts else self._renewals + self._stop_renewals

    def close(self) -> None:
        """Look no more; closing twice is allowed."""
        if self._memory is not None:
            self._memory.close()

    def _look_at_descriptors(self) -> None:
        free = self._most - open_descriptors()
        share = free / self._free_at_first
        if not self.shut:
            if share < SHUT_BELOW:
                self._turn(shut=True)
                self._complaints.note("so many connections that nobody new is let in", f"room for {free} more")
        elif now() - self._turned_s > SETTLE_S:
            if share > OPEN_ABOVE:
                self._turn(shut=False)
            elif share < CUT_BELOW:
                self._cut()

    def _cut(self) -> None:
        """Make room where it is lacking though nobody new came in elsewhere: at the door of stops, then everywhere."""
        if self._cut_stops:
            self._renewals += 1
            self._complaints.note("so many connections that all are cut")
        else:
            self._stop_renewals += 1
            self._complaints.note("so many connections for stops that these are cut")
        self._cut_stops, self._turned_s = not self._cut_stops, now()

    def _turn(self, shut: bool) -> None:
        self.shut, self._cut_stops, self._turned_s = shut, False, now()

    def _look_at_memory(self) -> None:
        if self._memory is None:
            return
        mib = self._memory.mib
        if self._clearing and now() - self._renewed_s > CLEAR_S:
            if all(door.renewed >= self.renewals(door) for door in self.doors):
                self._memory.give_back()
                self._base_mib, self._clearing = self._memory.mib, False
        elif not self._clearing and mib > self._base_mib + self._most_growth_mib:
            self._renewals += 1
            self._renewed_s, self._clearing = now(), True
            self._complaints.note("so much memory in use that all connections are cut", f"{mib:.0f} MiB")
        self._base_mib = min(self._base_mib, mib)
