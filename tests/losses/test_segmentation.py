import math

import numpy as np
import pytest
import torch

from ecmvae.losses.segmentation import (
    MatchingForm,
    audio_visual_matching_loss,
    boundary_weight,
    class_loss,
    structure_loss,
)


def plain_structure_loss(logits: np.ndarray, mask: np.ndarray) -> float:
    """One frame, pixel by pixel, in float64."""
    height, width = mask.shape
    padded = np.pad(mask, 15)
    bce = intersection = union = total = 0.0
    for y in range(height):
        for x in range(width):
            weight = 1 + 5 * abs(padded[y : y + 31, x : x + 31].sum() / 961 - mask[y, x])
            p = 1 / (1 + math.exp(-logits[y, x]))
            label = 0.999 * mask[y, x] + 0.0005
            bce += weight * -(label * math.log(p) + (1 - label) * math.log(1 - p))
            total += weight
            intersection += weight * p * mask[y, x]
            union += weight * (p + mask[y, x])
    return bce / total + 1 - (intersection + 1) / (union - intersection + 1)


def test_structure_loss_equals_the_plain_loop() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 20, 17))
    masks = (rng.random((3, 20, 17)) > 0.6).astype(float)
    masks[1], masks[2] = 0, 1
    got = structure_loss(torch.tensor(logits)[:, None], torch.tensor(masks)[:, None])
    expected = [plain_structure_loss(each, mask) for each, mask in zip(logits, masks, strict=True)]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-10)


def test_boundary_weight_far_from_any_border_is_one() -> None:
    mask = torch.zeros(1, 1, 80, 80)
    mask[..., :, 40:] = 1
    weight = boundary_weight(mask)
    assert weight[0, 0, 40, 5] == 1
    assert weight[0, 0, 40, 39].item() == pytest.approx(1 + 5 * 15 / 31)


def test_a_right_mask_costs_less_than_a_wrong_one() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:20, 8:20] = 1
    right, none, wrong = ((sign * 8 * (2 * mask - 1)) for sign in (1, 0, -1))
    assert structure_loss(right, mask) < structure_loss(none, mask) < structure_loss(wrong, mask)


def test_audio_visual_matching_loss_against_numpy() -> None:
    rng = np.random.default_rng(1)
    fused = [rng.normal(size=(2, 6, side, side)) for side in (8, 4)]
    audio, logits = rng.normal(size=(2, 6)), rng.normal(size=(2, 1, 16, 16))
    audio /= np.linalg.norm(audio, axis=1, keepdims=True)
    probability = 1 / (1 + np.exp(-logits))

    def softmax(x: np.ndarray) -> np.ndarray:
        return np.exp(x) / np.exp(x).sum(1, keepdims=True)

    expected = np.zeros(2)
    for stage in fused:
        side = stage.shape[-1]
        pooled = probability.reshape(2, 1, side, 16 // side, side, 16 // side).mean((3, 5))
        seen = (stage * pooled).mean((2, 3))
        seen /= np.linalg.norm(seen, axis=1, keepdims=True)
        p, q = softmax(audio), softmax(seen)
        expected += (p * np.log(p / q)).sum(1) / 2
    sound = torch.tensor(audio)
    got = audio_visual_matching_loss(
        [torch.tensor(each) for each in fused], [sound, sound], torch.tensor(logits)
    )
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-8)


@pytest.mark.parametrize("normalise", [True, False])
def test_audio_visual_matching_loss_as_avsbench_has_it_for_s4(normalise: bool) -> None:
    """Probabilities pooled, cut at one half, the mean inside, minus the log of the cosine: a plain loop."""
    rng = np.random.default_rng(2)
    fused = [rng.uniform(0, 1, size=(3, 6, side, side)) for side in (8, 4)]
    sounds, logits = (
        [rng.uniform(0, 1, size=(3, 6)) for _ in fused],
        rng.normal(size=(3, 1, 16, 16)),
    )
    logits[2] = -5  # nothing predicted: nothing to compare with
    expected = np.zeros(3)
    for stage, sound in zip(fused, sounds, strict=True):
        side = stage.shape[-1]
        step = 16 // side
        for n in range(3):
            inside = []
            for y in range(side):
                for x in range(side):
                    window = logits[n, 0, y * step : (y + 1) * step, x * step : (x + 1) * step]
                    if (1 / (1 + np.exp(-window))).mean() > 0.5:
                        inside.append(stage[n, :, y, x])
            product = float(np.mean(inside, 0) @ sound[n]) if inside else 0.0
            if inside and normalise:
                product /= np.linalg.norm(np.mean(inside, 0)) * np.linalg.norm(sound[n])
            expected[n] += -np.log(product + 1e-6) / 2
    form = MatchingForm(distance="cosine", threshold=True, normalise=normalise)
    got = audio_visual_matching_loss(
        [torch.tensor(s) for s in fused],
        [torch.tensor(s) for s in sounds],
        torch.tensor(logits),
        form,
    )
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_audio_visual_matching_loss_needs_equal_widths() -> None:
    with pytest.raises(ValueError, match=r"set model\.channels to 6"):
        audio_visual_matching_loss(
            [torch.rand(1, 4, 2, 2)], [torch.rand(1, 6)], torch.rand(1, 1, 8, 8)
        )


def test_class_loss_against_closed_forms() -> None:
    labels = torch.tensor([[[0, 1], [2, 2]], [[4, 4], [4, 4]]])
    sure = 3.0  # logit of the right class, the four others at 0
    logits = torch.zeros(2, 5, 2, 2, dtype=torch.float64)
    logits[1].index_fill_(0, torch.tensor(4), sure)
    assert class_loss(logits, labels).tolist() == pytest.approx(
        [math.log(5), math.log(1 + 4 * math.exp(-sure))]
    )


def test_pixels_that_nobody_labelled_cost_nothing() -> None:
    """The mean over the others, as torch reduces it; a frame without any label costs 0 and has no gradient."""
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, 4, 4, requires_grad=True), torch.randint(5, (3, 4, 4))
    labels[0, :2], labels[2] = -100, -100
    losses = class_loss(logits, labels)
    for frame in (0, 1):
        expected = torch.nn.functional.cross_entropy(
            logits[frame : frame + 1], labels[frame : frame + 1]
        )
        torch.testing.assert_close(losses[frame], expected)
    losses.sum().backward()
    assert losses[2] == 0
    assert not logits.grad[2].any()
    assert not logits.grad[0, :, :2].any()


def test_class_loss_of_two_classes_is_binary_cross_entropy() -> None:
    logits, labels = torch.randn(3, 2, 6, 6, dtype=torch.float64), torch.randint(0, 2, (3, 6, 6))
    probability = 1 / (1 + (logits[:, 0] - logits[:, 1]).exp())
    expected = -torch.where(labels == 1, probability.log(), (1 - probability).log()).mean((1, 2))
    torch.testing.assert_close(class_loss(logits, labels), expected)
