"""J&F in its three meanings against pixel loops, and what tells them apart."""

import math

import naive
import numpy as np
import pytest
import torch

from ecmvae.metrics.jf import AvsJF, DavisJF, OmniAvsJF, boundary_fscore, outline, region_similarity
from ecmvae.metrics.protocols import AVSBenchProtocol

CLIPS, FRAMES, HEIGHT, WIDTH = 5, 3, 30, 40


def shapes(seed, count):
    """Masks of a rectangle or two, some touching the border, some empty, some full."""
    random = np.random.default_rng(seed)
    masks = np.zeros((count, HEIGHT, WIDTH), bool)
    for k in range(count):
        for _ in range(k % 3):
            y, x, h, w = random.integers(0, [HEIGHT, WIDTH, 20, 20])
            masks[k, y : y + h + 1, x : x + w + 1] = True
    masks[-1] = True
    return masks


def naive_outline(mask):
    h, w = mask.shape
    edge = np.zeros_like(mask)
    for y in range(h):
        for x in range(w):
            neighbours = [(0, 1), (1, 0), (1, 1)]
            if y == h - 1:
                neighbours = [(0, 1)]
            if x == w - 1:
                neighbours = [(1, 0)]
            if (y, x) == (h - 1, w - 1):
                neighbours = []
            edge[y, x] = any(mask[y, x] != mask[y + dy, x + dx] for dy, dx in neighbours)
    return edge


def naive_boundary_f(predicted, truth, tolerance):
    """By distances between pixels, not by dilation."""
    reach = math.ceil(tolerance * math.sqrt(predicted.shape[0] ** 2 + predicted.shape[1] ** 2))
    a, b = (np.argwhere(naive_outline(mask)) for mask in (predicted, truth))
    if len(a) == 0 and len(b) == 0:
        return 1.0
    if len(a) == 0 or len(b) == 0:
        return 0.0
    near = ((a[:, None] - b[None]) ** 2).sum(axis=2) <= reach**2
    precision, recall = near.any(axis=1).mean(), near.any(axis=0).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def naive_j(predicted, truth, epsilon=0.0):
    both, either = (predicted & truth).sum() + epsilon, (predicted | truth).sum() + epsilon
    return both / either if either else 1.0


PREDICTED, TRUTH = shapes(1, 14), np.roll(shapes(1, 14), 2, axis=2)
TRUTH[3], PREDICTED[6], TRUTH[9], PREDICTED[9] = True, False, False, False


def test_outlines():
    for mask in PREDICTED:
        assert np.array_equal(outline(torch.tensor(mask)[None])[0].numpy(), naive_outline(mask))


@pytest.mark.parametrize("tolerance", [0.002, 0.008, 0.05, 0.2])
def test_boundary_f(tolerance):
    found = boundary_fscore(torch.tensor(PREDICTED), torch.tensor(TRUTH), tolerance)
    expected = [naive_boundary_f(a, b, tolerance) for a, b in zip(PREDICTED, TRUTH, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    assert len({round(value, 6) for value in expected}) > 4


def test_a_shift_within_the_tolerance_is_free():
    mask = torch.zeros(1, 200, 200, dtype=torch.bool)
    mask[0, 50:150, 50:150] = True
    reach = math.ceil(0.008 * math.hypot(200, 200))
    assert boundary_fscore(mask.roll(reach, 2), mask).item() == 1
    assert boundary_fscore(mask.roll(reach + 1, 2), mask).item() < 1


def test_region_similarity():
    for epsilon in (0.0, 1e-7):
        found = region_similarity(torch.tensor(PREDICTED), torch.tensor(TRUTH), epsilon)
        expected = [naive_j(a, b, epsilon) for a, b in zip(PREDICTED, TRUTH, strict=True)]
        assert found.tolist() == pytest.approx(expected, abs=1e-12)


def clips():
    """Logits and masks of five clips; clip 1 has no ground truth and is left empty, clip 2 has none and is not."""
    masks = torch.tensor(np.resize(TRUTH, (CLIPS * FRAMES, HEIGHT, WIDTH))).reshape(
        CLIPS, FRAMES, 1, HEIGHT, WIDTH
    )
    marked = torch.tensor(np.resize(PREDICTED, (CLIPS * FRAMES, HEIGHT, WIDTH))).reshape(
        masks.shape
    )
    masks[1:3], marked[1:3] = False, False
    marked[2, 0, 0, 3:9, 3:9] = True
    noise = torch.rand(masks.shape, generator=torch.Generator().manual_seed(0))
    return torch.where(marked, noise + 0.1, -noise - 0.1), masks.float()


def scored(metric, valid=None):
    logits, masks = clips()
    for part in ([3, 1], [0, 2, 4]):
        index = torch.tensor(part)
        metric.update(
            logits[index], masks[index], index, **({} if valid is None else {"valid": valid[index]})
        )
    return metric.compute()


def expected_davis(kept=slice(None), omni=False):
    logits, masks = clips()
    js, fs = [], []
    for clip_logits, clip_masks in zip(logits, masks, strict=True):
        pairs = [
            (a[0].numpy() > 0, b[0].numpy() > 0)
            for a, b in zip(clip_logits, clip_masks, strict=True)
        ][kept]
        if omni and not any(truth.any() for _, truth in pairs):
            js.append(float(not any(predicted.any() for predicted, _ in pairs)))
            fs.append(js[-1])
            continue
        js.append(np.mean([naive_j(*pair, 1e-7 if omni else 0.0) for pair in pairs]))
        fs.append(np.mean([naive_boundary_f(*pair, 0.008) for pair in pairs]))
    return (np.mean(js) + np.mean(fs)) / 2, np.mean(js), np.mean(fs)


def test_davis():
    assert scored(DavisJF()) == pytest.approx(expected_davis(), abs=1e-6)


def test_omniavs():
    assert scored(OmniAvsJF()) == pytest.approx(expected_davis(omni=True), abs=1e-6)
    assert scored(OmniAvsJF()).j != pytest.approx(scored(DavisJF()).j, abs=1e-3)


def test_frames_that_are_not_valid_do_not_count():
    valid = torch.ones(CLIPS, FRAMES, dtype=torch.bool)
    valid[:, 2] = False
    assert scored(DavisJF(), valid) == pytest.approx(expected_davis(slice(0, 2)), abs=1e-6)
    assert scored(OmniAvsJF(), valid) == pytest.approx(
        expected_davis(slice(0, 2), omni=True), abs=1e-6
    )
    valid[4] = False
    logits, masks = clips()
    metric = DavisJF()
    metric.update(logits[:4], masks[:4], torch.arange(4), valid[:4])
    assert scored(DavisJF(), valid) == pytest.approx(metric.compute(), abs=1e-6)


def test_avs_jf_is_the_mean_of_avsbenchs_two_scores():
    jf, j, f = scored(AvsJF(batch_clips=2))
    protocol = scored(AVSBenchProtocol(batch_clips=2))
    assert (j, f) == protocol
    assert jf == pytest.approx(sum(protocol) / 2)
    logits, masks = (part.squeeze(2) for part in clips())
    ious, fscores = [], []
    for start in range(0, CLIPS, 2):
        a, b = (part[start : start + 2].flatten(0, 1) for part in (logits, masks))
        ious.append(np.mean([naive.frame_iou(x, y) for x, y in zip(a, b, strict=True)]))
        fscores.append(naive.batch_fscore(a, b))
    assert jf == pytest.approx((np.mean(ious) + np.mean(fscores)) / 2, abs=1e-6)
