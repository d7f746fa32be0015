"""Reports: what the pictures show is aligned in time, and the page stands alone."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import jinja2
import numpy as np
import pytest
from markupsafe import escape
from PIL import Image as PillowImage

from robot.core.data import Episode, Outcome, PlacedPlan, VideoPlan
from robot.core.provenance.revision import git_revision
from robot.core.text import visible
from robot.reports import templates
from robot.reports.pictures import (
    CurvePoint,
    contact_sheet,
    draw_learning_curve,
    imagined_beside_executed,
    plan_frame,
    write_gif,
)
from robot.reports.report import ReportRow, chosen_examples, interval_text, write_report
from tests.hostile import HOSTILE, obeyed

STEP_S = 0.025
SIZE = 32


def grey(level: int) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), level, np.uint8)


def make_episode(steps: int = 24, success: bool = True, seed: int = 0, spoken: str = "", every: int = 12) -> Episode:
    """Return an episode whose executed frame at step s has grey level s, imagined exactly by its plans."""
    plans = tuple(
        PlacedPlan(
            start, VideoPlan(np.stack([grey(start + 2 * (i + 1)) for i in range(8)]), 2 * STEP_S, "do it", 1, "p")
        )
        for start in range(0, steps, every)
    )
    truth = np.zeros(steps, np.bool_)
    truth[-1] = success
    return Episode(
        task="door-close",
        instruction="close the door",
        robot="fake",
        frames={"corner2": np.stack([grey(step) for step in range(steps + 1)])},
        proprio=np.zeros((steps + 1, 4), np.float32),
        requested=np.zeros((steps, 4), np.float32),
        sent=np.zeros((steps, 4), np.float32),
        times_s=np.arange(steps + 1) * STEP_S + 5.0,
        outcome=Outcome.SUCCESS if success else Outcome.TIMEOUT,
        seed=seed,
        spoken=spoken or "close the door",
        plans=plans,
        success=truth,
    )


def test_the_imagined_frame_is_that_of_the_same_instant():
    episode = make_episode()
    for step in range(0, 25, 2):
        imagined, number = plan_frame(episode, step, "corner2")
        assert imagined[0, 0, 0] == step
        assert number == (0 if step <= 12 else 1)


def test_between_two_imagined_frames_the_nearest_in_time_is_shown():
    episode = make_episode()
    for step in range(1, 24, 2):
        assert abs(int(plan_frame(episode, step, "corner2")[0][0, 0, 0]) - step) == 1


def test_past_its_end_a_plan_shows_its_last_frame():
    episode = make_episode(steps=40, every=100)
    assert plan_frame(episode, 40, "corner2")[0][0, 0, 0] == 16


def test_an_episode_without_plans_shows_black_beside_what_was_executed():
    episode = make_episode()
    bare = Episode(**{name: getattr(episode, name) for name in episode.__slots__} | {"plans": ()})
    frame, number = plan_frame(bare, 10, "corner2")
    assert number == -1
    assert not frame.any()


def test_pictures_end_with_the_last_observation():
    pictures = imagined_beside_executed(make_episode(steps=10), every=4, scale=2)
    assert len(pictures) == 4  # steps 0, 4, 8 and 10
    centre = (8 + SIZE * 2 + 8 + SIZE, 26 + SIZE)
    assert [picture.getpixel(centre)[0] for picture in pictures] == [0, 4, 8, 10]


def test_a_gif_holds_every_picture_and_its_last_one_longer(tmp_path: Path):
    path = write_gif(imagined_beside_executed(make_episode(), every=4), tmp_path / "a.gif", frame_s=0.1, hold_s=1.5)
    with PillowImage.open(path) as gif:
        durations = []
        for number in range(gif.n_frames):
            gif.seek(number)
            durations.append(gif.info["duration"])
    assert durations == [100] * 6 + [1500]


def test_examples_are_ranked_and_a_failure_is_never_called_best():
    quick, slow, slower = make_episode(10), make_episode(20), make_episode(30)
    lost = make_episode(40, success=False)
    chosen = chosen_examples([lost, slower, quick, slow])
    assert chosen == {"best": quick, "median": slow, "failed": lost}
    assert chosen_examples([lost]) == {"failed": lost}
    assert chosen_examples([quick]) == {"best": quick}
    assert chosen_examples([]) == {}


def test_the_page_stands_alone_and_escapes_what_it_quotes(tmp_path: Path):
    rows = [ReportRow(0, 1, 10, 3, 20, 4, 2.5, 3.1), ReportRow(1, 7, 10, 0, 0, 7, 2.4, 3.0)]
    examples = {"best": make_episode(), "failed": make_episode(success=False, spoken="press <the> button")}
    page = write_report(
        tmp_path, "door-close", "close the door", rows, examples, "task: <x>\n", "sail improve", "abc123"
    )
    text = page.read_text(encoding="utf-8")
    assert not re.search(r'(src|href)=(?!"data:)', text)
    assert "<the>" not in text
    assert "task: &lt;x&gt;" in text
    assert "abc123" in text
    assert interval_text(7, 10) in text
    assert text.count("data:image/gif;base64,") == 2
    assert text.count("data:image/png;base64,") == 1
    for name in ("learning_curve.png", "best.gif", "best.png", "failed.gif", "failed.png", "config.yaml"):
        assert (tmp_path / name).stat().st_size > 0


def test_a_run_stopped_before_its_first_figure_still_has_a_report(tmp_path: Path):
    page = write_report(tmp_path, "door-close", "close the door", [], {}, "", "sail improve", "unknown")
    assert "close the door" in page.read_text(encoding="utf-8")
    assert not (tmp_path / "learning_curve.png").exists()


def test_a_curve_needs_a_point(tmp_path: Path):
    with pytest.raises(ValueError, match="at least one iteration"):
        draw_learning_curve({"sail": [CurvePoint(0, 0, 0)]}, "t", tmp_path / "c.png")


def test_several_curves_make_one_picture(tmp_path: Path):
    curves = {name: [CurvePoint(i, i * k, 10) for i in range(3)] for k, name in enumerate(("with", "without", "other"))}
    path = draw_learning_curve(curves, "t", tmp_path / "c.png")
    with PillowImage.open(path) as picture:
        assert picture.width > 600


@pytest.mark.parametrize(("count", "columns", "grid"), [(7, 3, (3, 3)), (2, 6, (2, 1)), (6, 3, (3, 2))])
def test_a_contact_sheet_is_just_large_enough(tmp_path: Path, count: int, columns: int, grid: tuple[int, int]):
    path = contact_sheet([grey(i) for i in range(count)], tmp_path / "s.png", columns=columns)
    with PillowImage.open(path) as sheet:
        assert sheet.size == (grid[0] * (SIZE + 6) + 6, grid[1] * (SIZE + 6) + 6)
        assert sheet.getpixel((6 + 3, 6 + 3))[0] == 0


def test_a_contact_sheet_refuses_what_it_cannot_lay_out(tmp_path: Path):
    with pytest.raises(ValueError, match="one size"):
        contact_sheet([grey(0), grey(0)[:4]], tmp_path / "s.png")
    with pytest.raises(ValueError, match="1 labels"):
        contact_sheet([grey(0), grey(1)], tmp_path / "s.png", labels=["a"])


def test_the_revision_of_a_folder_outside_git_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_revision(tmp_path) == "unknown"


NAMES = [*HOSTILE, "$\\frac{", "a $1 and a $2", "{}", "{title} {body}", "<script>x</script>", "</title><b>", "'\"&amp;"]


@pytest.mark.parametrize("text", NAMES, ids=[ascii(text[:12]) for text in NAMES])
def test_whatever_things_are_called_the_report_is_drawn_and_quotes_it(text: str, tmp_path: Path):
    episode = dataclasses.replace(make_episode(8, spoken=f"told {text}"), instruction=text)
    rows = [ReportRow(0, 1, 10), ReportRow(1, 7, 10)]
    said = text.replace("\ud800", "")  # a configuration comes out of a file in UTF-8
    page = write_report(tmp_path, text, text, rows, {"best": episode}, f"one: {said}\ntwo\n", text, text, (1, text))
    shown = page.read_text(encoding="utf-8")
    quoted = escape(visible(text))
    assert f"<title>{quoted} · SAIL</title>" in shown and f"<h1>{quoted}</h1>" in shown
    assert f"<p class=lead>“{quoted}”" in shown and f"Told: “told {quoted}”." in shown
    assert f"<pre>{quoted}</pre>" in shown and shown.count(f"<code>{quoted}</code>") == 2
    assert "<pre>one: " in shown and "\ntwo\n</pre>" in shown
    assert shown.count("<title>") == shown.count("<h1>") == 1 and "<script>" not in shown and "<b>best</b>" in shown
    assert not obeyed(shown)


def test_a_template_shows_text_in_one_visible_line_and_misses_nothing(tmp_path: Path, monkeypatch):
    templates._environment.cache_clear()
    monkeypatch.setattr(templates, "__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "page.html").write_text("<p title='{{ said }}'>{{ said }}</p>{{ number }}")
    try:
        shown = templates.render("page.html", said="'\x1b[2J\n<b>", number=3)
        assert shown == "<p title='&#39;\\x1b[2J\\n&lt;b&gt;'>&#39;\\x1b[2J\\n&lt;b&gt;</p>3"
        with pytest.raises(jinja2.UndefinedError, match="number"):
            templates.render("page.html", said="")
    finally:
        templates._environment.cache_clear()


def test_a_curve_s_name_is_no_formula(tmp_path: Path):
    curves = {name: [CurvePoint(i, i, 10) for i in range(3)] for name in ("$\\frac{", "a $1 and a $2", "\x1b[2J")}
    assert draw_learning_curve(curves, "$\\nothing$", tmp_path / "c.png", "so $ it $ is").stat().st_size > 0
