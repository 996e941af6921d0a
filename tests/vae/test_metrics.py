"""Metrics against known answers, brute force and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from ecmvae.vae import metrics
from ecmvae.vae.fully_connected import mlp_categorical_vae, mlp_vae


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def test_frechet_distance_known_answers(known):
    for case in known("frechet_inception")["frechet"]:
        distance = metrics.frechet_distance(
            *(double(case[key]) for key in ("m1", "S1", "m2", "S2"))
        )
        assert distance.item() == pytest.approx(case["fid"], abs=1e-7)


def test_inception_score_known_answers(known):
    for case in known("frechet_inception")["inception_score"]:
        assert metrics.inception_score(double(case["p"])).item() == pytest.approx(
            case["IS"], abs=1e-7
        )


def test_feature_fid_is_the_frechet_distance_of_the_features():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    real, generated = torch.rand(200, 3, 2, 2), torch.rand(150, 3, 2, 2) ** 2
    moments = []
    with torch.no_grad():
        for images in (real, generated):
            features = network(images).double()
            moments += [features.mean(0), features.T.cov()]
    expected = metrics.frechet_distance(*moments).item()
    assert metrics.feature_fid(real, generated, network, batch_size=64) == pytest.approx(
        expected, abs=1e-4
    )
    assert metrics.feature_fid(real, real, network) == pytest.approx(0.0, abs=1e-4)


def test_classifier_inception_score_is_that_of_the_table():
    classifier, images = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.randn(300, 1, 2, 2)
    with torch.no_grad():
        expected = metrics.inception_score(classifier(images).double().softmax(1)).item()
    assert metrics.classifier_inception_score(images, classifier) == pytest.approx(
        expected, rel=1e-5
    )


def test_auroc_against_scikit_learn_also_for_large_and_tied_scores():
    outlier = torch.rand(400) < 0.3
    for scores in (
        torch.randn(400),
        500 + 10 * torch.randn(400) + 5 * outlier,
        torch.randint(0, 4, (400,)).float(),
    ):
        assert metrics.auroc(scores, outlier) == pytest.approx(
            roc_auc_score(outlier.numpy(), scores.numpy()), abs=1e-6
        )


def test_bound_report_agrees_with_its_parts():
    model, x = mlp_vae((6,), 8, 2).eval(), torch.rand(30, 6)
    report = metrics.bound_report(model, x, num_samples=20, batch_size=7)
    assert report["negative_iwae_20"] <= report["negative_elbo"]
    assert report["kl"] == pytest.approx(model.encode(x).kl().mean().item(), rel=1e-5)
    with torch.no_grad():
        elbo = torch.stack([model(x).elbo.mean() for _ in range(400)]).mean().item()
    assert report["negative_elbo"] == pytest.approx(-elbo, abs=0.05)
    assert report["reconstruction"] == pytest.approx(report["negative_elbo"] - report["kl"])


def test_perplexity_of_a_uniform_choice():
    assert metrics.perplexity(torch.full((9,), -math.log(50.0))).item() == pytest.approx(
        50.0, rel=1e-5
    )


def test_compression_ratio():
    assert metrics.compression_ratio((1, 32, 32), 2) == 512


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: metrics.bound_report(mlp_vae((4,), 8, 2), torch.rand(2, 4), num_samples=0),
            "num_samples",
        ),
        (lambda: metrics.bound_report(mlp_vae((4,), 8, 2), torch.rand(0, 4)), "number of samples"),
        (
            lambda: metrics.bound_report(mlp_categorical_vae((4,), 8, 2, 3), torch.rand(2, 4)),
            "importance weights",
        ),
        (lambda: metrics.auroc(torch.rand(3), torch.ones(3).bool()), "inliers"),
        (
            lambda: metrics.feature_fid(torch.rand(1, 4), torch.rand(5, 4), nn.Identity()),
            "at least 2 images",
        ),
        (lambda: metrics.inception_score(torch.rand(3, 4) + 1), "normalise"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_numpy_agrees_on_a_random_frechet_distance():
    from scipy.linalg import sqrtm

    a, b = np.random.default_rng(0).normal(size=(2, 50, 4))
    covariances = np.cov(a.T), np.cov((2 * b).T)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(sum(covariances) - 2 * root)
    found = metrics.frechet_distance(
        *map(torch.from_numpy, (a.mean(0), covariances[0], b.mean(0), covariances[1]))
    )
    assert found.item() == pytest.approx(expected, abs=1e-9)
