"""Reasons: a sentence and a code that belong together, whatever the sentence says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardware.server.requests import declined, in_fault
from hardware.wire.reasons import NOTHING, Code, Reason, told_reason

PROTOCOL = Path(__file__).resolve().parents[4] / "docs" / "arm-protocol.md"


def test_a_reason_has_both_a_sentence_and_a_code_or_neither() -> None:
    assert not NOTHING and NOTHING.code is Code.NONE
    for wrong in (("it is so", Code.NONE), ("", Code.STOPPED)):
        with pytest.raises(ValueError, match="both"):
            Reason(*wrong)
    cut = Reason("stopped by somebody", Code.STOPPED).cut(7)
    assert (cut, cut.code) == ("stopped", Code.STOPPED)


def test_what_came_over_the_wire_keeps_its_code_and_an_unknown_one_is_other() -> None:
    assert told_reason("it is so", "late").code is Code.LATE
    assert told_reason("it is so", "of a later release").code is Code.OTHER
    assert told_reason("it is so", "").code is Code.OTHER
    assert told_reason("", "late") is NOTHING


@pytest.mark.parametrize("name", ["stopped-1", "FAULT", "coming to rest", "past"])
def test_a_name_in_a_sentence_does_not_change_its_code(name: str) -> None:
    holder = declined(Reason(f"{name} holds the lease", Code.HELD))
    assert holder.body["code"] == "held"
    assert in_fault(Reason(f"the arm cannot be read: {name}", Code.UNREADABLE)).code is Code.FAULT
    assert in_fault(Reason(f"stopped by {name}", Code.STOPPED)).code is Code.STOPPED


def test_the_protocol_s_page_has_every_code() -> None:
    page = PROTOCOL.read_text(encoding="utf-8")
    assert [code for code in Code if code and f"`{code}`" not in page] == []


def test_no_program_reads_a_sentence_for_its_meaning() -> None:
    """No comparison in the arm's client or server looks for words in what is said."""
    folder = PROTOCOL.parents[1] / "hardware"
    telltale = (" in str(error)", " in str(self)", "in problem:", "in result.reasons[0]", "not in problem")
    found = [f"{path.name}: {sign}" for path in folder.rglob("*.py") for sign in telltale if sign in path.read_text()]
    assert found == []
