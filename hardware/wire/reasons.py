"""Why an arm does not do what it was asked, or is in the state it is in: a sentence for people, a code for programs.

Nobody reads the sentence to find out what it means: it has names in it that clients chose.
"""

from __future__ import annotations

import enum


class Code(enum.StrEnum):
    """Name a reason; docs/arm-protocol.md has the table. The values travel on the wire and never change."""

    NONE = ""
    # Why the arm is in its state.
    STOPPED = "stopped"
    UNREADABLE = "unreadable"
    UNWRITABLE = "unwritable"
    ASTRAY = "astray"
    LATE = "late"
    DEAD_THREAD = "dead_thread"
    SILENT = "silent"
    LENT = "lent"
    GONE = "gone"
    ENDING = "ending"
    # Why the arm cannot do it now.
    FAULT = "fault"
    DISARMED = "disarmed"
    DEGRADED = "degraded"
    COMING_TO_REST = "coming_to_rest"
    EASING_IN = "easing_in"
    OUTSIDE = "outside"
    # Why it may not be asked by this client.
    HELD = "held"
    NO_LEASE = "no_lease"
    SESSION = "session"
    VERSION = "version"
    IDENTITY = "identity"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"
    DEFECT = "defect"
    # What is wrong with a command.
    MALFORMED = "malformed"
    SEQUENCE = "sequence"
    OVERTAKEN = "overtaken"
    MEANWHILE = "meanwhile"
    PAST = "past"
    TOO_FAR = "too_far"
    OBSERVATION = "observation"
    # What was clamped.
    POSITION = "position"
    WORKSPACE = "workspace"
    VELOCITY = "velocity"
    ACCELERATION = "acceleration"
    JERK = "jerk"
    # What a later release may have said.
    OTHER = "other"


class Reason(str):
    """Hold a sentence, without its full stop, and the code of what it says; empty where there is nothing to say.

    A sentence that is built from another one needs its code again, which the type checker sees to.
    """

    code: Code

    def __new__(cls, sentence: str = "", code: Code = Code.NONE) -> Reason:
        """Return a reason; raise ValueError for a sentence without a code or a code without a sentence."""
        if bool(sentence) != bool(code):
            raise ValueError(f"A reason has both a sentence and a code, got {sentence!r} and {code!r}.")
        made = super().__new__(cls, sentence)
        made.code = code
        return made

    def cut(self, most: int) -> Reason:
        """Return it with at most so many characters."""
        return Reason(self[:most], self.code)


NOTHING = Reason()
"""No reason: it was done, or all is well."""


def told_reason(sentence: object, code: object) -> Reason:
    """Return a reason that came over the wire; a code that is not known here is `Code.OTHER`."""
    text = str(sentence)
    if not text:
        return NOTHING
    try:
        known = Code(str(code))
    except ValueError:
        known = Code.OTHER
    return Reason(text, known or Code.OTHER)
