"""The verbs of the `sail` command and the help that teaches them; imports nothing heavy."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from robot.cli.keys import Key, component_keys, group_options, keys_of


@dataclass(frozen=True, slots=True)
class Arguments:
    """Hold what followed the verb: its subject ("render" in `sail bench render`), key=value pairs and `--json`."""

    command: str
    subject: str
    overrides: tuple[str, ...]
    as_json: bool
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Verb:
    """Describe one verb: the module that carries it out, its help, and the config behind each of its subjects.

    `subjects` maps a subject to its summary; a verb without any takes none. `configs` maps a subject ("" where there
    is none) to the root YAML file that holds its keys. `flags` maps a flag to what it does. `words` maps a subject to
    the key that a bare word after it is taken for. `aliases` maps a subject to other names of its keys.
    `tasks_are_ours`: `task=` must name one of the fifty, unless the robot takes any words. `asks`: what to say where
    neither a task nor an instruction is given; empty where the verb does without.
    """

    name: str
    summary: str
    examples: tuple[tuple[str, str], ...]
    subjects: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    tasks_are_ours: bool = True
    asks: str = ""

    def run(self, arguments: Arguments) -> int:
        """Import the verb's module and carry it out; return the exit code."""
        module = importlib.import_module(f"robot.cli.{self.name}")
        return cast(Callable[[Arguments], int], module.run)(arguments)


_START = (
    ("sail improve task=drawer-close", "improve at closing a drawer: three rounds, a quarter of an hour, and a report"),
    ("sail improve experiment=quick", "the same, small: under five minutes"),
    ("sail tasks", "the fifty tasks there are"),
)

_VERBS = (
    Verb(
        "improve",
        "roll out, keep what worked, train on it, repeat: the SAIL loop",
        (
            ("sail improve task=drawer-close iterations=3 seed=0", "three rounds at closing a drawer"),
            ("sail improve experiment=quick", "small but true, under five minutes on two cores"),
            ("sail improve task=door-close learner.exploration.share=0", "without borrowing other instructions"),
        ),
        configs={"": "improve"},
        asks="Say what to improve at: sail improve task=NAME. To begin with:",
    ),
    Verb(
        "evaluate",
        "measure success with a Wilson interval, without training",
        (
            ("sail evaluate task=coffee-button rollouts=20", "the starter planner, zero-shot"),
            ("sail evaluate planner=oracle tasks=unseen", "true videos instead of plans: the execution ceiling"),
            ("sail evaluate task=door-close planner.planner=runs/…/planner", "a planner that you trained"),
            ("sail evaluate store=data/imported planner.planner=…", "against what was recorded"),
        ),
        configs={"": "evaluate"},
    ),
    Verb(
        "collect",
        "record scripted demonstrations and task-free play",
        (
            ("sail collect task=door-open demonstrations=25", "25 demonstrations of one task"),
            ("sail collect tasks=seen play=10", "all seen tasks, ten play episodes each as well"),
        ),
        configs={"": "collect"},
    ),
    Verb(
        "label",
        "look at episodes in the browser and say what happened",
        (
            ("sail label", "the episodes of the latest run, those judges doubt first"),
            ("sail label store=data/failures task=door-open", "another store, one task of it"),
        ),
        configs={"": "label"},
        tasks_are_ours=False,
    ),
    Verb(
        "train",
        "train one model from episodes on disk",
        (
            ("sail train planner steps=1500", "the in-domain planner"),
            ("sail train inverse_dynamics kind=frame_pair", "another kind of inverse dynamics"),
            ("sail train planner store=data/imported camera=front rate_hz=30", "from any store"),
        ),
        subjects={
            "autoencoder": "camera frames to the latents that the planner imagines in, and back",
            "planner": "text and first frame to video",
            "inverse_dynamics": "imagined frames to actions",
            "starter": "all of them, from nothing: what `make starter` does",
            "general": "a planner that knows other tasks, to compose with: what `make starter-general` does",
        },
        configs={
            "autoencoder": "train_autoencoder",
            "planner": "train_planner",
            "inverse_dynamics": "train_inverse_dynamics",
            "starter": "train_starter",
            "general": "train_general",
        },
    ),
    Verb(
        "episodes",
        "list, show, mend, replay and hand on what was recorded",
        (
            ("sail episodes list task=drawer-close verdict=success", "what worked"),
            ("sail episodes doctor --repair", "save what a kill left open, mend what is damaged"),
            ("sail episodes replay drawer-close-000000-000", "carry it out again and compare"),
            ("sail episodes export format=lerobot out=exported", "for other tools"),
        ),
        subjects={
            "list": "a table of episodes, which is what `sail episodes` alone prints too",
            "show": "one episode, by its ID, in the Rerun viewer or in words",
            "stats": "how many there are of each task and how they ended",
            "doctor": "find open, truncated, missing and mismatched parts; --repair mends them",
            "replay": "show an episode, by its ID, or carry it out again, and say how far the two differ",
            "export": "write episodes as a data set that other tools read",
            "import": "take in a data set of another tool, by its FOLDER",
        },
        configs={
            "": "episodes_list",
            "list": "episodes_list",
            "show": "episodes_show",
            "stats": "episodes_list",
            "doctor": "episodes_doctor",
            "replay": "episodes_replay",
            "export": "episodes_export",
            "import": "episodes_import",
        },
        flags={"--repair": "with `doctor`: mend what is found, and move aside what cannot be mended"},
        words={"show": "id", "replay": "id", "import": "source"},
        tasks_are_ours=False,
    ),
    Verb(
        "arm",
        "let programs drive the arm wired to this machine, safely; stop it, clear it, look at it",
        (
            ("sail arm serve arm=kinematic", "an arm without an arm, to try out everything else"),
            ("sail arm stop", "stop it from any terminal; it is no safety-rated emergency stop"),
            ("sail arm clear", "go on after a stop or a fault"),
            ("sail arm serve arm=metaworld task=drawer-close", "a simulated arm that the starter planner knows"),
            ('sail arm teleoperate task="close the drawer"', "record a demonstration by hand"),
            ('sail arm teleoperate task="fold it" takeover=leader', "… with a second arm, which it follows"),
            ("sail arm setup arm=so101", "number the servos of a new arm, one at a time"),
            ("sail arm calibrate arm=so101", "find its zeros, ways and directions, moving it by hand"),
            ("sail arm calibrate arm=so101 from=my_arm.json", "or take over the calibration that LeRobot made"),
            ("sail arm keys name=laptop", "keys, which other addresses than 127.0.0.1 need"),
        ),
        subjects={
            "serve": "connect the arm and let one client at a time drive it",
            "keys": "make a key pair for a server or a client",
            "stop": "bring the arm to rest at once, whoever drives it",
            "clear": "end a FAULT, once you know why it was",
            "status": "say what the arm does and who drives it",
            "teleoperate": "drive it by keyboard, SpaceMouse or another arm and record a demonstration",
            "calibrate": "find a servo arm's zeros, ways and directions, and write them down",
            "setup": "number a servo arm's servos one at a time, or set their operating modes",
        },
        configs={
            "serve": "arm_serve",
            "keys": "arm_keys",
            "stop": "arm_ask",
            "clear": "arm_ask",
            "status": "arm_ask",
            "teleoperate": "arm_teleoperate",
            "calibrate": "arm_calibrate",
            "setup": "arm_setup",
        },
        aliases={"serve": {"robot": "arm", "task": "arm.driver.task"}},
        tasks_are_ours=False,
    ),
    Verb(
        "deploy",
        "carry out an instruction on an arm, with a person at hand, and record it",
        (
            ("sail deploy task=drawer-close robot=metaworld_zmq judge=truth", "on a simulated arm, through the wire"),
            ('sail deploy task="close the drawer" deploy.dry_run=true', "show what would be sent, and send nothing"),
            ('sail deploy task="close the drawer" takeover=keyboard', "a person may take over at any time"),
        ),
        configs={"": "deploy"},
        tasks_are_ours=False,
    ),
    Verb(
        "bench",
        "measure the speed of this machine, or how well training options do",
        (
            ("sail bench render --json", "frames a second beside MuJoCo's stock renderer"),
            ("sail bench diffusion data=data/starter", "the planner's training options: some 25 minutes on two cores"),
        ),
        subjects={
            "render": "frames a second, ours and MuJoCo's stock renderer, at several sizes",
            "planner": "milliseconds a plan, alone and in a batch of 8",
            "composition": "what adapting a planner by a general model costs, and where the time goes",
            "rollouts": "minutes for the rollouts of one iteration",
            "store": "episodes written, listed and handed on, and windows a second for training",
            "arm": "how soon an arm moves and stops, and how steady its servo is, over loopback",
            "diffusion": "errors of imagined clips, one training option changed at a time",
        },
        configs={
            name: f"bench_{name}"
            for name in ("render", "planner", "composition", "rollouts", "store", "arm", "diffusion")
        },
    ),
    Verb(
        "report",
        "draw the report of a run again, or the pages of results",
        (
            ("sail report run=runs/drawer-close-seed0-…", "curve, GIFs and the HTML page of a run"),
            ("sail report results", "docs/results.md and docs/results/*.md from docs/results/*.json"),
        ),
        subjects={"results": "write docs/results.md, and a page a topic, from docs/results/*.json"},
        configs={"": "report", "results": "report"},
        flags={"--check": "with `results`: only say whether these pages are up to date"},
    ),
    Verb("tasks", "list the fifty tasks with their instructions", (("sail tasks", "which can be improved at"),)),
    Verb("doctor", "check that this machine can render, train and show", (("sail doctor", "what is missing, if any"),)),
)
VERBS: Mapping[str, Verb] = {verb.name: verb for verb in _VERBS}


def overview() -> str:
    """Return the help of the whole command."""
    lines = [
        "sail: a robot imagines a video of its task, acts it out, keeps what worked and learns from it.",
        "",
        "Usage: sail VERB [KEY=VALUE …] [--json] [--help]",
        "",
        "Verbs",
        *_columns([(verb.name, verb.summary) for verb in VERBS.values()]),
        "",
        "Start with",
        *_columns(
            [
                ("sail doctor", "can this machine do it?"),
                ("sail improve experiment=quick", "the whole loop, small: under five minutes"),
                ("sail tasks", "pick a task"),
                ("sail improve task=drawer-close iterations=3 seed=0", "improve at it, and get a report"),
            ]
        ),
        "",
        "`sail VERB --help` lists the keys of a verb with their defaults. Every key is a line of YAML in configs/;",
        "a run that was stopped goes on when the same command is given again.",
    ]
    return "\n".join(lines)


def question(verb: Verb) -> str:
    """Return what a verb asks where it is not said what to do, with the commands to begin with."""
    return "\n".join(
        [verb.asks, "", *_columns(list(_START)), "", f"`sail {verb.name} --help` lists every setting with its default."]
    )


def usage(verb: Verb, subject: str = "", overrides: Sequence[str] = ()) -> str:
    """Return the help of one verb: subjects, examples, keys with defaults and the choices of each group.

    Of a group that `overrides` chooses from, as `planner=adapted`, it shows the keys of what is chosen.
    """
    chosen = dict(pair.split("=", 1) for pair in overrides if "=" in pair)
    optional = "" in verb.configs or not verb.configs
    word = (f" [{'|'.join(verb.subjects)}]" if optional else f" {'|'.join(verb.subjects)}") if verb.subjects else ""
    keys = " [KEY=VALUE …]" if verb.configs else ""
    lines = [f"sail {verb.name}: {verb.summary}.", "", f"Usage: sail {verb.name}{word}{keys} [--json]"]
    if verb.subjects:
        lines += ["", "Subjects", *_columns(list(verb.subjects.items()))]
    lines += ["", "Examples", *_columns(list(verb.examples))]
    named = [subject] if subject else list(dict.fromkeys(verb.configs))
    for name in named:
        config = verb.configs.get(name)
        if config and not (name and verb.configs.get("") == config):
            lines += _key_lines(f"Keys of `sail {verb.name} {name}`" if name else "Keys", config, chosen)
    flags = [("--json", "print one JSON object on stdout instead of words"), *verb.flags.items()]
    lines += ["", "Flags", *_columns(flags)]
    return "\n".join(lines)


def _key_lines(title: str, config: str, chosen: Mapping[str, str]) -> list[str]:
    own, groups = keys_of(config)
    groups = tuple(
        Key(group.name, option) if (option := chosen.get(group.name, "")) in group_options(group.name) else group
        for group in groups
    )
    lines = ["", title, *_columns([(f"{key.name}={key.default}", key.comment) for key in own])]
    if groups:
        lines += ["", "Components: choose one with GROUP=NAME, set a part of it with GROUP.KEY=VALUE"]
        for group in groups:
            lines.append(f"  {group.name}={group.default}   of {', '.join(group_options(group.name))}")
            lines += _columns([(f"{key.name}={key.default}", key.comment) for key in _group_keys(group)], indent=4)
    return lines


def _group_keys(group: Key) -> Sequence[Key]:
    if group.name == "experiment" or group.default == "null":
        return ()
    keys = component_keys(group.name, group.default)
    return [Key(f"{group.name}.{key.name}", key.default, key.comment) for key in keys]


def _columns(rows: list[tuple[str, str]], indent: int = 2) -> list[str]:
    width = min(max((len(left) for left, _ in rows), default=0), 52)
    return [f"{' ' * indent}{left:<{width}}  {right}".rstrip() for left, right in rows]
