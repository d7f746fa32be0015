"""Drive an arm to and fro until killed: `python -m tests.faults.drive ADDRESS`; prints a line when under way."""

from __future__ import annotations

import sys
import time

from hardware.client.client import ArmClient
from hardware.wire.clocks import now
from tests.faults.driving import sway


def main() -> None:
    client = ArmClient(sys.argv[1], name="driver")
    client.acquire()
    client.arm()
    start = client.welcome.description.home
    began_s = now()
    print("driving", flush=True)
    while True:
        times_s, positions = sway(client.welcome, start, began_s, now(), 3.0)
        client.submit(times_s, positions, now())
        time.sleep(0.1)


if __name__ == "__main__":
    main()
