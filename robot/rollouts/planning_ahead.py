"""Intend in a thread of its own, while the arm goes on with the rest of the last intent."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from robot.core.data import Intent, Observation
from robot.core.protocols import Policy

REMEMBERED = 200
"""Latencies kept for their percentiles."""


@dataclass(frozen=True, slots=True)
class Question:
    """Ask for an intent: the observation to begin from, and how many `moves` the arm had made by then."""

    observation: Observation
    instruction: str
    seed: int
    moves: int


@dataclass(frozen=True, slots=True)
class ReadyIntent:
    """Hold an intent, the question it answers, and how long it took, in s."""

    intent: Intent
    question: Question
    latency_s: float


class PlanningThread:
    """Answer one question at a time with what a policy intends, from a thread of its own."""

    def __init__(self, policy: Policy, clock: Callable[[], float] = time.monotonic) -> None:
        self.policy, self._clock = policy, clock
        self._news = threading.Condition()
        self._question: Question | None = None
        self._answer: ReadyIntent | BaseException | None = None
        self._forgotten: Question | None = None
        self._asked_s = clock()
        self._ended = False
        self.latencies_s: deque[float] = deque(maxlen=REMEMBERED)
        self._thread = threading.Thread(target=self._run, name="planner", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Return whether a question is being answered, or its answer has not been taken yet."""
        with self._news:
            return self._question is not None or self._answer is not None

    @property
    def busy_s(self) -> float:
        """Return for how long the present question has been thought about, 0 where there is none."""
        with self._news:
            return 0.0 if self._question is None else self._clock() - self._asked_s

    @property
    def usual_latency_s(self) -> float:
        """Return the median of the latest ten latencies, 0 before the first."""
        latest = list(self.latencies_s)[-10:]
        return statistics.median(latest) if latest else 0.0

    def ask(self, question: Question) -> bool:
        """Ask for an intent; return whether the question was taken, which it is not while another is being answered."""
        with self._news:
            if self._question is not None or self._answer is not None or self._ended:
                return False
            self._question, self._asked_s = question, self._clock()
            self._news.notify_all()
            return True

    def forget(self) -> None:
        """Let the present question's answer come to nothing: the world is not what was asked about any more."""
        with self._news:
            self._forgotten = self._question
            if not isinstance(self._answer, BaseException):
                self._answer = None
            self._news.notify_all()

    def take(self, timeout_s: float = 0.0) -> ReadyIntent | None:
        """Return the intent that has become ready, waiting up to `timeout_s` for one; raise what the policy raised."""
        with self._news:
            if self._answer is None and timeout_s > 0:
                self._news.wait_for(lambda: self._answer is not None, timeout_s)
            answer, self._answer = self._answer, None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self, timeout_s: float = 10.0) -> None:
        """End the thread after the intent it is at; closing twice is allowed."""
        with self._news:
            self._ended = True
            self._news.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._ended or self._question is not None)
                if self._ended:
                    return
                question = self._question
            assert question is not None
            answer: ReadyIntent | BaseException
            try:
                answer = self._plan(question)
            except Exception as problem:
                answer = problem
            with self._news:
                self._question = None
                if question is self._forgotten and not isinstance(answer, BaseException):
                    self._forgotten = None
                    continue
                self._answer = answer
                self._news.notify_all()

    def _plan(self, question: Question) -> ReadyIntent:
        began_s = self._clock()
        intent = self.policy.begin([question.observation], [question.instruction], [question.seed])[0]
        latency_s = self._clock() - began_s
        self.latencies_s.append(latency_s)
        return ReadyIntent(intent, question, latency_s)
