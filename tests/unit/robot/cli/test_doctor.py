"""`sail doctor`: what is needed decides, what is not is only mentioned."""

from __future__ import annotations

import json

import pytest

from robot.cli import doctor
from robot.cli.doctor import Finding
from robot.cli.main import main
from sim.rendering import INSTALL_HINT


@pytest.mark.parametrize(
    ("findings", "status"),
    [
        ([Finding("a", True, "fine")], 0),
        ([Finding("a", True, "fine"), Finding("b", False, "missing", needed=False)], 0),
        ([Finding("a", False, "missing"), Finding("b", True, "fine")], 2),
    ],
)
def test_only_what_is_needed_decides(
    findings: list[Finding], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", tuple(lambda finding=finding: finding for finding in findings))
    assert main(["doctor", "--json"]) == status
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["well"] is (status == 0)
    assert [one["name"] for one in told["findings"]] == [one.name for one in findings]
    assert all(one.says in captured.err for one in findings)


def test_without_a_rendering_backend_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "backend_works", lambda name: False)
    finding = doctor.check_rendering()
    assert not finding.well
    assert finding.needed
    assert finding.says == INSTALL_HINT


def test_the_backend_that_is_used_is_named_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(doctor, "backend_works", lambda name: name == "osmesa")
    assert "osmesa is used" in doctor.check_rendering().says
