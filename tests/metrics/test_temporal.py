"""Flicker and latencies: small stories whose answer is counted by hand, and a loop over random ones."""

import random

import pytest
import torch

from ecmvae.metrics.temporal import Temporal, flicker, latencies


def frames(*areas):
    """Masks of 10 x 20 pixels, each with so many pixels of the first rows."""
    masks = torch.zeros(len(areas), 200, dtype=torch.bool)
    for mask, area in zip(masks, areas, strict=True):
        mask[:area] = True
    return masks.reshape(-1, 10, 20)


def test_flicker_counts_steady_pairs_only():
    truth = frames(40, 40, 40, 0, 0)
    predicted = frames(40, 30, 30, 50, 10)
    # 40 -> 30 and 30 -> 30 while the truth stays; then it changes; 50 -> 10 in silence.
    assert flicker(predicted, truth).tolist() == pytest.approx([1 - 30 / 40, 0, 1 - 10 / 50])
    assert flicker(frames(0, 0), frames(0, 0)).tolist() == [0]
    assert flicker(frames(3), frames(3)).tolist() == []


@pytest.mark.parametrize(
    ("on", "sounding", "onsets", "offsets"),
    [
        ("00110", "01100", [1], [1]),
        ("00000", "01100", [None], [0]),
        ("11111", "01100", [0], [None]),
        ("00010", "11100", [], [1]),  # what sounds from the first frame on has no onset
        ("0100010", "0110011", [0, 0], [0]),
        ("000", "000", [], []),
        ("0001", "0101", [None, 0], [0]),
    ],
)
def test_latencies(on, sounding, onsets, offsets):
    assert latencies([c == "1" for c in on], [c == "1" for c in sounding]) == (onsets, offsets)


def naive_latencies(on, sounding):
    found = {True: [], False: []}
    for start in range(1, len(sounding)):
        if sounding[start] == sounding[start - 1]:
            continue
        waited = 0
        while start + waited < len(sounding) and sounding[start + waited] == sounding[start]:
            if on[start + waited] == sounding[start]:
                found[sounding[start]].append(waited)
                break
            waited += 1
        else:
            found[sounding[start]].append(None)
    return found[True], found[False]


def test_latencies_against_a_loop():
    chance = random.Random(1)
    for _ in range(300):
        on, sounding = (
            [chance.random() > 0.5 for _ in range(chance.randint(1, 12))] for _ in range(2)
        )
        length = min(len(on), len(sounding))
        assert latencies(on[:length], sounding[:length]) == naive_latencies(
            on[:length], sounding[:length]
        )


def test_metric():
    truth = torch.stack([frames(0, 40, 40, 0, 0), frames(0, 0, 60, 60, 60)])[:, :, None]
    predicted = torch.stack([frames(0, 1, 40, 40, 1), frames(0, 0, 0, 0, 0)])[:, :, None]
    # One pixel of 200 is exactly half a per cent, which does not count as marked.
    metric = Temporal()
    hops = torch.tensor([0.5, 2.0], dtype=torch.float64)
    for k in (1, 0):
        logits = predicted[k : k + 1].float() * 2 - 1
        metric.update(logits, truth[k : k + 1].float(), hops[k : k + 1], torch.tensor([k]))
    scores = metric.compute()
    # Steady pairs: clip 0: 1 -> 40 (frames 1, 2) and 40 -> 1 (3, 4); clip 1: 0-1, 2-3, 3-4, all empty.
    assert scores.flicker == pytest.approx((2 * (1 - 1 / 40) + 0) / 5)
    # one frame of half a second; the other onset is missed
    assert scores.onset_latency == pytest.approx(0.5)
    assert scores.onsets_missed == 0.5
    assert scores.offset_latency == pytest.approx(0.5)
    assert scores.offsets_missed == 0


def test_nothing_to_average_is_none_and_invalid_frames_are_left_out():
    metric = Temporal()
    logits, masks = -torch.ones(1, 3, 1, 10, 20), torch.zeros(1, 3, 1, 10, 20)
    masks[0, 2, 0, :5] = 1
    valid = torch.tensor([[True, True, False]])
    metric.update(logits, masks, torch.ones(1, dtype=torch.float64), torch.tensor([0]), valid)
    assert metric.compute() == (0, None, None, None, None)
