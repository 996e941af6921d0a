"""FDR and its companions against scikit-learn and a loop over pixels."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, fbeta_score, jaccard_score, precision_score

from ecmvae.metrics.detection import Detection, MaskDetection, confusion, detection_scores

CLASSES = 5


def classes():
    """Predicted and true classes of 3 clips of 2 frames; class 3 is nowhere, class 4 is predicted only."""
    random = np.random.default_rng(0)
    truth = random.choice([0, 0, 0, 1, 2], size=(3, 2, 9, 9))
    predicted = np.where(
        random.random(truth.shape) < 0.6, truth, random.choice([0, 1, 2, 4], size=truth.shape)
    )
    return predicted, truth


def expected(predicted, truth):
    named = [0, 1, 2, 4]  # those that occur
    how = {"labels": named, "average": None, "zero_division": 0}
    precision = precision_score(truth, predicted, **how)
    return (
        np.mean(1 - precision),
        np.mean(fbeta_score(truth, predicted, beta=1, **how)),
        np.mean(fbeta_score(truth, predicted, beta=np.sqrt(0.3), **how)),
        np.sum(jaccard_score(truth, predicted, **how)) / CLASSES,
    )


def test_confusion():
    predicted, truth = (each.flatten() for each in classes())
    table = confusion(torch.tensor(predicted), torch.tensor(truth), CLASSES)
    assert np.array_equal(table.numpy(), confusion_matrix(truth, predicted, labels=range(CLASSES)))


def test_scores_of_classes():
    predicted, truth = classes()
    metric = Detection(num_classes=CLASSES)
    for part in (slice(0, 1), slice(1, 3)):
        metric.update(torch.tensor(predicted[part]), torch.tensor(truth[part]))
    assert metric.compute() == pytest.approx(
        expected(predicted.flatten(), truth.flatten()), abs=1e-12
    )


def test_what_does_not_count():
    predicted, truth = classes()
    valid, ignored = (
        np.array([[True, False], [True, True], [False, True]]),
        np.zeros(truth.shape, bool),
    )
    ignored[..., :4] = True
    metric = Detection(num_classes=CLASSES)
    metric.update(*(torch.tensor(each) for each in (predicted, truth, valid, ignored)))
    kept = valid[:, :, None, None] & ~ignored
    assert metric.compute() == pytest.approx(expected(predicted[kept], truth[kept]), abs=1e-12)


def test_scores_of_masks():
    random = torch.Generator().manual_seed(3)
    logits, masks = (
        torch.randn(4, 2, 1, 8, 8, generator=random),
        torch.rand(4, 2, 1, 8, 8, generator=random) > 0.7,
    )
    metric = MaskDetection()
    metric.update(logits, masks)
    wrong = {0: [0, 0], 1: [0, 0]}
    for value, truth in zip(logits.flatten().tolist(), masks.flatten().tolist(), strict=True):
        answer = int(value > 0)
        wrong[answer][0] += answer != truth
        wrong[answer][1] += 1
    assert metric.compute().fdr == pytest.approx(
        np.mean([part / whole for part, whole in wrong.values()]), abs=1e-12
    )


def test_classes_that_nobody_names_are_left_out_of_fdr_and_count_zero_in_miou():
    scores = detection_scores(torch.tensor([[6.0, 2.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]))
    assert scores.fdr == pytest.approx((0 / 6 + 2 / 4) / 2)
    assert scores.miou == pytest.approx((6 / 8 + 2 / 4 + 0) / 3)
