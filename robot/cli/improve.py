"""`sail improve`: the SAIL loop on one task, from the first rollout to the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from robot.cli.assembly import (
    check_words,
    exploration_of,
    instruction_of,
    inverse_dynamics_learner,
    models_of,
    open_pool,
    planner_learner,
    policy_of,
    rollout_settings,
    sampler_of,
    without_demonstrations,
)
from robot.cli.compose import build, compose, config_hash, plain, to_yaml
from robot.cli.provenance import Origin
from robot.cli.recording import episode_name, record_missing, requests_for, store_of
from robot.cli.reporting import origin_of, page_of, report_on, row_of, seconds_of
from robot.cli.screen import Meter, Screen, bold, meter, print_json, screen
from robot.cli.verbs import Arguments
from robot.cli.wording import takes_any_words, task_of
from robot.core.data import Episode
from robot.core.errors import SailError
from robot.core.files import FolderLock, write_whole
from robot.core.protocols import Planner, Trainable
from robot.core.provenance.revision import program_revision
from robot.episodes.arbitration import worked
from robot.episodes.store import EpisodeStore, StoredEpisodes
from robot.learn.finetuning import trained_part
from robot.learn.improvement import adaptation_of
from robot.learn.journal import Journal
from robot.learn.run import ANOTHER_RUN, LoopEvent
from robot.learn.sail import SailLoop, SailSettings
from robot.reports.report import HEADINGS
from robot.reports.results import add_results
from robot.reports.statistics import interval_text
from sim.tasks import SEEN

WIDTHS = (9, 8, 14, 11, 5, 8, 13)


def run(arguments: Arguments) -> int:
    """Improve at a task, going on where an earlier run with the same settings stopped; end with a report."""
    config = compose("improve", arguments.overrides)
    instruction = instruction_of(config)
    folder = run_folder(config)
    with FolderLock(folder, ANOTHER_RUN):
        pass  # who works at the run already is said before models are loaded and robots opened
    console = screen(arguments.as_json)
    origin = Origin(arguments.command)
    with meter(console) as progress:
        narrator = Narrator(console, progress, Journal(folder), instruction)
        records = improve(config, instruction, folder, narrator, progress, arguments.command)
    page = report_on(folder)
    if config.save:
        add_results(Path(config.save), records, "SAIL", _run_origin(Journal(folder), records, origin))
    if arguments.as_json:
        print_json({"run": str(folder), "report": str(page), "iterations": records})
    else:
        console.print()
        console.print("The report is in", bold(page))
    return 0


def _run_origin(journal: Journal, records: Sequence[Mapping[str, Any]], session: Origin) -> dict[str, Any]:
    """Return where a run's figures come from: the run itself, however often it was resumed or only drawn again."""
    command, revision = origin_of(journal)
    last = session.so_far()
    took_s = max(last["wall_time_s"], round(sum(map(seconds_of, records))))
    return last | {"command": command, "revision": revision, "wall_time_s": took_s}


def run_folder(config: DictConfig) -> Path:
    """Return the folder of the run that a configuration describes: the same one each time."""
    return Path(config.runs) / f"{task_of(config)[0]}-seed{config.seed}-{config_hash(config)}"


def improve(
    config: DictConfig, instruction: str, folder: Path, narrator: Narrator, progress: Meter, command: str
) -> list[dict[str, Any]]:
    """Put the loop together and run it through; return the record of every iteration."""
    described = to_yaml(config)
    models = models_of(config)
    task = task_of(config)[0]
    if takes_any_words(config) and not config.demonstrations_from:
        narrator.say(
            "No demonstrations are mixed in, and successes keep their own tempo: on an arm those of MetaWorld would "
            "mislead. demonstrations_from=data/teleoperated, say, names a store of yours."
        )
        config = without_demonstrations(config)
    if models.planner is not None and (change := what_will_act(config, models.planner.current)) is not None:
        narrator.say(change)
    pools = open_pool(config, task)
    tracker = "tensorboard" if config.tensorboard else ""

    @cache
    def seen() -> Sequence[Episode]:
        return seen_demonstrations(config, progress, narrator.say)

    def hear(event: LoopEvent) -> None:
        # Only now is the folder this process's own, and all in place that can be refused.
        if event.kind == "run_started":
            write_whole(folder / "config.yaml", described)
            if not event.data["done"]:
                Journal(folder).add_session({"command": command, "revision": program_revision()})
        narrator.hear(event)

    try:
        policy = policy_of(config, models, pools.spec)
        if models.planner is not None:
            check_words(models.planner.current, instruction)
        loop = SailLoop(
            folder=folder,
            settings=SailSettings(
                task=task,
                instruction=instruction,
                iterations=int(config.iterations),
                rollouts=int(config.rollouts),
                seed=int(config.seed),
                accumulate=bool(config.learner.accumulate),
                finetune_from=config.learner.finetune_from,
                enough=float(config.learner.enough),
                keep_above=float(config.learner.keep_above),
                sampler=sampler_of(config, instruction),
                rollout=rollout_settings(config),
                method=config.method,
            ),
            make_pool=pools.make,
            policy=policy,
            judge=build(config.judge),
            store=EpisodeStore(folder / "episodes"),
            planner_learner=planner_learner(config, models.planner, seen, pools.spec.action.rate_hz, tracker),
            inverse_dynamics_learner=inverse_dynamics_learner(
                config, models, seen, pools.spec.camera_matrices, tracker
            ),
            exploration=exploration_of(config, instruction),
            on_event=hear,
        )
        return loop.run()
    finally:
        pools.close()


def what_will_act(config: DictConfig, planner: Planner) -> str | None:
    """Return in words what plans before and after the first fine-tuning, or None where that is the same adaptation."""
    part = trained_part(planner)
    if not config.learner.planner.train or part is None or not isinstance(planner, Trainable):
        return None
    before, after = map(adaptation_of, (planner, planner.with_in_domain(part)))
    return None if before == after else f"Plans come from {before} until the planner is fine-tuned, then from {after}."


def seen_demonstrations(config: DictConfig, progress: Meter, say: Callable[[str], object]) -> Sequence[Episode]:
    """Return the demonstrations that training mixes in: of the store named, or of seen tasks, recording those missing.

    On an arm, without a store, there are none. `say` tells of another run that records them, which is waited for.
    """
    if config.demonstrations_from:
        return demonstrations_in(EpisodeStore(Path(config.demonstrations_from)))
    if takes_any_words(config):
        return ()
    robot = plain(config.robot)
    options: dict[str, object] = {name: robot[name] for name in ("image_size", "action_repeat") if name in robot}
    options["cameras"] = tuple(robot.get("cameras", ("corner2",)))
    requests = requests_for(SEEN, "demonstrations", int(config.demonstrations), 1, options)
    store = store_of(config.data, "demonstrations")
    record_missing(store, requests, progress, "recording demonstrations of the seen tasks", waiting=say)
    return StoredEpisodes(store, [episode_name(request) for request in requests])


def demonstrations_in(store: EpisodeStore) -> Sequence[Episode]:
    """Return a store's episodes that worked, by the word that counts; raise SailError where there are none."""
    names = [name for name in store.ids() if worked(store.load(name, plans=False, cameras=()), store.labels(name))]
    if not names:
        raise SailError(
            f"No episode in {store.folder} is said to have worked: record some with `sail arm teleoperate`, or leave "
            "demonstrations_from out."
        )
    return StoredEpisodes(store, names)


class Narrator:
    """Tell a person at the terminal what the loop does: a bar while it works, a line of a table an iteration."""

    def __init__(self, console: Screen, progress: Meter, journal: Journal, instruction: str) -> None:
        self._console = console
        self._progress = progress
        self._journal = journal
        self._instruction = instruction
        self._counts = {"true": [0, 0], "exploring": [0, 0]}
        self._headed = False

    def say(self, sentence: str) -> None:
        """Tell a sentence."""
        self._console.print(sentence)

    def hear(self, event: LoopEvent) -> None:
        """Show one event of the loop."""
        handler = getattr(self, f"_{event.kind}", None)
        if handler is not None:
            handler(event.iteration, event.data)

    def _run_started(self, iteration: int, data: Mapping[str, Any]) -> None:
        self._console.print(f"“{self._instruction}” in", bold(self._journal.folder))
        self._console.print("Its report, drawn anew after every round:", page_of(self._journal.folder))
        earlier = self._journal.iterations()
        if data["resumed"]:
            self._console.print(f"Going on at iteration {iteration}.")
        for record in earlier:
            self._line(record)

    def _iteration_started(self, iteration: int, data: Mapping[str, Any]) -> None:
        self._counts = {"true": [0, 0], "exploring": [0, 0]}
        done = self._journal.attempts(iteration)
        self._progress.begin(f"iteration {iteration}: rollouts", int(data["rollouts"]))
        for record in done:
            self._attempt_finished(iteration, record)

    def _attempt_finished(self, iteration: int, data: Mapping[str, Any]) -> None:
        counts = self._counts["exploring" if data["explored"] else "true"]
        counts[0] += bool(data["truth"] if data["truth"] is not None else data.get("kept", False))
        counts[1] += 1
        told = ", ".join(f"{name} {good}/{total}" for name, (good, total) in self._counts.items() if total)
        self._progress.advance(f"success: {told}")

    def _rollouts_finished(self, iteration: int, data: Mapping[str, Any]) -> None:
        self._progress.end()
        rate = interval_text(data["successes"], data["rollouts"])
        said = " with the true instruction"
        explored = data["exploration"]
        if explored["rollouts"]:
            said += f", {explored['successes']} of {explored['rollouts']} exploring"
            best = explored["arms"][0] if explored["arms"] else None
            if best and best["successes"]:
                said += f" (best: “{best['instruction']}”)"
        self._console.print(f"iteration {iteration}: success ", bold(rate), said, sep="")

    def _training_started(self, iteration: int, data: Mapping[str, Any]) -> None:
        what = "the planner" if data["learner"] == "planner" else "inverse dynamics"
        source = f"{data['successes']} successes of {data['rollouts']} rollouts"
        self._console.print(f"iteration {iteration}: training {what} ({source})", style="dim")

    def _iteration_finished(self, iteration: int, data: Mapping[str, Any]) -> None:
        self._line(data)
        try:
            report_on(self._journal.folder)
        except (SailError, OSError) as problem:  # a run of hours does not end for a picture
            self._console.print(f"The report could not be drawn: {problem}", style="yellow")

    def _line(self, record: Mapping[str, Any]) -> None:
        if not self._headed:
            self._headed = True
            self._console.print(_aligned(HEADINGS), style="dim")
        self._console.print(_aligned(row_of(record).cells()))


def _aligned(cells: Sequence[str]) -> str:
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
