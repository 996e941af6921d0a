"""InfoVAE: its loss by hand, and the VAE as its special case."""

import pytest
import torch

from ecmvae.vae.fully_connected import mlp_vae
from ecmvae.vae.info_vae import InfoVAE
from ecmvae.vae.mmd import mmd


def info_vae(**options):
    torch.manual_seed(0)
    parts = mlp_vae((6,), 8, 2)
    return InfoVAE(parts.encoder, parts.decoder, 2, **options)


def test_the_loss_by_hand():
    model, x = info_vae(alpha=0.3, mmd_weight=5.0, kernel="rbf"), torch.rand(7, 6)
    torch.manual_seed(4)
    output = model(x)
    torch.manual_seed(4)
    z = model.encode(x).rsample()
    distance = mmd(z, torch.randn(7, 2), "rbf")
    expected = (-output.log_likelihood + 0.7 * output.kl).mean() + (0.3 + 5.0 - 1.0) * distance
    torch.testing.assert_close(output.loss, expected)


def test_without_a_weight_it_is_the_vae():
    model, x = info_vae(alpha=0.0, mmd_weight=1.0), torch.rand(7, 6)
    output = model(x)
    torch.testing.assert_close(output.loss, -output.elbo.mean())


def test_training_without_the_kl_still_brings_codes_to_the_prior():
    """The aggregate posterior's scale, far from 1 at first, is pulled to the prior's by MMD alone."""
    model = info_vae(alpha=1.0, mmd_weight=200.0)
    x = torch.rand(128, 6)
    with torch.no_grad():
        model.encoder[-1].mean.weight.mul_(40)
    before = model.encode(x).mean.std(0).max().item()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        model(x).loss.backward()
        optimizer.step()
    spread = (model.encode(x).rsample()).std(0)
    assert before > 2
    assert spread.min() > 0.7
    assert spread.max() < 1.4


@pytest.mark.parametrize("options", [{"alpha": 1.5}, {"alpha": 0.2, "mmd_weight": 0.5}])
def test_weights_outside_their_range_are_refused(options):
    with pytest.raises(ValueError, match="InfoVAE needs alpha"):
        info_vae(**options)
