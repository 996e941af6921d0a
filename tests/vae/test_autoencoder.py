"""Autoencoders: deterministic, clean targets, denoising that denoises."""

import pytest
import torch
from torch import nn

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.classic import digits
from ecmvae.vae.encoders import ConvEncoder
from ecmvae.vae.fully_connected import mlp_autoencoder
from ecmvae.vae.likelihoods import GaussianLikelihood


def test_same_input_same_answer():
    model, x = mlp_autoencoder((5,), 8, 2), torch.rand(3, 5)
    assert torch.equal(model(x).parameters, model(x).parameters)


def test_loss_is_the_summed_cross_entropy_of_the_clean_input():
    model, x = mlp_autoencoder((5,), 8, 2, noise_std=0.7), torch.rand(3, 5)
    output = model(x)
    p = torch.sigmoid(output.parameters)
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).sum(1).mean()
    torch.testing.assert_close(output.loss, expected)


def test_noise_only_in_training():
    model, x = mlp_autoencoder((5,), 8, 2, noise_std=1.0), torch.rand(3, 5)
    assert not torch.equal(model(x).code, model(x).code)
    model.eval()
    assert torch.equal(model(x).code, model.encode(x))


def test_denoising_brings_digits_nearer_to_the_clean_ones():
    images = torch.from_numpy(digits()[0]).flatten(1)
    train, test = images[:1500], images[1500:]
    model = mlp_autoencoder((64,), 128, 32, noise_std=0.4)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _step in range(200):
        optimizer.zero_grad()
        model(train[torch.randperm(1500)[:100]]).loss.backward()
        optimizer.step()
    model.eval()
    noisy = test + 0.4 * torch.randn_like(test)
    assert ((model.reconstruct(noisy) - test) ** 2).mean() < 0.6 * ((noisy - test) ** 2).mean()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mlp_autoencoder((5,), 8, 2, noise_std=-1.0), "noise_std"),
        (lambda: mlp_autoencoder((5,), 8, 2)(torch.full((2, 5), 7.0)), "divide 8-bit"),
        (
            lambda: mlp_autoencoder((5,), 8, 2, likelihood=GaussianLikelihood())(
                torch.full((2, 5), torch.nan)
            ),
            "NaN",
        ),
        (
            lambda: AutoEncoder(ConvEncoder(1, (4,), 2), nn.Linear(4, 4))(torch.rand(1, 1, 2, 2)),
            "one sample",
        ),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
