"""ECMVAE is a conditional VAE: with one latent and no regulariser its ELBO is `ConditionalVAE`'s, to rounding."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ecmvae.config import config_from_dict
from ecmvae.losses.objective import Objective
from ecmvae.models import ECMVAE, build_model
from ecmvae.models.latents import FactorizedLatents
from ecmvae.vae import bounds
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.likelihoods import BernoulliLikelihood
from ecmvae.vae.vae import ConditionalVAE

SOURCES = Path(__file__).parents[2] / "ecmvae"


class _Clip:
    """What the masks are conditioned on; y only says which frames, here all of them."""

    def __init__(self, model: ECMVAE, frames: Tensor, audio: Tensor) -> None:
        self.model, self.frames, self.audio = model, frames, audio
        self.flat_frames, self.flat_audio = frames.flatten(0, 1), audio.flatten(0, 1)
        self.maps = [each.flatten(0, 1) for each in model.extract_features(frames)]


class _Posterior(nn.Module):
    def __init__(self, clip: _Clip) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, masks: Tensor, y: Tensor) -> DiagonalGaussian:
        encoder = self.clip.model.posterior_branch.latent_encoder
        return encoder(self.clip.flat_frames, self.clip.flat_audio, masks).shared


class _Prior(_Posterior):
    def forward(self, y: Tensor) -> DiagonalGaussian:
        return self.clip.model.prior_branch.latent_encoder(self.clip.flat_frames, self.clip.flat_audio).shared


class _Decoder(_Posterior):
    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        point = FactorizedLatents(DiagonalGaussian(z, torch.zeros_like(z)))
        clip, model = self.clip, self.clip.model
        output = model.posterior_branch(
            clip.frames,
            clip.maps,
            clip.audio,
            model.fusion,
            "mean",
            masks=torch.zeros_like(clip.frames[:, :, :1]),
            informed=torch.zeros(len(z), dtype=torch.bool),  # no frame encodes its mask: all take `point`
            prior=point,
        )
        return output.logits.flatten(0, 1)


@pytest.mark.parametrize("latents", ["mean", "sample"])
def test_ecmvae_with_one_latent_has_the_conditional_vaes_elbo(latents: str) -> None:
    torch.manual_seed(0)
    values = {
        "visual": {"name": "efficientnet_lite0"},
        "channels": 16,
        "latent": {"kind": "single", "dim": 4, "shared_divergence": "kl"},
    }
    config = config_from_dict({"model": values})
    model = build_model(config.model, image_size=64).eval()
    frames, audio = torch.randn(2, 3, 3, 64, 64), torch.rand(2, 3, 128)
    masks = (torch.rand(2, 3, 1, 64, 64) > 0.6).float()
    loss = Objective.from_config(config)

    torch.manual_seed(1)
    output = model(frames, audio, masks, latents=latents)
    scores = BernoulliLikelihood().log_prob(output.posterior_logits.flatten(0, 1), masks.flatten(0, 1))
    ours = bounds.elbo(scores, output.posterior.shared.kl(output.prior.shared))

    clip = _Clip(model, frames, audio)
    conditional = ConditionalVAE(_Posterior(clip), _Decoder(clip), 4, prior=_Prior(clip))
    torch.manual_seed(1)
    if latents == "sample":
        torch.randn(6, 4)  # ECMVAE draws from its prior first
    theirs = conditional(masks.flatten(0, 1), torch.zeros(6, 1), latents)
    torch.testing.assert_close(ours, theirs.elbo, rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(loss(output, masks).values["kl_shared"], theirs.kl.mean())


def test_one_kl_one_product_and_one_reparameterisation_in_the_tree() -> None:
    noise, density = re.compile(r"\brandn(_like)?\("), re.compile(r"\bexp\(|expm1|softmax\(")
    both = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if noise.search(text := path.read_text()) and density.search(text)
    }
    assert both == {"vae/gaussian.py"}
    full_covariance = {"vae/linear.py"}  # the exact density of probabilistic PCA is not a diagonal Gaussian's
    for forbidden, elsewhere in (("torch.distributions", full_covariance), ("kl_div(", set()), ("expm1(", set())):
        found = {str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.py") if forbidden in path.read_text()}
        assert found <= {"vae/gaussian.py"} | elsewhere
