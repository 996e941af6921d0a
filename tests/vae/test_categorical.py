"""Categorical latents: KL against the table, samples against the probabilities."""

import math

import pytest
import torch

from ecmvae.vae.categorical import CategoricalHead, GumbelCategorical
from ecmvae.vae.divergences import discrete_kl
from ecmvae.vae.fully_connected import mlp_categorical_vae


def test_kl_to_uniform():
    logits = torch.randn(5, 3, 4, dtype=torch.float64)
    uniform = torch.full((5, 3, 4), 0.25, dtype=torch.float64)
    expected = discrete_kl(logits.softmax(-1), uniform).sum(-1)
    torch.testing.assert_close(GumbelCategorical(logits).kl(), expected)


def test_kl_edges():
    assert GumbelCategorical(torch.zeros(1, 2, 4)).kl().item() == pytest.approx(0.0, abs=1e-6)
    sure = torch.tensor([[[100.0, 0.0, 0.0, 0.0]]])
    assert GumbelCategorical(sure).kl().item() == pytest.approx(math.log(4))


def test_cold_samples_are_the_categorical():
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    drawn = GumbelCategorical(logits.expand(50_000, 1, 3), temperature=0.05).rsample()
    torch.testing.assert_close(drawn.sum(-1), torch.ones(50_000))
    frequencies = torch.nn.functional.one_hot(drawn.argmax(-1), 3).double().mean(0)
    torch.testing.assert_close(frequencies, logits[0].double().softmax(-1), rtol=0, atol=0.01)


def test_mode_is_one_hot():
    posterior = CategoricalHead(4, 3, 5)(torch.randn(2, 4))
    assert posterior.mode.shape == (2, 15)
    assert torch.equal(posterior.mode.view(2, 3, 5).argmax(-1), posterior.logits.argmax(-1))


def test_trains_through_the_relaxation():
    model = mlp_categorical_vae((6,), 8, 3, 4)
    model(torch.rand(4, 6)).loss.backward()
    assert model.encoder[1].logits.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="importance weights"):
        model.log_weights(torch.rand(4, 6), num_samples=2)


def test_temperature():
    with pytest.raises(ValueError, match="temperature"):
        GumbelCategorical(torch.zeros(1, 1, 2), temperature=0.0)
