"""`ecmvae vae train | sample` for the models without a bound, by fitted samplers and with pixels drawn."""

import pytest
import torch
from PIL import Image

from ecmvae.errors import UserError
from ecmvae.training.vae import draw_from, train_vae
from ecmvae.training.vae_command import sample
from ecmvae.training.vae_loop import FitSettings
from ecmvae.training.vae_model import TrainedVAE
from ecmvae.training.vae_settings import DataSettings, VAEConfig
from ecmvae.vae.zoo import ModelSettings


def trained(folder, name, **settings):
    model = ModelSettings(name=name, latent_dim=3, hidden=16, **settings)
    fit = FitSettings(epochs=1, batch_size=50, device="cpu")
    train_vae(VAEConfig(model=model, data=DataSettings(name="digits", limit=120), fit=fit), folder)
    return TrainedVAE.from_pretrained(folder)


@pytest.mark.parametrize(
    "name", ["beta_tc_vae", "factor_vae", "ladder_vae", "iaf_vae", "wae", "rae_gradient", "vq_vae"]
)
def test_a_run_gives_samples_with_and_without_a_sampler(tmp_path, name):
    run = trained(tmp_path / "run", name)
    own = draw_from(run, 5, seed=1)
    fitted = draw_from(run, 5, seed=1, sampler="gaussian_mixture")
    assert own.shape == fitted.shape == (5, 1, 8, 8)
    assert torch.equal(fitted, draw_from(run, 5, seed=1, sampler="gaussian_mixture"))
    assert not torch.equal(own, fitted)
    pixels = draw_from(run, 5, seed=1, pixels=True)
    # a Bernoulli likelihood draws black and white
    assert set(pixels.unique().tolist()) <= {0.0, 1.0}
    assert not set(own.unique().tolist()) <= {0.0, 1.0}


def test_the_trainer_tells_beta_tc_vae_the_size_of_its_data_set(tmp_path, monkeypatch):
    seen = {}
    from ecmvae.training import vae

    def fit(model, *args, **kwargs):
        seen["size"] = model.dataset_size
        raise KeyboardInterrupt

    monkeypatch.setattr(vae, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run", "beta_tc_vae")
    assert seen == {"size": 120}


def test_the_command_draws_from_a_flow_and_refuses_what_has_no_codes_of_its_own(tmp_path):
    trained(tmp_path / "run", "rae_l2")
    out = tmp_path / "grid.png"
    assert sample(str(tmp_path / "run"), str(out), count=10, sampler="flow", device="cpu") == 0
    assert Image.open(out).size[0] > 80
    conditional = trained(tmp_path / "conditional", "conditional_vae")
    with pytest.raises(UserError, match="needs an unconditional model"):
        draw_from(conditional, 3, sampler="flow")
