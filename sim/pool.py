"""Many copies of one task in worker processes, driven together: a `RobotPool`.

Each worker owns its robots and their renderers; requests go to every worker before any answer is awaited, so all
cores step and draw at the same time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from robot.core.data import Action, Feedback, Observation, RobotSpec
from robot.core.errors import SailError
from sim.metaworld import MetaWorldRobot
from sim.rendering import choose_backend
from sim.tasks import check_task

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def single_threaded_children() -> Iterator[None]:
    """Let processes started inside use one thread each, so that they do not fight over the cores."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _WorkerDiedError(SailError):
    """Say that a worker process has ended without being asked to."""


class MetaWorldPool:
    """Simulate `size` independent robots of one task on `workers` processes (one a core by default).

    A worker that dies is started again, `restarts` times in a pool's life, so that the pool stays whole.
    """

    def __init__(
        self,
        task: str,
        size: int = 10,
        workers: int | None = None,
        cameras: Sequence[str] = ("corner2",),
        image_size: int = 128,
        action_repeat: int = 2,
        goal_visible: bool = True,
        restarts: int = 5,
    ) -> None:
        """Start the workers; raises UnknownNameError, RenderingError, or ValueError for fewer than one of either."""
        check_task(task)
        choose_backend()
        if size < 1:
            raise ValueError(f"A pool needs at least one robot, got size {size}.")
        if workers is not None and workers < 1:
            raise ValueError(f"A pool needs at least one worker, got workers={workers}; null stands for one a core.")
        if restarts < 0:
            raise ValueError(f"A pool's restarts must not be negative, got {restarts}.")
        self.task = task
        self._size = size
        count = min(workers or os.cpu_count() or 1, size)
        self._restarts_left = restarts
        self._lost: set[int] = set()  # robots that a new worker owns and that have not been reset since
        self._options = {
            "task": task,
            "cameras": tuple(cameras),
            "image_size": image_size,
            "action_repeat": action_repeat,
            "goal_visible": goal_visible,
        }
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        for worker in range(count):
            pipe, process = self._start(tuple(range(worker, size, count)))
            self._pipes.append(pipe)
            self._processes.append(process)
        try:
            self._spec: RobotSpec = [self._receive(pipe) for pipe in self._pipes].pop()
        except BaseException:
            self.close()
            raise

    @property
    def spec(self) -> RobotSpec:
        """Return what every robot of the pool senses and how it is driven."""
        return self._spec

    @property
    def size(self) -> int:
        """Return how many robots there are."""
        return self._size

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Observation]:
        """Reset the robots named, each to the start its seed gives; those of a worker that has died, in a new one.

        Raises SailError where a worker has died and may not be started again.
        """
        wanted = dict(seeds)
        answers = self._call("reset", wanted)
        while missing := {number: seed for number, seed in wanted.items() if number not in answers}:
            if not self._restart(missing):
                raise SailError(f"A simulator process of {self.task} died; run the same command again.")
            answers |= self._call("reset", missing)
        self._lost -= answers.keys()
        return answers

    def observe(self, robots: Collection[int]) -> dict[int, Observation]:
        """Return what the robots named observe where they are, for attempts that begin there.

        Those of a worker that has died are missing until their next reset.
        """
        return self._call("observe", dict.fromkeys(number for number in robots if number not in self._lost))

    def act(self, actions: Mapping[int, Action]) -> dict[int, Feedback]:
        """Let the robots named act; those of a worker that has died are missing from the answer until their next reset.

        Raises ValueError for an action that does not fit; the pool goes on working.
        """
        return self._call("act", {number: action for number, action in actions.items() if number not in self._lost})

    def close(self) -> None:
        """Stop the workers; closing twice is allowed."""
        pipes, self._pipes = self._pipes, []
        for pipe in pipes:
            with contextlib.suppress(OSError):
                pipe.send(("close", {}))
            pipe.close()
        processes, self._processes = self._processes, []
        for process in processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()

    def __enter__(self) -> MetaWorldPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, numbers: Sequence[int]) -> tuple[Connection, Any]:
        """Start a worker that owns the robots `numbers`; return our end of its pipe and the process."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, tuple(numbers), self._options), daemon=True)
        with single_threaded_children():
            process.start()
        theirs.close()
        return ours, process

    def _restart(self, robots: Iterable[int]) -> bool:
        """Start the workers of these robots again; return whether all could be within the restarts left."""
        for worker in sorted({number % len(self._pipes) for number in robots}):
            if self._restarts_left == 0:
                return False
            self._restarts_left -= 1
            self._pipes[worker].close()
            self._processes[worker].kill()
            self._processes[worker].join()
            numbers = range(worker, self._size, len(self._pipes))
            self._lost.update(numbers)
            self._pipes[worker], self._processes[worker] = self._start(tuple(numbers))
            with contextlib.suppress(_WorkerDiedError):  # then it is found dead when it is asked, and started again
                self._receive(self._pipes[worker])
        return True

    def _call(self, verb: str, arguments: dict[int, Any]) -> dict[int, Any]:
        unknown = [number for number in arguments if not 0 <= number < self._size]
        if unknown:
            raise ValueError(f"This pool has robots 0 … {self._size - 1}; there is no robot {unknown[0]}.")
        shares: list[dict[int, Any]] = [{} for _ in self._pipes]
        for number, argument in arguments.items():
            shares[number % len(shares)][number] = argument
        busy = [(pipe, share) for pipe, share in zip(self._pipes, shares, strict=True) if share]
        answers: dict[int, Any] = {}
        problems: list[Exception] = []
        asked: list[Connection] = []
        for pipe, share in busy:
            try:
                pipe.send((verb, share))
                asked.append(pipe)
            except OSError:
                continue  # its worker is dead, and its robots are missing from the answer
        for pipe in asked:  # every answer is fetched before a problem is raised, so that none is taken for a later one
            try:
                answers |= self._receive(pipe)
            except _WorkerDiedError:
                continue
            except Exception as problem:
                problems.append(problem)
        if problems:
            raise problems[0]
        return answers

    def _receive(self, pipe: Connection) -> Any:
        try:
            kind, answer = pipe.recv()
        except (EOFError, OSError):
            raise _WorkerDiedError(f"A simulator process of {self.task} died; run the same command again.") from None
        if kind == "error":
            raise answer
        return answer


def _serve(pipe: Connection, numbers: Sequence[int], options: Mapping[str, Any]) -> None:
    """Own the robots `numbers` and answer requests until the pipe closes (in a worker process)."""
    robots: dict[int, MetaWorldRobot] = {}
    try:
        for number in numbers:
            robots[number] = MetaWorldRobot(**options)
        pipe.send(("ok", robots[numbers[0]].spec))
        while True:
            verb, arguments = pipe.recv()
            if verb == "close":
                break
            try:
                answer = {n: _answer(robots[n], verb, argument) for n, argument in arguments.items()}
            except ValueError as problem:  # the caller's mistake; the robots are sound
                pipe.send(("error", _portable(problem)))
            else:
                pipe.send(("ok", answer))
    except (EOFError, KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        pass
    except Exception as problem:  # the parent raises it again
        with contextlib.suppress(OSError):
            pipe.send(("error", _portable(problem)))
    finally:
        for robot in robots.values():
            robot.close()


def _portable(problem: Exception) -> Exception:
    """Return the problem itself where it survives the way between processes, else a SailError that says the same."""
    try:
        pickle.loads(pickle.dumps(problem))
    except Exception:
        return SailError("".join(traceback.format_exception_only(problem)).strip())
    return problem


def _answer(robot: MetaWorldRobot, verb: str, argument: Any) -> Observation | Feedback:
    if verb == "reset":
        return robot.reset(argument)
    if verb == "observe":
        robot.count_anew()
        return robot.observe()
    sent = robot.act(argument)
    return Feedback(sent, robot.observe(), robot.succeeded())
