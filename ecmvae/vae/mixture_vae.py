"""A VAE whose q(z|x) is a mixture of Gaussians with learnt weights: one of the richer posteriors.

Morningstar et al., "Automatic differentiation variational inference with mixtures", 2021 (arXiv:2003.01687): the ELBO
is stratified over the components, so that gradients reach the weights too.
"""

from __future__ import annotations

from typing import Literal

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ecmvae.vae.autoencoder import check_batch_statistics
from ecmvae.vae.conditional import ConditionalOutput, one_latent_output
from ecmvae.vae.mixtures import GaussianMixture
from ecmvae.vae.vae import VAE, as_posterior


class MixtureVAE(VAE):
    """`VAE` with an encoder that ends in a `MixtureHead`."""

    def forward(
        self, x: Float[Tensor, "n ..."], latents: Literal["sample", "mean"] = "sample"
    ) -> ConditionalOutput:
        """Draw from every component, weigh the scores; `latents="mean"` decodes the heaviest component's mean.

        Raises:
            ValueError: When the encoder gives no mixture, and as `VAE.forward`.
        """
        posterior = as_posterior(self.encoder(x))
        if not isinstance(posterior, GaussianMixture):
            raise ValueError(
                f"MixtureVAE needs a MixtureHead, this encoder gives {type(posterior).__name__}: use VAE"
            )
        if latents == "mean":
            return super().forward(x, latents)
        self.likelihood.check(x)
        check_batch_statistics(self, x)
        z = posterior.rsample_each()  # (C, n, L)
        parameters = rearrange(
            self.decode(rearrange(z, "c n l -> (c n) l")), "(c n) ... -> c n ...", c=len(z)
        )
        divergence = posterior.log_prob(z) - self.prior.log_prob(z)
        best = int(posterior.log_weights.exp().mean(1).argmax())
        return one_latent_output(
            parameters=parameters[best],
            posterior=posterior,
            z=z[best],
            log_likelihood=posterior.average(self.likelihood.log_prob(parameters, x)),
            kl=posterior.average(divergence),
            beta=self.beta,
        )
