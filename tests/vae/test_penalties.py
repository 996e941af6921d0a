"""A penalty is a term of the loss and of the log, and leaves the bound alone."""

import torch

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.fully_connected import mlp_vae
from ecmvae.vae.penalties import Penalty, penalised
from ecmvae.vae.vae import VAE


def test_penalties_add_up_with_their_weights():
    terms = {"a": Penalty(2.0, torch.tensor(3.0)), "b": Penalty(-0.5, torch.tensor(4.0))}
    assert penalised(torch.tensor(1.0), terms).item() == 1.0 + 6.0 - 2.0
    assert penalised(torch.tensor(1.0), {}).item() == 1.0


def test_a_subclass_adds_its_penalty_to_the_loss_and_the_log():
    class Shy(VAE):
        def penalties(self, posterior, prior, z):
            return {"size": Penalty(3.0, z["z"].square().sum(1).mean())}

    parts = mlp_vae((6,), 8, 2)
    model, x = Shy(parts.encoder, parts.decoder, 2), torch.rand(5, 6)
    output = model(x, "mean")
    size = model.encode(x).mean.square().sum(1).mean()
    torch.testing.assert_close(output.loss, -output.elbo.mean() + 3.0 * size)
    torch.testing.assert_close(output.named()["size"], size)
    torch.testing.assert_close(output.elbo, parts(x, "mean").elbo)


def test_an_autoencoder_takes_penalties_too():
    class Shy(AutoEncoder):
        def penalties(self, code, parameters):
            return {"size": Penalty(2.0, code.abs().mean())}

    model, x = Shy(torch.nn.Linear(4, 2), torch.nn.Linear(2, 4)), torch.rand(3, 4)
    output = model(x)
    expected = -output.log_likelihood.mean() + 2.0 * model.encode(x).abs().mean()
    torch.testing.assert_close(output.loss, expected)
    assert set(output.named()) == {"loss", "log_likelihood", "size"}
