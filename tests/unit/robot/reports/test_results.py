"""The page of results: complete, with failures, and the same from the same files."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from robot.core.errors import SailError
from robot.reports.front import draw_curve
from robot.reports.page import check_results, results_page, results_pages, write_results
from robot.reports.results import add_results, read_results
from robot.reports.statistics import interval_text, mean_text
from tests.hostile import HOSTILE, IDS, obeyed


def record(method: str, iteration: int, task: str, successes: int, rollouts: int, seed: int = 0) -> dict[str, object]:
    counts = {"successes": successes, "rollouts": rollouts}
    return {"method": method, "iteration": iteration, "task": task, "seed": seed, **counts}


def write(folder: Path, name: str, records: list[dict[str, object]], **meta: object) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"meta": meta, "records": records}), encoding="utf-8")
    return path


def test_every_task_and_failure_is_on_the_page_and_the_mean_weighs_tasks_alike(tmp_path: Path):
    records = [
        record("sail", 0, "door-close", 0, 20),
        record("sail", 0, "reach-wall", 10, 10),
        record("sail", 1, "door-close", 5, 20),
        record("oracle_pose_tracking", 0, "door-close", 19, 20),
    ]
    page = results_page([read_results(write(tmp_path, "sail", records, command="sail evaluate", revision="abc"))])
    assert f"| door-close | 0/20 · {interval_text(0, 20)} | 5/20 · {interval_text(5, 20)} |" in page
    assert f"| reach-wall | 10/10 · {interval_text(10, 10)} | – |" in page
    assert f"| **mean** | {mean_text([('a', 0, 20), ('b', 10, 10)], '**')} | **25.0 %** (11–47) of 1 task |" in page
    assert "| oracle_pose_tracking | 95.0 % (76–99) of 1 task | – |" in page
    assert "`sail evaluate`" in page
    assert "`abc`" in page


def test_seeds_of_a_task_are_added_up(tmp_path: Path):
    records = [record("sail", 0, "door-close", s, 10, seed=s) for s in (1, 2, 3)]
    page = results_page([read_results(write(tmp_path, "sail", records))])
    assert f"6/30 · {mean_text([('door-close', s, 10) for s in (1, 2, 3)])}" in page  # and not Wilson's of 30
    assert "(3 seeds)" in page


def test_benchmarks_become_plain_tables(tmp_path: Path):
    page = results_page([read_results(write(tmp_path, "bench", [{"size": 64, "fps": 118.25}, {"size": 128}]))])
    assert "| size | fps |" in page
    assert "| 64 | 118.2 |" in page
    assert "| 128 |  |" in page


def test_a_benchmark_shows_spread_beside_the_mean_and_its_details_as_words(tmp_path: Path):
    records = [{"variant": "no delta", "latent_rmse": 0.5, "latent_rmse_sd": 0.0312, "steps": 1500}]
    path = write(tmp_path, "diffusion", records, command="sail bench", parameters={"denoiser": 16_000_000}, machine={})
    page = results_page([read_results(path)])
    assert "| variant | latent rmse | steps |" in page
    assert "| --- | ---: | ---: |" in page
    assert "| no delta | 0.5 ± 0.0312 | 1,500 |" in page
    assert "- parameters: denoiser 16,000,000" in page
    assert "machine" not in page


def test_methods_with_iterations_are_compared_first_and_those_without_share_a_table(tmp_path: Path):
    records = [
        *(record("sail", i, task, 5 * i, 10, seed) for i in (0, 1) for task in ("a", "b") for seed in (0, 1)),
        *(record("sail_no_exploration", i, task, i, 10) for i in (0, 1) for task in ("a", "b")),
        *(record("zero_shot", 0, task, 1, 20) for task in ("a", "b")),
        record("oracle_frame_pair", 0, "a", 20, 20),
    ]
    lines = results_page([read_results(write(tmp_path, "sail", records))]).splitlines()
    means = lines.index("## Mean over tasks")
    assert lines[means + 4] == "| sail (2 seeds) | 0.0 % (0–12) | 50.0 % (35–65) |"
    ten = [(task, 1, 10) for task in "ab"]
    assert f"| sail_no_exploration | 0.0 % (0–15) | {mean_text(ten)} |" in lines
    assert lines.index("## sail (2 seeds)") < lines.index("## sail_no_exploration") < lines.index("## Without a loop")
    assert "| seed 1 | 0.0 % (0–15) | 50.0 % (30–70) |" in lines
    assert "| task | zero_shot | oracle_frame_pair |" in lines
    assert f"| b | 1/20 · {interval_text(1, 20)} | – |" in lines
    assert "| **mean** | **5.0 %** (0–12) | **100.0 %** (84–100) of 1 task |" in lines


def run(command: str, revision: str = "abc", seconds: int = 100, hardware: str = "two cores") -> dict[str, object]:
    return {"command": command, "revision": revision, "hardware": hardware, "wall_time_s": seconds}


def test_every_command_that_figures_come_from_is_named_with_its_revision_and_time(tmp_path: Path):
    path = tmp_path / "zero.json"
    add_results(path, [record("zero_shot", 0, "a", 1, 2)], "Evaluation", run("sail evaluate task=a", seconds=30))
    add_results(path, [record("zero_shot", 0, "b", 1, 2)], "Evaluation", run("sail evaluate task=b", "def", 90))
    page = results_page([read_results(path)])
    assert page.startswith("# Evaluation\n")
    assert "- hardware: two cores" in page
    assert "| command | revision | wall time |" in page
    assert "| `sail evaluate task=a` | `abc` | 30 s |" in page
    assert "| `sail evaluate task=b` | `def` | 1 min 30 s |" in page


def test_one_command_that_adds_task_after_task_is_one_run_with_its_last_time(tmp_path: Path):
    path = tmp_path / "zero.json"
    for number, task in enumerate("abc"):
        add_results(path, [record("zero_shot", 0, task, 1, 2)], "E", run("sail evaluate", seconds=100 * (number + 1)))
    result = read_results(path)
    assert result.runs == [run("sail evaluate", seconds=300)]
    assert [one["run"] for one in result.records] == [0, 0, 0]
    assert "- wall time: 5 min 0 s" in results_page([result])


def test_a_run_is_forgotten_once_all_its_records_are_replaced(tmp_path: Path):
    path = tmp_path / "zero.json"
    add_results(path, [record("m", 0, task, 0, 2) for task in "ab"], "E", run("sail evaluate tasks=a,b"))
    add_results(path, [record("m", 0, "a", 1, 2)], "E", run("sail evaluate task=a", "def"))
    assert [one["command"] for one in read_results(path).runs] == ["sail evaluate tasks=a,b", "sail evaluate task=a"]
    add_results(path, [record("m", 0, "b", 2, 2)], "E", run("sail evaluate task=b", "def"))
    result = read_results(path)
    assert [one["command"] for one in result.runs] == ["sail evaluate task=a", "sail evaluate task=b"]
    assert [(one["task"], one["successes"], one["run"]) for one in result.records] == [("a", 1, 0), ("b", 2, 1)]


def test_files_written_before_records_named_their_run_keep_all_their_runs(tmp_path: Path):
    path = write(tmp_path, "old", [record("m", 0, task, 1, 2) for task in "ab"], runs=[run("one"), run("two")])
    add_results(path, [record("m", 0, "c", 1, 2)], "E", run("three"))
    result = read_results(path)
    assert [one["command"] for one in result.runs] == ["one", "two", "three"]
    assert ["run" in one for one in result.records] == [False, False, True]
    add_results(path, [record("m", 0, "a", 2, 2)], "E", run("two", "def"))
    assert [one["command"] for one in read_results(path).runs] == ["one", "three", "two"]


def test_success_counts_do_not_go_into_the_file_of_a_benchmark(tmp_path: Path):
    path = write(tmp_path, "render", [{"size_px": 64}])
    with pytest.raises(SailError, match="another kind"):
        add_results(path, [record("m", 0, "a", 1, 2)], "E", run("one"))
    assert read_results(path).records == [{"size_px": 64}]


def folder_of_results(folder: Path) -> Path:
    """Make files of every kind: the loop, a benchmark and two of tuning."""
    folder.mkdir()
    write(folder, "sail", [record("sail", i, task, 3 * i, 10) for i in (0, 1, 2) for task in ("x", "y")], what="SAIL")
    write(folder, "zero", [record("m", 0, "x", 1, 2)], what="Zero", runs=[run("sail evaluate task=x save=zero.json")])
    write(
        folder, "speed", [{"size": 64, "fps": 118.25, "fps_sd": 2}, {"size": 128, "fps": 50}], what="Benchmark: speed"
    )
    for name in ("tuning", "tuning-more"):
        write(folder, name, [{"tried": name, "successes": 1}], what=f"Tried: {name}")
    return folder


def test_a_file_of_successes_has_a_page_and_a_curve_and_others_share_one(tmp_path: Path):
    folder, front = folder_of_results(tmp_path / "results"), tmp_path / "results.md"
    write_results(folder, front)
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".json") == [
        *("benchmarks.md", "sail.md", "sail.svg", "tuning.md", "zero.md"),
    ]
    tuning = (folder / "tuning.md").read_text(encoding="utf-8")
    assert tuning.startswith("# What was tried on tuning tasks\n")
    assert tuning.index("## Tried: tuning\n") < tuning.index("## Tried: tuning-more\n")
    assert "- [SAIL](results/sail.md)\n- [Benchmarks](results/benchmarks.md)\n" in front.read_text(encoding="utf-8")


def test_pages_out_of_date_missing_or_left_over_are_found_and_those_of_others_left_alone(tmp_path: Path):
    folder, front = folder_of_results(tmp_path / "results"), tmp_path / "results.md"
    write_results(folder, front)
    pages = {path: path.read_bytes() for path in [front, *folder.glob("*.md"), *folder.glob("*.svg")]}
    check_results(folder, front)
    for path, content in pages.items():
        path.write_text("changed", encoding="utf-8")
        with pytest.raises(SailError, match=f"{path.name} is out of date"):
            check_results(folder, front)
        path.write_bytes(content)
    (folder / "mine.md").write_text("my own notes", encoding="utf-8")
    check_results(folder, front)
    (folder / "zero.json").unlink()
    with pytest.raises(SailError, match="out of date"):
        check_results(folder, front)
    write_results(folder, front)
    assert not (folder / "zero.md").exists() and (folder / "mine.md").exists()
    check_results(folder, front)


def test_the_front_page_looks_its_figures_up(tmp_path: Path):
    folder, front = folder_of_results(tmp_path / "results"), tmp_path / "results.md"
    source = folder / "front.jinja"
    source.write_text(
        '{{ mean("sail", "sail", 2) }}\n{{ rate("sail", "sail", "x", 1) }}\n{{ figure("speed", "fps", size=64) }}\n'
        '{{ command("zero", "m") }}\n{{ rows("sail", "sail") }}\n',
        encoding="utf-8",
    )
    write_results(folder, front)
    shown = front.read_text(encoding="utf-8").splitlines()
    assert shown[:4] == [
        mean_text([("x", 6, 10), ("y", 6, 10)]),
        f"3/10 · {interval_text(3, 10)}",
        "118.2 ± 2",
        "`sail evaluate task=x`",
    ]
    assert shown[4:6] == ["| task | iteration 0 | iteration 1 | iteration 2 |", "| --- | ---: | ---: | ---: |"]
    for asked, complaint in {
        '{{ mean("sale", "sail") }}': "Did you mean sail",
        '{{ mean("sail", "sial") }}': "Did you mean sail",
        '{{ figure("speed", "fps", size=3) }}': "size",
        "{{ nothing }}": "nothing",
        "{{ mean.__globals__ }}": "unsafe",
        "{{": "front.jinja",
    }.items():
        source.write_text(asked, encoding="utf-8")
        with pytest.raises(SailError, match=complaint):
            write_results(folder, front)


def test_a_curve_shows_each_task_and_the_mean_where_they_are(tmp_path: Path):
    result = read_results(folder_of_results(tmp_path / "results") / "sail.json")
    root = ElementTree.fromstring(draw_curve(result, "sail"))
    lines = [one.attrib for one in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [line["stroke-width"] for line in lines] == ["1.5", "1.5", "3.5"]
    # By hand: 0, 30 and 60 % of 246 pixels above 318, at 80, 312 and 544.
    assert lines[2]["points"] == "80.0,318.0 312.0,244.2 544.0,170.4"
    names = [one for one in root.iter("{http://www.w3.org/2000/svg}text") if one.attrib["x"] == "572"]
    assert [one.text for one in names] == ["y 60 %", "x 60 %", "mean 60.0 %"]
    heights = sorted(float(one.attrib["y"]) for one in names)
    assert all(upper + 15 <= lower for upper, lower in pairwise(heights))


def test_the_same_files_give_the_same_page(tmp_path: Path):
    folder, front = folder_of_results(tmp_path / "results"), tmp_path / "results.md"
    assert results_pages(folder, front) == results_pages(folder, front)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "list of `records`"),
        ('{"records": [1]}', "objects with fields"),
        (json.dumps({"records": [{"method": "sail", "successes": 1}]}), "lacks 'iteration'"),
        (json.dumps({"records": [record("sail", 0, "x", 3, 2)]}), "more successes than rollouts"),
        (json.dumps({"records": [record("sail", 0, "x", 1.5, 2)]}), "whole number"),  # type: ignore[arg-type]
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path: Path, content: str, complaint: str):
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SailError, match=complaint):
        read_results(path)


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_names_stay_in_their_cell_and_are_no_html(text: str, tmp_path: Path):
    said = f"<b onclick=x>|{text}`` <!-- 3 < 5"
    success = [record(said, i, said, 1, 2) for i in (0, 1)] + [record("other", 0, said, 1, 2)]
    own = [{"variant": said, said: 1, "size": {said: [said]}}]
    runs = [run(said, said, hardware=said), run("sail evaluate", said, hardware="h")]
    for number, records in enumerate((success, own)):
        path = write(tmp_path, f"f{number}", records, what=said, runs=runs, **{said: said})  # type: ignore[arg-type]
        page = results_page([read_results(path)])
        shown = re.sub("(`+) .*? \\1(?!`)", "", page)  # what is code is no HTML
        assert "<b" not in shown and "<!" not in shown and "&lt;b onclick" in shown and "3 < 5" in shown
        assert not obeyed(page) and "\r" not in page
        for table in re.findall(r"(?:^\|.*\n)+", page, re.M):
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1
