"""Stored weights: a round trip, and one clear sentence for everything that can be wrong with them."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from robot.core.checkpoints import identity_of, load_into, load_model, save_model
from robot.core.errors import CheckpointError, SailError

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "count": torch.tensor([3])}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    identity = save_model(tmp_path, "toy", {"width": 3}, TENSORS, {"data": "none"})
    stored = load_model(tmp_path, "toy")
    assert stored.identity == identity == identity_of(TENSORS)
    assert stored.config == {"width": 3} and stored.card == {"data": "none"}
    assert all(torch.equal(stored.tensors[name], TENSORS[name]) for name in TENSORS)


def test_half_precision_comes_back_as_float32(tmp_path: Path) -> None:
    save_model(tmp_path, "toy", {}, {"a": torch.tensor([1 / 3]), "count": TENSORS["count"]}, dtype=torch.float16)
    stored = load_model(tmp_path, "toy").tensors
    assert stored["a"].dtype == torch.float32 and stored["count"].dtype == torch.int64
    assert float(stored["a"]) == pytest.approx(1 / 3, abs=1e-3)


def test_identity_depends_on_names_and_values_alone() -> None:
    assert identity_of(TENSORS) == identity_of(dict(reversed(TENSORS.items())))
    assert identity_of(TENSORS) != identity_of({**TENSORS, "count": torch.tensor([4])})
    assert identity_of({"a": TENSORS["a"]}) != identity_of({"b": TENSORS["a"]})


def test_a_missing_folder_names_itself(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere holds no model.json"):
        load_model(tmp_path / "nowhere", "toy")


@pytest.mark.parametrize("keep", [0, 20, -4])
def test_truncated_weights(tmp_path: Path, keep: int) -> None:
    save_model(tmp_path, "toy", {}, TENSORS)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        load_model(tmp_path, "toy")


def test_another_kind(tmp_path: Path) -> None:
    save_model(tmp_path, "toy", {}, TENSORS)
    with pytest.raises(CheckpointError, match="'toy'.*'planner' is needed"):
        load_model(tmp_path, "planner")


def test_weights_swapped_for_others(tmp_path: Path) -> None:
    save_model(tmp_path / "one", "toy", {}, TENSORS)
    save_model(tmp_path / "two", "toy", {}, {"a": TENSORS["a"] + 1})
    (tmp_path / "two/model.safetensors").rename(tmp_path / "one/model.safetensors")
    with pytest.raises(CheckpointError, match="do not belong"):
        load_model(tmp_path / "one", "toy")


def test_description_that_is_not_json(tmp_path: Path) -> None:
    save_model(tmp_path, "toy", {}, TENSORS)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(tmp_path, "toy")


def test_another_architecture_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="another architecture than Linear: 1 tensors missing, 1 unknown, 1 of"
    ) as e:
        load_into(nn.Linear(2, 2), {"weight": torch.zeros(3, 2), "gain": torch.zeros(1)}, tmp_path)
    assert "\n" not in str(e.value)


def test_a_full_disk_leaves_the_old_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path, "toy", {}, TENSORS)
    about = json.loads((tmp_path / "model.json").read_text())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SailError, match="No space left"):
        save_model(tmp_path, "toy", {}, {"a": torch.ones(2)})
    monkeypatch.undo()
    assert load_model(tmp_path, "toy").identity == about["identity"]
