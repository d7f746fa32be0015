"""Laws of the general planner's making: what it may see, that it can be composed, and that a stop loses nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from planners.latent_video import LatentVideoPlanner
from robot.cli.compose import PROJECT
from robot.cli.main import main
from robot.core.errors import SailError
from robot.recipes import general
from robot.recipes.general import DISPLACED, GeneralSettings, make_general, readme, requests, untrained
from robot.recipes.starter import DEMONSTRATIONS, PLAY, name_of
from sim.tasks import GENERAL, RESERVED, SEEN, UNSEEN
from tests.fakes import toy_episode

STARTER = PROJECT / "starter"
SETTINGS = GeneralSettings(autoencoder=str(STARTER / "autoencoder"), planner=str(STARTER / "planner"))
ALL = [row for rows in requests(SETTINGS).values() for row in rows]


def test_nothing_is_asked_for_of_mw12_or_of_the_reserved_tasks() -> None:
    assert {row.task for row in ALL} == set(GENERAL)
    assert {row.kind for row in requests(SETTINGS)[PLAY]} == {"play"}
    assert len(ALL) == 22 * (25 + 8)


@pytest.mark.parametrize("task", ["door-close", SEEN[0], UNSEEN[-1], *RESERVED])
def test_a_task_that_it_must_not_see_is_refused(task: str) -> None:
    with pytest.raises(SailError, match=f"must not see {task}: it is reserved or a task of MW-12"):
        GeneralSettings(tasks=f"soccer,{task}")


def test_stored_episodes_of_another_task_or_look_are_refused(tmp_path: Path) -> None:
    """Episodes are named after task and seed; whether they are what was asked for is in their description."""
    settings = replace(SETTINGS, data=str(tmp_path), tasks="soccer", demonstrations=2)
    wanted = requests(settings)[DEMONSTRATIONS]
    store = general.EpisodeStore(tmp_path / DEMONSTRATIONS)
    names = [
        store.add(toy_episode([True], "soccer"), (), name_of(row), more={"request": row.as_json()}) for row in wanted
    ]
    assert [one.episode_id for one in general._stored(settings, DEMONSTRATIONS, wanted)] == names
    other = replace(settings, appearance=0.2)
    with pytest.raises(SailError, match="soccer-010001 in .* was recorded with other settings"):
        list(general._stored(other, DEMONSTRATIONS, requests(other)[DEMONSTRATIONS]))
    for number, wrong in enumerate((toy_episode([True], "door-close"), toy_episode([False], "soccer")), 10_010):
        row = replace(wanted[0], seed=number)
        store.add(wrong, (), name_of(row), more={"request": row.as_json()})
        with pytest.raises(SailError, match="another data="):
            list(general._stored(settings, DEMONSTRATIONS, [row]))


def test_episodes_are_seen_by_mw12_s_camera_undisplaced_and_every_second_in_its_own_look() -> None:
    assert all("corner2" in row.cameras for row in ALL)
    plain = [row for row in ALL if row.appearance is None]
    dressed = [row.appearance for row in ALL if row.appearance is not None]
    assert abs(len(plain) - len(dressed)) < 0.1 * len(ALL)
    assert all(DISPLACED not in row.cameras for row in plain)  # undisplaced it would show the same as corner2
    for look in dressed:
        assert look.displaced is not None
        assert "corner2" not in look.displaced
        assert 0 < look.strength <= SETTINGS.appearance
    assert len({look.seed for look in dressed}) == len(dressed)
    assert all(row.appearance is None for rows in requests(replace(SETTINGS, appearance=0)).values() for row in rows)


def test_it_imagines_as_the_planner_it_is_composed_with_but_for_the_noise() -> None:
    planner, base = untrained(SETTINGS), LatentVideoPlanner.load(SETTINGS.planner, SETTINGS.autoencoder)
    for name in ("stride_s", "camera", "image_size"):
        assert getattr(planner, name) == getattr(base, name)
    assert planner.diffusion == replace(base.diffusion, schedule="linear")
    assert untrained(replace(SETTINGS, schedule="cosine")).diffusion == base.diffusion
    with pytest.raises(SailError, match="There is no noise schedule 'quadratic'"):
        untrained(replace(SETTINGS, schedule="quadratic"))
    assert planner.autoencoder.identity == base.autoencoder.identity
    assert planner.text_encoder.config == base.text_encoder.config
    assert (planner.denoiser.frames, planner.denoiser.latent_channels) == (8, 8)
    assert planner.identity != base.identity
    assert untrained(SETTINGS).identity == planner.identity
    assert untrained(replace(SETTINGS, seed=1)).identity != planner.identity


def test_a_planner_too_large_to_ship_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    settings = replace(SETTINGS, widths=(256, 320, 384), data=str(tmp_path / "data"), out=str(tmp_path / "out"))
    with pytest.raises(SailError, match="MiB in half precision, more than the 45 MiB .* choose smaller widths"):
        make_general(settings)
    assert not list(tmp_path.iterdir())


def test_what_is_there_already_is_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "planner").mkdir()
    (tmp_path / "planner" / "model.json").write_text("{}")
    assert main(["train", "general", f"out={tmp_path}"]) == 2
    told = capsys.readouterr().err
    assert "There is a general planner in" in told
    assert "move it away, or give another out=" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("words", ["appearance=2", "play_share=-1", "demonstrations=0", "play=-1"])
def test_settings_out_of_range_are_one_sentence(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "general", words]) == 2
    told = capsys.readouterr().err
    assert words.partition("=")[0] in told
    assert "Traceback" not in told


def test_the_card_names_what_was_never_seen() -> None:
    counts = {"demonstrations": 550, "play": 176, "pictures": 1000}
    facts = general.general_card(SETTINGS, 0.0, {"loss": 0.25, "training_s": 60.0}, counts)
    page = readme(facts, 31.0)
    assert "550 scripted demonstrations and 176 play episodes" in page
    assert ", ".join(RESERVED) in page
    assert all(task in facts["never_demonstrated"] for task in (*SEEN, *UNSEEN))
    assert "| loss | 0.25 |" in page
    json.dumps(facts)


@pytest.mark.slow
def test_the_whole_command_stops_when_told_goes_on_and_makes_a_planner_that_plans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        *("train", "general", f"out={tmp_path / 'general'}", f"data={tmp_path / 'data'}", f"work={tmp_path / 'work'}"),
        *("tasks=coffee-pull", "demonstrations=2", "play=1", "play_steps=8", "planner_steps=3", "batch_size=2"),
        *("widths=[32,32,32]", "--json"),
    ]

    def told(*more: str) -> dict[str, object]:
        assert main([*words, *more]) == 0
        return dict(json.loads(capsys.readouterr().out))

    assert told("max_seconds=0.001")["finished"] is False
    assert not list((tmp_path / "data").rglob("episode.json"))
    collected: list[int] = []
    monkeypatch.setattr("sim.collect.collect", _counting(collected))
    monkeypatch.setattr("robot.recipes.general._Clock.over", lambda self: False)  # time runs out in training only
    assert told("max_seconds=0.001")["finished"] is False
    assert collected == [2, 1]
    assert general.steps_done(tmp_path / "work" / "planner") == 1
    assert not (tmp_path / "general").exists()
    assert told()["finished"] is True
    assert collected == [2, 1]  # nothing is recorded twice
    planner = LatentVideoPlanner.load(tmp_path / "general" / "planner", STARTER / "autoencoder")
    card = json.loads((tmp_path / "general" / "planner" / "model.json").read_text())["card"]
    assert card["data"].startswith("2 scripted demonstrations and 1 play episodes")
    assert card["reserved"] == list(RESERVED)
    assert (tmp_path / "general" / "README.md").read_text().startswith("# General planner")
    store = general.EpisodeStore(tmp_path / "data" / DEMONSTRATIONS)
    episode = store.load("coffee-pull-010001")
    assert set(episode.frames) == {"corner2", "corner4", "corner"}
    (plan,) = planner.plan([episode.observation(0)], ["pull the mug away from the coffee machine"], [0])
    assert plan.frames.shape == (8, 128, 128, 3)


def _counting(counts: list[int]):  # type: ignore[no-untyped-def]
    from sim.collect import collect

    def counted(rows, workers=None):  # type: ignore[no-untyped-def]
        counts.append(len(rows))
        return collect(rows, workers=1)

    return counted
