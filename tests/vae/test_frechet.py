"""Scores of generated pictures against loops over all pairs, and on sets whose answer is known."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

from ecmvae.vae.frechet import (
    density_coverage,
    extract,
    frechet_feature_distance,
    precision_recall,
    quality_report,
)


@pytest.fixture
def sets():
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(40, 3, generator=generator)
    return real, 1.3 * torch.randn(35, 3, generator=generator) + torch.tensor([0.7, 0.0, 0.0])


def test_frechet_distance_against_scipy(sets):
    real, generated = (each.double().numpy() for each in sets)
    a, b = np.cov(real.T), np.cov(generated.T)
    gap = ((real.mean(0) - generated.mean(0)) ** 2).sum()
    expected = gap + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_feature_distance(*sets) == pytest.approx(expected, abs=1e-9)
    assert frechet_feature_distance(sets[0], sets[0]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_neighbour_scores_by_brute_force(sets, k):
    real, generated = (each.double().tolist() for each in sets)

    def radius(rows, index):
        return sorted(
            math.dist(rows[index], row) for other, row in enumerate(rows) if other != index
        )[k - 1]

    def balls(rows):
        return [(row, radius(rows, index)) for index, row in enumerate(rows)]

    inside_real = [[math.dist(x, c) <= r for c, r in balls(real)] for x in generated]
    inside_generated = [[math.dist(x, c) <= r for c, r in balls(generated)] for x in real]
    precision = sum(map(any, inside_real)) / len(generated)
    recall = sum(map(any, inside_generated)) / len(real)
    density = sum(map(sum, inside_real)) / (k * len(generated))
    coverage = sum(any(row[i] for row in inside_real) for i in range(len(real))) / len(real)
    assert precision_recall(*sets, k) == pytest.approx((precision, recall), abs=1e-12)
    assert density_coverage(*sets, k) == pytest.approx((density, coverage), abs=1e-12)


def test_closed_cases():
    generator = torch.Generator().manual_seed(1)
    real = torch.randn(500, 2, generator=generator)
    far = real + 100.0
    assert precision_recall(real, far) == density_coverage(real, far) == (0.0, 0.0)
    assert precision_recall(real, real) == (1.0, 1.0)
    same = torch.randn(500, 2, generator=generator)
    density, coverage = density_coverage(real, same, k=5)
    assert density == pytest.approx(1.0, abs=0.1)
    # Naeem et al.: E coverage = 1 - (n - 1) ... (n - k) / ((2n - 1) ... (2n - k)) for two sets of n alike
    expected = 1 - math.prod((500 - i) / (1000 - i) for i in range(1, 6))
    assert coverage == pytest.approx(expected, abs=0.03)
    one_mode = real[:1].expand(500, 2) + 1e-3 * same
    precision, recall = precision_recall(real, one_mode)
    assert precision == 1.0
    assert recall < 0.05


def test_a_report_names_its_network():
    class Halves(nn.Module):
        name = "two halves"

        def forward(self, images):
            return images.flatten(1)[:, :8]

    real, generated = torch.rand(30, 1, 4, 4), torch.rand(30, 1, 4, 4) ** 2
    report = quality_report(real, generated, Halves(), batch_size=7)
    assert report.network == "two halves"
    assert report.fid == pytest.approx(
        frechet_feature_distance(real.flatten(1)[:, :8], generated.flatten(1)[:, :8]), rel=1e-9
    )
    assert quality_report(real, generated, Halves(), name="mine").network == "mine"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: precision_recall(x, x, 5), "between 1 and 4"),
        (lambda x: density_coverage(x, x, 0), "between 1 and 4"),
        (lambda x: frechet_feature_distance(x, x[:1]), "at least 2 pictures"),
        (lambda x: extract(x, lambda images: images[:, 0]), r"must give \(n, F\)"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(5, 3))
