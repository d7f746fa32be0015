"""What the documentation says to type is understood: verbs, keys, tasks, components, targets of make, and links."""

from __future__ import annotations

import pkgutil
import re
import runpy
import tomllib
from functools import cache
from pathlib import Path

import pytest

from robot.cli import main as front
from robot.cli.compose import compose, flat_keys
from robot.cli.keys import CONFIGS, group_names, group_options
from robot.cli.verbs import VERBS, Verb
from robot.core.errors import SailError
from robot.reports.results import read_results
from robot.reports.statistics import mean_text
from robot.reports.tables import cell, counts_of, tasks_in
from tests.unit.docs.commands import LINK, PAGES, PLACEHOLDER, ROOT, Command, anchors_in, commands_in, keys_in, paths_in
from tests.unit.robot.cli.test_configs import HOME

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
VARIABLES = set(re.findall(r"\$\(([A-Z_]+)\)", MAKEFILE))


OWN = {"judge=patient"}
"""Components that a page shows how to write."""
OWN_FILES = re.compile(r"configs/\w+/(?:patient|yours|mine|bench|NAME)\.yaml")


@cache
def check(command: Command) -> None:
    """Raise SailError, or fail, where a command would not be understood; nothing is carried out."""
    program, *words = command.words
    words = [word for word in words if word not in OWN]
    if program == "make":
        for word in words:
            name, is_set, _ = word.partition("=")
            assert word == "…" or (name in VARIABLES if is_set else name in TARGETS), f"make knows no {name}"
    elif words and not words[0].startswith("-") and not PLACEHOLDER.search(words[0]):
        words = [*words[1:], "--help"] if words[0] == "help" else words
        assert words[0] in VERBS, f"there is no verb {words[0]!r}"
        check_words(VERBS[words[0]], words[1:], command.copied)


def check_words(verb: Verb, words: list[str], copied: bool) -> None:
    subjects = [word for word in words if word in verb.subjects]
    if verb.subjects and not subjects and "" not in verb.configs and not copied:  # a sentence may speak of all of them
        keys = {key for config in verb.configs.values() for key in flat_keys(compose(config))}
        wrong = [word for word in words if "=" in word and word.partition("=")[0] not in {*keys, *group_names()}]
        assert not wrong, f"no `sail {verb.name}` has {wrong}"
        return
    known = [word for word in words if not PLACEHOLDER.search(word.partition("=")[2] if "=" in word else word)]
    arguments = front.parse(verb, known)
    if "--help" in arguments.flags:
        return
    if verb.configs:
        asked = front._check_settings(verb, arguments)
        assert asked or not copied or known != words, "it does not say what to do"
    # Of a key whose value is left open only the key can be checked.
    left = [word.partition("=")[0] for word in words if "=" in word and word not in known]
    left = [verb.aliases.get(arguments.subject, {}).get(key, key) for key in left]
    chosen = compose(verb.configs[arguments.subject], arguments.overrides) if left else {}
    for key in left:
        assert key in [*flat_keys(chosen), *group_names()], f"`sail {verb.name}` has no key {key!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_understood(page: Path) -> None:
    wrong = []
    for command in commands_in(page.read_text(encoding="utf-8")):
        try:
            check(command)
        except (SailError, AssertionError) as problem:
            wrong.append(f"{' '.join(command.words)}: {str(problem).splitlines()[0]}")
    assert not wrong


@cache
def known_keys() -> frozenset[str]:
    """Return every key of every verb, with every component chosen."""
    configs = [compose(path.stem) for path in CONFIGS.glob("*.yaml")]
    for group in group_names():
        for option in group_options(group):
            inside = ["planner=adapted_animatediff", f"general@planner.general={option}"]
            configs.append(compose(HOME[group], inside if group == "general" else [f"{group}={option}"]))
    return frozenset(key for config in configs for key in flat_keys(config))


def is_code(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_key_that_a_page_speaks_of_exists(page: Path) -> None:
    heads = {key.partition(".")[0] for key in known_keys() if "." in key}
    keys = [key for key in keys_in(page.read_text(encoding="utf-8")) if key.partition(".")[0] in heads]
    assert [key for key in keys if key not in known_keys() and not is_code(key)] == []


@pytest.mark.parametrize(
    "page", [*PAGES, *sorted((ROOT / "docs" / "results").glob("*.md"))], ids=lambda page: page.name
)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_in(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_speaks_of_exists(page: Path) -> None:
    paths = {path for path in paths_in(page.read_text(encoding="utf-8")) if not OWN_FILES.fullmatch(path)}
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_the_readme_is_short_and_its_figures_are_those_of_the_results() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.split()) < 900
    records = [one for one in read_results(ROOT / "docs/results/sail.json").records if one["method"] == "sail"]
    rows = [[task, cell(records, task, 0), cell(records, task, 3)] for task in tasks_in(records)]
    rows.append(["**mean**", *(mean_text(counts_of(records, iteration), "**") for iteration in (0, 3))])
    assert [line for line in readme.splitlines() if line.startswith("| ") and "–" in line] == [
        f"| {' | '.join(cells)} |" for cells in rows
    ]


def test_the_picture_of_the_house_shows_the_floors_that_are_kept_apart() -> None:
    drawing = runpy.run_path(str(ROOT / "docs/draw_architecture.py"))
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    kept = [sorted(room.strip().replace(".", "/") for room in floor.split("|")) for floor in contracts[0]["layers"]]
    shown = [sorted(room for room, _ in rooms if room != "configs") for *_, rooms in drawing["FLOORS"]]
    assert shown == kept
    assert (ROOT / "docs/architecture.svg").read_text(encoding="utf-8") == drawing["draw"]()


def test_commands_are_found_wherever_a_page_has_them() -> None:
    page = (
        "Give `sail tasks` or `make\ncheck`, not `sails`.\n\n```sh\nMUJOCO_GL=egl .venv/bin/sail improve \\\n"
        "    task=reach seed=1   # a comment with sail in it\nfor x in a b; do\n    sail evaluate task=$x > log; done\n"
        "cd x && make improve | tee log\n```\n\n```python\nsail = 3\n```\n\n`sail arm stop|clear`\n"
    )
    assert commands_in(page) == [
        Command(("sail", "improve", "task=reach", "seed=1"), True),
        Command(("sail", "evaluate", "task=$x"), True),
        Command(("make", "improve"), True),
        Command(("sail", "tasks"), False),
        Command(("make", "check"), False),
        Command(("sail", "arm", "stop"), False),
        Command(("sail", "arm", "clear"), False),
    ]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("sail improove task=reach", "no verb 'improove'"),
        ("sail improve task=raech", "Did you mean"),
        ("sail improve task=reach seeds=1", "Did you mean seed"),
        ("sail improve task=reach seeds=…", "no key 'seeds'"),
        ("sail improve seed=1", "what to do"),
        ("sail evaluate planner=orcale tasks=unseen", "Did you mean oracle"),
        ("sail train plannr", "Did you mean planner"),
        ("sail tasks --jsn", "Did you mean --json"),
        ("make imprve", "knows no imprve"),
        ("make TASKS=x improve", "knows no TASKS"),
    ],
)
def test_a_command_that_is_none_is_found(words: str, complaint: str) -> None:
    with pytest.raises((SailError, AssertionError), match=complaint):
        check(Command(tuple(words.split()), True))


def test_every_page_is_read() -> None:
    assert {"README.md", "quickstart.md", "results.md"} <= {page.name for page in PAGES}
    assert sum(len(commands_in(page.read_text(encoding="utf-8"))) for page in PAGES) > 150
