"""What is sampled stays what it was: plain sampling and strength 0 bit for bit, a composition but for rounding.

On another kind of processor or another version of torch networks round otherwise, so there all of it is near.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.golden.sampling import FILE, KINDS, machine, one_thread

ROUNDING = 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sampled_stays_what_it_was(kind: str) -> None:
    with np.load(FILE, allow_pickle=False) as golden, one_thread():
        exact = kind != "composed" and str(golden["machine"]) == machine()
        names = {name.removeprefix(f"{kind}: ") for name in golden if name.startswith(f"{kind}: ")}
        for name, found in KINDS[kind]():
            wanted = golden[f"{kind}: {name}"]
            names.remove(name)
            if exact:
                assert np.array_equal(found, wanted), name
            else:
                clips = tuple(range(1, found.ndim))
                far = np.abs(found - wanted).max(clips) / np.maximum(1.0, np.abs(wanted).max(clips))
                assert far.max() <= ROUNDING, name
    assert not names
