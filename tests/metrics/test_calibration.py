"""Calibration against torchmetrics, scikit-learn's reasoning and closed forms."""

import pytest
import torch
from torchmetrics.classification import BinaryCalibrationError

from ecmvae.metrics.calibration import CalibrationError, predictive_entropy, risk_coverage


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
