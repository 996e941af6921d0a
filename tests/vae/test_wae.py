"""WAE: its loss by hand, and codes that follow the prior."""

import pytest
import torch
from torch import nn

from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.mmd import mmd
from ecmvae.vae.wae import WAE


def wae(**options):
    torch.manual_seed(0)
    return WAE(nn.Linear(6, 2), nn.Linear(2, 6), 2, likelihood=GaussianLikelihood(0.5), **options)


def test_the_loss_is_the_squared_error_and_mmd():
    model, x = wae(mmd_weight=3.0), torch.randn(8, 6)
    torch.manual_seed(5)
    output = model(x)
    torch.manual_seed(5)
    distance = mmd(model.encode(x), torch.randn(8, 2))
    error = (model.reconstruct(x) - x).square().sum(1).mean()
    constant = 3 * torch.log(torch.tensor(torch.pi))  # D/2 log 2 pi variance
    torch.testing.assert_close(output.loss, error + constant + 3.0 * distance)


def test_samples_come_from_the_prior_and_codes_follow_it():
    model, x = wae(mmd_weight=100.0), 1 + torch.randn(128, 6)
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(200):
        optimizer.zero_grad()
        model(x).loss.backward()
        optimizer.step()
    codes = model.encode(x)
    assert codes.mean(0).abs().max() < 0.4
    assert (codes.std(0) - 1).abs().max() < 0.3
    drawn = model.sample(2000, torch.Generator().manual_seed(0))
    assert (drawn.mean(0) - 1).abs().max() < 0.4
    noisy = model.sample(2000, torch.Generator().manual_seed(0), draw=True)
    assert (noisy - drawn).std().item() == pytest.approx(0.5**0.5, rel=0.05)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="mmd_weight must be >= 0"):
        wae(mmd_weight=-1.0)
