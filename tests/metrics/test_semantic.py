"""AVSS' scores against a plain loop over frames and classes."""

import numpy as np
import pytest
import torch

from ecmvae.metrics.semantic import SemanticProtocol

CLASSES = 6


def clips(count=5, frames=4, side=9):
    """Labels of which class 4 never occurs, and logits that agree with them on about two pixels of three."""
    labels = torch.randint(0, CLASSES - 2, (count, frames, side, side))
    labels[0] = 0
    labels[1:, 2] = labels[1:, 2].clamp(max=1)
    labels[labels == 3] = 5  # class 3 occurs in predictions only
    logits = torch.randn(count, frames, CLASSES, side, side)
    logits.scatter_add_(2, labels.unsqueeze(2), torch.full((count, frames, 1, side, side), 2.5))
    logits[:, :, 4] = -9
    return logits, labels


def plain(logits, labels):
    ious, fscores = {}, {}
    for scores, truth in zip(logits.flatten(0, 1), labels.flatten(0, 1), strict=True):
        predicted = scores.argmax(dim=0)
        for c in range(CLASSES):
            a, b = (predicted == c).numpy(), (truth == c).numpy()
            if not (a | b).any():
                continue
            hits = (a & b).sum()
            ious.setdefault(c, []).append(hits / (a | b).sum())
            precision, recall = hits / max(a.sum(), 1), hits / max(b.sum(), 1)
            fscores.setdefault(c, []).append(
                1.3 * precision * recall / (0.3 * precision + recall) if hits else 0.0
            )
    iou, fscore = ({c: np.mean(v) for c, v in table.items()} for table in (ious, fscores))
    assert set(iou) == {0, 1, 2, 3, 5}
    named = [c for c in iou if c]
    return [np.mean(list(t.values())) for t in (iou, fscore)] + [
        np.mean([t[c] for c in named]) for t in (iou, fscore)
    ]


def test_against_a_plain_loop():
    logits, labels = clips()
    metric = SemanticProtocol(CLASSES)
    metric.update(logits, labels)
    assert metric.compute() == pytest.approx(plain(logits, labels), abs=1e-6)


def test_any_batching():
    logits, labels = clips()
    whole, parts = SemanticProtocol(CLASSES), SemanticProtocol(CLASSES)
    whole.update(logits, labels)
    for part in (slice(3, 5), slice(0, 1), slice(1, 3)):
        parts.update(logits[part], labels[part])
    assert parts.compute() == pytest.approx(whole.compute())


def test_padded_frames_count_unless_left_out():
    logits, labels = clips()
    logits[:, 3, 0], labels[:, 3] = 99, 0  # padding, and a model that answers background there
    valid = torch.tensor([True, True, True, False]).expand(5, -1)
    with_padding, without = SemanticProtocol(CLASSES), SemanticProtocol(CLASSES)
    with_padding.update(logits, labels)
    without.update(logits, labels, valid)
    assert without.compute() == pytest.approx(plain(logits[:, :3], labels[:, :3]), abs=1e-6)
    assert with_padding.compute().miou > without.compute().miou


def test_perfect_and_broken():
    logits, labels = clips()
    metric = SemanticProtocol(CLASSES)
    metric.update(torch.nn.functional.one_hot(labels, CLASSES).movedim(-1, 2).float(), labels)
    assert metric.compute() == pytest.approx((1, 1, 1, 1))
    with pytest.raises(ValueError, match="NaN"):
        metric.update(logits * torch.nan, labels)
    with pytest.raises(ValueError, match=r"0 \.\.\. 5"):
        metric.update(logits, labels + 6)
