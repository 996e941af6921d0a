"""The variational autoencoder, with a weight on its KL (beta-VAE), and the conditional one.

Kingma & Welling, 2014 (arXiv:1312.6114); Higgins et al., "beta-VAE", 2017; Sohn et al., "Learning structured output
representation using deep conditional generative models", 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae import bounds
from ecmvae.vae.autoencoder import check_batch_statistics
from ecmvae.vae.gaussian import DiagonalGaussian, check_count, standard_normal_like
from ecmvae.vae.likelihoods import BernoulliLikelihood, Likelihood
from ecmvae.vae.mixtures import GaussianMixture
from ecmvae.vae.priors import Posterior, Prior, prior_or_standard_normal


@dataclass(frozen=True, eq=False, kw_only=True)
class VAEOutput:
    """What one forward of a VAE gives; nats per sample.

    Attributes:
        parameters: Decoder output (n, *event): logits or means.
        posterior: q(z|x).
        z: (n, L), the sample or the mode that was decoded.
        log_likelihood: log p(x|z), (n,).
        kl: KL(q || prior), (n,).
        beta: Weight of the KL in `loss`.
    """

    parameters: Tensor
    posterior: Posterior
    z: Tensor
    log_likelihood: Tensor
    kl: Tensor
    beta: float

    @property
    def elbo(self) -> Tensor:
        """(n,), the bound on log p(x): beta plays no part in it."""
        return bounds.elbo(self.log_likelihood, self.kl)

    @property
    def loss(self) -> Tensor:
        """-(log p(x|z) - beta KL), mean over the batch."""
        return -bounds.elbo(self.log_likelihood, self.kl, self.beta).mean()

    def named(self) -> dict[str, Tensor]:
        """Scalars to log."""
        return {
            "loss": self.loss,
            "elbo": self.elbo.mean(),
            "log_likelihood": self.log_likelihood.mean(),
            "kl": self.kl.mean(),
        }


class VAE(nn.Module):
    """q(z|x), p(x|z) and a prior p(z); any encoder and decoder module fits."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        likelihood: Likelihood | None = None,
        beta: float = 1.0,
        prior: Prior | None = None,
    ) -> None:
        """Join an encoder and a decoder.

        Args:
            encoder: (n, *event) -> a `Posterior`, or a tuple that ends in (mean, logvar).
            decoder: (n, L) -> (n, *event) logits or means.
            latent_dim: L.
            likelihood: What the decoder's output means; None is Bernoulli.
            beta: Weight of the KL in the loss.
            prior: p(z) over L; None is the standard normal.
        """
        super().__init__()
        if beta < 0:
            raise ValueError(f"beta must be >= 0, got {beta}")
        self.encoder, self.decoder, self.latent_dim, self.beta = encoder, decoder, latent_dim, beta
        self.prior = prior_or_standard_normal(prior, latent_dim)
        self.likelihood: Likelihood = likelihood or BernoulliLikelihood()

    def forward(self, x: Float[Tensor, "n ..."], latents: Literal["sample", "mean"] = "sample") -> VAEOutput:
        """Encode, draw (or take the mode), decode, and score against x.

        Raises:
            ValueError: When the likelihood cannot explain x, or on a one-sample batch with batch norm.
        """
        self.likelihood.check(x)
        check_batch_statistics(self, x)
        posterior = as_posterior(self.encoder(x))
        z = posterior.rsample() if latents == "sample" else posterior.mode
        parameters = self.decode(z)
        return VAEOutput(
            parameters=parameters,
            posterior=posterior,
            z=z,
            log_likelihood=self.likelihood.log_prob(parameters, x),
            kl=self.prior.kl(posterior),
            beta=self.beta,
        )

    def encode(self, x: Float[Tensor, "n ..."]) -> DiagonalGaussian:
        """q(z|x) of an encoder that gives a Gaussian."""
        return _gaussian(self.encoder(x))

    def decode(self, z: Float[Tensor, "n l"]) -> Float[Tensor, "n ..."]:
        """(n, L) -> (n, *event) logits or means."""
        parameters: Tensor = self.decoder(z)
        return parameters

    def reconstruct(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Mean image of the decoder at the mode of q(z|x)."""
        return self.likelihood.mean(self.decode(as_posterior(self.encoder(x)).mode))

    def sample(self, count: int, generator: torch.Generator | None = None) -> Float[Tensor, "n ..."]:
        """Mean images of `count` draws from the prior."""
        z = self.prior.sample(check_count(count, "count"), next(self.parameters()), generator)
        return self.likelihood.mean(self.decode(z))

    def log_weights(self, x: Float[Tensor, "n ..."], num_samples: int) -> Float[Tensor, "k n"]:
        """Log p(x, z_k) - log q(z_k|x) for K draws of a Gaussian or mixture posterior, for `bounds.iwae`."""
        self.likelihood.check(x)
        posterior = as_posterior(self.encoder(x))
        if not isinstance(posterior, DiagonalGaussian | GaussianMixture):
            raise ValueError(f"importance weights need a Gaussian or a mixture, not {type(posterior).__name__}")
        return _log_weights(x, posterior, self.prior, self.decode, self.likelihood, num_samples)

    def log_likelihood(self, x: Float[Tensor, "n ..."], num_samples: int) -> Float[Tensor, " n"]:
        """Importance-sampling estimate of log p(x), (n,) nats, from below on average."""
        return bounds.iwae(self.log_weights(x, num_samples))


class ConditionalVAE(nn.Module):
    """p(x|y): q(z|x, y), p(x|z, y) and a prior that may look at y."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        prior: nn.Module | None = None,
        likelihood: Likelihood | None = None,
        beta: float = 1.0,
    ) -> None:
        """Join the parts.

        Args:
            encoder: Called as encoder(x, y) -> `DiagonalGaussian` or a tuple that ends in (mean, logvar).
            decoder: Called as decoder(z, y) -> (n, *event) logits or means.
            latent_dim: L.
            prior: Called as prior(y) -> the same kind; None is the standard normal.
            likelihood: What the decoder's output means; None is Bernoulli.
            beta: Weight of the KL in the loss.
        """
        super().__init__()
        if beta < 0:
            raise ValueError(f"beta must be >= 0, got {beta}")
        self.encoder, self.decoder, self.prior_encoder = encoder, decoder, prior
        self.latent_dim, self.beta = latent_dim, beta
        self.likelihood: Likelihood = likelihood or BernoulliLikelihood()

    def forward(
        self, x: Float[Tensor, "n ..."], y: Float[Tensor, "m ..."], latents: Literal["sample", "mean"] = "sample"
    ) -> VAEOutput:
        """Encode (x, y), draw, decode with y, and score against x; errors as `VAE.forward`."""
        self._check(x, y)
        check_batch_statistics(self, x)
        posterior, prior = self.encode(x, y), self.prior(y)
        z = posterior.rsample() if latents == "sample" else posterior.mode
        parameters = self.decode(z, y)
        return VAEOutput(
            parameters=parameters,
            posterior=posterior,
            z=z,
            log_likelihood=self.likelihood.log_prob(parameters, x),
            kl=posterior.kl(prior),
            beta=self.beta,
        )

    def encode(self, x: Float[Tensor, "n ..."], y: Float[Tensor, "n ..."]) -> DiagonalGaussian:
        """q(z|x, y)."""
        return _gaussian(self.encoder(x, y))

    def prior(self, y: Float[Tensor, "n ..."]) -> DiagonalGaussian:
        """p(z|y)."""
        if self.prior_encoder is not None:
            return _gaussian(self.prior_encoder(y))
        return standard_normal_like(y.new_zeros(len(y), self.latent_dim))

    def decode(self, z: Float[Tensor, "n l"], y: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """(n, L) and its conditions -> (n, *event) logits or means."""
        parameters: Tensor = self.decoder(z, y)
        return parameters

    def sample(self, y: Float[Tensor, "n ..."], generator: torch.Generator | None = None) -> Float[Tensor, "n ..."]:
        """Mean images of one draw from the prior for each condition."""
        return self.likelihood.mean(self.decode(self.prior(y).rsample(generator=generator), y))

    def log_weights(
        self, x: Float[Tensor, "n ..."], y: Float[Tensor, "m ..."], num_samples: int
    ) -> Float[Tensor, "k n"]:
        """Log p(x, z_k|y) - log q(z_k|x, y) for K draws, for `bounds.iwae`."""
        self._check(x, y)
        repeated = y.repeat(check_count(num_samples, "num_samples"), *[1] * (y.ndim - 1))
        posterior, prior = self.encode(x, y), self.prior(y)
        return _log_weights(x, posterior, prior, lambda z: self.decode(z, repeated), self.likelihood, num_samples)

    def _check(self, x: Tensor, y: Tensor) -> None:
        self.likelihood.check(x)
        if len(x) != len(y):
            raise ValueError(f"{len(x)} samples with {len(y)} conditions: give one condition for each sample")


class LabelConditioned(nn.Module):
    """Calls `module` on its flattened first input with the condition appended: makes any MLP conditional."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Float[Tensor, "n ..."], y: Float[Tensor, "n c"]) -> Tensor | DiagonalGaussian:
        """`module` of (n, F + C)."""
        result: Tensor | DiagonalGaussian = self.module(torch.cat([x.flatten(1), y], 1))
        return result


def as_posterior(output: Posterior | tuple[Tensor, ...]) -> Posterior:
    """An encoder's answer as a distribution: itself, or the Gaussian of a tuple that ends in (mean, logvar)."""
    if isinstance(output, tuple):
        mean, logvar = output[-2:]
        return DiagonalGaussian(mean, logvar)
    return output


def _gaussian(output: Posterior | tuple[Tensor, ...]) -> DiagonalGaussian:
    posterior = as_posterior(output)
    if not isinstance(posterior, DiagonalGaussian):
        raise ValueError(f"a Gaussian is needed here, this encoder gives {type(posterior).__name__}")
    return posterior


def _log_weights(
    x: Tensor,
    posterior: DiagonalGaussian | GaussianMixture,
    prior: DiagonalGaussian | Prior,
    decode: Callable[[Tensor], Tensor],
    likelihood: Likelihood,
    num_samples: int,
) -> Tensor:
    z = posterior.rsample(num_samples)  # (K, n, L)
    parameters = decode(rearrange(z, "k n l -> (k n) l"))
    parameters = rearrange(parameters, "(k n) ... -> k n ...", k=num_samples)
    return likelihood.log_prob(parameters, x) + prior.log_prob(z) - posterior.log_prob(z)
