"""Turn a run folder into its report."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from robot.core.data import Episode
from robot.core.errors import SailError
from robot.episodes.store import EpisodeStore
from robot.learn.journal import Journal, RunState
from robot.reports.report import ReportRow, chosen_examples, write_report

ABOUT_WHO_ACTS = (
    "task",
    "instruction",
    "robot",
    "policy",
    "planner",
    "inverse_dynamics",
    "max_steps",
    "execute_frames",
)
"""Keys of a run's command that `sail evaluate` needs to have the same robot act in the same way."""


def row_of(record: Mapping[str, Any]) -> ReportRow:
    """Return an iteration's record as a row of the report."""
    memory = record["peak_memory_bytes"]
    return ReportRow(
        iteration=record["iteration"],
        successes=record["successes"],
        rollouts=record["rollouts"],
        exploration_successes=record["exploration"]["successes"],
        exploration_rollouts=record["exploration"]["rollouts"],
        kept=record["collected"],
        minutes=seconds_of(record) / 60,
        memory_gib=memory.get("together", sum(memory.values())) / 2**30,  # older runs: the process and a worker
    )


def seconds_of(record: Mapping[str, Any]) -> float:
    """Return how long an iteration's rollouts and training took, over all its sessions."""
    timings: Mapping[str, float] = record["timings"]
    return sum(value for name, value in timings.items() if name == "rollouts_s" or name.endswith("_training_s"))


def origin_of(journal: Journal) -> tuple[str, str]:
    """Return the command that began a run and the revision it ran at, with those of resumes where they differ."""
    sessions = journal.sessions()
    if not sessions:
        return "not recorded", "not recorded"
    revisions = list(dict.fromkeys(session["revision"] for session in sessions))
    later = f" (resumed at {', '.join(revisions[1:])})" if revisions[1:] else ""
    return sessions[0]["command"], revisions[0] + later


def page_of(folder: Path) -> Path:
    """Return where the page of a run's report is, or will be."""
    return folder / "report" / "index.html"


def report_on(folder: Path) -> Path:
    """Draw the report of a run folder into its `report/` and return the page.

    It names the command and the revision of the run, not those it is drawn with. The examples come from the last
    iteration that has attempts with the true instruction. Raises SailError when the folder holds no run.
    """
    journal = Journal(folder)
    state = journal.state()
    if state is None:
        raise SailError(f"{folder} holds no run: give a folder that `sail improve` made.")
    rows = [row_of(record) for record in journal.iterations()]
    config = folder / "config.yaml"
    return write_report(
        page_of(folder).parent,
        state["settings"]["task"],
        state["settings"]["instruction"],
        rows,
        _examples(journal, EpisodeStore(folder / "episodes"), state["iteration"]),
        config.read_text(encoding="utf-8") if config.exists() else "",
        *origin_of(journal),
        use_of_best(journal, state),
    )


def use_of_best(journal: Journal, state: RunState) -> tuple[int, str] | None:
    """Return the iteration that did best, the later of equals, and the command that uses the models it acted with.

    None before the first success rate and where the starter did best. Models are named as the run's planner has them.
    """
    scored = [record for record in journal.iterations() if record["rollouts"]]
    if not scored:
        return None
    best = max(scored, key=lambda record: (record["successes"] / record["rollouts"], record["iteration"]))["iteration"]
    acted = state["acted"][best] if best < len(state["acted"]) else {}
    models = {name: journal.folder / folder for name, folder in acted.items() if folder is not None}
    config = journal.folder / "config.yaml"
    if not models or not config.exists():
        return None
    learning, node = _learning_planner(OmegaConf.load(config))
    folders = {"planner": f"{learning}.planner", "inverse_dynamics": "inverse_dynamics.folder"}
    changed = {folders[name]: str(folder) for name, folder in models.items() if name in folders}
    if "planner" in models and node.get("finetuned"):
        changed[f"{learning}.adaptation"] = node.finetuned  # what acted since that model was trained
    words = [f"task={state['settings']['task']}"]
    for word in shlex.split(origin_of(journal)[0]):
        key = word.split("=")[0]
        if key.split(".")[0].split("@")[0] in ABOUT_WHO_ACTS and key != "task" and key not in changed:
            words.append(word)
    words += [f"{key}={value}" for key, value in changed.items()]
    return best, shlex.join(["sail", "evaluate", *words])


def _learning_planner(config: Any) -> tuple[str, Any]:
    """Return the key and the settings of the planner which learns: the innermost one."""
    key, node = "planner", config.get("planner", {})
    while isinstance(node.get("planner"), DictConfig):
        key, node = f"{key}.planner", node.planner
    return key, node


def _examples(journal: Journal, store: EpisodeStore, last: int) -> Mapping[str, Episode]:
    for iteration in range(last, -1, -1):
        names = [record["episode"] for record in journal.attempts(iteration) if not record["explored"]]
        if names:
            # Choose by what is cheap to keep in memory, then load only those that are shown.
            light = [_without_pictures(store.load(name)) for name in names]
            chosen = chosen_examples(light)
            return {label: store.load(episode.episode_id) for label, episode in chosen.items()}
    return {}


def _without_pictures(episode: Episode) -> Episode:
    return dataclasses.replace(episode, frames={}, plans=(), states=None)
