"""Whatever somebody else calls things, the screen shows it as text: no markup, no control sequence, no forged line."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import robot.cli
from robot.cli.main import main
from robot.cli.screen import Meter, Screen, Styled, bold, meter, print_json, print_text, screen
from robot.cli.verbs import Arguments, Verb
from robot.core.errors import SailError
from robot.core.text import visible
from robot.core.training import TrainingSettings, train
from tests.hostile import HOSTILE, IDS, obeyed, unstyled
from tests.unit.hardware.serving import until

PROJECT = Path(robot.cli.__file__).parents[2]
hostile = pytest.mark.parametrize("text", HOSTILE, ids=IDS)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture(params=["pipe", "terminal"])
def made(request: pytest.FixtureRequest) -> Screen:
    return Screen(io.StringIO(), width=200, is_terminal=request.param == "terminal")


def shown_on(made: Screen) -> str:
    file = made._console.file
    assert isinstance(file, io.StringIO)
    assert not obeyed(file.getvalue())
    return unstyled(file.getvalue())


@hostile
def test_a_line_is_its_pieces_as_they_are(made: Screen, text: str) -> None:
    made.print(text, bold(text), Styled(text, "green"), f"<{text}>", sep=text)
    pieces = [text, text, text, f"<{text}>"]
    assert shown_on(made) == f"{visible(text.join(pieces))}\n"


@hostile
def test_a_style_is_that_of_the_line_and_never_of_the_text(text: str) -> None:
    made = Screen(io.StringIO(), width=200, is_terminal=True)
    made.print("plain", style="yellow")
    made.print(bold("b"), text)
    file = made._console.file
    assert isinstance(file, io.StringIO)
    assert file.getvalue() == f"\x1b[33mplain\x1b[0m\n\x1b[1mb\x1b[0m {visible(text)}\n"


@hostile
def test_a_table_shows_heads_and_cells_as_they_are(made: Screen, text: str) -> None:
    made.table([["first", text], ["two", text]], [[text, "x"], ["y", text]], left=2)
    lines = [line.rstrip() for line in shown_on(made).split("\n")]
    if len(text) < 100:
        said = visible(text)
        assert [line.split() for line in lines[:2]] == [["first", "two"], [*said.split(), *said.split()]]
        assert lines[2].startswith(said) and lines[2].endswith("x")
        assert lines[3].startswith("y") and lines[3].endswith(said) and lines[4:] == [""]


STATS = ["task", "episodes", "steps", "infrastructure fault", "operator stop", "judged success", "plans"]
NUMBERS = ["1200", "240000", "12", "4", "1100", "9000"]
LONG = "drawer-close-000000-000-recovered-with-a-long-name-that-goes-on"


def table_of(width: int, columns: list[str], row: list[str], left: int, is_terminal: bool = True) -> list[str]:
    made = Screen(io.StringIO(), width=width, is_terminal=is_terminal)
    made.table(columns, [row, ["x"] + [""] * (len(row) - 1)], left)
    return [line.rstrip() for line in shown_on(made).splitlines()]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 300])
@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_table_keeps_to_the_terminal_and_cuts_nothing_off(width: int, left: int) -> None:
    words = [LONG, "close the drawer on the left, please"][: max(left, 1)]
    columns = ["episode", "instruction"][: max(left, 1)] + STATS[1:]
    lines = table_of(width, columns, [*words, *NUMBERS], left)
    if left:
        assert all(len(line) <= max(width, len(LONG)) for line in lines)  # a name is never broken in the short form
    shown = " ".join(lines).split()
    told = [*NUMBERS, *" ".join(STATS[1:]).split(), *(words[1].split() if left == 2 else ())]
    assert "…" not in " ".join(lines) and set(told) <= set(shown)
    if left and width >= 100:
        assert lines[-1] == "x" and "·" not in shown


def test_a_table_becomes_lines_where_its_figures_alone_do_not_fit() -> None:
    assert table_of(44, STATS, ["drawer-close", *NUMBERS], 1) == [
        "drawer-close",
        "  episodes 1200 · steps 240000",
        "  infrastructure fault 12 · operator stop 4",
        "  judged success 1100 · plans 9000",
        "x",
    ]


def test_words_go_on_in_the_next_line_and_figures_stay_whole() -> None:
    assert table_of(44, ["what", "RMS error", "n"], ["a name of some words and more", "0.125", "1200000"], 1) == [
        "                                RMS",
        "what                          error        n",
        "a name of some words and      0.125  1200000",
        "more",
        "x",
    ]


def test_a_table_in_a_pipe_is_as_wide_as_it_is() -> None:
    lines = table_of(80, ["episode", "why"], [LONG, "w" * 90], 2, is_terminal=False)
    assert lines[1] == f"{LONG}  {'w' * 90}"


@hostile
def test_a_line_that_changes_shows_text_as_it_is(text: str) -> None:
    made = Screen(io.StringIO(), width=200, is_terminal=True)
    with made.status(text) as line:
        line.update(f"first {text}", f"second {text}")
        until(lambda: "second" in shown_on(made))
    said = shown_on(made)
    if len(text) < 100:
        assert f"first {visible(text)}" in said and f"second {visible(text)}" in said
    else:
        assert said.count("very long") < 1000  # what lies below it stays on the screen
    elsewhere = Screen(io.StringIO(), is_terminal=False)
    with elsewhere.status(text) as line:
        line.update(text)
    assert shown_on(elsewhere) == ""


@hostile
def test_a_meter_shows_what_is_counted_and_its_notes_as_they_are(text: str) -> None:
    made = Screen(io.StringIO(), width=400, is_terminal=True)
    with meter(made) as progress:
        progress.begin(text, 2)
        progress.advance(f"note {text}")
        until(lambda: "1/2" in shown_on(made))
    if len(text) < 100:
        assert visible(text) in shown_on(made) and f"note {visible(text)}" in shown_on(made)
    elsewhere = Screen(io.StringIO(), is_terminal=False)
    counting = Meter(elsewhere, every_s=0)
    counting.begin(text, 1)
    counting.reach(1, text)
    assert shown_on(elsewhere).rstrip() == f"  {visible(text)}: 1 of 1  {visible(text)}".rstrip()


def counted(made: Screen, monkeypatch: pytest.MonkeyPatch, every_s: float, step_s: float, steps: int) -> str:
    now = [0.0]
    monkeypatch.setattr("robot.cli.screen.time.monotonic", lambda: now[0])
    with meter(made, every_s) as progress:
        progress.begin("planner", steps, 20)
        for step in range(21, steps + 1):
            now[0] += step_s
            progress.reach(step, f"loss {step}")
    return shown_on(made)


def test_in_a_log_a_line_comes_every_so_often_and_a_last_one_however_fast_it_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = counted(Screen(io.StringIO(), is_terminal=False), monkeypatch, 30.0, 1.0, 100)
    assert shown == "  planner: 50 of 100  loss 50\n  planner: 80 of 100  loss 80\n  planner: 100 of 100  loss 100\n"
    shown = counted(Screen(io.StringIO(), is_terminal=False), monkeypatch, 30.0, 0.001, 5000)
    assert shown == "  planner: 5000 of 5000  loss 5000\n"


def test_a_training_is_shown_on_the_meter_that_is_lent_and_on_none_without(tmp_path: Path) -> None:
    made, steps = Screen(io.StringIO(), is_terminal=False), TrainingSettings(steps=3, batch_size=1, log_every=1)

    def once(folder: str) -> None:
        train(
            nn.Linear(1, 1),
            lambda generator: {"x": np.ones((1, 1), np.float32)},
            lambda module, batch, _: (module(batch["x"]).square().mean(), {}),
            tmp_path / folder,
            steps,
            "the line",
        )

    with meter(made, every_s=0):
        once("a")
    lines = shown_on(made).splitlines()
    assert [line.partition("  loss")[0] for line in lines] == [f"  the line: {step} of 3" for step in (1, 2, 3)]
    assert all(float(line.partition("loss ")[2]) >= 0 for line in lines)
    once("b")
    assert shown_on(made).splitlines() == lines


@hostile
def test_json_comes_back_as_it_was_and_no_terminal_obeys_it(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_json({text: [text, "“Schublade” 引き出し"]})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {text: [text, "“Schublade” 引き出し"]}
    assert "“Schublade” 引き出し" in shown and shown.count("\n") == 6 and not obeyed(shown)
    assert visible(shown) == shown.replace("\n", r"\n")


@hostile
def test_help_keeps_its_own_lines_alone(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = text.split("\n")
    print_text(f"Usage\n{text}")
    assert capsys.readouterr().out == "\n".join(["Usage", *map(visible, lines)]) + "\n"


@hostile
def test_an_error_is_one_line_whatever_it_quotes(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(verb: Verb, arguments: Arguments) -> int:
        raise SailError(f"The arm said {text}.")

    monkeypatch.setattr(Verb, "run", fail)
    assert main(["doctor"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("sail: The arm said ") and told.count("\n") == 1 and not obeyed(told)


def test_words_go_to_stderr_where_stdout_is_kept_for_json(capsys: pytest.CaptureFixture[str]) -> None:
    screen(True).print("words")
    screen(False).print()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("\n", "words\n")


def test_an_answer_reaches_its_pipe_while_a_line_changes_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    made = Screen(io.StringIO(), width=80, is_terminal=True)
    with made.status("serving"):
        print_json({"address": 1})
    with meter(made) as progress:
        progress.begin("counting", 2)
        print_json({"address": 2})
    assert capsys.readouterr().out == '{\n  "address": 1\n}\n{\n  "address": 2\n}\n'
    assert "address" not in shown_on(made)


# A later change must not go round all this.

ALONE = {
    "rich": {"robot/cli/screen.py"},
    "print": {"robot/cli/screen.py", "robot/core/text.py"},
    "markup": {"robot/cli/screen.py"},
    "a handler of logs": {"robot/cli/logs.py"},
    "a traceback": {"robot/cli/logs.py"},
    "the stream itself": set[str](),
}
"""What shows text to a person, and the files that alone may do so, because they make it visible first."""
HANDLERS = ("basicConfig", "StreamHandler", "captureWarnings")
TRACEBACKS = ("print_exc", "print_exception", "print_stack", "print_tb", "format_exc", "format_exception")
STREAMS = ("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer.write", "sys.stderr.buffer.write")


def means(source: str) -> Iterator[str]:
    """Yield by which of the means in `ALONE` a file's source shows text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ("rich" for name in names if name.partition(".")[0] == "rich")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            last = called.rpartition(".")[2]
            known = {"print": called == "print", "the stream itself": called in STREAMS}
            known |= {"a handler of logs": last in HANDLERS, "a traceback": last in TRACEBACKS}
            known["markup"] = last in ("from_markup", "render_str", "render_markup")
            known["markup"] |= any(keyword.arg == "markup" for keyword in node.keywords)
            yield from (name for name, is_so in known.items() if is_so)


def offences(root: Path) -> list[str]:
    found = []
    for folder in ("robot", "hardware", "planners", "policies", "sim"):
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            used = set(means(path.read_text(encoding="utf-8")))
            found += [f"{name} uses {one}" for one in sorted(used) if name not in ALONE[one]]
    return found


def test_nothing_shows_text_but_by_what_makes_it_visible() -> None:
    assert offences(PROJECT) == []
    for one, files in ALONE.items():  # and the look-out sees those who may
        assert all(one in set(means((PROJECT / name).read_text(encoding="utf-8"))) for name in files)


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("from rich.console import Console\nConsole().rule('x')", "rich"),
        ("def f():\n    import rich.table", "rich"),
        ("print(name)", "print"),
        ("console.print(name, markup=True)", "markup"),
        ("Text.from_markup(name)", "markup"),
        ("import sys\nsys.stderr.write(name)", "the stream itself"),
        ("logging.basicConfig(level=30)", "a handler of logs"),
        ("traceback.print_exc()", "a traceback"),
    ],
)
def test_the_look_out_sees_what_it_is_there_for(source: str, used: str, tmp_path: Path) -> None:
    (tmp_path / "robot").mkdir()
    (tmp_path / "robot" / "new.py").write_text(source)
    assert f"robot/new.py uses {used}" in offences(tmp_path)
    (tmp_path / "robot" / "new.py").write_text("console.print(name)\nlogger.warning('%s', name)")
    assert offences(tmp_path) == []


def test_markup_is_switched_off_wherever_it_can_be() -> None:
    tree = ast.parse((PROJECT / "robot/cli/screen.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    takers: Callable[[ast.Call], bool] = lambda call: ast.unparse(call.func) in ("Console", "TextColumn")  # noqa: E731
    said = [{one.arg: ast.unparse(one.value) for one in call.keywords}.get("markup") for call in filter(takers, calls)]
    assert len(said) == 3 and set(said) == {"False"}
