"""The variational autoencoder, with a weight on its KL (beta-VAE), and the conditional one.

Kingma & Welling, 2014 (arXiv:1312.6114); Higgins et al., "beta-VAE", 2017; Sohn et al., "Learning structured output
representation using deep conditional generative models", 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.autoencoder import check_batch_statistics
from ecmvae.vae.conditional import Condition, ConditionalLatentModel, ConditionalOutput
from ecmvae.vae.divergences import check_free_bits, check_share
from ecmvae.vae.gaussian import DiagonalGaussian, check_count, standard_normal_like
from ecmvae.vae.latents import LatentSet
from ecmvae.vae.likelihoods import BernoulliLikelihood, Likelihood
from ecmvae.vae.priors import Posterior, Prior, prior_or_standard_normal


class OneLatent(ConditionalLatentModel[Condition]):
    """What `VAE` and `ConditionalVAE` share: one latent, called z, and a decoder that takes K points as one batch."""

    def repeated(self, condition: Condition, count: int) -> Condition:
        """The condition of `count` points for each sample, stacked as the points are."""
        return condition

    def log_likelihoods(
        self,
        y: Float[Tensor, "n ..."],
        z: Mapping[str, Float[Tensor, "k n _"]],
        condition: Condition,
    ) -> Float[Tensor, "k n"]:
        """Log p(y|x, z_k) of K points, decoded at once."""
        points = z["z"]
        flat = {"z": rearrange(points, "k n l -> (k n) l")}
        parameters = self.decode_latents(flat, self.repeated(condition, len(points)))
        return self.likelihood.log_prob(
            rearrange(parameters, "(k n) ... -> k n ...", k=len(points)), y
        )


class VAE(nn.Module, OneLatent[None]):
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
        free_bits: float = 0.0,
    ) -> None:
        """Join an encoder and a decoder.

        Args:
            encoder: (n, *event) -> a `Posterior`, or a tuple that ends in (mean, logvar).
            decoder: (n, L) -> (n, *event) logits or means.
            latent_dim: L.
            likelihood: What the decoder's output means; None is Bernoulli.
            beta: Weight of the KL in the loss.
            prior: p(z) over L; None is the standard normal.
            free_bits: KL in nats that each dimension may have at no cost in the loss; see `divergences.free_bits`.
        """
        super().__init__()
        self.encoder, self.decoder, self.latent_dim, self.beta = (
            encoder,
            decoder,
            latent_dim,
            _checked_weight(beta),
        )
        self.prior = prior_or_standard_normal(prior, latent_dim, self.encode)
        self.likelihood: Likelihood = likelihood or BernoulliLikelihood()
        self.free_bits = check_free_bits(free_bits)

    def forward(
        self, x: Float[Tensor, "n ..."], latents: Literal["sample", "mean"] = "sample"
    ) -> ConditionalOutput:
        """Encode, draw (or take the mode), decode, and score against x.

        Raises:
            ValueError: When the likelihood cannot explain x, or on a one-sample batch with batch norm.
        """
        check_batch_statistics(self, x)
        return self.score(x, None, latents)

    def prior_latents(self, condition: None) -> dict[str, Prior]:
        """p(z)."""
        return {"z": self.prior}

    def posterior_latents(self, y: Float[Tensor, "n ..."], condition: None) -> LatentSet:
        """q(z|x), of the data `y`."""
        return LatentSet({"z": self.posterior(y)})

    def decode_latents(self, z: Mapping[str, Tensor], condition: None) -> Float[Tensor, "n ..."]:
        """Logits or means at z."""
        return self.decode(z["z"])

    def posterior(self, x: Float[Tensor, "n ..."]) -> Posterior:
        """q(z|x)."""
        return as_posterior(self.encoder(x))

    def encode(self, x: Float[Tensor, "n ..."]) -> DiagonalGaussian:
        """q(z|x) of an encoder that gives a Gaussian."""
        return _gaussian(self.encoder(x))

    def kl(self, x: Float[Tensor, "n ..."], num_samples: int = 1) -> Float[Tensor, " n"]:
        """KL(q(z|x) || p(z)) in nats; an estimate from K draws where it has no closed form."""
        return self.prior.kl(self.posterior(x), num_samples)

    def decode(self, z: Float[Tensor, "n l"]) -> Float[Tensor, "n ..."]:
        """(n, L) -> (n, *event) logits or means."""
        parameters: Tensor = self.decoder(z)
        return parameters

    def reconstruct(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Mean image of the decoder at the mode of q(z|x)."""
        return self.likelihood.mean(self.decode(self.posterior(x).mode))

    def sample(
        self, count: int, generator: torch.Generator | None = None, *, draw: bool = False
    ) -> Float[Tensor, "n ..."]:
        """Ancestral sampling: z from the prior, the parameters of p(x|z), and then x.

        Args:
            count: How many, at least 1.
            generator: Source of all draws; None is torch's own.
            draw: Draw x from p(x|z), with its pixel noise; otherwise take the mean, the picture that is usually shown.
        """
        z = self.prior.sample(check_count(count, "count"), next(self.parameters()), generator)
        return _image(self.likelihood, self.decode(z), generator, draw)


class ConditionalVAE(nn.Module, OneLatent[Tensor]):
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
        free_bits: float = 0.0,
        kl_balance: float | None = None,
    ) -> None:
        """Join the parts.

        Args:
            encoder: Called as encoder(x, y) -> `DiagonalGaussian` or a tuple that ends in (mean, logvar).
            decoder: Called as decoder(z, y) -> (n, *event) logits or means.
            latent_dim: L.
            prior: Called as prior(y) -> the same kind; None is the standard normal.
            likelihood: What the decoder's output means; None is Bernoulli.
            beta: Weight of the KL in the loss.
            free_bits: As of `VAE`.
            kl_balance: Share of the KL's gradient that goes to `prior`; None is the plain KL, see
                `divergences.balanced_kl`.

        Raises:
            ValueError: For a weight outside its range, or `kl_balance` without a prior that learns.
        """
        super().__init__()
        if kl_balance is not None and prior is None:
            raise ValueError(
                "kl_balance has no effect on the standard normal prior: give a prior, or leave it out"
            )
        self.free_bits = check_free_bits(free_bits)
        self.kl_balance = kl_balance if kl_balance is None else check_share(kl_balance)
        self.encoder, self.decoder, self.prior_encoder = encoder, decoder, prior
        self.latent_dim, self.beta = latent_dim, _checked_weight(beta)
        self.likelihood: Likelihood = likelihood or BernoulliLikelihood()

    def forward(
        self,
        x: Float[Tensor, "n ..."],
        y: Float[Tensor, "m ..."],
        latents: Literal["sample", "mean"] = "sample",
    ) -> ConditionalOutput:
        """Encode (x, y), draw, decode with y, and score against x; errors as `VAE.forward`."""
        check_batch_statistics(self, x)
        return self.score(x, y, latents)

    def prior_latents(self, condition: Tensor) -> LatentSet:
        """p(z|y), of the condition y."""
        return LatentSet({"z": self.prior(condition)})

    def posterior_latents(self, y: Float[Tensor, "n ..."], condition: Tensor) -> LatentSet:
        """q(z|x, y); x is `y` here, and y the condition."""
        if len(y) != len(condition):
            raise ValueError(
                f"{len(y)} samples with {len(condition)} conditions: give one condition for each sample"
            )
        return LatentSet({"z": self.encode(y, condition)})

    def decode_latents(self, z: Mapping[str, Tensor], condition: Tensor) -> Float[Tensor, "n ..."]:
        """Logits or means at z under the condition."""
        return self.decode(z["z"], condition)

    def repeated(self, condition: Tensor, count: int) -> Tensor:
        """The conditions, `count` times one after the other."""
        return condition.repeat(count, *[1] * (condition.ndim - 1))

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

    def sample(
        self,
        y: Float[Tensor, "n ..."],
        generator: torch.Generator | None = None,
        *,
        draw: bool = False,
    ) -> Float[Tensor, "n ..."]:
        """One image for each condition: z from the prior, then the mean of p(x|z, y), or with `draw` a draw of x."""
        parameters = self.decode(self.prior(y).rsample(generator=generator), y)
        return _image(self.likelihood, parameters, generator, draw)


class LabelConditioned(nn.Module):
    """Calls `module` on its inputs, flattened and joined: makes any MLP conditional, or one of several modalities."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Float[Tensor, "n ..."]) -> Tensor | DiagonalGaussian:
        """`module` of (n, F), F the sum of the inputs' values."""
        result: Tensor | DiagonalGaussian = self.module(
            torch.cat([each.flatten(1) for each in inputs], 1)
        )
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
        raise ValueError(
            f"a Gaussian is needed here, this encoder gives {type(posterior).__name__}"
        )
    return posterior


def _image(
    likelihood: Likelihood, parameters: Tensor, generator: torch.Generator | None, draw: bool
) -> Tensor:
    """A draw of x, or its mean."""
    return likelihood.sample(parameters, generator) if draw else likelihood.mean(parameters)


def _checked_weight(beta: float) -> float:
    if beta < 0:
        raise ValueError(f"beta must be >= 0, got {beta}")
    return beta
