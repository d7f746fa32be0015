"""Look after the torque and the errors of an arm's servos while it runs.

Where the row of registers that is read every period holds both, every servo is seen every period, for the price of its
bytes alone. Where it does not, and for servos that are not read because they follow another, one servo a period is
looked at by itself, in turn. The error byte that comes with every answer is looked at all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hardware.arms.servo_bus import Answer, ServoBus


class ServoWatch:
    """Look after servos: `servos` are read every period, `followers`, follower → leader, are not.

    `in_doubt`: the bus was silent, so that servos may have lost their power meanwhile: all are looked at next.
    """

    def __init__(self, bus: ServoBus, servos: Sequence[int], followers: Mapping[int, int]) -> None:
        self._bus = bus
        self._all = (*servos, *followers)
        self.singly: tuple[int, ...] = tuple(followers) if bus.kind.tells_all else self._all
        self._turn = 0
        self.in_doubt = False

    def see(self, answers: Mapping[int, Answer], holds: bool) -> str:
        """Return what is wrong with a servo, a clause, or an empty string.

        `answers` are those of this period. `holds`: whether every servo is believed to have torque. Raises SailError
        where a servo does not answer.
        """
        kind = self._bus.kind
        seen = list(answers.values()) if kind.tells_all else []
        seen += [self._bus.row(servo, kind.vital) for servo in self._due()]
        self.in_doubt = False
        return self._first(seen, holds) or self._alerted(holds)

    def see_all(self, holds: bool) -> str:
        """Return what is wrong with a servo now, looking at all of them at once, or an empty string."""
        return self._first(self._bus.gather(self._all, self._bus.kind.vital).values(), holds)

    def _due(self) -> Sequence[int]:
        if self.in_doubt or not self.singly:
            return self.singly
        self._turn = (self._turn + 1) % len(self.singly)
        return self.singly[self._turn : self._turn + 1]

    def _alerted(self, holds: bool) -> str:
        """Return what a servo says that has said in passing that it is not well."""
        alerted = [servo for servo, alert in self._bus.alerts.items() if alert]
        return self._first((self._bus.row(servo, self._bus.kind.vital) for servo in alerted), holds)

    def _first(self, seen: Iterable[Answer], holds: bool) -> str:
        return next((problem for answer in seen if (problem := self._wrong(answer, holds))), "")

    def _wrong(self, answer: Answer, holds: bool) -> str:
        kind, label = self._bus.kind, self._bus.label(answer.servo)
        has_torque = answer.raw(kind.torque) == 1
        if bits := answer.raw(kind.error):
            return f"{label} reports {kind.trouble(bits)}{'' if has_torque else ' and has no torque'}"
        if holds and not has_torque:
            return f"{label} has lost its torque, by another program or its own protection"
        return ""
