"""The person at the terminal, as a judge."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from robot.core.data import Episode, Verdict
from robot.core.errors import SailError
from robot.core.text import tell

ANSWERS: Final[Mapping[str, float]] = {"s": 1.0, "f": 0.0, "u": 0.5}
WORDS: Final[Mapping[str, str]] = {"s": "success", "f": "failure", "u": "unsure"}

Asker = Callable[[str], str]
"""Put a question to a person and return the key they pressed: s, f or u."""


class Person:
    """Ask at the terminal whether an episode did what its instruction asks: S success, F failure, U unsure.

    The probability is 1, 0 or one half. `ask` puts the question, by default with the keys of the terminal.
    """

    source = "person"
    model = ""
    identity = source

    def __init__(self, ask: Asker | None = None) -> None:
        self._ask = ask if ask is not None else ask_at_terminal

    def judge(self, episodes: Sequence[Episode]) -> list[Verdict]:
        """Return one verdict an episode; raise SailError where there is no terminal to ask at."""
        verdicts = []
        for number, episode in enumerate(episodes, 1):
            which = f" ({number} of {len(episodes)})" if len(episodes) > 1 else ""
            name = f"Episode {episode.episode_id}{which}" if episode.episode_id else f"This episode{which}"
            key = self._ask(f"{name}: did it {episode.instruction!r}? It ended by {episode.outcome.value}.")
            verdicts.append(verdict_of(key))
        return verdicts


def verdict_of(key: str) -> Verdict:
    """Return a person's verdict for the key pressed; raise ValueError for a key that stands for none."""
    if key not in ANSWERS:
        raise ValueError(f"A person answers s, f or u, got {key!r}.")
    return Verdict(ANSWERS[key], Person.source, rationale=f"said at the terminal: {WORDS[key]}")


def ask_at_terminal(question: str) -> str:
    """Put a question on stderr and wait for one of the keys s, f and u, which needs no Enter.

    Raises SailError where standard input is no terminal; Ctrl-C goes through.
    """
    try:
        import termios
        import tty

        fd = sys.stdin.fileno()
        kept = termios.tcgetattr(fd)
    except (ImportError, OSError, ValueError, termios.error):
        raise SailError(
            "There is no terminal to ask a person at: choose another judge, or say it later with `sail label`."
        ) from None
    tell("")
    tell(question)
    tell("  S success   F failure   U unsure ", end="")
    try:
        tty.setcbreak(fd)
        while True:
            letter = sys.stdin.read(1)
            if not letter:
                raise SailError("The terminal was closed before the question was answered.")
            if letter.lower() in ANSWERS:
                tell(WORDS[letter.lower()])
                return letter.lower()
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, kept)
