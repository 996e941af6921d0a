"""The base of `VAE`, `ConditionalVAE` and `ecmvae.models.ECMVAE`: p(y|x) through named latents.

p(y|x) = E over p(z|x) of p(y|x, z), trained by the conditional evidence lower bound E over q(z|x, y) of log p(y|x, z)
minus KL(q(z|x, y) || p(z|x)). Sohn et al., "Learning structured output representation using deep conditional generative
models", 2015. Without a condition it is Kingma & Welling's VAE.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.vae import bounds
from ecmvae.vae.divergences import balanced_kl_per_dimension, free_bits
from ecmvae.vae.gaussian import DiagonalGaussian, check_count
from ecmvae.vae.latents import LatentSet, sum_of
from ecmvae.vae.likelihoods import Likelihood
from ecmvae.vae.penalties import Penalty, penalised
from ecmvae.vae.priors import Posterior, Prior

Condition = TypeVar("Condition")
"""What the model is given: a label, a clip, or None."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ConditionalOutput:
    """One evaluation of the bound; nats per sample.

    Attributes:
        parameters: Decoder output (n, *event): logits or means.
        latents: q(z|x, y).
        points: Name -> (n, L), the samples or modes that were decoded.
        log_likelihood: log p(y|x, z), (n,).
        kl_by_latent: Name -> KL(q || prior), (n,).
        divergence_by_latent: The same under the divergences that the loss uses.
        beta: Weight of the divergences in `loss`.
        penalties: Further terms of `loss` by name, of the batch as a whole.
    """

    parameters: Tensor
    latents: LatentSet
    points: Mapping[str, Float[Tensor, "n _"]]
    log_likelihood: Float[Tensor, " n"]
    kl_by_latent: Mapping[str, Float[Tensor, " n"]]
    divergence_by_latent: Mapping[str, Float[Tensor, " n"]]
    beta: float
    penalties: Mapping[str, Penalty] = field(default_factory=dict)

    @property
    def posterior(self) -> Posterior:
        """q(z|x) of a model with one latent."""
        (only,) = self.latents.values()
        return only

    @property
    def z(self) -> Float[Tensor, "n l"]:
        """The point that was decoded, of a model with one latent."""
        (only,) = self.points.values()
        return only

    @property
    def kl(self) -> Float[Tensor, " n"]:
        """KL(q || prior), summed over the latents."""
        return sum_of(list(self.kl_by_latent.values()))

    @property
    def elbo(self) -> Float[Tensor, " n"]:
        """The bound on log p(y|x): neither beta, another divergence nor a penalty plays a part in it."""
        return bounds.elbo(self.log_likelihood, self.kl)

    @property
    def loss(self) -> Float[Tensor, ""]:
        """-(log p(y|x, z) - beta times the divergences), mean over the batch, plus the penalties."""
        bound = bounds.elbo(
            self.log_likelihood, sum_of(list(self.divergence_by_latent.values())), self.beta
        )
        return penalised(-bound.mean(), self.penalties)

    def named(self) -> dict[str, Tensor]:
        """Scalars to log."""
        terms = {"elbo": self.elbo, "log_likelihood": self.log_likelihood, "kl": self.kl}
        means = {name: value.mean() for name, value in terms.items()}
        return {
            "loss": self.loss,
            **means,
            **{name: each.value for name, each in self.penalties.items()},
        }


def one_latent_output(
    *,
    parameters: Tensor,
    posterior: Posterior,
    z: Tensor,
    log_likelihood: Tensor,
    kl: Tensor,
    beta: float = 1.0,
) -> ConditionalOutput:
    """The output of a model with one latent that computes the terms in its own way."""
    return ConditionalOutput(
        parameters=parameters,
        latents=LatentSet({"z": posterior}),
        points={"z": z},
        log_likelihood=log_likelihood,
        kl_by_latent={"z": kl},
        divergence_by_latent={"z": kl},
        beta=beta,
    )


class ConditionalLatentModel(ABC, Generic[Condition]):
    """A prior, a posterior, a decoder and a likelihood; a subclass gives the first three.

    Attributes:
        likelihood: What the decoder's output means.
        beta: Weight of the divergences in the loss.
        divergences: Kind for each latent, or one for all; see `LatentSet.divergence`.
        free_bits: KL in nats that each dimension may have at no cost in the loss.
        kl_balance: Share of the KL's gradient that goes to the prior; None is the plain KL.
    """

    likelihood: Likelihood
    beta: float = 1.0
    divergences: str | Mapping[str, str] = "kl"
    free_bits: float = 0.0
    kl_balance: float | None = None

    @abstractmethod
    def prior_latents(self, condition: Condition) -> Mapping[str, Posterior | Prior]:
        """p(z|x): name -> distribution over (n, L), or a `Prior`."""

    @abstractmethod
    def posterior_latents(self, y: Float[Tensor, "n ..."], condition: Condition) -> LatentSet:
        """q(z|x, y)."""

    @abstractmethod
    def decode_latents(
        self, z: Mapping[str, Float[Tensor, "n _"]], condition: Condition
    ) -> Float[Tensor, "n ..."]:
        """Parameters of p(y|x, z), (n, *event)."""

    def score(
        self,
        y: Float[Tensor, "n ..."],
        condition: Condition,
        latents: Literal["sample", "mean"] = "sample",
    ) -> ConditionalOutput:
        """Encode, draw (or take the mode), decode, and score against y.

        Raises:
            ValueError: When the likelihood cannot explain y.
        """
        self.likelihood.check(y)
        posterior, prior = self.posterior_latents(y, condition), self.prior_latents(condition)
        z = posterior.rsample() if latents == "sample" else posterior.mode
        parameters = self.decode_latents(z, condition)
        kl = posterior.divergence(prior)
        return ConditionalOutput(
            parameters=parameters,
            latents=posterior,
            points=z,
            log_likelihood=self.likelihood.log_prob(parameters, y),
            kl_by_latent=kl,
            divergence_by_latent=self._divergences(posterior, prior, kl),
            beta=self.beta,
            penalties=self.penalties(posterior, prior, z),
        )

    def penalties(
        self,
        posterior: LatentSet,
        prior: Mapping[str, Posterior | Prior],
        z: Mapping[str, Float[Tensor, "n _"]],
    ) -> Mapping[str, Penalty]:
        """Further terms of the loss, of the points `z` drawn from the posterior: none unless a subclass adds some."""
        return {}

    def _divergences(
        self, posterior: LatentSet, prior: Mapping[str, Posterior | Prior], kl: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """The divergences of the loss; free bits and balance act on those latents whose kind is "kl"."""
        if not self.free_bits and self.kl_balance is None:
            return kl if self.divergences == "kl" else posterior.divergence(prior, self.divergences)
        kinds = (
            self.divergences
            if isinstance(self.divergences, Mapping)
            else dict.fromkeys(posterior, self.divergences)
        )
        others = {name: kind for name, kind in kinds.items() if kind != "kl"}
        table = {
            name: training_kl(each, prior[name], self.free_bits, self.kl_balance)
            for name, each in posterior.items()
            if name not in others
        }
        if others:
            chosen = LatentSet({name: posterior[name] for name in others})
            table |= chosen.divergence(prior, others)
        return table

    def elbo(
        self,
        y: Float[Tensor, "n ..."],
        condition: Condition = None,  # type: ignore[assignment]  # of a model without a condition
        num_samples: int = 1,
    ) -> Float[Tensor, " n"]:
        """Estimate of the evidence lower bound on log p(y|x) from K draws, in nats; K below 1 is a `ValueError`."""
        return self.log_weights(y, condition, num_samples).mean(0)

    def log_likelihood(
        self,
        y: Float[Tensor, "n ..."],
        condition: Condition = None,  # type: ignore[assignment]
        num_samples: int = 1,
    ) -> Float[Tensor, " n"]:
        """Importance-weighted estimate of log p(y|x) from K draws, in nats, from below on average."""
        return bounds.iwae(self.log_weights(y, condition, num_samples))

    def log_weights(
        self,
        y: Float[Tensor, "n ..."],
        condition: Condition = None,  # type: ignore[assignment]
        num_samples: int = 1,
    ) -> Float[Tensor, "k n"]:
        """Log p(y, z_k|x) - log q(z_k|x, y) for K draws, for `bounds.iwae`.

        Raises:
            ValueError: When K is below 1, the likelihood cannot explain y, or the posterior has no density.
        """
        self.likelihood.check(y)
        posterior, prior = self.posterior_latents(y, condition), self.prior_latents(condition)
        z = posterior.rsample(check_count(num_samples, "num_samples"))
        priors = sum_of([prior[name].log_prob(value) for name, value in z.items()])  # type: ignore[union-attr]
        return self.log_likelihoods(y, z, condition) + priors - posterior.log_prob(z)

    def log_likelihoods(
        self,
        y: Float[Tensor, "n ..."],
        z: Mapping[str, Float[Tensor, "k n _"]],
        condition: Condition,
    ) -> Float[Tensor, "k n"]:
        """Log p(y|x, z_k) of K points, decoded one after the other."""
        count = len(next(iter(z.values())))
        points = ({name: value[index] for name, value in z.items()} for index in range(count))
        return torch.stack(
            [self.likelihood.log_prob(self.decode_latents(point, condition), y) for point in points]
        )


def training_kl(
    posterior: Posterior,
    prior: Posterior | Prior,
    free_nats: float = 0.0,
    balance: float | None = None,
) -> Float[Tensor, " n"]:
    """KL of one latent (n, L) as a loss takes it, with `divergences.free_bits` and `divergences.balanced_kl`.

    Args:
        posterior: q.
        prior: p; balancing needs a Gaussian, the output of a prior network.
        free_nats: Free nats of each dimension; where the KL does not fall apart into dimensions, L times that for all.
        balance: Share of the prior; None is the plain KL.

    Raises:
        ValueError: When the KL is not defined, or cannot be balanced.
    """
    if isinstance(prior, Prior):
        if balance is not None:
            raise ValueError(
                f"kl_balance needs a prior network, the prior is a {type(prior).__name__}: leave it out"
            )
        terms = prior.kl_terms(posterior)
    elif isinstance(posterior, DiagonalGaussian) and isinstance(prior, DiagonalGaussian):
        per_dimension = posterior.kl_per_dimension(prior)
        terms = (
            per_dimension
            if balance is None
            else balanced_kl_per_dimension(posterior, prior, balance)
        )
    else:
        names = f"{type(posterior).__name__} and a {type(prior).__name__}"
        raise ValueError(
            f"free_bits and kl_balance need two Gaussians, not a {names}: leave them out"
        )
    return free_bits(terms, free_nats * posterior.mode.shape[-1] / terms.shape[-1])
