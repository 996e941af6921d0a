"""The lectures' fully connected models to the parameter."""

import pytest
import torch

from ecmvae.vae import gaussian
from ecmvae.vae.fully_connected import (
    VariationalEncoder,
    lecture_vae,
    mlp_autoencoder,
    mlp_categorical_vae,
    mlp_conditional_vae,
    mlp_vae,
)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_mlp_vae_parameters(known):
    expected = known("seed_tables")["params"]
    model = mlp_vae()
    trunk, head = model.encoder
    first, last = (layer for layer in model.decoder.layers if count(layer))
    layers = [count(trunk), count(head.mean), count(head.logvar), count(first), count(last)]
    assert layers == expected["fc_vae_784_256_10"] == [200_960, 2_570, 2_570, 2_816, 201_488]
    assert count(model) == expected["fc_vae_total"] == 410_404


@pytest.mark.parametrize(
    ("latent", "key"), [(2, "vae_784_512_2_encoder"), (20, "vae_784_512_20_encoder")]
)
def test_lecture_encoder_parameters(known, latent, key):
    assert count(VariationalEncoder(latent)) == known("seed_tables")["params"][key]


def test_lecture_encoder_names_and_answer(monkeypatch):
    encoder = VariationalEncoder(2)
    assert set(encoder.state_dict()) == {
        f"{layer}.{kind}"
        for layer in ("linear1", "mu_layer", "logvar_layer")
        for kind in ("weight", "bias")
    }
    monkeypatch.setattr(
        gaussian.torch, "randn", lambda shape, **options: torch.zeros(shape, dtype=options["dtype"])
    )
    z, mu, logvar = encoder(torch.rand(3, 1, 28, 28))
    assert torch.equal(z, mu)
    assert logvar.shape == (3, 2)


def test_lecture_vae_trains_with_that_encoder():
    output = lecture_vae()(torch.rand(3, 784))
    assert output.loss.item() == pytest.approx(-output.elbo.mean().item(), rel=1e-6)


@pytest.mark.parametrize("build", [mlp_autoencoder, mlp_vae, mlp_categorical_vae])
def test_any_event_shape(build):
    output = build((1, 8, 8))(torch.rand(3, 1, 8, 8))
    assert output.parameters.shape == (3, 1, 8, 8)
    output.loss.backward()


def test_conditional_adds_the_classes_to_both_halves():
    extra = count(mlp_conditional_vae()) - count(mlp_vae())
    assert extra == 2 * 10 * 256
