"""Outlier scores, thresholds, rarity weights and the memorisation check."""

import numpy as np
import pytest
import torch

from ecmvae.vae.classic import digits
from ecmvae.vae.fully_connected import mlp_autoencoder, mlp_vae
from ecmvae.vae.metrics import auroc
from ecmvae.vae.outliers import (
    OutlierThreshold,
    effective_sample_size,
    memorisation_check,
    outlier_scores,
    rarity_weights,
)


def test_scores_are_the_negative_bounds():
    x = torch.rand(7, 6)
    autoencoder = mlp_autoencoder((6,), 8, 2).eval()
    torch.testing.assert_close(
        outlier_scores(autoencoder, x, batch_size=3), -autoencoder(x).log_likelihood
    )
    model = mlp_vae((6,), 8, 2).eval()
    torch.manual_seed(0)
    expected = -model.log_likelihood(x, num_samples=5)
    torch.manual_seed(0)
    torch.testing.assert_close(outlier_scores(model, x, num_samples=5), expected)


def test_noise_stands_out_from_digits():
    images = torch.from_numpy(digits()[0]).flatten(1)
    model = mlp_vae((64,), 64, 4)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        model(images[torch.randint(1200, (100,))]).loss.backward()
        optimizer.step()
    model.eval()
    calibration, inliers = (
        outlier_scores(model, images[1200:1500]),
        outlier_scores(model, images[1500:]),
    )
    noise = outlier_scores(model, torch.rand(200, 64))
    scores = torch.cat([inliers, noise])
    assert auroc(scores, torch.arange(len(scores)) >= len(inliers)) > 0.99
    threshold = OutlierThreshold.calibrate(calibration, 0.1)
    assert threshold.flag(inliers).float().mean().item() == pytest.approx(0.1, abs=0.07)
    assert threshold.flag(noise).float().mean() > 0.95


def test_calibrated_rate():
    scores = torch.randn(20_000)
    for rate in (0.01, 0.2):
        threshold = OutlierThreshold.calibrate(scores[:10_000], rate)
        flagged = threshold.flag(scores[10_000:]).float().mean().item()
        assert flagged == pytest.approx(rate, abs=4 * (2 * rate / 10_000) ** 0.5)


def test_rarity_weights_against_the_histogram_formula():
    codes = torch.randn(300, 2, dtype=torch.float64)
    densities = []
    for column in codes.numpy().T:
        counts, edges = np.histogram(column, bins=6)
        index = np.clip(np.searchsorted(edges, column, side="right") - 1, 0, 5)
        densities.append(counts[index] / 300 + 0.01)
    expected = 1 / np.prod(densities, 0)
    found = rarity_weights(codes, bins=6, smoothing=0.01).numpy()
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-9)
    assert found.mean() == pytest.approx(1.0)


def test_a_rare_group_is_drawn_more_often():
    codes = torch.cat([torch.randn(950, 2), torch.randn(50, 2) * 0.3 + 5.0])
    weights = rarity_weights(codes)
    assert weights[950:].sum() / weights.sum() > 0.2  # against 0.05 in the data


def test_effective_sample_size_by_its_definition():
    weights = torch.tensor([3.0, 1.0, 0.5], dtype=torch.float64)
    assert effective_sample_size(weights.log()) == pytest.approx(4.5**2 / (9 + 1 + 0.25))
    assert effective_sample_size(torch.full((8,), -700.0)) == pytest.approx(8)
    assert effective_sample_size(torch.tensor([0.0, -1e4])) == pytest.approx(1)


def test_weights_of_many_dimensions_do_not_degenerate():
    # 200 dimensions of which 10 are in use, as in the face VAE; 2 % of the samples lie apart in three of those.
    torch.manual_seed(0)
    codes = 0.01 * torch.randn(2000, 200, dtype=torch.float64)
    codes[:, 50:60] = torch.randn(2000, 10, dtype=torch.float64)
    rare = torch.arange(2000) < 40
    codes[rare, 50:53] += 4.0
    plain = rarity_weights(codes, dimensions=None, effective_share=0.0)
    # the bare product: one sample of 2,000 has a tenth of all weight
    assert plain.max() / plain.sum() > 0.1
    for share in (0.1, 0.4):
        weights = rarity_weights(codes, dimensions=10, effective_share=share)
        assert effective_sample_size(weights.log()) / 2000 == pytest.approx(share, rel=1e-6)
        assert weights.mean() == pytest.approx(1.0)
    guarded = rarity_weights(codes, dimensions=10)
    assert guarded[rare].sum() / guarded.sum() > 0.2  # against 0.02 in the data
    scrambled = codes.clone()
    scrambled[:, :50] = scrambled[:, :50].flip(0)  # what the model does not use has no effect
    torch.testing.assert_close(rarity_weights(scrambled, dimensions=10), guarded)


def test_memorisation_tells_copies_from_fresh_samples():
    train, test = torch.randn(300, 4), torch.randn(200, 4)
    copies = memorisation_check(train[:100] + 0.01 * torch.randn(100, 4), train, test)
    fresh = memorisation_check(torch.randn(200, 4), train, test)
    assert copies.nearer_share > 0.98
    assert fresh.nearer_share == pytest.approx(0.5, abs=0.12)
    assert copies.sample_distance < 0.1 * copies.test_distance


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: outlier_scores(mlp_vae((4,), 8, 2), torch.rand(2, 4), num_samples=0),
            "num_samples",
        ),
        (lambda: OutlierThreshold.calibrate(torch.rand(4), 1.0), "between 0 and 1"),
        (lambda: OutlierThreshold.calibrate(torch.rand(0), 0.1), "inlier scores"),
        (lambda: rarity_weights(torch.rand(4, 2), bins=0), "bins"),
        (lambda: rarity_weights(torch.rand(4, 2), smoothing=0.0), "smoothing"),
        (lambda: rarity_weights(torch.rand(4, 2), dimensions=0), "dimensions"),
        (lambda: rarity_weights(torch.rand(4, 2), effective_share=1.0), "effective_share"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
