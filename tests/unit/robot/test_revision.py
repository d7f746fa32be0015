"""A program has the revision it was started at, whatever it writes into tracked files meanwhile."""

from __future__ import annotations

import pytest

from robot import revision
from robot.cli.provenance import origin


def test_all_that_one_command_measures_comes_from_one_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter(("aaaaaaaaaaaa", "aaaaaaaaaaaa-dirty"))
    monkeypatch.setattr(revision, "git_revision", lambda folder: next(found))
    revision.program_revision.cache_clear()
    try:
        said = [origin("sail evaluate", 0.0)["revision"] for _ in range(2)]
    finally:
        revision.program_revision.cache_clear()
    assert said == ["aaaaaaaaaaaa", "aaaaaaaaaaaa"]
