"""AP, max-F1 and LocAcc of extended sets against plain loops over pictures and thresholds."""

import numpy as np
import pytest
import torch

from ecmvae.errors import UserError
from ecmvae.metrics.extended import Extended, confidence, extended_scores, precision_recall


def naive_precision_recall(samples, cut):
    right = wrong = missed = 0
    for sure, overlap, present in samples:
        if not present:
            wrong += sure >= cut
        elif sure < cut:
            missed += 1
        elif overlap >= 0.5:
            right += 1
        else:
            wrong += 1
    return right / (right + wrong) if right + wrong else 1.0, right / (
        right + missed
    ) if right + missed else 1.0


def naive_scores(samples):
    ordered = sorted(sure for sure, _, _ in samples)
    thresholds = ordered[:-1][:: -max(1, len(samples) // 200)]
    curve = [naive_precision_recall(samples, cut) for cut in thresholds]
    ap = 0.0
    for i in range(len(curve) - 1):
        ap += max(p for p, _ in curve[i:]) * (curve[i + 1][1] - curve[i][1])
    f1 = []
    for cut in ordered[:: max(1, len(samples) // 10)]:
        p, r = naive_precision_recall(samples, cut)
        f1.append(2 * p * r / (p + r) if p + r else 0.0)
    found = [overlap >= 0.5 for _, overlap, present in samples if present]
    return ap, max(f1), sum(found) / len(found)


@pytest.mark.parametrize("count", [7, 40, 650])
def test_against_loops(count):
    random = np.random.default_rng(count)
    present = random.random(count) > 0.4
    sure = np.round(random.random(count) * 0.7 + 0.3 * present, 2)  # some are equal
    overlap = random.random(count)
    samples = list(zip(sure.tolist(), overlap.tolist(), present.tolist(), strict=True))
    assert extended_scores(sure, overlap, present) == pytest.approx(
        naive_scores(samples), abs=1e-12
    )
    for cut in (0.0, 0.5, 2.0):
        assert precision_recall(sure, overlap, present, cut) == pytest.approx(
            naive_precision_recall(samples, cut)
        )


def test_a_model_that_knows_when_nothing_sounds_beats_one_that_does_not():
    present, right = np.arange(20) < 10, np.full(20, 0.9)
    knows = extended_scores(np.where(present, 0.9, 0.1) + np.arange(20) / 1000, right, present)
    does_not = extended_scores(np.arange(20) / 20, right, present)
    # The highest confidence is no threshold, and nothing is gained at the first one: it begins at a recall of 2 / 10.
    assert knows.ap == pytest.approx(0.8)
    assert does_not.ap == pytest.approx(0.5)
    assert knows.max_f1 == 1 > does_not.max_f1
    assert knows.loc_acc == does_not.loc_acc == 1


def test_metric():
    random = torch.Generator().manual_seed(1)
    logits, masks = torch.randn(30, 1, 1, 8, 8, generator=random), torch.zeros(30, 1, 1, 8, 8)
    masks[:18, :, :, 2:6, 1:7] = 1
    logits[:9, :, :, 2:6, 1:7] += 3
    metric = Extended()
    for index in (torch.arange(20, 30), torch.arange(20)):
        metric.update(logits[index], masks[index], index)
    samples = []
    for values, truth in zip(logits.flatten(1).tolist(), masks.flatten(1).tolist(), strict=True):
        ordered = sorted(values)
        sure = np.mean([1 / (1 + np.exp(-value)) for value in ordered[-16:]])
        marked = [value >= ordered[32] for value in values]
        hits = sum(m and t for m, t in zip(marked, truth, strict=True))
        union = sum(truth) + sum(m and not t for m, t in zip(marked, truth, strict=True))
        samples.append((float(np.float32(sure)), hits / union, any(truth)))
    assert metric.compute() == pytest.approx(naive_scores(samples), abs=1e-6)
    assert confidence(logits[:, 0, 0]).tolist() == pytest.approx(
        [each[0] for each in samples], abs=1e-6
    )
    with pytest.raises(UserError, match="extended scores single pictures"):
        metric.update(torch.zeros(1, 5, 1, 8, 8), torch.zeros(1, 5, 1, 8, 8), torch.tensor([0]))
