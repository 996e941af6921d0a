"""Linear models whose optimum is known: the linear autoencoder is PCA, the linear VAE is probabilistic PCA.

Baldi & Hornik, 1989 (a linear autoencoder finds PCA's subspace, not its axes); Tipping & Bishop, "Probabilistic
principal component analysis", 1999; Lucas et al., "Don't blame the ELBO!", 2019 (arXiv:1911.02469): at its optimum the
linear VAE's ELBO equals probabilistic PCA's log-likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.conditional import ConditionalOutput, one_latent_output
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.priors import Prior, prior_or_standard_normal


def linear_autoencoder(in_features: int, latent_dim: int) -> AutoEncoder:
    """An autoencoder of two linear layers and no activation, with the squared error of a unit Gaussian."""
    return AutoEncoder(
        nn.Linear(in_features, latent_dim),
        nn.Linear(latent_dim, in_features),
        likelihood=GaussianLikelihood(),
    )


class LinearVAE(nn.Module):
    """q(z|x) = N(V(x - mu), diag(s)), p(x|z) = N(W z + mu, sigma^2 I), with one s for all x and a learnt sigma^2."""

    def __init__(self, in_features: int, latent_dim: int, prior: Prior | None = None) -> None:
        super().__init__()
        self.latent_dim, self.prior = (
            latent_dim,
            prior_or_standard_normal(prior, latent_dim, self.encode),
        )
        self.encoder = nn.Linear(in_features, latent_dim)
        self.decoder = nn.Linear(latent_dim, in_features)
        self.posterior_logvar = nn.Parameter(torch.zeros(latent_dim))
        self.likelihood = GaussianLikelihood(learn_variance=True)

    def encode(self, x: Float[Tensor, "n d"]) -> DiagonalGaussian:
        """q(z|x)."""
        mean: Tensor = self.encoder(x)
        return DiagonalGaussian(mean, self.posterior_logvar.expand_as(mean))

    def forward(self, x: Float[Tensor, "n d"], *, exact: bool = True) -> ConditionalOutput:
        """Score x, with E_q log p(x|z) in closed form or from one sample of z.

        The closed form is log p(x | E z) - tr(W diag(s) W^T) / (2 sigma^2).
        """
        self.likelihood.check(x)
        posterior = self.encode(x)
        z = posterior.mode if exact else posterior.rsample()
        parameters: Tensor = self.decoder(z)
        log_likelihood = self.likelihood.log_prob(parameters, x)
        if exact:
            spread = (self.decoder.weight**2 * posterior.variance.unsqueeze(-2)).sum((-1, -2))
            log_likelihood = (
                log_likelihood - 0.5 * spread / torch.as_tensor(self.likelihood.logvar).exp()
            )
        return one_latent_output(
            parameters=parameters,
            posterior=posterior,
            z=z,
            log_likelihood=log_likelihood,
            kl=self.prior.kl(posterior),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbabilisticPCA:
    """N(mean, W W^T + variance I), fitted by maximum likelihood.

    Attributes:
        mean: (D,).
        weight: (D, L), unique up to a rotation of its columns.
        variance: Scalar, the mean of the discarded eigenvalues.
    """

    mean: Tensor
    weight: Tensor
    variance: Tensor

    @classmethod
    def fit(cls, x: Float[Tensor, "n d"], latent_dim: int) -> ProbabilisticPCA:
        """Closed-form maximum likelihood, with the biased covariance (1/n)."""
        count, dim = x.shape
        if not 1 <= latent_dim < dim or count < 2:
            raise ValueError(
                f"need 1 <= latent_dim < {dim} and at least 2 samples, got {latent_dim} and {count}"
            )
        mean = x.mean(0)
        values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / count)
        values, vectors = values.flip(0), vectors.flip(1)
        variance = values[latent_dim:].mean()
        weight = vectors[:, :latent_dim] * (values[:latent_dim] - variance).clamp_min(0.0).sqrt()
        return cls(mean=mean, weight=weight, variance=variance)

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Exact log p(x), in nats."""
        covariance = self.weight @ self.weight.T + self.variance * torch.eye(len(self.mean)).to(x)
        normal = torch.distributions.MultivariateNormal(self.mean, covariance)
        density: Tensor = normal.log_prob(x)  # type: ignore[no-untyped-call]
        return density
