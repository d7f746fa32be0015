"""What one command measures comes from one revision, whatever it writes into tracked files meanwhile."""

from __future__ import annotations

import pytest

from robot.cli import provenance
from robot.cli.provenance import Origin


def test_a_command_has_the_revision_at_which_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((10.0, 15.2, 20.6))
    monkeypatch.setattr(provenance.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(provenance, "program_revision", lambda: "aaaaaaaaaaaa")
    origin = Origin("sail evaluate")
    monkeypatch.setattr(provenance, "program_revision", lambda: "aaaaaaaaaaaa-dirty")
    first, second = origin.so_far(), origin.so_far()
    assert (first["command"], first["revision"], first["wall_time_s"]) == ("sail evaluate", "aaaaaaaaaaaa", 5)
    assert second == first | {"wall_time_s": 11}
