"""Laws of augmentation: the gripper is never painted over, donors' grippers never appear, frames of a sample agree."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.augmentation import (
    AugmentationSettings,
    augment,
    change_light,
    paste_rectangles,
    replace_by_reconstructions,
)

MANY = AugmentationSettings(changed_share=1.0, rectangles=8, rectangle_share=1.0, plain_share=0.5)
STILL = AugmentationSettings(brightness=0, contrast=0, colour=0, noise=0, blur_share=0)


def scenes(count: int, frames: int, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (count, frames, size, size, 3), dtype=torch.uint8, generator=generator)
    pixels = torch.rand(count, frames, 2, generator=generator)
    return pictures, pixels, generator


def patch(pixels: torch.Tensor, reach: float, size: int) -> torch.Tensor:
    """Return bool (size, size): the pixels whose centres are within `reach` of a (column, row) in 0–1."""
    centres = (torch.arange(size) + 0.5) / size
    across = (centres - pixels[0]).abs() < reach
    down = (centres - pixels[1]).abs() < reach
    return down[:, None] & across[None, :]


@given(seed=st.integers(0, 2**31), size=st.sampled_from([16, 33, 64]), frames=st.integers(1, 2))
@settings(max_examples=25, deadline=None)
def test_no_rectangle_touches_the_gripper(seed: int, size: int, frames: int) -> None:
    pictures, pixels, generator = scenes(5, frames, size, seed)
    pasted = paste_rectangles(pictures, pixels, generator, MANY)
    for sample in range(5):
        for frame in range(frames):
            kept = patch(pixels[sample, frame], MANY.protected - 1e-4, size)
            assert torch.equal(pasted[sample, :, kept], pictures[sample, :, kept])


def test_rectangles_do_cover_much_of_the_rest() -> None:
    pictures, pixels, generator = scenes(32, 1, 32, 0)
    changed = (paste_rectangles(pictures, pixels, generator, MANY) != pictures).any(-1).float().mean()
    assert changed > 0.3


def test_another_scene_s_gripper_is_never_pasted() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(16, 1, 2, generator=generator)
    pictures = torch.zeros(16, 1, 40, 40, 3, dtype=torch.uint8)
    for sample in range(16):
        pictures[sample, 0, patch(pixels[sample, 0], MANY.protected - 0.01, 40)] = 200
    only_scenes = AugmentationSettings(rectangles=12, rectangle_share=1.0, plain_share=0.0)
    for _ in range(10):
        assert torch.equal(paste_rectangles(pictures, pixels, generator, only_scenes), pictures)


def test_without_a_known_gripper_nothing_is_pasted() -> None:
    pictures, pixels, generator = scenes(6, 1, 24, 0)
    pixels[2] = float("nan")
    pasted = paste_rectangles(pictures, pixels, generator, MANY)
    assert torch.equal(pasted[2], pictures[2])
    assert not torch.equal(pasted, pictures)
    nowhere = torch.full_like(pixels, float("nan"))
    assert torch.equal(paste_rectangles(pictures, nowhere, generator, MANY), pictures)


def test_a_batch_of_one_has_no_other_scene_but_works() -> None:
    pictures, pixels, generator = scenes(1, 1, 24, 0)
    assert augment(pictures, pixels, generator, MANY).shape == pictures.shape


def test_frames_of_a_sample_change_alike() -> None:
    picture, pixels, generator = scenes(8, 1, 24, 0)
    same_pictures, same_pixels = picture.expand(-1, 2, -1, -1, -1), pixels.expand(-1, 2, -1)
    quiet = AugmentationSettings(changed_share=1.0, noise=0.0, blur_share=1.0)
    changed = augment(same_pictures, same_pixels, generator, quiet)
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert not torch.equal(changed, same_pictures)


def test_zero_strengths_change_no_light() -> None:
    pictures, _, generator = scenes(4, 1, 16, 0)
    assert torch.equal(change_light(pictures, generator, STILL), pictures)


@pytest.mark.parametrize(
    "stronger", [{"brightness": 0.5}, {"contrast": 0.5}, {"colour": 0.5}, {"noise": 0.1}, {"blur_share": 1.0}]
)
def test_each_strength_changes_light(stronger: dict[str, float]) -> None:
    pictures, _, generator = scenes(4, 1, 16, 0)
    weak = {"brightness": 0.0, "contrast": 0.0, "colour": 0.0, "noise": 0.0, "blur_share": 0.0}
    changed = change_light(pictures, generator, AugmentationSettings(**(weak | stronger)))
    assert changed.dtype == torch.uint8
    assert (changed != pictures).float().mean() > 0.3


def test_the_same_seed_changes_pictures_the_same_way() -> None:
    pictures, pixels, _ = scenes(4, 1, 16, 0)
    first = augment(pictures, pixels, torch.Generator().manual_seed(3), MANY)
    second = augment(pictures, pixels, torch.Generator().manual_seed(3), MANY)
    other = augment(pictures, pixels, torch.Generator().manual_seed(4), MANY)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_changed_share_of_zero_changes_nothing() -> None:
    pictures, pixels, generator = scenes(4, 1, 16, 0)
    assert torch.equal(augment(pictures, pixels, generator, AugmentationSettings(changed_share=0.0)), pictures)


@pytest.mark.parametrize(("frames", "pixels"), [((2, 8, 8, 3), (2, 1, 2)), ((2, 1, 8, 8, 3), (2, 2))])
def test_wrong_shapes_are_refused(frames: tuple[int, ...], pixels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        augment(torch.zeros(frames, dtype=torch.uint8), torch.zeros(pixels), torch.Generator(), MANY)


def test_about_a_share_of_the_frames_is_reconstructed_and_the_rest_untouched() -> None:
    frames = np.random.default_rng(0).integers(0, 200, (400, 4, 4, 3), dtype=np.uint8)
    mixed = replace_by_reconstructions(frames, lambda part: part + np.uint8(50), 0.5, np.random.default_rng(1))
    moved = (mixed == frames + 50).all(axis=(1, 2, 3))
    assert 150 < moved.sum() < 250
    np.testing.assert_array_equal(mixed[~moved], frames[~moved])


def test_a_reconstruction_of_another_shape_is_refused() -> None:
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="Reconstructions"):
        replace_by_reconstructions(frames, lambda part: part[:, :4], 1.0, np.random.default_rng(0))
