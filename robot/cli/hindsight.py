"""`sail evaluate store=FOLDER`: the judge, and whichever models are named, against what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from robot.cli.compose import build
from robot.cli.recorded import Alike, check_acts, check_camera, squared
from robot.cli.screen import Screen, meter, print_json, screen
from robot.cli.selection import EXIT_LEFT_OUT, chosen, show_left_out
from robot.cli.verbs import Arguments
from robot.core.data import Episode, View
from robot.core.errors import SailError
from robot.core.protocols import InverseDynamics, NeedsView, Planner, RewardModel
from robot.core.rates import steps_per_frame
from robot.episodes.arbitration import settled
from robot.episodes.labels import NOBODY, PERSON, Label
from robot.judges.asking import judged, reads_truth
from robot.learn.hindsight import Actions, Errors, Hindsight, imagine, infer
from robot.reports.statistics import interval_text, wilson_interval

MODELS = ("planner", "inverse_dynamics")
OF_ATTEMPTS = ("save", "gifs", "instruction")
"""Keys of attempts, of which there are none here."""
USUAL_CAMERA = "corner2"
PLAN_FRAMES = 8
"""Frames that inverse dynamics is shown where no planner says how many it imagines."""


@dataclass
class Measured:
    """Hold what was measured of one task."""

    task: str
    episodes: int = 0
    judged: int = 0
    successes: int = 0
    labelled: int = 0
    agreeing: int = 0
    names: Sequence[str] = ()
    imagined: Errors = field(default_factory=Errors)
    actions: Actions = field(default_factory=Actions)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object; None stands for what was not measured."""
        imagined, acted = self.imagined.rms(), self.actions.errors()
        return {
            "task": self.task,
            "episodes": self.episodes,
            "judged": self.judged,
            "successes": self.successes,
            "wilson": list(wilson_interval(self.successes, self.judged)),
            "labelled": self.labelled,
            "agreeing": self.agreeing,
            "imagined_rmse": imagined and imagined[0],
            "standing_still_rmse": imagined and imagined[1],
            "action_rmse": acted and dict(zip(self.names, acted[0].tolist(), strict=True)),
            "action_spread": acted and dict(zip(self.names, acted[1].tolist(), strict=True)),
            "action_error": self.action_error(),
        }

    def action_error(self) -> float | None:
        """Return the actions' error over their spread, the mean of all entries that moved; 1 is that of the mean."""
        acted = self.actions.errors()
        if acted is None or not (moved := acted[1] > 0).any():
            return None
        return float((acted[0][moved] / acted[1][moved]).mean())


class Measure:
    """Hold what is measured, and do so episode by episode."""

    def __init__(self, config: DictConfig, named: Sequence[str]) -> None:
        self.config = config
        self.planner: Planner | None = build(config.planner) if "planner" in named else None
        self.judge: RewardModel | None = _judge(config)
        self._acts = "inverse_dynamics" in named
        self.inverse_dynamics: InverseDynamics | None = None
        self.where: Hindsight | None = None
        self.robots = Alike(timed=True, acting=self._acts)
        self.unjudged: dict[str, str] = {}
        if self.judge is None and not named:
            raise SailError("There is nothing to measure: name a judge, planner.planner=… or inverse_dynamics=… .")
        self.looks = bool(named)
        self.view = self.planner.view if isinstance(self.planner, NeedsView) else View()
        self.camera = str(config.camera or self.view.camera or USUAL_CAMERA)

    def prepare(self, episode: Episode) -> Episode:
        """Return an episode as the models see it; raise SailError where they cannot."""
        if not self.looks:
            return episode
        check_acts(episode)
        size = self.view.image_size
        if self.config.square:
            episode = squared(episode, self.camera, None if size is None else int(size[0]))
        check_camera(episode, self.camera)
        seen = episode.shape(self.camera)[1:3]
        if size is not None and tuple(size) != tuple(seen):
            raise SailError(
                f"The planner takes images of {size[0]}×{size[1]} pixels and episode {episode.episode_id!r} has "
                f"{seen[0]}×{seen[1]}: square=true takes the middle square of larger ones, as robot=arm does."
            )
        self.robots.check(episode)
        return episode

    def add(self, measured: Measured, episode: Episode, labels: Sequence[Label]) -> None:
        """Measure one more episode."""
        measured.episodes += 1
        self._judge(measured, episode, labels)
        if not self.looks:
            return
        where = self._where()
        if self.planner is not None:
            imagine(self.planner, episode, where, int(self.config.seed), measured.imagined)
        if self.inverse_dynamics is not None:
            size = episode.sent.shape[1]
            names = episode.spec.action.names if episode.spec else ()
            measured.names = names if len(names) == size else [str(number) for number in range(size)]
            infer(self.inverse_dynamics, episode, where, measured.actions)

    def _judge(self, measured: Measured, episode: Episode, labels: Sequence[Label]) -> None:
        if self.judge is None:
            return
        try:
            (verdict,) = judged(self.judge, [episode])
        except SailError as problem:
            self.unjudged[episode.episode_id] = str(problem)
            return
        measured.judged += 1
        measured.successes += verdict.success
        counted = settled([one for one in labels if one.source != verdict.source])
        if counted is not None and counted.probability != 0.5:
            measured.labelled += 1
            measured.agreeing += counted.success == verdict.success

    def _where(self) -> Hindsight:
        """Return where the models are asked; with the first episode their rate is known."""
        if self.where is None:
            took_s = self.robots.step_s
            if not took_s > 0:
                raise SailError("How fast these episodes were recorded is not known, so that models cannot be asked.")
            stride = int(self.config.stride)
            if (stride_s := self.view.stride_s) is not None:
                try:
                    stride = steps_per_frame(stride_s, 1 / took_s)
                except ValueError as problem:
                    raise SailError(str(problem)) from None
            frames = self.view.frames or PLAN_FRAMES
            windows, batch = int(self.config.windows), int(self.config.plan_batch)
            self.where = Hindsight(self.camera, frames, stride, stride_s or stride * took_s, windows, batch)
            if self._acts:
                self.inverse_dynamics = build(self.config.inverse_dynamics, **self._options(took_s))
        return self.where

    def _options(self, took_s: float) -> dict[str, Any]:
        """Return what an inverse dynamics must know of the robot that recorded: its step, and the camera."""
        options: dict[str, Any] = {"step_s": took_s} if "step_s" in self.config.inverse_dynamics else {}
        return options if self.camera == USUAL_CAMERA else {**options, "camera": self.camera}


def _judge(config: DictConfig) -> RewardModel | None:
    """Return who judges the episodes, None for a judge without an opinion; a person does so on the label page."""
    judge: RewardModel = build(config.judge)
    if judge.source == PERSON:
        raise SailError(f"A person judges recorded episodes by looking at them: `sail label store={config.store}`.")
    return None if judge.source == NOBODY else judge


def run(config: DictConfig, arguments: Arguments) -> int:
    """Measure task by task; return 1 where episodes had to be left out."""
    for key in OF_ATTEMPTS:
        if config[key]:
            raise SailError(f"With store= nothing is attempted: leave {key}= out.")
    if config.task and config.tasks:
        raise SailError("Say which tasks of the store: either task=NAME or tasks= with names.")
    if int(config.rollouts) < 1:
        raise SailError(f"rollouts must be at least 1, got {config.rollouts}.")
    heads = {pair.partition("=")[0].partition(".")[0].partition("@")[0].lstrip("+") for pair in arguments.overrides}
    measure = Measure(config, [name for name in MODELS if name in heads])
    episodes = chosen(config, str(config.task or config.tasks), int(config.rollouts), _cameras(measure))
    episodes.prepare = measure.prepare
    console = screen(arguments.as_json)
    measured = {task: Measured(task) for task in episodes.tasks}
    with meter(console) as progress:
        progress.begin("measuring", len(episodes.names))
        for episode in episodes:
            measure.add(measured[episode.task], episode, episodes.store.labels(episode.episode_id))
            progress.advance(episode.episode_id)
        progress.end()
    rows = [one for one in measured.values() if one.episodes]
    if arguments.as_json:
        told = {"records": [one.as_json() for one in rows], "unjudged": measure.unjudged, "left_out": episodes.left}
        print_json(told)
    else:
        _show(console, rows, measure)
    show_left_out(console, episodes.left)
    return EXIT_LEFT_OUT if episodes.left else 0


def _cameras(measure: Measure) -> tuple[str, ...] | None:
    """Return whose pictures are read: the models' camera, none for the simulator's own word, all for other judges."""
    blind = measure.judge is not None and reads_truth(measure.judge)
    if measure.looks and (measure.judge is None or blind):
        return (measure.camera,)
    return () if blind else None


def _show(console: Screen, rows: Sequence[Measured], measure: Measure) -> None:
    columns: dict[str, list[str]] = {
        "task": [one.task for one in rows],
        "episodes": [str(one.episodes) for one in rows],
    }
    if measure.judge is not None:
        columns["success"] = [f"{one.successes}/{one.judged}" if one.judged else "" for one in rows]
        columns["95 %"] = [interval_text(one.successes, one.judged) if one.judged else "" for one in rows]
        columns["agrees"] = [f"{one.agreeing}/{one.labelled}" if one.labelled else "" for one in rows]
    if measure.planner is not None:
        errors = [one.imagined.rms() for one in rows]
        columns["imagined"] = [f"{error[0]:.2f}" if error else "" for error in errors]
        columns["standing still"] = [f"{error[1]:.2f}" if error else "" for error in errors]
    if measure.inverse_dynamics is not None:
        acted = [one.action_error() for one in rows]
        columns["actions"] = ["" if error is None else f"{error:.2f}" for error in acted]
    console.table(list(columns), list(zip(*columns.values(), strict=True)))
    if measure.unjudged:
        name, why = next(iter(measure.unjudged.items()))
        console.print(f"{len(measure.unjudged)} were not judged, such as {name}: {why}")
