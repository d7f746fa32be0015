"""`sail evaluate`: measure success with a Wilson interval, over stated seeds and without training.

Of a store of recorded episodes nothing is attempted (`robot.cli.hindsight`); on an arm it says what a task asks for.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from planners.words import OPPOSITE
from robot.cli import hindsight
from robot.cli.assembly import Models, models_of, open_pool, policy_of, rollout_settings
from robot.cli.compose import build, compose, named
from robot.cli.provenance import Origin
from robot.cli.screen import Meter, Screen, bold, meter, print_json, screen
from robot.cli.selection import existing_store
from robot.cli.verbs import Arguments
from robot.cli.wording import instruction_in, known_tasks, name_of, takes_any_words, task_of
from robot.core.data import Episode
from robot.core.errors import SailError, UnknownNameError
from robot.core.protocols import SaysMethod
from robot.learn.evaluation import EvaluationRecord, evaluate
from robot.reports.pictures import imagined_beside_executed, succeeded, write_gif
from robot.reports.report import chosen_examples, write_contact_sheet
from robot.reports.results import add_results
from robot.reports.statistics import interval_text, mean_interval, mean_over_tasks, mean_text
from robot.rollouts.rollout import Attempt
from sim.tasks import INSTRUCTIONS, tasks_of


def run(arguments: Arguments) -> int:
    """Attempt every task asked for and print its success as soon as it is known; then the mean."""
    config = compose("evaluate", arguments.overrides)
    if config.store and not takes_any_words(config):
        return hindsight.run(config, arguments)
    tasks = tasks_asked(config)
    method = config.method or _method(config)
    console = screen(arguments.as_json)
    origin = Origin(arguments.command)
    records: list[EvaluationRecord] = []
    with meter(console) as progress:
        models = models_of(config)
        for task, instruction in tasks.items():
            record = _evaluate(config, task, instruction, models, method, progress)
            records.append(record)
            rate = interval_text(record["successes"], record["rollouts"])
            faults = f", {record['faults']} faults" if record["faults"] else ""
            console.print(f"{task:<28} {record['successes']:>3}/{record['rollouts']:<3} {rate:>14}{faults}")
            if config.save:
                add_results(Path(config.save), [record], "Evaluation", origin.so_far())
    _conclude(console, records, arguments.as_json)
    return 0


def tasks_asked(config: DictConfig) -> dict[str, str]:
    """Return what is to be evaluated: the name of each task with what it asks for; on an arm one, in any words."""
    if bool(config.task) == bool(config.tasks):
        raise SailError("Say what to evaluate: either task=NAME, or tasks= with names, seen, unseen, tuning or all.")
    if int(config.rollouts) < 1:
        raise SailError(f"rollouts must be at least 1, got {config.rollouts}.")
    if takes_any_words(config):
        if config.tasks:
            raise SailError('On an arm one task is evaluated at a time: task="close the drawer".')
        if config.store:
            return _task_of_store(config)
        task, instruction = task_of(config)
        return {task: instruction}
    if config.tasks and config.instruction:
        raise SailError("An instruction goes with one task: task=NAME instruction='…'.")
    if config.instruction:
        task, instruction = task_of(config)
        return {task: instruction}
    return {task: INSTRUCTIONS[task] for task in tasks_of(config.task or config.tasks)}


def _task_of_store(config: DictConfig) -> dict[str, str]:
    """Return the task of a store that is asked for, with what its episodes say it asks for, or what `instruction` does.

    Raises UnknownNameError, with the store's nearest, for one that it does not have.
    """
    store, task = existing_store(config), str(config.task)
    known = known_tasks(store)
    if task not in known:
        raise UnknownNameError("task", task, known)
    words = str(config.instruction).strip() or instruction_in(store, task)
    return {name_of(task): words}


def _method(config: DictConfig) -> str:
    """Return the method's name in tables: what the policy or planner says, as `oracle_pose_tracking`, else `zero_shot`.

    That is followed by what an adapted planner does, how strongly, and how many plans were chosen from:
    `zero_shot_ipa_0.3_best_of_4`; by who takes turns and for how many seconds; and by `opposite` as negative prompt.
    Never the loop's own `sail`: two measurements under one name replace each other in a file of results. What else is
    changed, such as the guidance scale, wants a name by `method=`.
    """
    if said := _method_of(config.policy):
        return said
    node, suffix = config.planner, ""
    if "candidates" in node:
        node, suffix = node.planner, f"_best_of_{node.candidates}"
    innermost = node.planner if "turn_s" in node else node
    if OmegaConf.select(innermost, "settings.negative_prompt") == OPPOSITE:
        suffix = f"_opposite{suffix}"
    if "turn_s" in node:
        return f"zero_shot_turns_{'_'.join(node.adaptations)}_{float(node.turn_s):g}{suffix}"
    if said := _method_of(innermost):
        return said.format(inverse_dynamics=_method_of(config.inverse_dynamics)) + suffix
    adaptation = str(node.get("adaptation", "in_domain"))
    adapted = {"in_domain": "", "general": "_general"}.get(
        adaptation, f"_{adaptation}_{float(node.get('strength', 0)):g}"
    )
    return f"zero_shot{adapted}{suffix}"


def _method_of(node: DictConfig) -> str:
    """Return what a component, which is not made for that, says that results call it; empty where it does not say."""
    component = named(node)
    return component.method if isinstance(component, SaysMethod) else ""


def _evaluate(
    config: DictConfig,
    task: str,
    instruction: str,
    models: Models,
    method: str,
    progress: Meter,
) -> EvaluationRecord:
    starts = [100_000 + 1_000 * int(config.seed) + number for number in range(int(config.rollouts))]
    counts = [0, 0]
    finished: list[Episode] = []

    def ended(_: int, attempt: Attempt, episode: Episode) -> None:
        counts[0] += succeeded(episode)
        counts[1] += 1
        progress.advance(f"success: {counts[0]}/{counts[1]}")
        if config.gifs:
            finished.append(episode)

    progress.begin(task, len(starts))
    pools = open_pool(config, task)
    pool = pools.make()
    try:
        record = evaluate(
            pool,
            policy_of(config, models, pool.spec),
            task,
            instruction,
            starts,
            rollout_settings(config),
            judge=build(config.judge),
            method=method,
            iteration=int(config.iteration),
            seed=int(config.seed),
            on_episode=ended,
        )
    finally:
        pool.close()
        progress.end()
    if config.gifs:
        _draw(finished, Path(config.gifs), task)
    return record


def _draw(episodes: list[Episode], folder: Path, task: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, episode in chosen_examples(episodes).items():
        write_gif(imagined_beside_executed(episode), folder / f"{task}-{name}.gif")
        write_contact_sheet(episode, folder / f"{task}-{name}.png")


def _conclude(console: Screen, records: list[EvaluationRecord], as_json: bool) -> None:
    counts = [(record["task"], record["successes"], record["rollouts"]) for record in records]
    counted = [count for count in counts if count[2]]
    if len(records) > 1 and counted:
        console.print(bold(f"{f'mean over {len(counted)} tasks':<28} {'':>7} {mean_text(counted):>14}"))
    if as_json:
        mean, interval = (mean_over_tasks(counted), mean_interval(counted)) if counted else (None, None)
        print_json({"records": records, "mean": mean, "mean_interval": interval})
