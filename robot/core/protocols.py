"""The contracts between layers. An implementation needs to inherit nothing; the contract suites check it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from robot.core.data import (
    Action,
    Episode,
    Feedback,
    Image,
    Intent,
    Observation,
    Outcome,
    RobotSpec,
    SamplerSettings,
    Verdict,
    VideoPlan,
    View,
)
from robot.core.joints import ArmDescription, Joints, JointState

Metrics = Mapping[str, float]


@runtime_checkable
class Robot(Protocol):
    """A body in a scene: the simulator, an arm at the end of a wire, or a test fake. It knows no reward."""

    @property
    def spec(self) -> RobotSpec:
        """Return what the robot senses and how it is driven; constant between resets."""
        ...

    def reset(self, seed: int | None = None) -> Observation:
        """Bring the robot to a starting state; the same seed gives the same state where the robot can do that."""
        ...

    def observe(self) -> Observation:
        """Return what is sensed now. Observing twice without acting changes nothing."""
        ...

    def act(self, action: Action) -> Action:
        """Carry out one action and return what was really sent, after clipping and limits.

        Raises ValueError when the action has the wrong size or is not finite.
        """
        ...

    def close(self) -> None:
        """Release everything; closing twice is allowed."""
        ...


@runtime_checkable
class Haltable(Protocol):
    """What a `Robot` has beside, that can be brought to rest; one without stands still when nothing is sent."""

    def halt(self) -> None:
        """Bring the robot to rest, where it holds; every action is refused by SailError until the next reset.

        It may be called at any time, again, and from another thread while `reset`, `act` or `observe` is at work, which
        may then raise SailError. It returns once the robot rests, or after a few seconds. Never raises.
        """
        ...


@runtime_checkable
class Ageing(Protocol):
    """What a `Robot` has beside whose senses may be late; of one without nothing ages."""

    def ages(self) -> Mapping[str, float]:
        """Return how old, in s, the newest of each thing sensed is, by name."""
        ...


@runtime_checkable
class Previewing(Protocol):
    """What a `Robot` has beside that can say where an action would send it."""

    def preview(self, action: Action) -> Mapping[str, float]:
        """Return where an action would send each joint from here, by its name and in its unit; nothing is sent."""
        ...


@runtime_checkable
class KnowsSuccess(Protocol):
    """What a `Robot` has beside whose scene knows whether the task has been done, as a simulated one does."""

    def succeeded(self) -> bool | None:
        """Return whether the task has been done since the last reset; None where that is not known."""
        ...


@runtime_checkable
class CountsAnew(Protocol):
    """What a `Robot` that knows its success has beside, where an attempt may begin without a reset."""

    def count_anew(self) -> None:
        """Let success count from now on, and not from the last reset; nothing that is sensed changes."""
        ...


@runtime_checkable
class SaysCondition(Protocol):
    """What a `Robot` has beside that can say what state it is in."""

    def condition(self) -> str:
        """Return in a few words, for a person, what state the robot is in now."""
        ...


@runtime_checkable
class TakesAnyWords(Protocol):
    """A robot, its class or what makes it, that says whether any words will do as its task.

    Where it is true there is no list of tasks, and what belongs to MetaWorld's means nothing: neither its instructions
    nor its demonstrations. What does not say so is one of MetaWorld's robots.
    """

    takes_any_words: bool


@runtime_checkable
class RobotPool(Protocol):
    """Several robots of one kind that act at the same time, such as simulators in worker processes.

    It has all that a `Robot` has by name, for several at once, and `size`: ask whether something is a pool first.
    """

    @property
    def spec(self) -> RobotSpec:
        """Return what every robot of the pool senses and how it is driven."""
        ...

    @property
    def size(self) -> int:
        """Return how many robots there are; they are numbered 0 … size − 1."""
        ...

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Observation]:
        """Reset the robots named, each with its seed, and return what they observe."""
        ...

    def observe(self, robots: Collection[int]) -> dict[int, Observation]:
        """Return what the robots named observe where they are, for attempts that begin there: nothing is reset.

        What was done before no longer counts as success. A robot that has broken down is missing from the answer.
        """
        ...

    def act(self, actions: Mapping[int, Action]) -> dict[int, Feedback]:
        """Let the robots named act at the same time and return what each answers.

        A robot that has broken down is missing from the answer; a reset may bring it back.
        """
        ...

    def close(self) -> None:
        """Release everything; closing twice is allowed."""
        ...


@runtime_checkable
class ArmDriver(Protocol):
    """The maker's interface to one physical arm, behind the server's safety governor.

    It is used from one thread. A driver knows no safety of its own beyond the maker's: the governor has seen to limits
    before `write` is called, some 250 times a second.

    The first `write` after `connect` takes control of the arm. Once the arm has refused a command, or stopped itself or
    been stopped by somebody else, the driver never takes control again of its own accord: every `write` raises and
    touches nothing, `stop` does nothing, until `connect` or, where the driver has it, `recover` (see `Recoverable`).
    """

    @property
    def description(self) -> ArmDescription:
        """Return the joints and their limits; known without a connection where the maker publishes them."""
        ...

    def connect(self) -> None:
        """Connect without moving; raise SailError in one sentence where the arm, or the maker's package, is missing."""
        ...

    def read(self) -> JointState:
        """Return where the joints are now; raise SailError where the arm does not answer."""
        ...

    def write(self, position: Joints) -> None:
        """Command joint positions, float64 (J,), to be reached one servo period from now. Returns at once."""
        ...

    def stop(self) -> None:
        """Hold the present position, with power; may be called at any time after `connect`, and again."""
        ...

    def close(self) -> None:
        """Hold, release what is held and disconnect; closing twice is allowed."""
        ...


@runtime_checkable
class Recoverable(Protocol):
    """What an `ArmDriver` has beside, whose arm can be made ready again without connecting anew."""

    def recover(self) -> None:
        """Clear what made the arm stop or refuse, moving nothing; the next `write` takes control again.

        It is called, from the driver's one thread and with the arm at rest, because a person at the arm asked for it;
        nothing else may. Where nothing is to be cleared it does nothing. Raises SailError, in a sentence that says what
        to do, where the arm cannot be made ready from here, such as with its stop button pressed.
        """
        ...


@runtime_checkable
class Resettable(Protocol):
    """What an `ArmDriver` has beside, whose arm stands in a simulated scene."""

    def reset(self, seed: int) -> None:
        """Have the scene drawn anew from a seed."""
        ...


@runtime_checkable
class SaysWhoStopped(Protocol):
    """What an error of a robot has beside that knows whether somebody asked for the stop."""

    @property
    def by_operator(self) -> bool:
        """Return whether somebody did, and so nothing is broken."""
        ...


@runtime_checkable
class SaysNote(Protocol):
    """What somebody who takes over has beside, who is to be told something while the robot moves."""

    note: str


@runtime_checkable
class Camera(Protocol):
    """One camera. It is read by a thread of its own and never by the control loop."""

    @property
    def name(self) -> str:
        """Return what the camera is called in observations."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Return the image size (H, W) in pixels."""
        ...

    def open(self) -> None:
        """Begin to capture; raise SailError in one sentence where there is no such camera."""
        ...

    def read(self) -> tuple[Image, float]:
        """Wait for the next frame; return it, uint8 (H, W, 3) RGB, and when it was captured (monotonic clock, s).

        Raises SailError where the camera fails.
        """
        ...

    def close(self) -> None:
        """Stop capturing; closing twice is allowed."""
        ...


@runtime_checkable
class DescribedCamera(Camera, Protocol):
    """A camera that says how often it gives a picture and what its lens does, where that is known."""

    @property
    def rate_hz(self) -> float:
        """Return how many pictures a second it is meant to give, 0 where that is not known."""
        ...

    @property
    def intrinsics(self) -> tuple[float, float, float, float] | None:
        """Return fx, fy, cx, cy in pixels of a picture of its size, centres of pixels being whole; None: not known."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Choose what robots do, told in words what is wanted: observe, intend, act for some steps, intend anew.

    It needs no plan: an intent holds whatever the policy has to know later, and `act` sees the newest observation. One
    that looks at every step may intend for as long as it likes.
    """

    @property
    def identity(self) -> str:
        """Return a short name of the weights and of what decides how they are used; a run is not resumed by another."""
        ...

    def begin(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[Intent]:
        """Return what is intended from each observation on, in one batch.

        `seeds` fix what is drawn for each, independently of its place in the batch. `settings` says per intent how to
        sample, to a policy that samples (exploration does that). Raises ValueError for lengths that differ.
        """
        ...

    def act(self, observations: Sequence[Observation], intents: Sequence[Intent], steps: Sequence[int]) -> list[Action]:
        """Return one action per observation, `steps[i]` (0, 1, … `horizon` − 1) robot steps after intent i began."""
        ...


@runtime_checkable
class MadeOfModels(Protocol):
    """What a `Policy` has beside that is made of models with names of their own."""

    @property
    def models(self) -> Mapping[str, str]:
        """Return each model's identity by what it is, such as `planner` and `inverse_dynamics`."""
        ...


@runtime_checkable
class Planner(Protocol):
    """Imagine the next seconds of a task as video."""

    @property
    def identity(self) -> str:
        """Return a short hash of the weights; plans carry it."""
        ...

    def plan(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[VideoPlan]:
        """Return one plan per observation, in one batch.

        `seeds` fix each plan's noise independently of its place in the batch. `settings` overrides the planner's own
        per plan (exploration does that). Raises ValueError for an empty instruction or lengths that differ.
        """
        ...


@runtime_checkable
class NeedsView(Protocol):
    """What a `Planner`, or a `Policy`, has beside that cannot look through any camera or plan at any pace."""

    @property
    def view(self) -> View:
        """Return what it looks at and how its plans are paced."""
        ...


@runtime_checkable
class ReadsState(Protocol):
    """A `Planner`, or a `Policy`, that says whether it reads the simulator's state; no other is shown it.

    The state holds everything, whether the task has been done too.
    """

    @property
    def reads_state(self) -> bool:
        """Return whether it does."""
        ...


@runtime_checkable
class Adapted(Protocol):
    """What a `Planner` has beside that is made of several models, of which it can take one, or some of each."""

    @property
    def adaptation(self) -> str:
        """Return which models plans come from, `general` where none come from the one that is fine-tuned."""
        ...


@runtime_checkable
class Trainable(Planner, Protocol):
    """A planner with a part that is fine-tuned on successes, be it the whole of it."""

    @property
    def in_domain(self) -> Planner | None:
        """Return that part; None where there is none after all."""
        ...

    def with_in_domain(self, planner: Any) -> Planner:
        """Return the planner that is in force once that part has been fine-tuned to this one."""
        ...


@runtime_checkable
class SaysMethod(Protocol):
    """A policy, a planner or an inverse dynamics, or its class, that says what tables of results call it.

    `{inverse_dynamics}` in a planner's stands for what its inverse dynamics is called.
    """

    method: str


@runtime_checkable
class InverseDynamics(Protocol):
    """Find the action that makes an imagined frame come true, looking at where the robot is now."""

    @property
    def identity(self) -> str:
        """Return a short hash of the weights."""
        ...

    def begin(self, observations: Sequence[Observation], plans: Sequence[VideoPlan]) -> list[object]:
        """Digest plans in one batch, each with the observation it starts from; `act` takes the handles returned."""
        ...

    def act(self, observations: Sequence[Observation], handles: Sequence[object], steps: Sequence[int]) -> list[Action]:
        """Return one action per observation, `steps[i]` (0, 1, …) robot steps after plan i began."""
        ...


@runtime_checkable
class Recording(Protocol):
    """One attempt being written down while it runs: `observe` once, then `plan` and `step` as they happen.

    It ends by `seal`, by `set_aside`, or, where the program is stopped, by `leave`. All but `leave` raise SailError
    where what is to be written cannot be, such as on a full disk.
    """

    def observe(self, observation: Observation) -> None:
        """Record the first observation."""
        ...

    def plan(self, plan: VideoPlan) -> None:
        """Record a plan that begins to be executed now."""
        ...

    def step(
        self,
        requested: Action,
        sent: Action,
        observation: Observation,
        success: bool | None = None,
        *,
        intervention: bool | None = None,
    ) -> None:
        """Record an action, as asked for and as sent, and what was seen after it.

        `success` is known after every step of an attempt or after none, and so is `intervention`, whether a person gave
        the action; ValueError otherwise.
        """
        ...

    def seal(self, outcome: Outcome) -> str:
        """Finish it and return the id under which the episode is stored."""
        ...

    def set_aside(self) -> None:
        """Give it up, because the attempt is begun again: it becomes no episode, and nothing of it is deleted."""
        ...

    def leave(self) -> None:
        """Let go of it unfinished, so that what there is can be saved later; after `seal` do nothing.

        Never raises.
        """
        ...


@runtime_checkable
class RewardModel(Protocol):
    """Say whether episodes did what their instruction asks."""

    @property
    def source(self) -> str:
        """Return who says so, as its verdicts do: `truth`, `person`, `classifier`, … or `none`."""
        ...

    @property
    def identity(self) -> str:
        """Return what says so, with a short hash of its weights where it has any; a run is not resumed by another."""
        ...

    def judge(self, episodes: Sequence[Episode]) -> list[Verdict]:
        """Return one verdict an episode."""
        ...


@runtime_checkable
class ReadsTruth(Protocol):
    """A `RewardModel` that says whether it reads the simulator's own word, as no other does.

    Where it is true, attempts end when the simulator says success, and episodes bear its word. No other judge sees it.
    """

    reads_truth: bool


@runtime_checkable
class SuccessDetector(Protocol):
    """What a `RewardModel` has beside that can say, while attempts run, whether they have worked."""

    def success(
        self,
        frames: Sequence[Mapping[str, Image]],
        first: Sequence[Mapping[str, Image]],
        instructions: Sequence[str],
    ) -> list[bool]:
        """Return for each attempt whether its instruction is done, in one batch.

        `frames` are what its cameras see now, by name, uint8 (H, W, 3), and `first` what they saw when it began.
        """
        ...


@runtime_checkable
class Learner(Protocol):
    """Improve one model, the very object that acts, from judged episodes."""

    @property
    def needs_success(self) -> bool:
        """Return whether there is nothing to learn without a success; `update` is then not called."""
        ...

    def restore(self, folder: Path | None) -> None:
        """Put the model that `update` saved in `folder` in force; None stands for the one there was at first."""
        ...

    def update(self, episodes: Sequence[Episode], verdicts: Sequence[Verdict], folder: Path, seed: int) -> Metrics:
        """Train the model in force, save it in `folder`, put the new one in force and return what was measured.

        There is one verdict an episode; an episode may be read from disk each time it is asked for. All that is drawn
        comes from `seed`. Called again with the folder and seed of an update that was killed, it goes on with it.
        """
        ...
