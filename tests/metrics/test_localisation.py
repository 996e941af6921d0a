"""cIoU, AUC and interactive IoU against loops in plain NumPy."""

import numpy as np
import pytest
import torch
from sklearn.metrics import auc as sklearn_auc

from ecmvae.errors import UserError
from ecmvae.metrics.localisation import InteractiveIoU, Localisation, ciou

COUNT, SIDE = 12, 16


def stills():
    """Maps that are higher in their box, by a different amount; still 5 has no box."""
    random = np.random.default_rng(2)
    maps, truth = random.normal(size=(COUNT, SIDE, SIDE)), np.zeros((COUNT, SIDE, SIDE))
    for k in range(COUNT):
        y, x = random.integers(0, 4, 2)
        truth[k, y : y + 9 + k % 3, x : x + 11] = k != 5
        maps[k, y : y + 10, x : x + 11] += 0.5 * (k % 6)
    return maps, truth


def naive_ciou(values, truth, adaptive=False, inclusive=False):
    ordered, pixels = sorted(values.flatten().tolist()), values.size
    true = int((truth != 0).sum())
    cut = ordered[pixels - true] if adaptive and true else ordered[pixels // 2]
    hits = union = 0.0
    for value, weight in zip(values.flatten().tolist(), truth.flatten().tolist(), strict=True):
        marked = value >= cut if inclusive else value > cut
        hits += weight * marked
        union += weight + (marked and weight == 0)
    return hits / union


def naive_scores(values):
    steps = [0.05 * i for i in range(21)]
    shares = [sum(value >= step for value in values) / len(values) for step in steps]
    return sum(value >= 0.5 for value in values) / len(values), sklearn_auc(steps, shares)


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("adaptive", [False, True])
def test_ciou(adaptive, inclusive):
    maps, truth = stills()
    truth[7] *= 0.5  # where one of two annotators marked
    found = ciou(torch.tensor(maps), torch.tensor(truth), adaptive=adaptive, inclusive=inclusive)
    expected = [naive_ciou(a, b, adaptive, inclusive) for a, b in zip(maps, truth, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_only_the_order_of_the_values_counts():
    maps, truth = (torch.tensor(each) for each in stills())
    assert torch.equal(ciou(maps, truth), ciou(maps.exp() * 3, truth))
    flat = torch.zeros(1, 4, 4)
    assert ciou(flat, torch.ones(1, 4, 4)).item() == 0  # nothing lies above the middle
    assert ciou(flat, torch.ones(1, 4, 4), inclusive=True).item() == 1


def as_clips(part):
    return torch.tensor(part, dtype=torch.float32)[:, None, None]


def test_localisation():
    maps, truth = stills()
    logits, masks = as_clips(maps), as_clips(truth)
    metric = Localisation()
    for part in (range(8, COUNT), range(8)):
        index = torch.tensor(list(part))
        metric.update(logits[index], masks[index], index)
    kept = [k for k in range(COUNT) if truth[k].any()]
    values = [naive_ciou(maps[k], truth[k]) for k in kept]
    adapted = [naive_ciou(maps[k], truth[k], adaptive=True) for k in kept]
    expected = (*naive_scores(values), np.mean(values), *naive_scores(adapted))
    assert metric.compute() == pytest.approx(expected, abs=1e-6)
    assert 0 < expected[0] < 1


def test_localisation_of_longer_clips_counts_valid_frames():
    maps, truth = stills()
    logits, masks = (
        as_clips(maps).reshape(6, 2, 1, SIDE, SIDE),
        as_clips(truth).reshape(6, 2, 1, SIDE, SIDE),
    )
    valid = torch.tensor([[True, True], [True, False]] * 3)
    metric = Localisation()
    metric.update(logits, masks, torch.arange(6), valid)
    kept = [k for k in range(COUNT) if truth[k].any() and valid.flatten()[k]]
    assert metric.compute()[:2] == pytest.approx(
        naive_scores([naive_ciou(maps[k], truth[k]) for k in kept]), abs=1e-6
    )


def test_interactive_iou():
    maps, truth = stills()
    truth[5, 3:9, 3:9] = 1
    pictures = [f"picture{k // 2}" if k < 10 else f"alone{k}" for k in range(COUNT)]
    logits, masks = as_clips(maps), as_clips(truth)
    metric = InteractiveIoU()
    for part in ([0, 3, 5, 7, 9, 11], [1, 2, 4, 6, 8, 10]):  # pairs are torn apart
        index = torch.tensor(part)
        metric.update(logits[index], masks[index], tuple(pictures[k] for k in part), index)
    expected = []
    for adaptive in (False, True):
        groups = {}
        for k in range(COUNT):
            groups.setdefault(pictures[k], []).append(naive_ciou(maps[k], truth[k], adaptive))
        expected += naive_scores([min(values) for values in groups.values()])
    assert metric.compute() == pytest.approx(tuple(expected), abs=1e-6)
    assert 0 < expected[1] < 1


def test_interactive_iou_is_of_stills():
    with pytest.raises(
        UserError, match="interactive scores single pictures, not clips of 2 frames"
    ):
        InteractiveIoU().update(
            torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 2, 1, 4, 4), ("a",), torch.tensor([0])
        )
