"""Calibration against torchmetrics, scikit-learn's reasoning and closed forms."""

import math

import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from torchmetrics.classification import BinaryCalibrationError

from ecmvae.metrics.calibration import (
    CalibrationError,
    Uncertainty,
    marked_entropy,
    predictive_entropy,
    risk_coverage,
)


def test_error_is_that_of_torchmetrics():
    logits = torch.randn(4, 1, 16, 16) * 2
    target = (torch.rand(4, 1, 16, 16) < torch.sigmoid(0.5 * logits)).float()
    ours, theirs = CalibrationError(10), BinaryCalibrationError(n_bins=10, norm="l1")
    for part in (slice(0, 1), slice(1, 4)):
        ours.update(logits[part], target[part])
    theirs.update(torch.sigmoid(logits), target.int())
    assert ours.compute().item() == pytest.approx(theirs.compute().item(), abs=1e-6)
    assert ours.compute() > 0.05  # probabilities twice as sure as they should be


def test_a_calibrated_model_has_no_error():
    logits = torch.randn(40, 64, 64)
    target = (torch.rand(logits.shape) < torch.sigmoid(logits)).float()
    metric = CalibrationError()
    metric.update(logits, target)
    assert metric.compute() < 0.01


def test_entropy_in_closed_form():
    samples = torch.logit(torch.tensor([[0.5, 0.0, 0.25, 1.0], [0.5, 0.0, 0.25, 0.0]]))
    expected = torch.tensor([1.0, 0.0, 0.811278, 1.0])
    torch.testing.assert_close(predictive_entropy(samples), expected, atol=1e-5, rtol=0)


def test_risk_coverage_by_hand():
    uncertainty, risk = torch.tensor([0.9, 0.1, 0.5, 0.2]), torch.tensor([1.0, 0.0, 0.6, 0.2])
    coverage, mean_risk = risk_coverage(uncertainty, risk)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    torch.testing.assert_close(mean_risk, torch.tensor([0.0, 0.1, 0.8 / 3, 0.45]))


def two_objects(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 4, 4) index maps: object 1 is the left half of the upper rows, object 2 the right half; object 1 sounds."""
    objects = torch.zeros(n, 4, 4, dtype=torch.int64)
    objects[:, :2, :2], objects[:, :2, 2:] = 1, 2
    return objects, torch.tensor([[True, False]]).expand(n, 2)


def test_entropy_of_the_marked_region_by_hand() -> None:
    objects, sounding = two_objects(4)
    logits = torch.full((1, 4, 4, 4), -9.0)
    logits[0, 0, :2, :2] = 1.0  # the right object, p .731
    logits[0, 1, :2, 2:] = 3.0  # the wrong one, p .953
    logits[0, 1, 0, 0] = 3.0  # and one pixel of the right one
    logits[0, 2, 3, 3] = 2.0  # only background: no object is marked
    entropy, wrong = marked_entropy(logits, objects, sounding)
    assert wrong.tolist() == [False, True]
    chances = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-3))]
    assert entropy.tolist() == pytest.approx(
        [stats.entropy([p, 1 - p], base=2) for p in chances], abs=1e-5
    )
    assert len(marked_entropy(logits, objects, torch.ones(4, 2, dtype=torch.bool))[0]) == 0


def test_scores_of_objects_against_scikit_learn() -> None:
    torch.manual_seed(3)
    objects, sounding = two_objects(60)
    strength = torch.rand(60) * 4
    wrong = torch.rand(60) < torch.sigmoid(2 - 2 * strength)  # unsure where it is wrong, mostly
    logits = torch.full((60, 4, 4), -5.0)
    for frame in range(60):
        logits[frame][objects[frame] == (2 if wrong[frame] else 1)] = 0.01 + strength[frame]
    metric = Uncertainty()
    masks = (objects == 1).float()
    for part in (slice(0, 25), slice(25, 60)):  # clips of one frame
        shown = logits[part, None, None]
        known = objects[part, None], sounding[part, None]
        metric.update(shown, shown[None], masks[part, None, None], *known)
    found = metric.compute()
    entropy = [stats.entropy([p, 1 - p], base=2) for p in torch.sigmoid(0.01 + strength).tolist()]
    assert found.wrong_object_auroc == pytest.approx(
        roc_auc_score(wrong.numpy(), entropy), abs=1e-6
    )
    assert 0.6 < found.wrong_object_auroc < 1
    inside = objects > 0
    theirs = BinaryCalibrationError(n_bins=15, norm="l1")
    theirs.update(torch.sigmoid(logits[inside]), masks[inside].int())
    assert found.calibration_error_in_objects == pytest.approx(theirs.compute().item(), abs=1e-6)
    assert found.calibration_error < found.calibration_error_in_objects


def test_what_cannot_be_told_is_none() -> None:
    objects, sounding = two_objects(2)
    masks = (objects == 1).float()[:, None, None]
    logits = masks * 10 - 5
    metric = Uncertainty()
    metric.update(logits, logits[None], masks)
    assert metric.compute()[-2:] == (None, None)
    metric.update(logits, logits[None], masks, objects[:, None], sounding[:, None])
    assert metric.compute().wrong_object_auroc is None  # the right object every time
    # sigmoid(-5)
    assert metric.compute().calibration_error_in_objects == pytest.approx(0.0067, abs=1e-4)
